"""Files that are missing, damaged, half made, not permitted, or not ours."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy

from batchfront.storage import sqlite
from batchfront.storage.errors import StorageError
from batchfront.storage.glance import studies_in
from batchfront.storage.open import exists, open_storage
from batchfront.storage.sqlite_file import address
from tests.storage.conftest import FORK, as_nobody, copy_study, in_a_fork, kill, make_study, names

BOTH = pytest.mark.parametrize("mode", ["worker", "reader"])


def refused(url: str, mode: Any) -> str:
    """What is said, in one line, when the file is not opened."""
    with pytest.raises(StorageError) as caught:
        open_storage(url, mode=mode)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_worker_makes_what_is_missing(tmp_path):
    url = f"sqlite:///{tmp_path}/new/folders/study.db"
    make_study(url)
    assert names(url) == ["mine"]
    assert [file.name for file in (tmp_path / "new" / "folders").iterdir()] == ["study.db"]


def test_a_relative_file_is_meant_from_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_study("sqlite:///runs/study.db")
    assert (tmp_path / "runs" / "study.db").is_file()


@pytest.mark.parametrize("name", ["two words", "{braces}", "{}", "50% off", "ümlaut", "a#b;c'd"])
def test_a_folder_may_be_called_anything(tmp_path, name):
    url = f"sqlite:///{tmp_path}/{name}/study {name}.db"
    make_study(url)
    assert names(url) == ["mine"]
    assert [p.name for p in tmp_path.iterdir()] == [name]
    assert [p.name for p in (tmp_path / name).iterdir()] == [f"study {name}.db"]


def test_a_reader_makes_nothing(url, tmp_path):
    assert "there is no database" in refused(url, "reader")
    assert list(tmp_path.iterdir()) == []


def test_an_empty_file_is_as_good_as_a_missing_one(url, path):
    path.touch()
    assert "there is no database" in refused(url, "reader")
    assert path.read_bytes() == b""
    make_study(url)
    assert names(url) == ["mine"]


def text(path: Path) -> None:
    path.write_text("batch_size,learning_rate\n" * 400)


def damaged(path: Path) -> None:
    copy_study(f"sqlite:///{path}")
    whole = path.read_bytes()
    path.write_bytes(whole[:100] + b"\xff" * 8000 + whole[8100:])


def torn(path: Path) -> None:
    copy_study(f"sqlite:///{path}")
    path.write_bytes(path.read_bytes()[:5000])


def damaged_trials(path: Path) -> None:
    copy_study(f"sqlite:///{path}")
    whole = bytearray(path.read_bytes())
    with closing(sqlite3.connect(path)) as connection:
        (size,) = connection.execute("PRAGMA page_size").fetchone()
        pages = connection.execute(
            "SELECT rootpage FROM sqlite_master WHERE tbl_name = 'trials' AND rootpage"
        ).fetchall()
    for (page,) in pages:
        whole[(page - 1) * size : page * size] = b"\xff" * size
    path.write_bytes(whole)


def something_else(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE recipes (name)")
        connection.execute("CREATE TABLE trials (name)")


def folder(path: Path) -> None:
    path.mkdir()


@BOTH
@pytest.mark.parametrize(
    ("make", "said"),
    [
        (text, "cannot be read as an SQLite database (file is not a database)"),
        (damaged, "cannot be read as an SQLite database (database disk image is malformed)"),
        (damaged_trials, "cannot be read as an SQLite database (database disk image is malformed)"),
        (torn, "cannot be read as an SQLite database (database disk image is malformed)"),
        (something_else, "is a database of something else (it holds recipes, trials)"),
        (folder, "is a folder, wanted a database file"),
    ],
)
def test_what_is_no_study_database_is_refused_and_left_alone(url, path, make, said, mode):
    make(path)
    before = None if path.is_dir() else path.read_bytes()
    message = refused(url, mode)
    assert f"{path} {said}" in message
    assert before is None or path.read_bytes() == before


@BOTH
def test_the_schema_of_another_optuna_is_refused_with_its_remedy(url, path, mode):
    copy_study(url)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = 'v3.0.0.d'")
    assert "optuna storage upgrade" in refused(url, mode)


@pytest.mark.parametrize(
    ("file_mode", "folder_mode", "worker", "reader"),
    [
        (0o666, 0o777, "['mine']", "['mine']"),
        (0o444, 0o777, "study.db is not writable", "['mine']"),
        (0o000, 0o777, "study.db is not writable", "is the file readable"),
        (0o666, 0o555, "place is not writable", "['mine']"),
        (0o666, 0o000, "place is not writable", "cannot look at"),
    ],
    ids=["may-all", "read-only", "unreadable", "read-only-folder", "closed-folder"],
)
def test_a_file_is_opened_where_permissions_allow_and_refused_where_not(
    public_folder, file_mode, folder_mode, worker, reader
):
    file = public_folder / "place" / "study.db"
    copy_study(f"sqlite:///{file}")
    file.chmod(file_mode)
    file.parent.chmod(folder_mode)

    def studies(mode: Any) -> str:
        return str(optuna.get_all_study_names(open_storage(f"sqlite:///{file}", mode=mode)))

    try:
        found = [as_nobody(partial(studies, mode)) for mode in ("worker", "reader")]
    finally:
        file.parent.chmod(0o777)
    for said, wanted in zip(found, (worker, reader), strict=True):
        assert wanted in said
        assert said.startswith("StorageError: ") == (wanted != "['mine']")


def test_a_file_whose_writer_was_killed_is_not_read_as_it_is_in_a_folder_without_permission(
    public_folder,
):
    file = public_folder / "place" / "study.db"
    copy_study(f"sqlite:///{file}")
    file.with_name("study.db-journal").write_bytes(b"x" * 512)  # of a transaction half done
    file.parent.chmod(0o555)
    try:
        assert "immutable" not in as_nobody(lambda: address(file))
    finally:
        file.parent.chmod(0o777)


@pytest.mark.parametrize("is_linked", [False, True])
@pytest.mark.parametrize("looks", ["reader", "glance"])
def test_what_a_writer_has_in_its_log_is_not_read_past_in_a_folder_without_permission(
    public_folder, looks, is_linked
):
    file = public_folder / "place" / "study.db"
    copy_study(f"sqlite:///{file}")
    writer = open_storage(f"sqlite:///{file}", mode="worker")
    optuna.create_study(storage=writer, study_name="newer")
    link = public_folder / "links" / "study.db"
    link.parent.mkdir()
    link.symlink_to(file)
    link.parent.chmod(0o555)
    looked = link if is_linked else file

    def names() -> str:
        if looks == "reader":
            return str(optuna.get_all_study_names(sqlite.open_reader(looked)))
        with studies_in(looked) as found:
            return str([study.study_name for study in found or ()])

    file.parent.chmod(0o555)
    try:
        said = as_nobody(names)
    finally:
        file.parent.chmod(0o777)
    assert "newer" in said or "its folder writable" in said


@pytest.mark.parametrize(
    ("below", "said"), [("", "place is not writable"), ("deeper/", "cannot create the folder")]
)
def test_a_folder_without_permission_is_refused(public_folder, below, said):
    place = public_folder / "place"
    place.mkdir(mode=0o555)
    url = f"sqlite:///{place}/{below}study.db"
    found = as_nobody(lambda: open_storage(url, mode="worker"))
    assert found.startswith("StorageError: ")
    assert said in found


@pytest.mark.parametrize("name", ["what?.db", "#1.db", "100%20.db", "a b.db", "größe.db"])
def test_any_name_is_that_of_one_file(tmp_path, name):
    path = tmp_path / name
    optuna.create_study(storage=sqlite.open_worker(path), study_name="mine")
    for again in (sqlite.open_worker(path, creates=False), sqlite.open_reader(path)):
        assert optuna.get_all_study_names(again) == ["mine"]
    assert {file.name.removesuffix("-wal").removesuffix("-shm") for file in tmp_path.iterdir()} == {
        name
    }


@pytest.mark.parametrize("mode", ["late worker", "reader"])
def test_who_comes_late_makes_no_file(url, path, tmp_path, mode):
    said = f"there is no database {path} yet: the first run creates it"
    assert refused(url, mode) == said
    path.touch()  # an empty file has no tables
    assert refused(url, mode) == said
    assert path.read_bytes() == b""
    assert not exists(url)


def test_a_file_where_the_folder_should_be_is_refused(tmp_path):
    (tmp_path / "taken").touch()
    assert "cannot create the folder" in refused(f"sqlite:///{tmp_path}/taken/study.db", "worker")


def schema(path: Path) -> set[tuple[str, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return set(connection.execute("SELECT type, name, tbl_name FROM sqlite_master"))


def die_at(statement: int, path: Path) -> None:
    """Kill this process after so many statements of the schema."""
    seen = iter(range(1, 1000))

    @sqlalchemy.event.listens_for(sqlalchemy.Engine, "after_cursor_execute")
    def count(connection: Any, cursor: Any, sql: str, *_: Any) -> None:
        if sql.strip().startswith(("CREATE", "INSERT")) and next(seen) == statement:
            os.kill(os.getpid(), 9)

    sqlite.open_worker(path)


@pytest.mark.parametrize("statement", [1, 7, 14, 16])
def test_a_worker_killed_while_it_makes_the_schema_leaves_nothing_behind(
    url, path, tmp_path, statement
):
    victim = FORK.Process(target=die_at, args=(statement, path))
    victim.start()
    victim.join(60)
    assert victim.exitcode == -9
    make_study(url)
    assert names(url) == ["mine"]
    assert [file.name for file in tmp_path.iterdir()] == ["study.db"]
    make_study(f"sqlite:///{tmp_path}/whole.db")
    assert schema(path) == schema(tmp_path / "whole.db")


def test_leftovers_of_an_earlier_attempt_are_no_obstacle(url, tmp_path):
    for name in (".study.db.new", ".study.db.new-journal", "study.db-wal", "study.db-shm"):
        (tmp_path / name).write_text("garbage" * 1000)
    make_study(url)
    assert names(url) == ["mine"]
    assert [file.name for file in tmp_path.iterdir()] == ["study.db"]


def test_a_reader_never_meets_half_a_schema(url, path):
    """A dashboard may start together with the first worker: here, after each statement."""
    told = []

    def look(connection: Any, cursor: Any, sql: str, *_: Any) -> None:
        if sql.strip().startswith(("CREATE", "INSERT")):
            told.append(refused(url, "reader"))

    sqlalchemy.event.listen(sqlalchemy.Engine, "after_cursor_execute", look)
    try:
        open_storage(url, mode="worker")
    finally:
        sqlalchemy.event.remove(sqlalchemy.Engine, "after_cursor_execute", look)
    assert len(told) > 10
    assert set(told) == {f"there is no database {path} yet: the first run creates it"}


def test_the_log_of_a_lost_file_does_not_come_back_in_a_new_one(url, path):
    def leave_a_log() -> None:
        optuna.create_study(storage=open_storage(url, mode="worker"), study_name="lost")
        os._exit(0)  # without folding the log into the file

    writer = FORK.Process(target=leave_a_log)
    writer.start()
    writer.join(60)
    assert path.with_name("study.db-wal").stat().st_size > 0
    path.unlink()
    make_study(url)
    assert names(url) == ["mine"]


def test_a_killed_writer_leaves_what_it_had_recorded(url):
    copy_study(url)
    recorded = FORK.Event()

    def write_for_ever() -> None:
        study = optuna.load_study(study_name="mine", storage=open_storage(url, mode="worker"))
        trial = study.ask()
        trial.set_user_attr("kept", 1)
        recorded.set()
        while True:
            trial.set_user_attr("noise", "x" * 1000)

    writer = FORK.Process(target=write_for_ever)
    writer.start()
    assert recorded.wait(60)
    kill(writer)

    def read() -> Any:
        study = optuna.load_study(study_name="mine", storage=open_storage(url, mode="worker"))
        study.ask()
        return [trial.user_attrs.get("kept") for trial in study.trials]

    assert in_a_fork(read) == [None, 1, None]
