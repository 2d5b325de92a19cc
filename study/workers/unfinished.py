"""Questions that a claim asks of trials that have not ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchfront.study.trials.attributes import OWNER, PURPOSE, SCHEDULE, batch_size_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from optuna.trial import FrozenTrial

    from batchfront.study.workers.claimed import Claimed


def next_waiting(trials: Sequence[FrozenTrial]) -> FrozenTrial | None:
    """The trial that Optuna takes up before it asks a sampler."""
    return next((trial for trial in trials if trial.state.name == "WAITING"), None)


def is_asked_for(trials: Sequence[FrozenTrial], state: str) -> bool:
    """Whether a trial in that state is one that an agenda asked for."""
    return any(t.state.name == state and PURPOSE in t.user_attrs for t in trials)


def is_alike(waiting: FrozenTrial, claimed: Claimed) -> bool:
    """Whether an agenda asks for it at the same batch size, which does not grow."""
    if waiting.state.name != "WAITING":
        return False
    params, asked = waiting.system_attrs.get("fixed_params", {}), waiting.user_attrs
    mine = claimed.params
    if PURPOSE not in asked or SCHEDULE in asked or mine.schedule is not None:
        return False
    return bool(params) and batch_size_of(params) == mine.batch_size


def will_be_missed(trial: FrozenTrial) -> bool:
    """Whether somebody will notice if its worker dies."""
    owner = trial.user_attrs.get(OWNER)
    return owner is None or "boot" in owner  # versions without a heartbeat did not write that
