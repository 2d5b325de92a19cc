"""The door of this room: several runs of an objective, trained together or refused."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

from batchfront.objectives.device.randomness import held_states, restore_random_states
from batchfront.objectives.fused.gain import LEAST_GAIN
from batchfront.objectives.fused.group import LEAST, Group
from batchfront.objectives.fused.member import Member
from batchfront.objectives.fused.refusal import Refused
from batchfront.objectives.fused.setting import Setting, check_objective, setting_of
from batchfront.objectives.fused.traces import Traces
from batchfront.objectives.measurement import Stopped, TrialParams
from batchfront.objectives.raised import Halted
from batchfront.objectives.run import Run

LEAST_SECONDS, LEAST_STEPS = 0.2, 1800
"""Of runs alone, in all: to trace, time and compare a step takes a quarter of these seconds, and as
long as 85 such steps. Where it turns out not to pay after all, little is lost then."""


class Together:
    """Trains runs of one objective together, as `carry_out` trains one."""

    def __init__(self, objective: Any) -> None:
        self._objective = objective
        self.traces = Traces()

    @property
    def is_possible(self) -> bool:
        """Whether any runs of the objective can be trained together, for all that is known yet."""
        try:
            check_objective(self._objective)
        except Refused:
            return False
        return True

    def why_not(self, group: Sequence[TrialParams], *, lone_seconds: float | None = None) -> str:
        """What stands in the way of training these together; "" where nothing does.

        A step of so many models is traced, and compared with ordinary ones.

        Args:
            lone_seconds: what each takes alone, where it is to be worth it: each must be by
                LEAST_GAIN quicker, and not be over before a step is traced.
        """
        try:
            if lone_seconds is not None:
                self._check_worth(group, lone_seconds)
            self.setting(group)
        except Refused as refused:
            return str(refused)
        return ""

    def _check_worth(self, group: Sequence[TrialParams], lone_seconds: float) -> None:
        n_steps = self._n_steps(group[0])
        if (len(group) - LEAST_STEPS / n_steps) * lone_seconds < LEAST_SECONDS:
            raise Refused("they are so short that it does not pay")
        setting, width = self._shared(group), max(LEAST, len(group))
        if self.traces.gain(setting, width) < LEAST_GAIN:
            raise Refused("together they are hardly quicker")

    def _n_steps(self, params: TrialParams) -> int:
        """Steps of a whole run."""
        _, n_train = check_objective(self._objective)
        length = replace(params.planned, n_train=n_train)
        return sum(length.steps([params.batch_size] * length.points))

    def carry_out(self, group: Sequence[tuple[TrialParams, Run]]) -> list[BaseException | None]:
        """Train runs until each returns or is stopped; what each raised where it was not stopped.

        Raises:
            Refused: they cannot be trained together; nothing was begun.
        """
        setting = self.setting([params for params, _ in group])
        if any(run.measures_memory or run.holds_batch_size for _, run in group):
            raise Refused("runs that are measured")
        for params, run in group:
            run.length = params.planned
        with ExitStack() as stack:
            stack.enter_context(_as_before(setting.objective.device))
            for _, run in group:
                stack.enter_context(run)
            found = [self._begun(params, run) for params, run in group]
            members = [one for one in found if isinstance(one, Member)]
            failed = _trained(members, setting, self.traces) if members else {}
        return [failed.get(id(one)) if isinstance(one, Member) else one for one in found]

    def _begun(self, params: TrialParams, run: Run) -> Member | BaseException | None:
        """A member; or what came in its way, None where it was stopped."""
        try:
            return Member(self._objective, params, run)
        except Stopped as stopped:
            run.latched = run.latched or stopped
            return None
        except (Halted, KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # user code may raise anything
            return error

    def setting(self, group: Sequence[TrialParams]) -> Setting:
        """What they have in common; a step of so many is there then.

        Raises:
            Refused: they cannot be trained together.
        """
        setting = self._shared(group)
        self.traces.step_for(setting, max(LEAST, len(group)))
        return setting

    def _shared(self, group: Sequence[TrialParams]) -> Setting:
        if not group:
            raise Refused("no runs")
        with _as_before(group[0].device):
            return setting_of(self._objective, group)


@contextmanager
def _as_before(device: str) -> Iterator[None]:
    """Global random numbers are afterwards as if nobody had drawn any."""
    states = held_states(device)
    try:
        yield
    finally:
        restore_random_states(states, device)


def _trained(
    members: Sequence[Member], setting: Setting, traces: Traces
) -> dict[int, BaseException]:
    group = Group(members, setting, traces)
    group.train()
    return group.failed
