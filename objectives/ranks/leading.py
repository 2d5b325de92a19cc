"""Rank 0 of a data-parallel run: it goes first, judges, and keeps what a checkpoint needs."""

from __future__ import annotations

import gc
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from batchfront.objectives.measurement import Stopped, TrialParams
from batchfront.objectives.ranks.members import (
    END,
    FOUND,
    NOT_FOUND,
    Member,
    Start,
    verdict_of,
)
from batchfront.objectives.ranks.processes import Ranks
from batchfront.objectives.run import Run
from batchfront.objectives.training.recipe import Recipe


class Leader(Member):
    """Rank 0, to which the run belongs."""

    def __init__(self, recipe: Recipe, ranks: Ranks) -> None:
        super().__init__(0, recipe)
        self.ranks = ranks
        self._run: Any = None  # while there is one
        self._in_epoch = False

    def take_part(self, train: Callable[[], None], params: TrialParams, run: Run) -> None:
        """Train; the other ranks follow.

        Raises:
            RankFailed, MemoryError: one of them could not go on.
        """
        self._run, self._in_epoch = run, False
        try:
            self.ranks.start()
            self.ranks.tell(_start_of(params, run))
            verdict = verdict_of(train)
            self._dismiss()
        except BaseException as error:  # Ctrl-C too: the others would wait for ever
            cause = self.ranks.cause_of(error)
            self.ranks.end()
            if cause is not None:
                raise cause from error
            raise
        finally:
            self._run = None
        gc.collect()  # a replica lies in a cycle, with all its gradients
        if verdict is not None:
            raise verdict

    def begin_epoch(self) -> None:
        """The others wait for this one."""
        self.ranks.tell(1 + len(self._run.curve))
        self._in_epoch = True

    def end_epoch(self) -> None:
        """End the epoch, and take the other ranks' memory peaks in too."""
        self.exchange(None)
        self._in_epoch = False
        self._hear_peaks()

    def decided(self, look: Callable[[], bool]) -> bool:
        """Look, and tell the others, who wait for it."""
        found = look()
        self.ranks.tell(FOUND if found else NOT_FOUND)
        return found

    def _dismiss(self) -> None:
        """Bring the others back to where they wait for another run."""
        if self._in_epoch:
            with suppress(Stopped):
                self.exchange(None, stop=True)
        else:
            self.ranks.tell(END)
        self._hear_peaks()

    def _hear_peaks(self) -> None:
        self._run.used_elsewhere(max(self.ranks.hear()))


@contextmanager
def ranks_on(objective: Any, cores: Sequence[int], *, stay: bool) -> Iterator[None]:
    """Other ranks of an objective, if it has any, run on these cores.

    They end with the block; unless they are to stay for another, which takes a while to start.
    """
    member = getattr(objective, "member", None)
    if not isinstance(member, Leader):
        yield
        return
    if member.ranks.cores != cores:
        member.ranks.end()
        member.ranks.cores = cores
    unharmed = False
    try:
        yield
        unharmed = True
    finally:
        if not (stay and unharmed):
            member.ranks.end()


def _start_of(params: TrialParams, run: Run) -> Start:
    import torch

    restored = None
    if run.restored is not None:
        torch.save(run.restored, file := io.BytesIO())
        restored = file.getvalue()
    return Start(
        params=params,
        measure_memory=run.measures_memory,
        holds_batch_size=run.holds_batch_size,
        restored=restored,
    )
