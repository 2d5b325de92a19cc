"""The other ranks of a data-parallel run: they do what rank 0 does, in processes of their own."""

from __future__ import annotations

import gc
import hashlib
import io
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from batchfront.objectives.device.randomness import seed_everything
from batchfront.objectives.measurement import Stopped, TrialParams
from batchfront.objectives.ranks.members import (
    END,
    FOUND,
    Member,
    Start,
    ended,
    verdict_of,
)
from batchfront.objectives.ranks.processes import RankFailed
from batchfront.objectives.run import Run, carry_out
from batchfront.objectives.training.recipe import Recipe

if TYPE_CHECKING:
    from torch import Tensor


class FollowingRank(Member):
    """Any other rank: it does what rank 0 does, and judges nothing."""

    def __init__(self, rank: int, recipe: Recipe, pipe: Connection) -> None:
        super().__init__(rank, recipe)
        self._pipe = pipe
        self._seed = 0
        self._meter: Callable[[], int] = int  # peak bytes of the run
        self._dismissed = False

    def take_part(self, train: Callable[[], None], params: TrialParams, run: Run) -> None:
        """Train, until rank 0 ends the run."""
        self._seed, self._dismissed = params.seed, False
        self._meter = lambda: run.so_far()[1]
        verdict_of(train)
        if not self._dismissed and self._pipe.recv() != END:
            raise RankFailed("rank 0 trains on, and this one has nothing left to train on")
        self._tell_peak()
        self._meter = int
        gc.collect()

    def exchange(self, loss: Tensor | None, *, n: int = 0, stop: bool = False) -> Tensor:
        """The sum of all ranks' losses, as on every rank; notes when rank 0 has ended the run."""
        try:
            return super().exchange(loss, n=n, stop=stop)
        except Stopped:
            self._dismissed = True
            raise

    def begin_epoch(self) -> None:
        """Wait for rank 0, which validates and saves in between."""
        epoch = self._pipe.recv()
        if epoch == END:
            self._dismissed = True
            raise ended()
        # Other random numbers (dropout) than on rank 0, of which no checkpoint has to know.
        digest = hashlib.sha256(f"{self._seed}/{self.rank}/{epoch}".encode()).digest()
        seed_everything(int.from_bytes(digest[:4], "big"))

    def end_epoch(self) -> None:
        """Rank 0 may have ended the run at the last step."""
        self.exchange(None)
        self._tell_peak()

    def decided(self, look: Callable[[], bool]) -> bool:
        """Hear it from rank 0, which may have ended the run instead."""
        said = self._pipe.recv()
        if said == END:
            self._dismissed = True
            raise ended()
        return bool(said == FOUND)

    def _tell_peak(self) -> None:
        self._pipe.send(self._meter())


class FollowingRun(Run):
    """A run that rank 0 times, judges and keeps; here only memory is measured."""

    def step(self, loss: Any, n: int = 1) -> None:
        """Count it."""
        self._meter.step(n)

    def report(self, value: float | None = None, /, **named: float | None) -> None:
        """Rank 0 has validated."""

    def save_made(self, make: Callable[[], Any]) -> None:
        """Rank 0 has."""


def follow(objective: Any, pipe: Connection, *, device: str) -> None:
    """Take part in every run of rank 0, a `TaskObjective` of the same task, until it goes."""
    import torch

    while True:
        start: Start = pipe.recv()
        run = FollowingRun(
            device=device, metric=objective.metric, measure_memory=start.measure_memory
        )
        run.holds_batch_size = start.holds_batch_size
        if start.restored is not None:
            run.restored = torch.load(io.BytesIO(start.restored), weights_only=True)
        carry_out(objective, replace(start.params, device=device, diagnostics=()), run)
