"""What is written onto a full disk: one line, exit code 2, and the old file as it was."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from batchfront.study.cli.main import main
from tests.storage.test_url import small_disk

from ..tables import STORAGE, imported

WRITES = [
    ("report", "-o"), ("export", "-o"), ("export", "--format", "json", "-o"),
    ("critical-batch", "-o"), ("rates", "-o"),
]  # fmt: skip


@pytest.fixture
def study(few):
    return imported(few)


def test_a_file_that_does_not_fit_leaves_the_old_one_and_nothing_else(
    study, workdir, tmp_path_factory, capsys
):
    folder = tmp_path_factory.mktemp("small")
    with small_disk(folder) as (fill, make_room):
        page = folder / "page"
        page.write_text("an older page")
        fill()
        for command in WRITES:
            capsys.readouterr()
            assert main([*command, str(page)]) == 2
            out, err = capsys.readouterr()
            assert (out, err) == ("", f"error: cannot write {page}: No space left on device\n")
            assert page.read_text() == "an older page"
            assert sorted(os.listdir(folder)) == ["filler", "page"]
        make_room()
        assert main(["export", "-o", str(page)]) == 0
        assert page.read_text().startswith("state,number,")


@pytest.mark.slow
@pytest.mark.parametrize("verb", [("export",), ("front",), ("front", "--json")])
def test_printing_onto_a_full_disk_is_one_line_and_exit_code_2(study, workdir, verb):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "batchfront", *verb, "--storage", STORAGE],
            stdout=full, stderr=subprocess.PIPE, text=True, cwd=workdir,
        )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == (
        "error: cannot write the output: No space left on device: make room, run it again\n"
    )


def test_what_is_written_goes_where_a_link_leads_and_keeps_its_permissions(study, workdir):
    target = Path("elsewhere").resolve()
    target.write_text("old")
    target.chmod(0o640)
    Path("link").symlink_to(target)
    assert main(["export", "-o", "link"]) == 0
    assert Path("link").is_symlink()
    assert target.read_text().startswith("state,")
    assert target.stat().st_mode & 0o777 == 0o640


def test_a_device_is_written_to_and_not_replaced(study, workdir):
    os.mkfifo("pipe")
    reader = subprocess.Popen(["cat", "pipe"], stdout=subprocess.PIPE, text=True)
    assert main(["export", "-o", "pipe"]) == 0
    assert reader.communicate()[0].startswith("state,")
    assert Path("pipe").is_fifo()


def test_a_new_file_has_the_permissions_that_any_new_file_has(study, workdir):
    Path("any").touch()
    assert main(["export", "-o", "deep/er/new.csv"]) == 0
    assert Path("deep/er/new.csv").stat().st_mode == Path("any").stat().st_mode
