"""Numbered points of a process at which it may end.

They are the calls of a storage, the statements that change a database, the writes and renames of
files, and the epochs of a run. At one of them, before it, after it, or halfway through a write,
the process is gone as by `kill -9`. Only the main thread counts, so that numbers repeat.
"""

from __future__ import annotations

import builtins
import functools
import io
import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DIED = 86  # exit code of a process that ended at its point
ASTRAY = 87  # and of one that found another point there
BEFORE, HALF, AFTER = "before", "half", "after"
READING = ("SELECT", "PRAGMA", "SHOW", "DESCRIBE", "DESC", "SET")  # statements that change nothing
LOCKING = ("pg_advisory", "GET_LOCK", "RELEASE_LOCK")  # but for these
_exit = os._exit
_write = os.write


ANY = "whatever it is"  # label of a point in a life that is not counted before


@dataclass(frozen=True, kw_only=True)
class Point:
    """One moment in a process's life."""

    number: int  # from 1
    label: str
    when: str

    def __str__(self) -> str:
        return f"{self.when} {self.number} ({self.label})"


class Points:
    """Counts what the process does, and ends it at one point."""

    def __init__(self, at: Point | None = None) -> None:
        self.labels: list[str] = []
        self._at = at
        self._main = threading.main_thread()
        self._in_storage = False
        self._is_off = False
        self._has_written = False  # in the transaction that is open

    @property
    def are_counted(self) -> bool:
        """Whether what happens now is a point."""
        return not self._is_off and threading.current_thread() is self._main

    @contextmanager
    def off(self) -> Iterator[None]:
        """What happens inside is none of the process's own doing."""
        before, self._is_off = self._is_off, True
        try:
            yield
        finally:
            self._is_off = before

    def passed(self, label: str, call: Callable[[], Any], half: Callable[[], Any] = int) -> Any:
        """What `call` returns, unless the process ends here; `half` does half of it."""
        if not self.are_counted:
            return call()
        self.labels.append(label)
        number = len(self.labels)
        if self._at is None or number != self._at.number:
            return call()
        if self._at.label not in (label, ANY):
            _exit(ASTRAY)
        if self._at.when == HALF:
            half()
        if self._at.when != AFTER:
            _exit(DIED)
        try:
            return call()
        finally:
            _exit(DIED)

    def storage_call(self, name: str, call: Callable[[], Any]) -> Any:
        """The same for a call of a storage, but not for those that it makes itself."""
        if self._in_storage or not self.are_counted:
            return call()
        self._in_storage = True
        try:
            return self.passed(f"{'read' if _reads(name) else 'call'} {name.lstrip('_')}", call)
        finally:
            self._in_storage = False

    def statement(self, text: str, call: Callable[[], Any]) -> Any:
        """The same for a statement, if it may change something."""
        if not self.are_counted:
            return call()
        words = text.split()
        if words[0].upper() in READING and not any(lock in text for lock in LOCKING):
            return call()
        if words[0].upper() not in ("BEGIN", "ROLLBACK"):
            self._has_written = True
        elif not self._has_written and words[-1].upper() != "IMMEDIATE":
            return call()  # of what only reads
        return self.passed(f"sql {' '.join(words[:3])[:40]}", call)

    def commit(self, call: Callable[[], Any]) -> Any:
        """The same for the end of a transaction that has changed something."""
        if not self._has_written or not self.are_counted:
            return call()
        self._has_written = False
        return self.passed("sql COMMIT", call)


def moments(label: str) -> tuple[str, ...]:
    """Moments when a process may end at such a point; after it only where it leaves something."""
    if label.startswith("read "):
        return (BEFORE,)
    return (BEFORE, HALF, AFTER) if label == "write" else (BEFORE, AFTER)


def all_points(labels: list[str]) -> list[Point]:
    """Every point of a life that was counted."""
    return [
        Point(number=number, label=label, when=when)
        for number, label in enumerate(labels, 1)
        for when in moments(label)
    ]


def _reads(name: str) -> bool:
    return name.lstrip("_").startswith(("get_", "check_"))


def install(points: Points) -> None:
    """Make this process, for the rest of its life, pass its points."""
    _in_storages(points)
    _in_statements(points)
    _in_files(points)
    _in_epochs(points)


def _around(owner: Any, name: str, passing: Callable[..., Any]) -> None:
    """Put `passing(call, *args)` in the place of a function; `call` is what it was."""
    real = getattr(owner, name)

    @functools.wraps(real)
    def replaced(*args: Any, **options: Any) -> Any:
        return passing(functools.partial(real, *args, **options), *args)

    setattr(owner, name, replaced)


def _in_storages(points: Points) -> None:
    from optuna.storages import BaseStorage

    from batchfront.storage.journal import SharedJournalStorage
    from batchfront.storage.proxy import SharedProxyStorage
    from batchfront.storage.server import ServerStorage
    from batchfront.storage.sqlite import SqliteStorage

    names = {name for name in vars(BaseStorage) if not name.startswith("_")}
    names |= {"set_trial_attrs", "get_heartbeats", "record_heartbeat"}
    # What Optuna's cache calls of a database.
    names |= {"_create_new_trial", "_get_trials", "_set_trial_param"}
    for storage in (SqliteStorage, ServerStorage, SharedJournalStorage, SharedProxyStorage):
        for name in sorted(names):
            if callable(getattr(storage, name, None)) and name != "remove_session":
                _around(storage, name, lambda call, *args, n=name: points.storage_call(n, call))
        _in_claim_lock(points, storage)


def _in_claim_lock(points: Points, storage: Any) -> None:
    real = storage.claim_lock

    @contextmanager
    def claim_lock(self: Any, *args: Any, **options: Any) -> Iterator[bool]:
        lock = real(self, *args, **options)
        held = points.passed("claim lock taken", lock.__enter__)
        try:
            yield held
        finally:
            points.passed("claim lock freed", lambda: lock.__exit__(None, None, None))

    storage.claim_lock = claim_lock


def _in_statements(points: Points) -> None:
    from sqlalchemy.engine.default import DefaultDialect

    for name in ("do_execute", "do_executemany", "do_execute_no_params"):
        _around(
            DefaultDialect, name, lambda call, _, cursor, text, *rest: points.statement(text, call)
        )
    _around(DefaultDialect, "do_commit", lambda call, *args: points.commit(call))


def _in_files(points: Points) -> None:
    from batchfront.storage import files, journal

    for name in ("replace", "rename", "unlink", "mkdir", "truncate"):
        _around(
            os, name, lambda call, path, *rest, n=name: points.passed(f"{n} {_named(path)}", call)
        )
    _around(os, "fsync", lambda call, *args: points.passed("fsync", call))

    def opening(call: Callable[[], Any], path: Any, flags: int = 0, *rest: Any) -> Any:
        if not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            return call()
        return points.passed(f"open {_named(path)}", call)

    _around(os, "open", opening)

    class Written(io.FileIO):
        """A file whose every write is a point."""

        def write(self, data: Any) -> int:
            found = bytes(data)
            write = super().write
            return int(
                points.passed(
                    "write", lambda: write(found), half=lambda: write(found[: len(found) // 2])
                )
            )

    def counted(path: Any, mode: str = "r", *args: Any, **options: Any) -> Any:
        if mode not in ("wb", "ab"):
            return builtins.open(path, mode, *args, **options)
        return io.BufferedWriter(Written(path, mode.replace("b", "")))

    for module in (files, journal):
        module.open = counted  # type: ignore[attr-defined]


def _named(path: Any) -> str:
    """A file's name, without what is drawn at random."""
    if isinstance(path, int):
        return "descriptor"
    name = Path(os.fsdecode(path)).name
    return re.sub(r"[0-9a-f]{8,}(-[0-9a-f]{4,})*|^[0-9]+$", "*", name)


def _in_epochs(points: Points) -> None:
    from batchfront.objectives.run import Run

    for name in ("begin", "report", "save"):
        _around(Run, name, lambda call, *args, n=name: points.passed(f"epoch {n}", call))
