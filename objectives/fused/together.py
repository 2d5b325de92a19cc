"""The door of this room: several runs of an objective, trained together or refused."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from batchfront.objectives.device.randomness import random_states, restore_random_states
from batchfront.objectives.fused.group import LEAST, Group
from batchfront.objectives.fused.member import Member
from batchfront.objectives.fused.refusal import Refused
from batchfront.objectives.fused.setting import Setting, setting_of
from batchfront.objectives.fused.traces import Traces
from batchfront.objectives.measurement import TrialParams
from batchfront.objectives.run import Run


class Together:
    """Trains runs of one objective together, as `carry_out` trains one."""

    def __init__(self, objective: Any) -> None:
        self._objective = objective
        self.traces = Traces()

    def why_not(self, group: Sequence[TrialParams]) -> str:
        """What stands in the way of training these together; "" where nothing does.

        A step of so many models is traced, and compared with ordinary ones.
        """
        try:
            self.setting(group)
        except Refused as refused:
            return str(refused)
        return ""

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
            for _, run in group:
                stack.enter_context(run)
            members = [Member(self._objective, params, run) for params, run in group]
            return _trained(members, Group(members, setting, self.traces))

    def setting(self, group: Sequence[TrialParams]) -> Setting:
        """What they have in common; a step of so many is there then.

        Raises:
            Refused: they cannot be trained together.
        """
        if not group:
            raise Refused("no runs")
        device = group[0].device
        states = random_states(device)
        try:
            setting = setting_of(self._objective, group)
        finally:
            restore_random_states(states, device)
        self.traces.step(setting, max(LEAST, len(group)))
        return setting


def _trained(members: Sequence[Member], group: Group) -> list[BaseException | None]:
    group.train()
    return [group.failed.get(id(member)) for member in members]
