"""Locks lie where no other user can stop a run, or have it write where he says."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

import pytest

from batchfront.study.cli.main import main
from batchfront.study.machine.private_folder import private_folders, why_no_folder
from batchfront.study.machine.slots import let_go, pinned_core, try_lock
from batchfront.study.machine.turns import device_turn

NAME = f"batchfront-{os.getuid()}"
ANOTHER_USER = 65534
as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root gives a folder to another user")


@pytest.fixture
def shared(tmp_path, monkeypatch):
    """The folder for temporary files, where anybody may write; there is no other."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    folder.chmod(0o1777)
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    return folder


@pytest.fixture
def runtime(tmp_path, monkeypatch, shared):
    """What a login has besides."""
    folder = tmp_path / "runtime"
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    return folder


def _n_folders() -> int:
    with private_folders() as found:
        return len(found)


def _is_taken(name: str) -> bool:
    lock = try_lock(name)
    let_go(lock or ())
    return lock is None


def test_the_folder_is_made_for_its_user_alone_and_found_again(shared):
    assert _n_folders() == _n_folders() == 1
    status = (shared / NAME).stat()
    assert stat.S_IMODE(status.st_mode) == 0o700
    assert status.st_uid == os.geteuid()
    assert why_no_folder() is None


def test_a_link_is_not_followed(shared, tmp_path):
    target = tmp_path / "target"
    target.mkdir(mode=0o700)  # ours, and private: only the way there is not
    (shared / NAME).symlink_to(target)
    assert try_lock("gpu-a") == ()
    assert list(target.iterdir()) == []
    assert why_no_folder() == f"XDG_RUNTIME_DIR is not set; {shared / NAME} is a link or no folder"


def test_nothing_is_made_where_a_link_leads(shared, tmp_path):
    (shared / NAME).symlink_to(tmp_path / "absent")
    assert try_lock("gpu-a") == ()
    assert not (tmp_path / "absent").exists()


def test_a_lock_file_that_is_a_link_is_not_followed(shared, tmp_path):
    assert not _is_taken("gpu-a")
    (shared / NAME / "gpu-a.lock").unlink()
    (shared / NAME / "gpu-a.lock").symlink_to(tmp_path / "absent")
    assert try_lock("gpu-a") == ()
    assert not (tmp_path / "absent").exists()


@as_root
def test_the_folder_of_another_user_is_not_used(shared):
    (shared / NAME).mkdir(mode=0o700)
    os.chown(shared / NAME, ANOTHER_USER, ANOTHER_USER)
    assert try_lock("gpu-a") == ()
    assert list((shared / NAME).iterdir()) == []
    assert f"{shared / NAME} belongs to user {ANOTHER_USER}" in why_no_folder()


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o755, 0o777])
def test_a_folder_that_others_can_open_is_not_used(shared, mode):
    (shared / NAME).mkdir()
    (shared / NAME).chmod(mode)
    assert try_lock("gpu-a") == ()
    assert f"has mode {mode:o}, wanted 700" in why_no_folder()


def test_a_file_in_its_place_is_not_used(shared):
    (shared / NAME).touch()
    assert try_lock("gpu-a") == ()
    assert "is a link or no folder" in why_no_folder()


def test_a_set_gid_bit_does_no_harm(shared):
    (shared / NAME).mkdir(mode=0o700)
    (shared / NAME).chmod(0o2700)
    assert _n_folders() == 1


def test_a_login_and_a_cron_job_meet_in_the_folder_for_temporary_files(runtime, monkeypatch):
    lock = try_lock("gpu-a")
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert _is_taken("gpu-a")
    let_go(lock)
    assert not _is_taken("gpu-a")
    lock = try_lock("gpu-a")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    assert _is_taken("gpu-a")
    let_go(lock)
    assert not _is_taken("gpu-a"), "what a failed try took is let go"


def test_logins_with_other_temporary_folders_meet_in_the_runtime_folder(
    runtime, tmp_path, monkeypatch
):
    lock = try_lock("gpu-a")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert _is_taken("gpu-a")
    let_go(lock)
    assert not _is_taken("gpu-a")


def test_the_runtime_folder_is_enough_where_the_other_was_taken(runtime, shared, tmp_path):
    (shared / NAME).symlink_to(tmp_path)
    lock = try_lock("gpu-a")
    assert _is_taken("gpu-a")
    let_go(lock)
    assert why_no_folder() is None


def test_a_runtime_folder_that_is_not_sound_is_left_alone(runtime, monkeypatch, tmp_path):
    runtime.chmod(0o777)
    assert _n_folders() == 1
    link = tmp_path / "link"
    link.symlink_to(runtime)
    runtime.chmod(0o700)
    for wrong in (str(link), "runtime", "", str(tmp_path / "absent")):
        monkeypatch.setenv("XDG_RUNTIME_DIR", wrong)
        assert _n_folders() == 1, wrong
    assert list(runtime.iterdir()) == []


def test_without_any_folder_nobody_waits_and_nobody_is_pinned(shared, tmp_path, monkeypatch):
    (shared / NAME).symlink_to(tmp_path)
    monkeypatch.setattr("batchfront.study.machine.turns._device_name", lambda device: device)
    started = time.monotonic()
    with device_turn(["cuda:0"], lambda: False), device_turn(["cuda:0"], lambda: False):
        assert time.monotonic() - started < 10
    if hasattr(os, "sched_getaffinity"):
        allowed = os.sched_getaffinity(0)
        with pinned_core():  # else all processes would choose the first core
            assert os.sched_getaffinity(0) == allowed


def test_a_run_goes_on_without_a_folder_and_says_so_once(shared, workdir, tmp_path, capsys):
    target = tmp_path / "target"
    target.mkdir(mode=0o700)
    (shared / NAME).symlink_to(target)
    argv = ["run", "--task", "planted.py", "--epochs", "1", "--n-trials", "1"]
    assert main(argv) == 0
    said = capsys.readouterr().err
    assert said.count("note: no folder for locks is yours alone") == 1
    assert f"{shared / NAME} is a link or no folder" in said
    assert list(target.iterdir()) == []
    Path(shared / NAME).unlink()
    assert main([*argv[:-1], "2"]) == 0
    assert "no folder for locks" not in capsys.readouterr().err
