"""Runs trained together, and the same runs trained one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import nn

from batchfront.objectives.fused.together import Together
from batchfront.objectives.measurement import Measurement, TrialParams
from batchfront.objectives.run import Run, carry_out
from batchfront.objectives.task import Data, Task
from batchfront.objectives.training.objective import TaskObjective
from tests.objectives.conftest import made_data, made_task

PARAMS = TrialParams(batch_size=16, learning_rate=0.05, epochs=2, seed=0, device="cpu")
RATES = (0.05, 0.01, 0.1)


@dataclass
class Trained:
    """What became of one run."""

    measured: Measurement
    kept: dict[str, Any]  # what it kept last

    @property
    def weights(self) -> dict[str, torch.Tensor]:
        """All tensors of its model."""
        return dict(self.kept["loop"]["model"])


def objective_of(task: Task, **options: Any) -> TaskObjective:
    return TaskObjective(task, name=task.name, device="cpu", **options)


def double_data() -> Data:
    data = made_data()
    wide = {n: v.double() if v.is_floating_point() else v for n, v in vars(data).items()}
    return Data(**wide)


def double(model: Callable[[], nn.Module] | None = None, **changes: Any) -> TaskObjective:
    """A task in float64, in which rounding hides nothing."""
    build = model or made_task().model
    task = made_task(data=double_data, model=lambda: build().double(), also=["loss"], **changes)
    return objective_of(task)


def trials(n: int = 3, **changes: Any) -> list[TrialParams]:
    """So many of other seeds and other rates."""
    params = replace(PARAMS, **changes)
    return [
        replace(params, seed=seed, learning_rate=RATES[seed % 3] * params.learning_rate / 0.05)
        for seed in range(n)
    ]


def together(
    objective: Any,
    group: Sequence[TrialParams],
    *,
    prepare: Callable[[int, Run], None] = lambda n, run: None,
    door: Together | None = None,
) -> list[Trained]:
    """Train them as a group; `prepare` gets each run with its number."""
    runs, kept = _runs(objective, len(group), prepare)
    door = door or Together(objective)
    raised = door.carry_out(list(zip(group, runs, strict=True)))
    assert raised == [None] * len(group)
    return [Trained(run.result(), kept[n]) for n, run in enumerate(runs)]


def apart(
    objective: Any,
    group: Sequence[TrialParams],
    *,
    prepare: Callable[[int, Run], None] = lambda n, run: None,
) -> list[Trained]:
    """Train them one after the other, as ever."""
    runs, kept = _runs(objective, len(group), prepare)
    for params, run in zip(group, runs, strict=True):
        carry_out(objective, params, run)
    return [Trained(run.result(), kept[n]) for n, run in enumerate(runs)]


def _runs(
    objective: Any, n: int, prepare: Callable[[int, Run], None]
) -> tuple[list[Run], list[dict[str, Any]]]:
    runs = [Run(metric=objective.metric, measure_memory=False) for _ in range(n)]
    kept: list[dict[str, Any]] = [{} for _ in range(n)]
    for number, run in enumerate(runs):
        run.keep = partial(_note, kept[number])
        prepare(number, run)
    return runs, kept


def _note(kept: dict[str, Any], state: dict[str, Any]) -> None:
    kept.update(deepcopy(state))  # the next epoch writes into it


def assert_alike(found: Sequence[Trained], expected: Sequence[Trained], *, within: float) -> None:
    """Assert that curves, losses, weights and states of optimizers agree."""
    for one, other in zip(found, expected, strict=True):
        mine, theirs = one.measured, other.measured
        assert mine.verdict == theirs.verdict
        assert (mine.steps, mine.total_steps) == (theirs.steps, theirs.total_steps)
        _close(mine.metric_curve, theirs.metric_curve, within)
        _close(mine.also_curves.get("val_loss", ()), theirs.also_curves.get("val_loss", ()), within)
        _close([mine.train_loss], [theirs.train_loss], within)
        _same_state(one.kept.get("loop"), other.kept.get("loop"), within)


def _close(found: Any, expected: Any, within: float) -> None:
    one, other = (torch.tensor(list(v), dtype=torch.float64) for v in (found, expected))
    torch.testing.assert_close(one, other, rtol=within, atol=within)


def _same_state(found: Any, expected: Any, within: float) -> None:
    if isinstance(expected, torch.Tensor):
        torch.testing.assert_close(found, expected, rtol=within, atol=within)
    elif isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            _same_state(found[key], value, within)
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            _same_state(one, other, within)
    else:
        assert found == expected
