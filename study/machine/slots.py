"""Locks of one user on one machine, and the cores that a process holds by them.

Concurrent trials on one core would time each other.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from batchfront.study.machine.private_folder import private_folders, why_no_folder

Lock = tuple[int, ...]  # a descriptor in each private folder; none where there is no such folder


@contextmanager
def pinned_core(wanted: bool = True, *, n: int = 1) -> Iterator[tuple[int, ...]]:
    """Pin this process to a core that no other worker holds; to none when all are taken.

    Of `n` cores the rest is yielded, for its children; to none when not all are free. Does nothing
    where the system cannot pin (macOS).
    """
    if not wanted or not hasattr(os, "sched_setaffinity"):
        yield ()
        return
    allowed = os.sched_getaffinity(0)
    held = _free_cores(sorted(allowed), n)
    try:
        cores = tuple(held)
        if cores:
            os.sched_setaffinity(0, cores[:1])
        yield cores[1:]
    finally:
        os.sched_setaffinity(0, allowed)
        for lock in held.values():
            let_go(lock)


def n_cores() -> int:
    """The number of CPU cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


def _free_cores(cores: list[int], n: int) -> dict[int, Lock]:
    """Exactly `n` with their locks, or none."""
    held: dict[int, Lock] = {}
    for core in cores:
        lock = try_lock(f"core-{core}")
        if lock:
            held[core] = lock
        if len(held) == n:
            return held
    for lock in held.values():
        let_go(lock)
    return {}


def why_not_alone() -> str | None:
    """Why other runs of this user may disturb one of this process; None where locks prevent it."""
    reason = why_no_folder()
    if reason is None:
        return None
    return (
        f"no folder for locks is yours alone ({reason}): run nothing else here that is timed, or "
        "set TMPDIR to a folder of yours"
    )


def try_lock(name: str, *, shared: bool = False) -> Lock | None:
    """A lock of this user's, freed by the system when its holder dies; None when it is taken.

    `shared`: others may have it too, if they share it.
    """
    held: list[int] = []
    with private_folders() as folders:
        for folder in folders:
            try:
                held.append(_locked(folder, name, shared=shared))
            except BlockingIOError:
                let_go(held)
                return None
            except OSError:  # full, or a file system without locks: as if it were not there
                continue
    return tuple(held)


def _locked(folder: int, name: str, *, shared: bool) -> int:
    flags = os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW
    descriptor = os.open(f"{name}.lock", flags, 0o600, dir_fd=folder)
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def let_go(lock: Iterable[int]) -> None:
    """Free a lock."""
    for descriptor in lock:
        os.close(descriptor)
