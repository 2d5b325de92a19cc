"""A small file that unpacks to a large one is read no further than the limit that is told."""

from __future__ import annotations

import gzip
import io
import tracemalloc
from pathlib import Path

import pytest

from batchfront.objectives.curves.loose import read_recordings
from batchfront.objectives.curves.table import read_table
from batchfront.objectives.curves.unpack import MAX_UNPACKED_BYTES, unpacked
from batchfront.objectives.measurement import ObjectiveError
from tests.study.tables import CURVES

READERS = [read_table, read_recordings]
MIB = 2**20


@pytest.fixture
def limit(monkeypatch):
    """Of one MiB."""
    monkeypatch.setattr("batchfront.objectives.curves.unpack.MAX_UNPACKED_BYTES", MIB)
    return MIB


@pytest.fixture
def bomb(tmp_path) -> Path:
    """64 MiB of commas in 65 kB, of many members, as `cat` joins gzipped files."""
    path = tmp_path / "bomb.csv.gz"
    path.write_bytes(64 * gzip.compress(b"," * MIB))
    return path


@pytest.mark.parametrize("read", READERS)
def test_a_table_is_unpacked_up_to_the_limit_only(limit, bomb, read):
    tracemalloc.start()
    try:
        with pytest.raises(ObjectiveError, match=r"bomb\.csv\.gz unpacks to more than 1 MiB"):
            read(bomb)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 16 * limit  # a quarter of what is in it


def test_the_limit_is_the_last_byte_that_is_read(limit):
    for n_bytes in (0, 1, limit - 1, limit):
        content = b"x" * n_bytes
        assert unpacked(io.BytesIO(gzip.compress(content)), "a").read() == content
    with pytest.raises(ObjectiveError, match="unpack it and name"):
        unpacked(io.BytesIO(gzip.compress(b"x" * (limit + 1))), "a").read()


def test_no_more_is_unpacked_than_is_read(bomb):
    packed = io.BytesIO(bomb.read_bytes())
    assert unpacked(packed, "a").read(10) == b"," * 10
    assert packed.tell() < len(packed.getvalue()) / 2


@pytest.mark.parametrize("read", READERS)
def test_a_table_that_is_not_packed_has_no_limit(tmp_path, monkeypatch, read):
    monkeypatch.setattr("batchfront.objectives.curves.unpack.MAX_UNPACKED_BYTES", 10)
    plain = tmp_path / "curves.csv"
    plain.write_bytes(CURVES.read_bytes())
    assert read(plain).runs


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_a_damaged_file_is_told_in_one_line(tmp_path, read, damage):
    packed = bytearray(gzip.compress(CURVES.read_bytes()))
    if damage == "cut":
        packed = packed[: len(packed) // 2]
    else:
        packed[len(packed) // 2] ^= 0xFF
        packed[20] ^= 0xFF
    path = tmp_path / "damaged.csv.gz"
    path.write_bytes(packed)
    with pytest.raises(ObjectiveError) as caught:
        read(path)
    assert "\n" not in str(caught.value)


def test_the_limit_is_as_documented():
    documented = (Path(__file__).resolve().parents[3] / "docs" / "import.md").read_text()
    assert f"unpacks to more than {MAX_UNPACKED_BYTES // MIB} MiB" in " ".join(documented.split())
