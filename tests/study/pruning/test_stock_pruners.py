"""Optuna's own pruners decide in our studies as they do in a single-objective one."""

from __future__ import annotations

import math
import random

import optuna
import pytest
from optuna.pruners import (
    BasePruner,
    HyperbandPruner,
    MedianPruner,
    PatientPruner,
    PercentilePruner,
    SuccessiveHalvingPruner,
    ThresholdPruner,
    WilcoxonPruner,
)
from optuna.trial import TrialState

from batchfront.objectives.length import Length
from batchfront.study.errors import StudyError
from batchfront.study.plan.choices import PRUNERS
from batchfront.study.plan.space import SearchSpace
from batchfront.study.pruning.by_name import stock_pruner
from batchfront.study.pruning.decision import RunSoFar
from batchfront.study.pruning.stock import StockPruner
from batchfront.study.trials.attributes import CURVE, PRUNER_STATE
from batchfront.study.trials.outcome import CURVE_POINTS, grid_stride, on_grid

SPACE = SearchSpace().distributions()  # parameters that ours are known by
EPOCHS = 9
N_TRIALS = 32
DIRECTIONS = ["maximize", "minimize", "minimize"]

CONFIGURATIONS = {
    "median": lambda: stock_pruner("median", n_evaluations=EPOCHS),
    "percentile": lambda: stock_pruner("percentile", n_evaluations=EPOCHS),
    "halving": lambda: stock_pruner("halving", n_evaluations=EPOCHS),
    "hyperband": lambda: stock_pruner("hyperband", n_evaluations=EPOCHS),
    "threshold": lambda: stock_pruner("threshold", n_evaluations=EPOCHS, min_metric=0.5),
    "patient": lambda: stock_pruner("patient", n_evaluations=EPOCHS),
    "wilcoxon": lambda: stock_pruner("wilcoxon", n_evaluations=EPOCHS),
    "median with warm-up": lambda: MedianPruner(n_startup_trials=2, n_warmup_steps=3),
    "percentile by intervals": lambda: PercentilePruner(60, interval_steps=2, n_min_trials=3),
    "halving from 2": lambda: SuccessiveHalvingPruner(min_resource=2, reduction_factor=2),
    "halving with bootstrap": lambda: SuccessiveHalvingPruner(1, 3, bootstrap_count=2),
    "hyperband of unknown length": HyperbandPruner,
    "threshold above": lambda: ThresholdPruner(upper=0.9),
    "patient alone": lambda: PatientPruner(None, patience=2),
    "wilcoxon from 4": lambda: WilcoxonPruner(p_threshold=0.3, n_startup_steps=4),
}


NAMED = {
    "median": MedianPruner,
    "percentile": lambda: PercentilePruner(25.0),
    "halving": SuccessiveHalvingPruner,
    "hyperband": lambda: HyperbandPruner(max_resource=EPOCHS),
    "threshold": lambda: ThresholdPruner(lower=0.5, n_warmup_steps=EPOCHS // 2),
    "patient": lambda: PatientPruner(MedianPruner(), patience=1),
    "wilcoxon": WilcoxonPruner,
}


def _settings(pruner):
    """Its class and all that it was made with, also of one that it holds."""
    held = vars(pruner).items()
    return type(pruner), {k: _settings(v) if isinstance(v, BasePruner) else v for k, v in held}


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("name", sorted(set(PRUNERS) - {"front", "front-paused", "none"}))
def test_a_name_gives_the_pruner_of_that_name_as_optuna_makes_it(name):
    made = stock_pruner(name, n_evaluations=EPOCHS, min_metric=0.5)
    assert _settings(made) == _settings(NAMED[name]())


def _curve(number: int) -> list[float]:
    """Rises to a level of its own; every sixth is NaN somewhere, some tie."""
    draw = random.Random(number)
    level = draw.choice([0.3, 0.5, 0.7, 0.8, 0.9])
    curve = [
        round(level * (1 - math.exp(-e / 3)) + draw.uniform(-0.05, 0.05), 3)
        for e in range(1, EPOCHS + 1)
    ]
    if number % 6 == 5:
        curve[draw.randrange(EPOCHS)] = math.nan
    return curve


def _progress(curve: list[float]) -> RunSoFar:
    return RunSoFar(
        batch_size=1, curve=tuple(curve), train_seconds=1, peak_memory_bytes=1, share_done=0.1
    )


class _True:
    """A single-objective study, as each of several processes has opened it."""

    def __init__(self, storage, make):
        self._study = optuna.create_study(
            study_name="same", direction="maximize", storage=storage, pruner=make(),
            load_if_exists=True,
        )  # fmt: skip

    def ask(self):
        return self._study.ask(SPACE)

    def stops(self, trial, curve):
        trial.report(curve[-1], len(curve))
        return trial.should_prune()

    def tell(self, trial, curve, pruned):
        if pruned:
            self._study.tell(trial, state=TrialState.PRUNED)
        elif math.isfinite(curve[-1]):
            self._study.tell(trial, curve[-1])
        else:
            self._study.tell(trial, state=TrialState.FAIL)


class _Ours:
    """Our kind of study, as each of several workers has opened it."""

    def __init__(self, storage, make):
        self._study = optuna.create_study(
            study_name="same", directions=DIRECTIONS, storage=storage, load_if_exists=True
        )
        self._rule = StockPruner(make(), name="this one", length=Length(amount=EPOCHS))

    def ask(self):
        return self._study.ask(SPACE)

    def stops(self, trial, curve):
        trial.set_user_attr(CURVE, on_grid(curve, EPOCHS))
        progress = RunSoFar(
            batch_size=1, curve=tuple(curve), train_seconds=1, peak_memory_bytes=1, share_done=0.1
        )
        decision = self._rule.judge(self._study, trial, progress)
        assert decision is None or 0 < decision.grade <= 1
        return decision is not None

    def tell(self, trial, curve, pruned):
        if pruned:
            self._study.tell(trial, state=TrialState.PRUNED)
        elif math.isfinite(curve[-1]):
            self._study.tell(trial, [curve[-1], 1.0, 1.0])
        else:
            self._study.tell(trial, state=TrialState.FAIL)


def _decisions(kind, storage, make, *, n_workers: int) -> list[tuple[int, int, bool]]:
    """(trial, epoch, stopped) of workers that take turns at random, the same for both kinds."""
    draw = random.Random(0)
    workers = [kind(storage, make) for _ in range(n_workers)]
    running = [None] * n_workers
    said = []
    n_asked = 0
    while n_asked < N_TRIALS or any(running):
        w = draw.randrange(n_workers)
        if running[w] is None:
            if n_asked < N_TRIALS:
                running[w] = (workers[w].ask(), [])
                n_asked += 1
            continue
        trial, curve = running[w]
        curve.append(_curve(trial.number)[len(curve)])
        stopped = workers[w].stops(trial, curve)
        said.append((trial.number, len(curve), stopped))
        if stopped or len(curve) == EPOCHS:
            workers[w].tell(trial, curve, stopped)
            running[w] = None
    return said


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.filterwarnings("ignore:The intermediate values of:UserWarning")
@pytest.mark.filterwarnings("ignore:WilcoxonPruner finds steps:UserWarning")
@pytest.mark.filterwarnings("ignore:The best trial has no intermediate:UserWarning")
@pytest.mark.parametrize(
    ("name", "backend"),
    [
        *((name, "in-memory") for name in CONFIGURATIONS),
        ("halving", "sqlite"),  # notes rungs
        *(pytest.param(name, "sqlite", marks=pytest.mark.slow) for name in ("median", "hyperband")),
    ],
)
def test_decisions_equal_those_of_a_single_objective_study(name, backend, tmp_path):
    """Four interleaved workers, NaN curves, pruners with and without memory of rungs."""
    make = CONFIGURATIONS[name]
    expected = _decisions(_True, optuna.storages.InMemoryStorage(), make, n_workers=4)
    ours = (
        optuna.storages.InMemoryStorage()
        if backend == "in-memory"
        else f"sqlite:///{tmp_path / 'ours.db'}"
    )
    assert _decisions(_Ours, ours, make, n_workers=4) == expected
    assert any(stopped for _, _, stopped in expected), "this says nothing of its stops"


def test_every_named_pruner_is_compared():
    assert set(PRUNERS) - {"front", "front-paused", "none"} <= set(CONFIGURATIONS)


def test_the_rungs_of_other_workers_reach_a_worker_that_joins_late():
    storage = optuna.storages.InMemoryStorage()
    make = CONFIGURATIONS["halving from 2"]
    first = _Ours(storage, make)
    for _ in range(6):
        trial = first.ask()
        curve = [0.9, 0.9, 0.9]
        stopped = any(first.stops(trial, curve[:n]) for n in (1, 2, 3))
        first.tell(trial, curve, stopped)
    study = optuna.load_study(study_name="same", storage=storage)
    assert any(PRUNER_STATE in t.user_attrs for t in study.trials)
    late = _Ours(storage, make)
    trial = late.ask()
    assert not late.stops(trial, [0.1])
    assert late.stops(trial, [0.1, 0.1]), "it is last of the seven that reached the first rung"


def test_optuna_still_refuses_reports_in_multi_objective_studies():
    """Should this fail, Optuna prunes such studies itself: the projected view may go."""
    trial = optuna.create_study(directions=DIRECTIONS).ask()
    with pytest.raises(NotImplementedError):
        trial.report(0.5, 1)
    with pytest.raises(NotImplementedError):
        trial.should_prune()


def test_nothing_is_left_in_the_study_that_would_crash_a_sampler():
    storage = optuna.storages.InMemoryStorage()
    _decisions(_Ours, storage, CONFIGURATIONS["median"], n_workers=1)
    study = optuna.load_study(study_name="same", storage=storage)
    assert all(not trial.intermediate_values for trial in study.trials)


def test_a_pruner_that_raises_is_named():
    class Broken(optuna.pruners.BasePruner):
        def prune(self, study, trial):
            raise ZeroDivisionError("oops")

    ours = _Ours(optuna.storages.InMemoryStorage(), Broken)
    with pytest.raises(StudyError, match="this one failed: ZeroDivisionError: oops"):
        ours.stops(ours.ask(), [0.5])


def test_a_pruner_sees_the_parameters_and_the_direction():
    seen = []

    class Curious(optuna.pruners.BasePruner):
        def prune(self, study, trial):
            seen.append((study.direction.name, trial.params, trial.last_step))
            return False

    study = optuna.create_study(directions=DIRECTIONS)
    trial = study.ask({"learning_rate": optuna.distributions.FloatDistribution(0.1, 0.1)})
    rule = StockPruner(Curious(), name="curious", length=Length(amount=EPOCHS))
    for n in (1, 2):
        rule.judge(
            study,
            trial,
            RunSoFar(
                batch_size=1, curve=(0.5,) * n, train_seconds=1, peak_memory_bytes=1, share_done=0.1
            ),
        )
    assert seen == [("MAXIMIZE", {"learning_rate": 0.1}, n) for n in (1, 2)]


@pytest.mark.parametrize(("epochs", "stride"), [(1, 1), (100, 1), (101, 2), (200, 2), (900, 16)])
def test_long_curves_are_kept_on_one_grid(epochs, stride):
    assert grid_stride(epochs) == stride
    whole = on_grid([n / 1000 for n in range(1, epochs + 1)], epochs)
    assert len(whole) <= CURVE_POINTS
    assert whole[0] == stride / 1000
    half = on_grid([n / 1000 for n in range(1, epochs // 2 + 1)], epochs)
    assert half == whole[: len(half)], "a running trial's points are at the epochs of the others"


def test_what_a_loop_reports_beyond_its_epochs_leaves_the_grid_as_it_is():
    """Else a finished trial would lie on another grid than a running one."""
    many = [n / 1000 for n in range(1, 251)]
    assert on_grid(many, 10) == many[:CURVE_POINTS]
    assert on_grid(many[:30], 10) == many[:30]


@pytest.mark.parametrize("epochs", [10, 100, 101, 150, 900])
def test_a_threshold_is_applied_from_half_of_the_epochs_on_however_many(epochs):
    study = optuna.create_study(directions=DIRECTIONS)
    pruner = stock_pruner("threshold", n_evaluations=epochs, min_metric=0.8)
    rule = StockPruner(pruner, name="threshold", length=Length(amount=epochs))
    trial = study.ask()
    for n in range(1, epochs + 1):
        if rule.judge(study, trial, _progress([0.1] * n)) is not None:
            break
    assert n / epochs == pytest.approx(0.5, abs=0.02)
