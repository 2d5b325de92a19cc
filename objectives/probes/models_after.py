"""The models of one run, as they were after some of its epochs."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from batchfront.objectives.device.randomness import seed_everything
from batchfront.objectives.measurement import ObjectiveError, TrialParams
from batchfront.objectives.run import Run, carry_out

if TYPE_CHECKING:
    from torch import nn

    from batchfront.objectives.training.objective import TaskObjective


def models_after(
    objective: TaskObjective, params: TrialParams, epochs: Sequence[int]
) -> Iterator[tuple[int, nn.Module, float | None]]:
    """The models of one run before it starts (epoch 0) and after the epochs asked for.

    Each comes with its validation metric, None for epoch 0. It is the run that a trial of the
    same parameters is, whose checkpoints are caught here instead of written.

    Raises:
        ObjectiveError: the run ended before the last of the epochs.
    """
    task, last = objective.task_of(params), max(epochs)
    run = Run(device=objective.device, metric=objective.metric, measure_memory=False)
    kept: dict[int, Any] = {}

    def keep(saved: dict[str, Any]) -> None:
        if saved["loop"]["epoch"] in epochs:
            kept[saved["loop"]["epoch"]] = copy.deepcopy(saved["loop"]["model"])

    run.keep = keep
    if last > 0:
        carry_out(objective, replace(params, epochs=last), run)
    if run.latched is not None:
        raise ObjectiveError(
            f"the run ended in epoch {len(run.curve) + 1} of {last}, {run.latched.verdict}: "
            f"{run.latched.reason}; choose another learning rate, or earlier epochs"
        )
    for epoch in sorted(set(epochs)):
        seed_everything(params.seed)
        model = task.model().to(objective.device)
        if epoch > 0:
            model.load_state_dict(kept.pop(epoch))
        yield epoch, model, run.curve[epoch - 1] if epoch else None
