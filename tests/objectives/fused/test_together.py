"""Runs that are trained together are the runs that they would be alone."""

from __future__ import annotations

from copy import deepcopy
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from batchfront.objectives.fused.places import Places
from batchfront.objectives.fused.together import Together
from batchfront.objectives.length import Length
from batchfront.objectives.load import load_objective
from batchfront.objectives.measurement import Stopped, Verdict
from batchfront.objectives.meters.early_stopping import EarlyStopping, ending_of
from batchfront.objectives.parameter import Parameter
from batchfront.objectives.run import Run, carry_out
from batchfront.objectives.training.recipe import Recipe
from tests.objectives.conftest import made_data, made_task

from .groups import apart, assert_alike, double, objective_of, together, trials

OPTIMIZERS = {
    "sgd": torch.optim.SGD,
    "momentum": partial(torch.optim.SGD, momentum=0.9, weight_decay=0.01),
    "nesterov": partial(torch.optim.SGD, momentum=0.9, nesterov=True),
    "maximize": partial(torch.optim.SGD, maximize=True),
    "adam": partial(torch.optim.Adam, weight_decay=0.01),
    "adamw": partial(torch.optim.AdamW, betas=(0.8, 0.99)),
    "rmsprop": partial(torch.optim.RMSprop, weight_decay=0.01),
    "rmsprop, centered": partial(torch.optim.RMSprop, momentum=0.5, centered=True),
}


class Attention(nn.Module):
    """Every feature a token."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.wide = nn.Linear(1, 8)
        self.mix = nn.MultiheadAttention(8, 2, dropout, batch_first=True)
        self.norm, self.out = nn.LayerNorm(8), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.wide(x.unsqueeze(-1))  # (B, 5, 8)
        mixed, _ = self.mix(tokens, tokens, tokens, need_weights=False)
        found: torch.Tensor = self.out(self.norm(tokens + mixed).mean(dim=1))
        return found


class Tied(nn.Module):
    """One weight at two places, and one that is not trained."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.out = nn.Linear(5, 5), nn.Linear(5, 5), nn.Linear(5, 3)
        self.second.weight = self.first.weight
        self.second.bias.requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.out(self.second(self.first(x).relu()))
        return found


class DropsFeatures(nn.Module):
    """The same features of all examples."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * nn.functional.dropout(torch.ones(5, dtype=x.dtype), 0.3, self.training)


class Recurrent(nn.Module):
    """Every feature a step in time."""

    def __init__(self, layer: type[nn.Module], **options: Any) -> None:
        super().__init__()
        self.layer, self.out = layer(1, 4, batch_first=True, **options), nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        states, _ = self.layer(x.unsqueeze(-1))
        found: torch.Tensor = self.out(states[:, -1])
        return found


MODELS = {
    "LSTM": lambda: Recurrent(nn.LSTM),
    "GRU": lambda: Recurrent(nn.GRU),
    "batch norm": lambda: nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Linear(8, 3)),
    "group norm": lambda: nn.Sequential(nn.Linear(5, 8), nn.GroupNorm(2, 8), nn.Linear(8, 3)),
    "layer norm": lambda: nn.Sequential(nn.Linear(5, 8), nn.LayerNorm(8), nn.Linear(8, 3)),
    "convolution": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 5)), nn.Conv1d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 3)
    ),
    "attention": Attention,
    "tied weights": Tied,
}

DROPOUT = {
    "dropout": lambda: nn.Sequential(dropped(nn.Dropout(0.1)), dropped(nn.Dropout(0.5))),
    "in place": lambda: dropped(nn.Dropout(0.3, inplace=True)),
    "alpha": lambda: dropped(nn.AlphaDropout(0.3)),
    "of channels": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 5)), nn.Conv1d(1, 4, 3), nn.Dropout1d(0.3), nn.Flatten(),
        nn.Linear(12, 3),
    ),
    "of a constant": lambda: dropped(DropsFeatures()),
    "of attention": lambda: Attention(0.3),
    "of an LSTM": lambda: Recurrent(nn.LSTM, num_layers=2, dropout=0.3),
}  # fmt: skip


def dropped(layer: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(5, 5), layer, nn.Linear(5, 5))


@pytest.mark.parametrize("model", DROPOUT.values(), ids=DROPOUT)
def test_every_member_drops_what_it_drops_alone(model):
    objective = double(model)
    group = trials(4, learning_rate=0.02)
    assert_alike(together(objective, group), apart(objective, group), within=1e-10)


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_every_optimizer_takes_the_steps_it_takes_alone(optimizer):
    objective = double(optimizer=optimizer)
    group = trials(learning_rate=0.005)
    assert_alike(together(objective, group), apart(objective, group), within=1e-10)


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_every_layer_does_what_it_does_alone(model):
    objective = double(model)
    group = trials()
    assert_alike(together(objective, group), apart(objective, group), within=1e-10)


def test_searched_rates_are_each_members_own():
    def optimizer(parameters: Any, lr: float, weight_decay: float, momentum: float) -> Any:
        return torch.optim.SGD(parameters, lr=lr, weight_decay=weight_decay, momentum=momentum)

    search = {"weight_decay": Parameter(low=0, high=1), "momentum": Parameter(low=0, high=1)}
    objective = double(optimizer=optimizer, search=search)
    plain = trials()
    group = [
        type(one)(**{**vars(one), "extra": {"weight_decay": decay, "momentum": momentum}})
        for one, decay, momentum in zip(plain, (0.0, 0.1, 0.3), (0.0, 0.9, 0.5), strict=True)
    ]
    found, expected = together(objective, group), apart(objective, group)
    # Without momentum torch keeps no buffer, and a member keeps one that nobody needs.
    expected[0].kept["loop"]["optimizer"] = found[0].kept["loop"]["optimizer"]
    assert_alike(found, expected, within=1e-10)


def test_parameter_groups_keep_rates_of_their_own():
    def optimizer(parameters: Any, lr: float) -> Any:
        first, *others = parameters
        groups = [{"params": [first], "lr": lr / 10}, {"params": others, "weight_decay": 0.1}]
        return torch.optim.AdamW(groups, lr=lr)

    objective = double(optimizer=optimizer)
    group = trials(learning_rate=0.01)
    assert_alike(together(objective, group), apart(objective, group), within=1e-10)


@pytest.mark.parametrize(
    ("recipe", "scheduler"),
    [
        (Recipe(rate_schedule="cosine", warmup_examples=40), None),
        (Recipe(), lambda o, n: torch.optim.lr_scheduler.OneCycleLR(o, max_lr=0.1, total_steps=n)),
        (Recipe(), lambda o, n: torch.optim.lr_scheduler.StepLR(o, 3, gamma=0.5)),
    ],
    ids=["recipe", "one cycle", "steps"],
)
@pytest.mark.filterwarnings("error")
def test_learning_rates_move_as_they_do_alone(recipe, scheduler):
    task = double(scheduler=scheduler).declared
    objective = objective_of(task, recipe=recipe)
    group = trials(epochs=3)
    assert_alike(together(objective, group), apart(objective, group), within=1e-10)


def test_the_half_life_of_adam_is_held_as_it_is_alone():
    objective = objective_of(
        double(optimizer=torch.optim.Adam).declared, recipe=Recipe(beta2_half_life=200.0)
    )
    group = trials(learning_rate=0.005)
    assert_alike(together(objective, group), apart(objective, group), within=1e-10)


@pytest.mark.parametrize(
    "length",
    [
        Length(unit="steps", amount=17, evaluations=4),
        Length(unit="examples", amount=250, evaluations=3),
    ],
    ids=["steps", "examples"],
)
def test_every_length_is_trained_as_it_is_alone(length):
    objective = double()
    group = trials(length=length)
    assert_alike(together(objective, group), apart(objective, group), within=1e-10)


def test_members_may_train_for_lengths_of_their_own():
    objective = double()
    group = [
        type(one)(**{**vars(one), "epochs": epochs})
        for one, epochs in zip(trials(4), (1, 4, 2, 3), strict=True)
    ]
    assert_alike(together(objective, group), apart(objective, group), within=1e-10)


def test_early_stopping_ends_each_member_where_it_ends_alone():
    rule = EarlyStopping(patience=2, on="loss")
    objective = double(early_stopping=rule)

    def runs() -> list[Run]:
        ending = ending_of(objective)
        return [Run(metric=objective.metric, measure_memory=False, ending=ending) for _ in group]

    group, mine, theirs = trials(epochs=12, learning_rate=0.2), [], []
    mine, theirs = runs(), runs()
    Together(objective).carry_out(list(zip(group, mine, strict=True)))
    for params, run in zip(group, theirs, strict=True):
        carry_out(objective, params, run)
    ends = [len(run.curve) for run in theirs]
    assert [len(run.curve) for run in mine] == ends
    assert min(ends) < 12
    assert len(set(ends)) > 1


@pytest.mark.parametrize("task", ["digits", pytest.param("digits-cnn", marks=pytest.mark.slow)])
def test_a_member_is_bitwise_the_same_in_any_group(task):
    objective = load_objective(task, device="cpu")
    group = trials(5, epochs=1, batch_size=32)
    whole = together(objective, group)
    for some in ([0, 1], [3, 0, 4]):
        again = together(objective, [group[n] for n in some])
        for n, one in zip(some, again, strict=True):
            assert one.measured.metric_curve == whole[n].measured.metric_curve
            assert one.measured.train_loss == whole[n].measured.train_loss
            for name, weight in whole[n].weights.items():
                assert torch.equal(one.weights[name], weight), name


@pytest.mark.parametrize("model", [None, DROPOUT["dropout"]], ids=["plain", "dropout"])
def test_a_lone_member_runs_beside_a_copy_of_itself(model):
    objective = objective_of(made_task(**({"model": model} if model else {})))
    (alone,) = together(objective, trials(1))
    pair = together(objective, trials(2))
    assert all(torch.equal(alone.weights[k], v) for k, v in pair[0].weights.items())


@pytest.mark.parametrize(
    ("task", "batch_size"), [("digits", 8), pytest.param("digits-cnn", 16, marks=pytest.mark.slow)]
)
def test_tuned_runs_reach_the_accuracy_they_reach_alone(task, batch_size):
    objective = load_objective(task, device="cpu")
    group = trials(3, epochs=2, batch_size=batch_size, learning_rate=0.01)
    found, expected = together(objective, group), apart(objective, group)
    assert [one.measured.metric_curve for one in found] == [
        one.measured.metric_curve for one in expected
    ]


def test_a_member_that_stops_leaves_and_the_others_are_as_without_it():
    objective = double(DROPOUT["dropout"])
    group = trials(4, epochs=4, learning_rate=0.02)

    def stops(number: int, run: Run) -> None:
        if number in (1, 2):
            pruned = Stopped(Verdict.PRUNED, "enough")
            run.should_stop = lambda curve: pruned if len(curve) == number else None

    found = together(objective, group, prepare=stops)
    assert [len(one.measured.metric_curve) for one in found] == [4, 1, 2, 4]
    assert found[1].measured.verdict is Verdict.PRUNED
    assert_alike(found, apart(objective, group, prepare=stops), within=1e-10)


def test_a_run_that_explodes_is_stopped_and_spoils_nobody():
    objective = objective_of(made_task(also=["loss"]))
    group = trials(4, epochs=20, batch_size=4)
    group[2] = type(group[2])(**{**vars(group[2]), "learning_rate": 1e6})
    found, expected = together(objective, group), apart(objective, group)
    assert found[2].measured.verdict in (Verdict.DIVERGED, Verdict.NON_FINITE)
    assert found[2].measured.verdict is expected[2].measured.verdict
    assert found[2].measured.steps == expected[2].measured.steps
    others = [0, 1, 3]
    assert_alike([found[n] for n in others], [expected[n] for n in others], within=1e-3)


def test_places_of_those_that_left_are_closed():
    objective = objective_of(made_task())
    door = Together(objective)
    together(objective, trials(2, epochs=1), door=door)
    group = [
        type(one)(**{**vars(one), "epochs": 1 if n < 6 else 3}) for n, one in enumerate(trials(8))
    ]
    widths = []
    steps = {width: door.traces.step(door.setting(group), width) for width in (2, 8)}
    for width, step in steps.items():
        inner = step.step

        def counted(*given: Any, width: int = width, inner: Any = inner) -> Any:
            widths.append(width)
            return inner(*given)

        object.__setattr__(step, "step", counted)
    found = together(objective, group, door=door)
    assert widths == [8] * 6 + [2] * 12 + [2] * (len(widths) - 18)
    assert_alike(found, apart(objective, group), within=1e-4)


def test_a_member_goes_on_from_what_it_kept_bit_for_bit():
    objective = objective_of(made_task(optimizer=torch.optim.Adam, model=DROPOUT["dropout"]))
    group = trials(3, epochs=4, learning_rate=0.005)
    whole = together(objective, group)

    class CutOff(BaseException):
        """The process died here."""

    states: list[dict[str, Any]] = [{}, {}, {}]

    def dies(number: int, run: Run) -> None:
        def keep(state: dict[str, Any]) -> None:
            states[number].update(deepcopy(state))
            if state["loop"]["epoch"] == 2:
                raise CutOff

        run.keep = keep

    runs = [Run(metric=objective.metric, measure_memory=False) for _ in group]
    for n, run in enumerate(runs):
        dies(n, run)
    raised = Together(objective).carry_out(list(zip(group, runs, strict=True)))
    assert [type(error) for error in raised] == [CutOff] * 3
    later = together(objective, group, prepare=lambda n, run: run.restore(states[n]))
    for one, other in zip(later, whole, strict=True):
        assert one.measured.metric_curve == other.measured.metric_curve
        assert all(torch.equal(one.weights[k], v) for k, v in other.weights.items())


def test_a_member_makes_what_is_kept_only_where_it_is_due(monkeypatch):
    """And then it is what a member that is kept after every epoch makes of that one."""
    objective = objective_of(made_task(optimizer=torch.optim.Adam, model=DROPOUT["dropout"]))
    group, made = trials(3, epochs=5, learning_rate=0.005), []
    states: list[dict[str, Any]] = [{}, {}, {}]
    whole = together(objective, group)
    take_state = Places.take_state
    monkeypatch.setattr(
        Places,
        "take_state",
        lambda self, place, *a, **k: (made.append(place), take_state(self, place, *a, **k)),
    )

    def third_alone(number: int, run: Run) -> None:
        run.keep = lambda state: states[number].update(deepcopy(state))
        run.is_due = lambda: len(run.curve) == 3

    together(objective, group, prepare=third_alone)
    assert sorted(made) == [0, 1, 2]
    later = together(objective, group, prepare=lambda n, run: run.restore(states[n]))
    for one, other in zip(later, whole, strict=True):
        assert one.measured.metric_curve == other.measured.metric_curve
        assert all(torch.equal(one.weights[k], v) for k, v in other.weights.items())


def test_a_lone_run_goes_on_from_what_a_member_kept():
    objective = double(DROPOUT["dropout"], optimizer=torch.optim.Adam)
    group = trials(2, epochs=4, learning_rate=0.005)
    states: list[dict[str, Any]] = [{}, {}]

    def stops(number: int, run: Run) -> None:
        def keep(state: dict[str, Any]) -> None:
            if state["loop"]["epoch"] == 2:
                states[number].update(deepcopy(state))

        run.keep = keep

    together(objective, group, prepare=stops)
    later = apart(objective, group, prepare=lambda n, run: run.restore(states[n]))
    assert_alike(later, apart(objective, group), within=1e-10)


def test_whoever_fails_leaves_and_the_others_complete():
    objective = objective_of(made_task())
    group = trials(3)
    runs = [Run(metric=objective.metric, measure_memory=False) for _ in group]

    def fails(curve: tuple[float, ...]) -> None:
        raise ValueError("a rule of somebody's own")

    runs[1].should_stop = fails
    raised = Together(objective).carry_out(list(zip(group, runs, strict=True)))
    assert [type(error) for error in raised] == [type(None), ValueError, type(None)]
    assert [len(run.curve) for run in runs] == [2, 1, 2]


def test_the_time_of_a_group_is_shared_among_its_members():
    objective = objective_of(made_task())
    group = trials(4, epochs=3)
    found = together(objective, group)
    seconds = [one.measured.process_seconds for one in found]
    assert seconds == pytest.approx([seconds[0]] * 4)
    lone = apart(objective, group)
    assert 0 < sum(seconds) < sum(one.measured.process_seconds for one in lone)


def test_global_random_numbers_go_on_as_if_nobody_had_trained():
    objective = objective_of(made_task())
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    together(objective, trials(2))
    assert torch.equal(torch.rand(3), expected)


def test_examples_of_a_group_come_in_parts_where_they_are_large(monkeypatch):
    from batchfront.objectives.fused import group as room

    objective = objective_of(made_task(data=lambda: made_data((101, 30, 30))))
    whole = together(objective, trials())
    monkeypatch.setattr(room, "MOST_NUMBERS", 1)
    for one, other in zip(together(objective, trials()), whole, strict=True):
        assert all(torch.equal(one.weights[k], v) for k, v in other.weights.items())
