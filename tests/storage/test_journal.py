"""Writers of a journal that die in the middle of a line, or while they hold its lock."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages.journal import JournalFileOpenLock

from batchfront.storage import journal
from batchfront.storage.errors import StorageError
from batchfront.storage.open import open_storage
from tests.storage.conftest import FORK, kill
from tests.storage.processes import ask_often
from tests.storage.test_url import small_disk

TORN = b'{"op_code":8,"worker_id":"x","trial_id":0,"user_attr":{"half":"'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "study.log"


@pytest.fixture
def study(url: str) -> optuna.Study:
    return optuna.create_study(storage=open_storage(url, mode="worker"), study_name="mine")


def tear(path: Path, line: bytes = TORN) -> None:
    with path.open("ab") as file:
        file.write(line)


def numbers(url: str) -> list[int]:
    storage = open_storage(url, mode="reader")
    return [trial.number for trial in optuna.load_study(study_name="mine", storage=storage).trials]


@pytest.mark.parametrize("line", [TORN, TORN[:1], TORN + b"x" * 20_000], ids=len)
def test_a_torn_last_line_is_cut_before_the_next_and_nothing_else_is_lost(study, url, path, line):
    study.ask()
    whole = path.read_bytes()
    tear(path, line)
    assert numbers(url) == [0]
    assert path.read_bytes() == whole + line  # a reader changes nothing
    study.ask()
    assert path.read_bytes().startswith(whole + b'{"op_code"')
    assert numbers(url) == [0, 1]


def test_a_line_torn_while_others_write_is_cut_too(study, url, path, team):
    """The one who tears it dies outside of any lock of the others."""
    tear(path)
    writes = [team._executor.submit(ask_often, url, "mine", 20) for _ in range(3)]
    for _ in range(20):
        lock = journal.RepairingLock(path)
        lock.acquire()
        tear(path)  # as if killed in the middle of writing
        lock.release()
        time.sleep(0.01)
    asked = [number for write in writes for number in write.result(60)]
    assert sorted(asked) == list(range(60))
    assert numbers(url) == list(range(60))


def test_nothing_before_a_line_is_cut_when_the_file_is_one_torn_line(path, url):
    path.write_bytes(TORN)
    optuna.create_study(storage=open_storage(url, mode="worker"), study_name="mine")
    assert numbers(url) == []


@pytest.mark.parametrize("text", ["a shopping list", "batch_size\n1\n", '{"op": 1}'])
def test_a_file_of_something_else_is_refused_and_left_alone(path, url, text):
    path.write_text(text)
    for mode in ("worker", "reader"):
        with pytest.raises(StorageError, match="is a file of something else"):
            open_storage(url, mode=mode)
    assert path.read_text() == text


def test_a_journal_that_is_damaged_in_the_middle_is_refused_in_one_line(study, path, url):
    study.ask()
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + b'{"op_code":\xff\n' + b"".join(lines[1:]))
    with pytest.raises(StorageError, match="cannot be read as a journal") as caught:
        open_storage(url, mode="worker")
    assert "\n" not in str(caught.value)


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "STALE_SECONDS", 0.5)


@pytest.mark.filterwarnings("ignore:The value of `grace_period` might be too small")
def test_a_lock_left_behind_by_a_killed_writer_is_taken_over(url, path, soon):
    def die_while_writing() -> None:
        journal.RepairingLock(path).acquire()
        tear(path)
        time.sleep(600)

    study = optuna.create_study(storage=open_storage(url, mode="worker"), study_name="mine")
    victim = FORK.Process(target=die_while_writing)
    victim.start()
    while not path.read_bytes().endswith(TORN):
        time.sleep(0.01)
    kill(victim)
    started = time.monotonic()
    study.ask()
    assert time.monotonic() - started > 0.4
    assert numbers(url) == [0]
    assert [file.name for file in path.parent.iterdir()] == ["study.log"]


def test_who_lost_its_lock_gives_it_back_without_harm(study, path):
    first, second = journal.RepairingLock(path), journal.RepairingLock(path)
    first.acquire()
    JournalFileOpenLock(str(path)).release()  # taken away while it stood still
    second.acquire()
    first.release()  # not its own any more
    held = path.with_name("study.log.lock")
    assert held.exists()
    second.release()
    assert not held.exists()
    second.release()


def test_a_full_disk_is_told_in_one_line_and_loses_nothing_recorded(tmp_path):
    with small_disk(tmp_path) as (fill, make_room):
        url = f"journal:///{tmp_path}/study.log"
        storage = open_storage(url, mode="worker")
        study = optuna.create_study(storage=storage, study_name="mine")
        trial = study.ask()
        fill()

        def write() -> None:
            for _ in range(1000):
                trial.set_user_attr("noise", "x" * 2000)

        with pytest.raises(StorageError, match="No space left on device: make room") as caught:
            write()
        assert "\n" not in str(caught.value)
        make_room()
        study.ask()
        assert numbers(url) == [0, 1]


def test_lines_begin_as_we_expect_of_optuna(study: Any, path: Path):
    """`journal.FIRST_BYTES` tells a journal from other files."""
    study.ask()
    for line in path.read_bytes().splitlines():
        assert line.startswith(journal.FIRST_BYTES)
        assert "op_code" in json.loads(line)
