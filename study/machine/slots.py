"""Cores and GPUs held by one batchfront process of this machine at a time.

Concurrent trials on one device, or on one core, would time each other.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from batchfront.objectives.ranks.members import ranks_on
from batchfront.objectives.training.recipe import n_ranks

if TYPE_CHECKING:
    from batchfront.objectives.objective import Objective

from batchfront.study.machine.private_folder import private_folders, why_no_folder

POLL_SECONDS = 0.1

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
            _let_go(lock)


def n_cores() -> int:
    """The number of CPU cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


def _free_cores(cores: list[int], n: int) -> dict[int, Lock]:
    """Exactly `n` with their locks, or none."""
    held: dict[int, Lock] = {}
    for core in cores:
        lock = _try(f"core-{core}")
        if lock:
            held[core] = lock
        if len(held) == n:
            return held
    for lock in held.values():
        _let_go(lock)
    return {}


@contextmanager
def device_turn(devices: Sequence[str], give_up: Callable[[], bool]) -> Iterator[None]:
    """Hold accelerators; waits for their holders, until `give_up` says not to. Free on the CPU.

    Where no folder is private, nobody waits: `why_not_alone` says so.
    """
    names = {_device_name(device) for device in devices if not device.startswith("cpu")}
    held: list[Lock | None] = []
    try:
        for name in sorted(names):  # in one order, so that nobody waits for each other
            held.append(_wait(name, give_up))
        yield
    finally:
        for lock in held:
            _let_go(lock or ())


def why_not_alone() -> str | None:
    """Why other runs of this user may disturb one of this process; None where locks prevent it."""
    reason = why_no_folder()
    if reason is None:
        return None
    return (
        f"no folder for locks is yours alone ({reason}): run nothing else here that is timed, or "
        "set TMPDIR to a folder of yours"
    )


def _wait(name: str, give_up: Callable[[], bool]) -> Lock | None:
    held = _try(name)
    while held is None and not give_up():
        time.sleep(POLL_SECONDS)  # a blocking lock would not let a signal end the wait
        held = _try(name)
    return held


def _device_name(device: str) -> str:
    """One name per physical device: CUDA numbers depend on CUDA_VISIBLE_DEVICES."""
    if not device.startswith("cuda"):
        return device.replace(":", "-")
    import torch

    return f"gpu-{torch.cuda.get_device_properties(device).uuid}"


def _try(name: str) -> Lock | None:
    """An exclusive lock, freed by the system when its holder dies; None when it is taken."""
    held: list[int] = []
    with private_folders() as folders:
        for folder in folders:
            try:
                held.append(_locked(folder, name))
            except BlockingIOError:
                _let_go(held)
                return None
            except OSError:  # full, or a file system without locks: as if it were not there
                continue
    return tuple(held)


def _locked(folder: int, name: str) -> int:
    flags = os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW
    descriptor = os.open(f"{name}.lock", flags, 0o600, dir_fd=folder)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


@contextmanager
def measuring_alone(
    objective: Objective, device: str, *, ranks_stay: bool = False
) -> Iterator[None]:
    """One thread, and on the CPU one core that no other worker uses; one for each rank.

    What starts processes, as a training loop of your own may, is not pinned: they would share the
    core.
    The other ranks that are started inside end with it, unless they are to stay for the next time.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        shares = getattr(objective, "starts_processes", False)
        wanted = device.startswith("cpu") and not shares
        with (
            pinned_core(wanted=wanted, n=n_ranks(objective)) as spare,
            ranks_on(objective, spare, stay=ranks_stay),
        ):
            yield
    finally:
        torch.set_num_threads(threads)


def _let_go(lock: Iterable[int]) -> None:
    for descriptor in lock:
        os.close(descriptor)
