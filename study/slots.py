"""Cores and GPUs held by one batchfront process of this machine at a time.

Concurrent trials on one device, or on one core, would time each other.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

POLL_SECONDS = 0.1


@contextmanager
def pinned_core(wanted: bool = True) -> Iterator[None]:
    """Pin this process to a core that no other worker holds; to none when all are taken.

    Does nothing where the system cannot pin (macOS).
    """
    if not wanted or not hasattr(os, "sched_setaffinity"):
        yield
        return
    allowed = os.sched_getaffinity(0)
    held, core = _first_free(sorted(allowed))
    try:
        if core is not None:
            os.sched_setaffinity(0, {core})
        yield
    finally:
        os.sched_setaffinity(0, allowed)
        if held is not None:
            os.close(held)


def _first_free(cores: list[int]) -> tuple[int | None, int | None]:
    for core in cores:
        held = _try(f"core-{core}")
        if held is not None:
            return held, core
    return None, None


@contextmanager
def device_turn(device: str, give_up: Callable[[], bool]) -> Iterator[None]:
    """Hold an accelerator; waits for its holder, until `give_up` says not to. Free on the CPU."""
    held = None if device.startswith("cpu") else _wait(_device_name(device), give_up)
    try:
        yield
    finally:
        if held is not None:
            os.close(held)


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
