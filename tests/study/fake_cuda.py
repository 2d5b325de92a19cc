"""Two GPUs that are not there: other processes find them, and whoever launches those must not.

What makes a context is by torch's own sources whatever goes through `_lazy_init`, and what asks the
driver for memory; `test_fake_cuda.py` holds these names against them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from batchfront.study.workers import sharing
from tests.study.processes import Forked, server

NAME, FREE, TOTAL, PEAK = "Fake GPU 3000", 60 * 2**30, 80 * 2**30, 2**20
CUDA = {  # of torch.cuda: calls that make a context, and what they answer
    "_lazy_init": None,
    "init": None,
    "set_device": None,
    "current_device": 0,
    "get_device_name": NAME,
    "get_device_properties": SimpleNamespace(uuid="fake"),
    "get_device_capability": (9, 0),
    "mem_get_info": (FREE, TOTAL),
    "get_rng_state": torch.zeros(16, dtype=torch.uint8),
    "set_rng_state": None,
    "is_bf16_supported": True,
    "synchronize": None,
}
ACCELERATOR = {  # of torch.accelerator, likewise
    "get_memory_info": (FREE, TOTAL),
    "synchronize": None,
    "set_device_index": None,
    "current_device_index": 0,
}
ALLOCATOR = {  # that a process without a context has none of, so that nothing is made by asking
    "memory_allocated": 0,
    "max_memory_allocated": PEAK,
    "memory_reserved": 2 * PEAK,
    "max_memory_reserved": 2 * PEAK,
    "reset_peak_memory_stats": None,
    "empty_cache": None,
}
FREE_OF_COST = {  # what anybody may ask
    "current_accelerator": torch.device("cuda"),
    "is_available": True,
    "device_count": 2,
}


class OnCuda(Forked):
    """A process that finds the GPUs, and writes down that it touched them."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._touched = Path("touched").resolve()

    def run(self) -> None:
        def touch(name: str) -> None:
            with self._touched.open("a") as file:
                print(os.getpid(), name, file=file)

        for module, calls in ((torch.cuda, CUDA), (torch.accelerator, ACCELERATOR)):
            for name, answer in calls.items():
                setattr(module, name, _answering(answer, lambda name=name: touch(name)))
        for name, answer in {**ALLOCATOR, **FREE_OF_COST}.items():
            setattr(torch.accelerator, name, _answering(answer))
        torch.cuda.device_count = _answering(2)
        sharing.gains = _answering({1: 1.0, 2: 1.9})  # else it would start processes on real ones
        ones = torch.ones
        torch.ones = lambda *shape, device=None, **more: ones(*shape, **more)  # type: ignore[assignment]
        super().run()


def _answering(answer: Any, also: Callable[[], None] = lambda: None) -> Callable[..., Any]:
    def answers(*args: Any, **options: Any) -> Any:
        also()
        return answer

    return answers


class Machine:
    """What the test sees of it."""

    def __init__(self, folder: Path) -> None:
        self._touched = folder / "touched"

    @property
    def pids(self) -> set[int]:
        """The processes that have touched a GPU."""
        if not self._touched.exists():
            return set()
        return {int(line.split()[0]) for line in self._touched.read_text().splitlines()}

    @property
    def living(self) -> set[int]:
        """Those of them that live, and hold a context."""
        return {pid for pid in self.pids if lives(pid)}


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def plug_in(monkeypatch: pytest.MonkeyPatch, *modules: Any) -> Machine:
    """Make a machine of this one that has them; `modules` start processes."""

    def forbidden(name: str) -> Callable[..., Any]:
        def touches(*args: Any, **options: Any) -> Any:
            raise AssertionError(f"the launcher touches the device: {name}")

        return touches

    for module, calls in ((torch.cuda, CUDA), (torch.accelerator, ACCELERATOR)):
        for name in calls:
            monkeypatch.setattr(module, name, forbidden(name))
    for name, answer in FREE_OF_COST.items():
        monkeypatch.setattr(torch.accelerator, name, _answering(answer))
    starter = SimpleNamespace(Pipe=server().Pipe, Process=OnCuda)
    for module in modules:
        monkeypatch.setattr(
            module, "multiprocessing", SimpleNamespace(get_context=lambda method: starter)
        )
    return Machine(Path.cwd())
