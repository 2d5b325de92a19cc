"""Settings and helpers shared by all tests."""

from __future__ import annotations

import gc
import signal
from collections.abc import Generator, Iterator
from contextlib import nullcontext
from functools import cache

import pytest
import torch
from alembic.script import ScriptDirectory

from batchfront.study.commands import TYPED_VARIABLE
from tests.turns import turn


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Tests run as workers do: results of one seed are bitwise equal for equal thread counts."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c_is_heard() -> None:
    """Tests send it to themselves; what a shell starts in the background is deaf to it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _nobody_typed_make(monkeypatch: pytest.MonkeyPatch) -> None:
    """`make test` says that it was make; tests are about what is typed without it."""
    monkeypatch.delenv(TYPED_VARIABLE, raising=False)


@pytest.fixture(scope="session", autouse=True)
def _migrations_are_read_once() -> Iterator[None]:
    """Optuna reads all its migrations to open any database: 50 ms, thousands of times."""
    read = ScriptDirectory.get_current_head

    @cache
    def head_of(folder: str) -> str | None:
        return read(ScriptDirectory(folder))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ScriptDirectory, "get_current_head", lambda scripts: head_of(scripts.dir))
        yield


@pytest.hookimpl(tryfirst=True)  # before `-m` chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests at database servers are integration tests: `make test-all` runs them."""
    for item in items:
        if item.get_closest_marker("postgresql") or item.get_closest_marker("mysql"):
            item.add_marker(pytest.mark.slow)


def pytest_collection_finish() -> None:
    """What is imported by now stays: no collection of garbage need look at it again."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True, tryfirst=True)  # around pytest-timeout: waiting takes none of it
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Where several processes run tests, one that is marked `timed` runs while no other does."""
    several = hasattr(item.config, "workerinput")  # of pytest-xdist
    with turn(alone="timed" in item.keywords) if several else nullcontext():
        return (yield)
