"""URLs, the passwords in them, and a database's errors in one line."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy
from sqlalchemy.exc import SQLAlchemyError

from batchfront.storage.errors import StorageError
from batchfront.storage.names import FileUrl, parse, redacted
from batchfront.storage.open import exists, open_storage, readable_errors
from tests.storage.conftest import close, copy_study, make_study, names


def refused(url: str) -> str:
    said = []
    for act in (
        lambda: open_storage(url, mode="worker"),
        lambda: open_storage(url, mode="reader"),
        lambda: exists(url),
    ):
        with pytest.raises(StorageError) as caught, readable_errors(url):
            act()
        said.append(str(caught.value))
    assert len(set(said)) == 1
    assert "\n" not in said[0]
    return said[0]


@pytest.mark.parametrize(
    "url", ["oracle://host/db", "postgresql+psycopg2://host/db", "sqlserver://h", "redis://h/0"]
)
def test_a_url_of_an_unknown_kind_is_refused(url):
    assert f"of an unknown kind '{url.split(':')[0]}': wanted sqlite:///" in refused(url)


@pytest.mark.parametrize("url", ["", "study.db", "runs/study.db", "sqlite:study.db", "://", "a b"])
def test_what_is_no_url_is_refused(url):
    assert "is not a URL: wanted sqlite:///" in refused(url)


@pytest.mark.parametrize(
    "url",
    ["sqlite://", "sqlite:///", "sqlite:///:memory:", "sqlite:///file:shared"],
)
def test_a_database_in_memory_is_refused(url):
    assert "an in-memory SQLite database cannot be resumed" in refused(url)


@pytest.mark.parametrize("option", ["timeout=5", "mode=memory&uri=true"])
def test_options_are_refused_as_they_would_have_no_effect(url, option):
    assert "leave them out" in refused(f"{url}?{option}")


def test_two_slashes_instead_of_three_are_refused(tmp_path, monkeypatch):
    """The first folder would be taken for a host, and the file made without it."""
    monkeypatch.chdir(tmp_path)
    assert "found 'runs': wanted sqlite:///path" in refused("sqlite://runs/study.db")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("url", "is_plain"),
    [
        ("sqlite:///runs/batchfront.db", True),
        ("sqlite:////data/a-b_c.2/../study.DB", True),
        ("sqlite:////", True),
        ("sqlite:///two words.db", False),
        ("sqlite:///50%25.db", False),
        ("sqlite:///größe.db", False),
        ("sqlite:///a.db?timeout=5", False),
        ("sqlite:///:memory:", False),
    ],
)
def test_a_plain_url_of_a_file_is_what_sqlalchemy_makes_of_it(url, is_plain):
    found, kind = parse(url)
    assert (kind, isinstance(found, FileUrl)) == ("sqlite", is_plain)
    wanted = sqlalchemy.make_url(url)
    names = ("drivername", "username", "password", "host", "port", "database", "query")
    for name in names:
        assert getattr(found, name) == getattr(wanted, name)
    assert redacted(url) == wanted.render_as_string()


SECRET = "hunter2"
WITH_SECRETS = [
    f"postgresql://me:{SECRET}@host/db",
    f"postgresql+psycopg://me:{SECRET}@host:5432/db?sslmode=require",
    f"postgresql://:{SECRET}@host/db",
    f"postgresql://me:a:{SECRET}/?#@host/db",
    f"mysql://me:%40{SECRET}@host/db",
    f"postgresql://host/db?user=me&password={SECRET}",
    f"postgresql://host/db?password=one&password={SECRET}",
    f"postgresql://host/db?sslpassword={SECRET}",
    f"mysql://host/db?passwd={SECRET}&charset=utf8",
    f"mssql://host/db?PWD={SECRET}",
    f"libsql://host/db?authToken={SECRET}",
    f"postgresql://me:{SECRET}@host:port/db",  # malformed: the port is no number
    f"postgresql://me:p@{SECRET}@host/db",  # malformed: an unescaped @ in the password
    f"postgresql://me:{SECRET}@[::1/db",
    f"post gresql://me:{SECRET}@host/db",
    f"postgresql:/me:{SECRET}@host/db",
    f"me:{SECRET}@host/db",
    f"sqlite:///study.db?password={SECRET}&file=:memory:",
]


@pytest.mark.parametrize("url", WITH_SECRETS)
def test_a_password_is_never_shown(url):
    assert SECRET not in redacted(url)
    with pytest.raises(StorageError) as caught, readable_errors(url):
        raise SQLAlchemyError("gone")
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("url", WITH_SECRETS)
def test_a_refusal_shows_no_password(url):
    assert SECRET not in refused(url)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("sqlite:////data/study.db", "sqlite:////data/study.db"),
        ("sqlite:///runs/study.db", "sqlite:///runs/study.db"),
        ("postgresql://me:pw@host:5432/db", "postgresql://me:***@host:5432/db"),
        ("postgresql://host/db?sslmode=require", "postgresql://host/db?sslmode=require"),
    ],
)
def test_all_but_the_password_is_shown(url, shown):
    assert redacted(url) == shown


def test_a_database_exists_once_it_was_made(url):
    assert not exists(url)
    make_study(url)
    assert exists(url)


def test_other_errors_pass_unchanged(url):
    with pytest.raises(KeyError, match="mine"), readable_errors(url):
        raise KeyError("mine")


@pytest.mark.parametrize(
    ("cause", "remedy"),
    [
        ("database or disk is full", "free some space and run it again, nothing recorded is lost"),
        ("disk I/O error", "is the disk full or gone?"),
        ("attempt to write a readonly database", "make the file and its folder writable"),
        ("database disk image is malformed", "restore a copy"),
        ("file is not a database", "choose another --storage"),
        ("unable to open database file", "is its folder there and writable?"),
        ("something new\nwith more lines", ""),
    ],
)
def test_an_error_is_one_line_with_its_first_cause_and_a_remedy(url, cause, remedy):
    def fail() -> None:
        try:
            try:
                raise OSError(cause)
            except OSError as error:
                raise SQLAlchemyError("(Background on this error at: https://...)") from error
        except SQLAlchemyError as error:
            raise optuna.exceptions.StorageInternalError("during the commit") from error

    with pytest.raises(StorageError) as caught, readable_errors(url):
        fail()
    said = str(caught.value)
    assert said.startswith(f"storage {url}: {cause.splitlines()[0]}")
    assert remedy in said
    assert "\n" not in said


@contextmanager
def small_disk(folder: Path) -> Iterator[tuple[Callable[[], Any], Callable[[], Any]]]:
    """A disk of 1 MB; yields what fills it and what makes room again."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(mount, capture_output=True).returncode == 0
    except OSError:
        mounted = False
    if not mounted:
        pytest.skip("may not mount a small disk here")
    filler = folder / "filler"

    def fill() -> None:
        with suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))

    try:
        yield fill, filler.unlink
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def small_database(folder: Path) -> Iterator[tuple[Callable[[], Any], Callable[[], Any]]]:
    """A limit on the pages of any database; yields what sets it and what lifts it."""
    limit = [100_000]

    def allow(connection: Any) -> None:
        connection.exec_driver_sql(f"PRAGMA max_page_count = {limit[0]}")

    sqlalchemy.event.listen(sqlalchemy.Engine, "begin", allow)
    try:
        yield lambda: limit.__setitem__(0, 40), lambda: limit.__setitem__(0, 100_000)
    finally:
        sqlalchemy.event.remove(sqlalchemy.Engine, "begin", allow)


@pytest.mark.parametrize("disk", [small_disk, small_database])
def test_a_full_disk_is_told_in_one_line_and_loses_nothing_recorded(url, tmp_path, disk):
    recorded = []

    def write(trial: optuna.Trial) -> None:
        for n in range(1000):
            trial.set_user_attr(str(n), "x" * 2000)
            recorded.append(str(n))

    with disk(tmp_path) as (fill, make_room):
        copy_study(url)
        storage = open_storage(url, mode="worker")
        trial = optuna.load_study(study_name="mine", storage=storage).ask()
        trial.set_user_attr("before", 1)
        fill()
        with pytest.raises(StorageError) as caught, readable_errors(url):
            write(trial)
        assert str(caught.value) == (
            f"storage {url}: database or disk is full: free some space and run it again, "
            "nothing recorded is lost"
        )
        make_room()
        trial.set_user_attr("after", 1)
        close(storage)
        again = optuna.load_study(study_name="mine", storage=open_storage(url, mode="reader"))
        assert set(again.trials[-1].user_attrs) == {"before", *recorded, "after"}


@pytest.mark.parametrize("mode", ["worker", "reader"])
def test_opening_on_a_full_disk_is_told_in_one_line(url, tmp_path, mode):
    with small_disk(tmp_path) as (fill, make_room):
        copy_study(url)
        fill()
        with pytest.raises(StorageError, match="and the disk not full") as caught:
            open_storage(url, mode=mode)
        assert "\n" not in str(caught.value)
        make_room()
        assert names(url) == ["mine"]


def test_a_new_study_on_a_full_disk_leaves_no_half_of_a_database(url, path, tmp_path):
    with small_disk(tmp_path) as (fill, make_room):
        fill()
        with pytest.raises(StorageError, match="full"), readable_errors(url):
            open_storage(url, mode="worker")
        assert not path.exists()
        make_room()
        make_study(url)
        assert names(url) == ["mine"]
