"""Databases in temporary folders, and what tests do from other processes."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import optuna
import pytest

from batchfront.storage.open import open_storage
from tests import servers
from tests.storage.processes import Team

NOBODY = 65534
# A fork has everything imported: it starts at once, and works where the interpreter may not read.
FORK = multiprocessing.get_context("fork")


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    yield
    optuna.logging.set_verbosity(level)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "study.db"


@pytest.fixture
def url(path: Path) -> str:
    """Of the kind that the file's ending tells."""
    return f"{'journal' if path.suffix == '.log' else 'sqlite'}:///{path}"


@pytest.fixture(scope="package")
def team() -> Iterator[Team]:
    team = Team()
    yield team
    team.disband()


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A folder that other users can reach, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def close(storage: Any) -> None:
    """Let go of the file, so that SQLite folds its log into it."""
    storage.remove_session()
    storage.engine.dispose()


def make_study(url: str, name: str = "mine") -> None:
    """A study with one trial, in a file that nobody has open afterwards."""
    storage = open_storage(url, mode="worker")
    optuna.create_study(storage=storage, study_name=name).ask()
    close(storage)


@cache
def _made() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        make_study(f"sqlite:///{folder}/study.db")
        return (Path(folder) / "study.db").read_bytes()


def copy_study(url: str) -> None:
    """The same as make_study, many times faster."""
    path = Path(url.removeprefix("sqlite:///"))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_made())


def names(url: str) -> list[str]:
    """The studies a reader finds."""
    storage = open_storage(url, mode="reader")
    try:
        return optuna.get_all_study_names(storage)
    finally:
        close(storage)


def in_a_fork(work: Callable[[], Any]) -> Any:
    """What `work` returns, or the text of what it raises, in another process."""
    results = FORK.SimpleQueue()

    def child() -> None:
        try:
            results.put(work())
        except BaseException as error:
            results.put(f"{type(error).__name__}: {error}")

    process = FORK.Process(target=child)
    process.start()
    process.join(60)
    assert process.exitcode == 0
    return results.get()


def as_nobody(work: Callable[[], Any]) -> Any:
    """The same as a user who owns nothing: file permissions do not bind root."""
    impossible = "root may not become another user here, or that one may not read our packages"

    def drop() -> Any:
        if os.getuid() == 0:
            try:
                os.setgroups([])
                os.setresgid(NOBODY, NOBODY, NOBODY)
                os.setresuid(NOBODY, NOBODY, NOBODY)
            except PermissionError:
                return impossible
        return work() if os.access(optuna.__file__, os.R_OK) else impossible

    found = in_a_fork(drop)
    if found == impossible:
        pytest.skip(impossible)
    return found


def kill(process: Any) -> None:
    """As `kill -9` does."""
    os.kill(process.pid, signal.SIGKILL)
    process.join(60)


@pytest.fixture(params=servers.ON_SERVERS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)
