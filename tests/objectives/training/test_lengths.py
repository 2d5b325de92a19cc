"""Runs whose length is given in examples, steps or tokens, against what they really train on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import pytest
import torch

from batchfront.objectives.length import Length
from batchfront.objectives.measurement import ObjectiveError, TrialParams, Verdict
from batchfront.objectives.meters.course import GuardSettings
from batchfront.objectives.meters.limit import TimeLimit
from batchfront.objectives.objective import CustomLoop
from batchfront.objectives.probes.cost import probe
from batchfront.objectives.run import Run, carry_out
from batchfront.objectives.task import Data, Task
from batchfront.objectives.training.objective import TaskObjective
from batchfront.objectives.training.recipe import PLAIN, Recipe
from tests.objectives.training.test_resume import (
    assert_same_weights,
    cut_after,
    noisy_model,
    small_data,
    through_a_file,
    timeless,
    uncut,
)

N = 24  # training examples, numbered
LENGTHS = {
    "part of an epoch": Length(unit="examples", amount=17, evaluations=2),
    "between epochs": Length(unit="examples", amount=70, evaluations=7),
    "steps": Length(unit="steps", amount=13, evaluations=4),
    "tokens": Length(unit="tokens", amount=200, evaluations=5, tokens_per_example=3),
    "epochs": Length(amount=2, evaluations=5),
}


def numbered() -> Data:
    x = torch.arange(float(N)).view(N, 1)
    parts = {f"{what}_{split}": x for what in "xy" for split in ("train", "val", "test")}
    return Data(**parts)


class Noting(torch.nn.Linear):
    """A model that notes which examples it is trained on."""

    batches: ClassVar[list[list[int]]] = []

    def __init__(self) -> None:
        super().__init__(1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.batches.append(x.flatten().int().tolist())
        return super().forward(x)


class Noted(Run):
    """A run that notes after which steps it was evaluated."""

    def __init__(self) -> None:
        super().__init__(metric="val_r2", guard=GuardSettings(patience=10**6))
        self.evaluated_after: list[int] = []

    def report(self, value: float | None = None, /, **named: float | None) -> None:
        self.evaluated_after.append(self._steps)
        super().report(value, **named)


def objective_of(recipe: Recipe = PLAIN, model: Any = Noting, data: Any = numbered) -> Any:
    classes = model is noisy_model
    task = Task(
        name="noted",
        data=data,
        model=model,
        loss=torch.nn.functional.cross_entropy if classes else torch.nn.functional.mse_loss,
        optimizer=torch.optim.SGD if not classes else torch.optim.AdamW,
        metric="accuracy" if classes else "r2",
    )
    return TaskObjective(task, name="noted", device="cpu", recipe=recipe)


def params_of(length: Length, batch_size: int, rate: float = 1e-6) -> TrialParams:
    return TrialParams.over(length, batch_size=batch_size, learning_rate=rate, seed=3, device="cpu")


def stream(seed: int, n: int) -> list[int]:
    """Epochs in the order of their shuffles, one after the other."""
    generator, found = torch.Generator().manual_seed(seed), list[int]()
    while len(found) < n:
        found += torch.randperm(N, generator=generator).tolist()
    return found[:n]


@pytest.mark.parametrize("size", [1, 3, 8])
@pytest.mark.parametrize("name", LENGTHS)
def test_a_run_is_trained_on_its_length_and_evaluated_at_equal_shares_of_it(name, size):
    length, objective, run = LENGTHS[name], objective_of(), Noted()
    Noting.batches.clear()
    carry_out(objective, params_of(length, size), run)

    examples = {"examples": length.amount, "epochs": 2 * N, "tokens": 200 // 3}.get(length.unit)
    n = length.points
    if examples is None:
        due = [13 * k // n for k in range(1, n + 1)]
    else:
        due = [examples * k // n // size for k in range(1, n + 1)]
    order = stream(3, due[-1] * size)
    assert Noting.batches == [order[i : i + size] for i in range(0, len(order), size)]
    assert run.evaluated_after == due
    assert run.result().total_steps == due[-1]
    assert params_of(length, size).evaluated_after(N) == tuple(due)


def kept_of(objective: Any, params: TrialParams) -> tuple[list[dict[str, Any]], Any]:
    kept: list[dict[str, Any]] = []
    run = Run()
    run.keep = lambda state: kept.append(through_a_file(state))
    carry_out(objective, params, run)
    return kept, run.result()


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(),
        Recipe(rate_schedule="cosine", warmup_examples=100, micro_batch_sizes=(2, 2)),
        Recipe(schedule="doubling"),
        Recipe(schedule="noise-scale", rate_schedule="cosine", beta2_half_life=500.0),
    ],
    ids=lambda recipe: recipe.stored,
)
def test_examples_of_whole_epochs_are_the_same_training_and_the_same_checkpoints(recipe):
    objective = objective_of(recipe, noisy_model, small_data)
    epochs = TrialParams(batch_size=4, learning_rate=0.01, epochs=5, seed=7, device="cpu")
    length = Length(unit="examples", amount=5 * objective.n_train, evaluations=5)
    (kept, measured), (again, same) = (
        kept_of(objective, epochs),
        kept_of(objective, replace(epochs, length=length)),
    )
    assert timeless(same) == replace(timeless(measured), length=length)
    assert len(kept) == len(again) == 5
    for a, b in zip(kept, again, strict=True):
        a["run"].pop("laps"), b["run"].pop("laps")
        assert_same(a, b)


def assert_same(a: Any, b: Any) -> None:
    """Of any tree of tensors and numbers."""
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, torch.Tensor):
        assert torch.equal(a, b)
    elif isinstance(a, list | tuple):
        assert len(a) == len(b)
        for one, other in zip(a, b, strict=True):
            assert_same(one, other)
    else:
        assert a == b or a != a


@pytest.mark.parametrize(
    "recipe",
    [Recipe(rate_schedule="cosine", warmup_examples=20), Recipe(schedule="doubling")],
    ids=lambda recipe: recipe.stored,
)
@pytest.mark.parametrize(
    "length",
    [
        Length(unit="examples", amount=90, evaluations=5),
        Length(unit="steps", amount=31, evaluations=5),
    ],
    ids=str,
)
@pytest.mark.parametrize("n_done", [1, 2, 4])
def test_a_run_goes_on_bit_for_bit_from_the_middle_of_an_epoch(recipe, length, n_done):
    objective = objective_of(recipe, noisy_model, small_data)
    assert all(size * k % objective.n_train for size, k in [(90, 1), (36, 2)]), "none ends there"
    params = params_of(length, 3, 0.01)
    (whole, kept), (resumed, again) = uncut(objective, params), cut_after(objective, n_done, params)
    # An evaluation sees another scalar where a window of losses is open.
    assert resumed.evaluation_peak_bytes == pytest.approx(whole.evaluation_peak_bytes, abs=8)
    resumed = replace(resumed, evaluation_peak_bytes=whole.evaluation_peak_bytes)
    assert timeless(resumed) == timeless(whole)
    assert_same_weights(kept, again)


def test_equal_steps_take_the_cosine_at_equal_shares_whatever_the_batch_does():
    length = Length(unit="steps", amount=16, evaluations=4)
    rates = []

    class Watched(torch.optim.SGD):
        def step(self, closure: Any = None) -> Any:
            rates.append(self.param_groups[0]["lr"])
            return super().step(closure)

    for size, schedule in ((1, "constant"), (8, "constant"), (2, "doubling")):
        recipe = Recipe(rate_schedule="cosine", schedule=schedule)
        objective = objective_of(recipe)
        objective._declared = objective.task = replace(objective.task, optimizer=Watched)
        carry_out(objective, params_of(length, size, 1e-3), Run(metric="val_r2"))
    assert len(rates) == 48
    plain = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1e-3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(plain, 16)
    for n in range(16):
        assert rates[n::16] == pytest.approx([plain.param_groups[0]["lr"]] * 3, rel=1e-9)
        plain.step()
        scheduler.step()


def test_a_batch_grows_no_further_than_to_a_step_for_every_evaluation():
    objective = objective_of(Recipe(schedule="doubling"), noisy_model, small_data)
    length = Length(unit="examples", amount=64, evaluations=8)
    run = Run()
    carry_out(objective, params_of(length, 4, 0.01), run)
    measured = run.result()
    assert [phase.batch_size for phase in measured.phases] == [4, 8], "8 examples to a point"
    assert len(measured.metric_curve) == 8
    assert measured.steps == measured.total_steps


def test_a_probe_times_runs_of_a_few_steps():
    objective = objective_of()
    length = Length(unit="steps", amount=2, evaluations=2)
    cost = probe(objective, params_of(length, 4), metric="val_r2", seconds=0.01)
    assert cost.step_seconds > 0
    assert cost.total_steps == 2


def loop(params: TrialParams, run: Run) -> None:
    due = params.evaluated_after(N)
    run.begin(due[-1])
    for step in range(1, due[-1] + 1):
        run.step(1.0)
        if step in due:
            run.report(val_accuracy=step / 100)


@pytest.mark.parametrize("name", LENGTHS)
def test_a_loop_of_ones_own_reports_where_ours_does(name):
    params, run = params_of(LENGTHS[name], 2), Run()
    carry_out(CustomLoop(function=loop), params, run)
    measured = run.result()
    assert [round(100 * v) for v in measured.metric_curve] == list(params.evaluated_after(N))
    assert measured.steps == measured.total_steps == params.total_steps(N)


def test_a_loop_of_ones_own_that_counts_epochs_is_told_so():
    def epochs(params: TrialParams, run: Run) -> None:
        run.begin(100 * params.epochs)

    length = Length(unit="examples", amount=70, evaluations=7)
    with pytest.raises(ObjectiveError, match=r"announced 300 steps, and a run of 70 examples.*35"):
        carry_out(CustomLoop(function=epochs, n_train=N), run=Run(), params=replace(
            params_of(length, 2), epochs=3
        ))  # fmt: skip
    with pytest.raises(ObjectiveError, match="examples of an epoch are not known"):
        TrialParams(batch_size=2, learning_rate=1, epochs=2, seed=0, device="cpu").total_steps()


def test_a_run_ends_once_its_steps_would_be_told_more_than_it_may_take():
    run = Run(limit=TimeLimit(seconds=1.0, step_seconds=0.1))
    carry_out(CustomLoop(function=loop), params_of(LENGTHS["between epochs"], 2), run)
    measured = run.result()
    assert (measured.verdict, measured.steps) == (Verdict.OVER_BUDGET, 11)
    assert "max_trial_seconds is 1" in measured.reason
    assert measured.metric_curve == (0.05, 0.1), "what it reached until then is known"


def test_a_run_of_unknown_cost_ends_by_its_own_clock_and_a_last_step_always_counts():
    run = Run(limit=TimeLimit(seconds=1e-9))
    carry_out(CustomLoop(function=loop), params_of(LENGTHS["between epochs"], 2), run)
    assert run.result().verdict is Verdict.OVER_BUDGET
    run = Run(limit=TimeLimit(seconds=3.45, step_seconds=0.1))
    carry_out(CustomLoop(function=loop), params_of(LENGTHS["between epochs"], 2), run)
    assert run.result().verdict is Verdict.COMPLETED
