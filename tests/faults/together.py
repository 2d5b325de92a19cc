"""Played runs that go on together, epoch by epoch, as those that are trained together do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

from batchfront.objectives.device.randomness import (
    random_states,
    restore_random_states,
    seed_everything,
)
from batchfront.objectives.measurement import Stopped, TrialParams
from batchfront.objectives.raised import Halted
from batchfront.objectives.run import Run


class Together:
    """Takes the place of the product's, which trains nothing but tasks."""

    def __init__(self, objective: Any) -> None:
        self._played: Callable[[TrialParams, Run], Iterator[None]]
        self._played = objective.function.__globals__["played"]

    def why_not(self, group: Sequence[TrialParams]) -> str:
        return ""

    def pays(self, group: Sequence[TrialParams]) -> bool:
        return True

    def carry_out(self, group: Sequence[tuple[TrialParams, Run]]) -> list[BaseException | None]:
        with ExitStack() as stack:
            for params, run in group:
                run.length = params.planned
                stack.enter_context(run)
            members = [Member(run, params.seed, self._played(params, run)) for params, run in group]
            while not all(member.is_done for member in members):
                for member in members:
                    member.play_on()
        return [member.raised for member in members]


class Member:
    """One of the runs; it has random numbers of its own."""

    def __init__(self, run: Run, seed: int, played: Iterator[None]) -> None:
        self._run, self._played = run, played
        self.is_done = False
        self.raised: BaseException | None = None
        seed_everything(seed)
        self._states = random_states("cpu")

    def play_on(self) -> None:
        """Play an epoch, if there is one."""
        if not self.is_done:
            restore_random_states(self._states, "cpu")
            self.is_done = self._ended()
            self._states = random_states("cpu")

    def _ended(self) -> bool:
        try:
            next(self._played)
        except StopIteration:
            return True
        except Stopped as stopped:
            self._run.latched = self._run.latched or stopped
            return True
        except BaseException as error:  # user code may raise anything, as in the product
            if isinstance(error, Halted) and error is not self._run.leaving:
                raise
            self.raised = error
            return True
        return False
