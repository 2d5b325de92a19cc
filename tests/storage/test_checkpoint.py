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


def seconds_to_load(checkpoint: Checkpoint) -> float:
    started = time.monotonic()
    with pytest.warns(UserWarning, match="cannot be used") as warned:
        assert checkpoint.load() is None
    assert len(warned) == 1
    return time.monotonic() - started


@pytest.mark.parametrize("trap", ["pipe", "link", "broken link", "folder"])
def test_what_is_no_file_is_neither_followed_nor_waited_for(checkpoint, tmp_path, trap):
    other = Checkpoint(tmp_path, {"trial": 9})
    if trap == "pipe":
        os.mkfifo(checkpoint.path)
    elif trap == "folder":
        checkpoint.path.mkdir()
    else:
        if trap == "link":  # to what would be a checkpoint of this very run
            checkpoint.save(STATE)
            os.replace(checkpoint.path, tmp_path / "elsewhere")
        checkpoint.path.symlink_to(tmp_path / "elsewhere")
    assert seconds_to_load(checkpoint) < 5
    assert checkpoint.load() is None  # it is out of the way: no second warning
    checkpoint.save({"epoch": 1})
    assert checkpoint.load() == {"epoch": 1}
    assert (tmp_path / "elsewhere").exists() == (trap == "link")
    checkpoint.remove()
    assert not checkpoint.path.exists()
    assert other.load() is None


def test_no_file_that_lies_in_the_folder_is_written_into(checkpoint, tmp_path, monkeypatch):
    """Where a name for the unfinished file is taken, a link say, it is an error, not a target."""
    monkeypatch.setattr("batchfront.storage.files.secrets.token_hex", lambda n: "taken")
    victim = tmp_path / "victim"
    victim.write_text("precious")
    aside = checkpoint.path.with_name(f"{checkpoint.path.name}.taken.new")
    aside.symlink_to(victim)
    with pytest.raises(OSError, match="File exists"):
        checkpoint.save(STATE)
    assert victim.read_text() == "precious"
    assert aside.is_symlink()  # not ours to remove before the run has ended
    checkpoint.remove()
    assert [path.name for path in tmp_path.iterdir()] == ["victim"]


@pytest.mark.skipif(os.getuid() != 0, reason="only root may give files away")
def test_a_file_of_another_user_is_not_read(checkpoint, tmp_path):
    checkpoint.save(STATE)
    os.chown(checkpoint.path, 12345, -1)
    with pytest.warns(UserWarning, match="belongs to another user, of id 12345"):
        assert checkpoint.load() is None
    checkpoint.save(STATE)
    os.chown(checkpoint.path, 12345, -1)
    os.chown(tmp_path, 12345, -1)  # as on a server that gives all files of root another owner
    assert checkpoint.load() is not None


def test_a_folder_that_any_user_may_write_into_is_told(tmp_path):
    shared = tmp_path / "shared"
    checkpoint_folder(shared)
    shared.chmod(0o777)
    with pytest.warns(UserWarning, match="any user may write .* chmod o-w"):
        checkpoint_folder(shared)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for fine in (0o1777, 0o770, 0o700):
            shared.chmod(fine)
            checkpoint_folder(shared)


@pytest.mark.parametrize("state", [None, 5, "state", [1, 2], torch.zeros(2)], ids=repr)
def test_a_file_without_a_state_is_put_aside(checkpoint, state):
    content = {"format": 1, "name": checkpoint.path.stem, "state": state}
    for written in (content, state):
        torch.save(written, checkpoint.path)
        seconds_to_load(checkpoint)
        assert checkpoint.load() is None  # it is out of the way: no second warning
