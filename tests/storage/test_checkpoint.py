"""Checkpoints: one file each, whole or not at all, and nothing in them is ever executed."""

from __future__ import annotations

import os
import pickle
import time
import warnings
from pathlib import Path

import pytest
import torch

from batchfront.storage.checkpoint import Checkpoint, checkpoint_folder
from batchfront.storage.errors import StorageError
from tests.storage.conftest import FORK, kill

IDENTITY = {"study": "../../etc/passwd", "trial": 3, "params": {"learning_rate": 0.1}}
STATE = {"epoch": 4, "weights": torch.arange(5.0), "deep": {"list": [1, 2.5, "x", None, (True,)]}}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Checkpoint:
    return Checkpoint(tmp_path, IDENTITY)


def test_what_is_saved_last_is_loaded(checkpoint):
    assert checkpoint.load() is None
    checkpoint.save({"epoch": 3})
    checkpoint.save(STATE)
    loaded = checkpoint.load()
    assert loaded is not None
    assert torch.equal(loaded.pop("weights"), STATE["weights"])
    assert loaded == {key: value for key, value in STATE.items() if key != "weights"}


def test_names_are_hashes_that_differ_with_every_part_of_the_identity(checkpoint, tmp_path):
    assert checkpoint.path.parent == tmp_path
    assert set(checkpoint.path.stem) <= set("0123456789abcdef")
    changed = [{**IDENTITY, key: "other"} for key in IDENTITY]
    paths = {Checkpoint(tmp_path, identity).path for identity in changed}
    assert len(paths | {checkpoint.path}) == len(IDENTITY) + 1


def test_removing_leaves_nothing_of_the_run_and_all_of_others(checkpoint, tmp_path):
    other = Checkpoint(tmp_path, {**IDENTITY, "trial": 4})
    other.save(STATE)
    checkpoint.save(STATE)
    (tmp_path / f"{checkpoint.path.stem}.99.new").write_bytes(b"half")  # of a writer that died
    checkpoint.remove()
    assert [path.name for path in tmp_path.iterdir()] == [other.path.name]


@pytest.mark.parametrize("damage", ["cut", "empty", "noise", "flipped"])
def test_a_damaged_file_is_put_aside_with_a_warning(checkpoint, damage):
    checkpoint.save(STATE)
    whole = checkpoint.path.read_bytes()
    middle = len(whole) // 2
    broken = {
        "cut": whole[:middle],
        "empty": b"",
        "noise": b"\x00no checkpoint",
        "flipped": whole[:80] + bytes(255 - b for b in whole[80:160]) + whole[160:],
    }
    checkpoint.path.write_bytes(broken[damage])
    with pytest.warns(UserWarning, match=r"cannot be used .* starts over"):
        assert checkpoint.load() is None
    assert not checkpoint.path.exists()
    assert checkpoint.path.with_suffix(".bad").read_bytes() == broken[damage]


def test_another_runs_file_under_our_name_is_put_aside(checkpoint, tmp_path):
    other = Checkpoint(tmp_path, {**IDENTITY, "trial": 4})
    other.save(STATE)
    os.replace(other.path, checkpoint.path)
    with pytest.warns(UserWarning, match="another run"):
        assert checkpoint.load() is None


def test_code_in_a_checkpoint_is_not_run(checkpoint, tmp_path):
    class Evil:
        def __reduce__(self):
            return (os.system, (f"touch {tmp_path}/owned",))

    with open(checkpoint.path, "wb") as file:
        torch.save({"format": 1, "name": checkpoint.path.stem, "state": {"x": Evil()}}, file)
    with pytest.warns(UserWarning, match="cannot be used"):
        assert checkpoint.load() is None
    checkpoint.path.write_bytes(pickle.dumps(Evil()))
    with pytest.warns(UserWarning, match="cannot be used"):
        assert checkpoint.load() is None
    assert not (tmp_path / "owned").exists()


def save_for_ever(folder: Path, said: int) -> None:
    """Save one epoch after another, and write down which are saved."""
    checkpoint = Checkpoint(folder, {"trial": 1})
    for epoch in range(10**9):
        checkpoint.save({"epoch": epoch, "weights": torch.full((300_000,), float(epoch))})
        os.write(said, f"{epoch}\n".encode())


def test_kill_9_at_any_moment_leaves_the_last_whole_checkpoint(tmp_path):
    for round_ in range(5):
        reading, writing = os.pipe()
        process = FORK.Process(target=save_for_ever, args=(tmp_path, writing))
        process.start()
        os.close(writing)
        with open(reading) as lines:
            first = lines.readline()
            time.sleep(0.02 + 0.013 * round_)
            kill(process)
            said = [first, *lines]
        checkpoint = Checkpoint(tmp_path, {"trial": 1})
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            loaded = checkpoint.load()
        assert loaded is not None
        assert loaded["epoch"] >= int(said[-1])  # what was acknowledged is there
        assert bool((loaded["weights"] == loaded["epoch"]).all())
        checkpoint.remove()
        assert list(tmp_path.iterdir()) == []


def test_nobody_else_may_look_into_the_folder(tmp_path):
    assert checkpoint_folder(tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700


def test_a_folder_that_cannot_be_used_is_named(tmp_path):
    assert checkpoint_folder(tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"cannot create the checkpoint folder .* or none"):
        checkpoint_folder(tmp_path / "file" / "c")
