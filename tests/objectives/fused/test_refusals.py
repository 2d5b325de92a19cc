"""What cannot be trained together is trained one by one, and the reason is said."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from torch import nn

from batchfront.objectives.fused.refusal import Refused
from batchfront.objectives.fused.together import Together
from batchfront.objectives.load import load_objective
from batchfront.objectives.objective import CustomLoop
from batchfront.objectives.parameter import Parameter
from batchfront.objectives.run import Run
from batchfront.objectives.training.recipe import Recipe
from tests.objectives.conftest import made_task

from .groups import objective_of, trials


class Around(nn.Module):
    """A linear layer, and what a subclass does to its inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(5, 3)

    def changed(self, x: torch.Tensor) -> torch.Tensor:
        return x

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.out(self.changed(x))
        return found


class Branches(Around):
    def changed(self, x: torch.Tensor) -> torch.Tensor:
        return x if x.sum() > 0 else -x


class Item(Around):
    def changed(self, x: torch.Tensor) -> torch.Tensor:
        return x * x.abs().max().item()


class Masks(Around):
    def changed(self, x: torch.Tensor) -> torch.Tensor:
        return x - x[x > 0].mean()


class OwnConstant(Around):
    """A random constant that is no buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.directions = torch.randn(5, 5)

    def changed(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.directions


class OwnNumber(Around):
    """A random number that Python keeps."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = float(torch.rand(()))

    def changed(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.factor


class Counts(Around):
    """A counter in Python."""

    steps = 0

    def changed(self, x: torch.Tensor) -> torch.Tensor:
        self.steps += 1
        return x * (1 + self.steps)


class Replaces(Around):
    """A buffer that is replaced, where it should be written into."""

    scale: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.ones(5))

    def changed(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.scale = 0.5 * self.scale + 0.5 * x.detach().std(dim=0)
        return x / self.scale


class ReplacesForLater(Replaces):
    """The same of a buffer that validation alone looks at."""

    def changed(self, x: torch.Tensor) -> torch.Tensor:
        found = super().changed(x)
        return x if self.training else found


class Skips(Around):
    """A layer that Python's random numbers leave out."""

    def changed(self, x: torch.Tensor) -> torch.Tensor:
        return x if random.random() < 0.5 else 2 * x


class Noisy(Around):
    """Random numbers of another kind than dropout's."""

    def changed(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.randn_like(x)


class Mixes(Around):
    """Random numbers that none of the inputs is given to."""

    def changed(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, torch.randperm(5)]


class Unused(Around):
    """A layer that no loss looks at: torch's optimizers leave it alone."""

    def __init__(self) -> None:
        super().__init__()
        self.spare = nn.Linear(5, 5)


def spectral() -> nn.Module:
    return nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(5, 8)), nn.Linear(8, 3))


MODELS: dict[str, tuple[Any, str]] = {
    "noise": (Noisy, "random"),
    "random channels": (Mixes, "random"),
    "data-dependent control flow": (Branches, "cannot be traced"),
    "item()": (Item, "cannot be traced"),
    "boolean masks": (Masks, "cannot be traced"),
    "spectral norm": (spectral, ""),
    "a random constant": (OwnConstant, "other results"),
    "a random number": (OwnNumber, "other results"),
    "a counter": (Counts, "other results"),
    "a replaced buffer": (Replaces, "other results"),
    "a replaced buffer of validation": (ReplacesForLater, "buffer scale"),
    "Python's random numbers": (Skips, ""),
    "an unused parameter": (Unused, "no gradient"),
}


@pytest.mark.parametrize(("model", "said"), MODELS.values(), ids=MODELS)
def test_models_that_would_train_otherwise_are_refused(model, said):
    door = Together(objective_of(made_task(model=model)))
    why = door.why_not(trials(2))
    assert why
    assert said in why
    assert why.count("\n") == 0


def test_what_is_refused_is_looked_at_once_and_nothing_is_begun(monkeypatch):
    from batchfront.objectives.fused import traces

    looks: list[object] = []
    check = traces.check
    monkeypatch.setattr(traces, "check", lambda *given: looks.append(given) or check(*given))
    objective = objective_of(made_task(model=OwnConstant))
    door, group = Together(objective), trials(2)
    first = door.why_not(group)
    runs = [Run(metric=objective.metric, measure_memory=False) for _ in group]
    with pytest.raises(Refused, match="other results"):
        door.carry_out(list(zip(group, runs, strict=True)))
    assert door.why_not(trials(3)) == first
    assert len(looks) == 1
    assert all(run.curve == [] and not run.is_under_way for run in runs)


RECIPES = {
    "micro-batches": Recipe(micro_batch_sizes=(4, 4)),
    "half precision": Recipe(precisions=("bfloat16",)),
    "growing batches": Recipe(schedule="doubling"),
    "clipping": Recipe(clip_grad_norm=1.0),
    "ranks": Recipe(data_parallel=2),
}


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_techniques_that_a_group_does_not_know_are_refused(recipe):
    objective = objective_of(made_task(), recipe=recipe)
    assert Together(objective).why_not(trials(2))


def test_loops_compiled_steps_and_loaded_data_are_refused():
    assert "loop" in Together(CustomLoop(function=lambda params, run: None)).why_not(trials(2))
    compiled = objective_of(made_task())
    compiled.compiled = True
    assert "compiled" in Together(compiled).why_not(trials(2))
    loaded = objective_of(made_task())
    loaded._source._feed = object()
    assert "loaded" in Together(loaded).why_not(trials(2))


def test_optimizers_that_a_group_does_not_know_are_refused():
    for optimizer, said in (
        (torch.optim.Adagrad, "Adagrad"),
        (lambda p, lr: torch.optim.Adam(p, lr=lr, amsgrad=True), "amsgrad"),
        (lambda p, lr: torch.optim.SGD(p, lr=lr, momentum=0.9, dampening=0.1), "dampening"),
    ):
        assert said in Together(objective_of(made_task(optimizer=optimizer))).why_not(trials(2))


def test_other_batch_sizes_and_other_models_are_refused():
    def model(width: int) -> nn.Module:
        return nn.Sequential(nn.Linear(5, width), nn.Linear(width, 3))

    plain = Together(objective_of(made_task()))
    assert "batch sizes" in plain.why_not([*trials(1), *trials(1, batch_size=8)])
    wide = Together(
        objective_of(made_task(model=model, search={"width": Parameter(low=2, high=8)}))
    )
    group = [*trials(1, extra={"width": 4}), *trials(1, extra={"width": 8})]
    assert "differ" in wide.why_not(group)
    assert wide.why_not(trials(2, extra={"width": 4})) == ""


def test_runs_whose_memory_is_measured_are_refused():
    objective = objective_of(made_task())
    runs = [Run(metric=objective.metric) for _ in range(2)]
    with pytest.raises(Refused, match="measured"):
        Together(objective).carry_out(list(zip(trials(2), runs, strict=True)))


def test_what_is_to_be_worth_it_is_refused_where_it_is_not(monkeypatch):
    door = Together(objective_of(made_task()))
    monkeypatch.setattr("batchfront.objectives.fused.traces.gain", lambda step, setting: 1.29)
    group = trials(2, epochs=1000)
    assert "hardly quicker" in door.why_not(group, lone_seconds=60.0)
    assert door.why_not(group) == "", "what people ask for is not asked to be worth it"
    monkeypatch.setattr("batchfront.objectives.fused.traces.gain", lambda step, setting: 1.31)
    assert door.why_not(trials(3, epochs=1000), lone_seconds=60.0) == ""


class Clock:
    """A clock that steps move on, in place of the module `time`."""

    def __init__(self) -> None:
        self.now, self.turns = 0.0, 0

    def process_time(self) -> float:
        return self.now

    def takes(self, seconds: float) -> Any:
        def step(n: int) -> None:
            self.now += seconds
            self.turns += 1

        return step


@pytest.mark.parametrize(
    ("found", "is_clear"), [(10.0, True), (0.5, True), (1.2, False), (1.5, False)]
)
def test_many_turns_are_timed_only_where_few_leave_it_open(monkeypatch, found, is_clear):
    from batchfront.objectives.fused import gain as room

    clock = Clock()
    monkeypatch.setattr(room, "time", clock)
    monkeypatch.setattr(room, "_ordinary", lambda setting: clock.takes(0.001))
    monkeypatch.setattr(room, "_together", lambda step, setting: clock.takes(0.002 / found))
    door = Together(objective_of(made_task()))
    setting = door.setting(trials(2))
    assert room.gain(door.traces.step(setting, 2), setting) == pytest.approx(found)
    turns = clock.turns // 2 - room.WARMING
    assert (turns == room.LEAST_TURNS) == is_clear


def test_runs_that_are_over_before_a_step_is_traced_are_not_traced(monkeypatch):
    monkeypatch.setattr("batchfront.objectives.fused.traces.traced", None)
    door = Together(objective_of(made_task()))
    assert "so short" in door.why_not(trials(10, epochs=1000), lone_seconds=0.02)
    assert "so short" in door.why_not(trials(10), lone_seconds=60.0), "slow steps, but few"


@pytest.mark.parametrize("task", ["digits", "digits-cnn", "diabetes"])
def test_bundled_tasks_are_not_refused(task):
    objective = load_objective(task, device="cpu")
    assert Together(objective).why_not(trials(2)) == ""
