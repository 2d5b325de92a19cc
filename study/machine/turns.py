"""Accelerators held by one batchfront process of this machine at a time, or by a few together.

Concurrent work on one device would be timed with it. Trials whose time and memory a probe knows may
share it; whoever measures has it alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from batchfront.objectives.device.hardware import hand_memory_over
from batchfront.study.machine.slots import Lock, let_go, try_lock

POLL_SECONDS = 0.1


def never() -> bool:
    return False


class Turn:
    """What a process holds of some accelerators; made by `device_turn`."""

    def __init__(self, names: Sequence[str], give_up: Callable[[], bool], n_beside: int) -> None:
        self._names = sorted(names)  # in one order, so that nobody waits for each other
        self._give_up = give_up
        self._n_beside = n_beside
        self._held: list[Lock] = []

    @property
    def is_shared(self) -> bool:
        """Whether others may train on the same device meanwhile."""
        return self._n_beside > 1

    def take(self) -> None:
        """Wait until the devices are free, or have a place free where they are shared.

        Nothing is held where waiting was given up.
        """
        if not all(self._take(name) for name in self._names):
            self.let_go()

    def _take(self, name: str) -> bool:
        if not self.is_shared:
            return self._next_in_line(name)
        places = [f"{name}-place-{place}" for place in range(self._n_beside)]
        return self._wait(*places) and self._next_in_line(name)

    def alone(self) -> None:
        """Wait until nobody else is on the devices, and keep them so."""
        if self.is_shared:
            self.let_go()
            self._n_beside = 1
            self.take()

    def let_go(self) -> None:
        """Free what is held; safe to call twice."""
        while self._held:
            let_go(self._held.pop())

    def _next_in_line(self, name: str) -> bool:
        """One waits at a time, or those who share would never leave a gap for who measures."""
        if not self._wait(f"{name}-next"):
            return False
        line = self._held.pop()
        try:
            return self._wait(name, shared=self.is_shared)
        finally:
            let_go(line)

    def _wait(self, *names: str, shared: bool = False) -> bool:
        """Hold one of these locks; whether that was not given up."""
        while True:
            for name in names:
                lock = try_lock(name, shared=shared)
                if lock is not None:
                    self._held.append(lock)
                    return True
            if self._give_up():
                return False
            time.sleep(POLL_SECONDS)  # a blocking lock would not let a signal end the wait


@contextmanager
def device_turn(
    devices: Sequence[str], give_up: Callable[[], bool] = never, *, n_beside: int = 1
) -> Iterator[Turn]:
    """Hold accelerators; waits for their holders, until `give_up` says not to. Free on the CPU.

    At its end the memory that is not used any more is given back: whoever is next needs it.
    Where no folder is private, nobody waits: `why_not_alone` says so.

    Args:
        n_beside: how many processes may hold a device together, this one included.
    """
    names = {_device_name(device) for device in devices if not device.startswith("cpu")}
    turn = Turn(sorted(names), give_up, n_beside)
    try:
        turn.take()
        yield turn
    finally:
        if names:
            hand_memory_over()
        turn.let_go()


def _device_name(device: str) -> str:
    """One name per physical device: CUDA numbers depend on CUDA_VISIBLE_DEVICES."""
    if not device.startswith("cuda"):
        return device.replace(":", "-")
    import torch

    return f"gpu-{torch.cuda.get_device_properties(device).uuid}"
