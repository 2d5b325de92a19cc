"""Cores and GPUs held by one batchfront process of this machine at a time.

Concurrent trials on one device, or on one core, would time each other.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from batchfront.objectives.objective import CustomLoop
from batchfront.objectives.ranks.members import ranks_on
from batchfront.objectives.training.recipe import n_ranks

if TYPE_CHECKING:
    from batchfront.objectives.objective import Objective

POLL_SECONDS = 0.1


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
        for descriptor in held.values():
            os.close(descriptor)


def n_cores() -> int:
    """The number of CPU cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


def _free_cores(cores: list[int], n: int) -> dict[int, int]:
    """Exactly `n` with their locks, or none."""
    held: dict[int, int] = {}
    for core in cores:
        descriptor = _try(f"core-{core}")
        if descriptor is not None:
            held[core] = descriptor
        if len(held) == n:
            return held
    for descriptor in held.values():
        os.close(descriptor)
    return {}


@contextmanager
def device_turn(devices: Sequence[str], give_up: Callable[[], bool]) -> Iterator[None]:
    """Hold accelerators; waits for their holders, until `give_up` says not to. Free on the CPU."""
    names = {_device_name(device) for device in devices if not device.startswith("cpu")}
    held: list[int | None] = []
    try:
        for name in sorted(names):  # in one order, so that nobody waits for each other
            held.append(_wait(name, give_up))
        yield
    finally:
        for descriptor in held:
            if descriptor is not None:
                os.close(descriptor)


def _wait(name: str, give_up: Callable[[], bool]) -> int | None:
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


def _try(name: str) -> int | None:
    """An exclusive lock, freed by the system when its holder dies; None when it is taken."""
    folder = Path(tempfile.gettempdir()) / f"batchfront-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    descriptor = os.open(folder / f"{name}.lock", os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


@contextmanager
def measuring_alone(
    objective: Objective, device: str, *, ranks_stay: bool = False
) -> Iterator[None]:
    """One thread, and on the CPU one core that no other worker uses; one for each rank.

    A training loop of your own is not pinned: it may start processes, which would share the core.
    The other ranks that are started inside end with it, unless they are to stay for the next time.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        wanted = device.startswith("cpu") and not isinstance(objective, CustomLoop)
        with (
            pinned_core(wanted=wanted, n=n_ranks(objective)) as spare,
            ranks_on(objective, spare, stay=ranks_stay),
        ):
            yield
    finally:
        torch.set_num_threads(threads)
