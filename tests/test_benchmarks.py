"""What benchmarks conclude from, against slower ways to the same answer."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import optuna
import pytest

from batchfront.objectives.curves.table import RecordedRun, Table, read_table
from batchfront.objectives.measurement import TrialParams
from batchfront.objectives.run import Run
from batchfront.study.pruning.decision import NeverStop
from benchmarks.as_loss import TOLD, judged_by, objective_of
from benchmarks.auto import Truth
from benchmarks.budget import come
from benchmarks.hypervolume import hypervolume
from benchmarks.multi_metric import non_domination_ranks
from benchmarks.playback import UNGUARDED, Played, play, random_design
from benchmarks.pruning import beats, compare, front_of, is_lost, is_told_lost, volume_axes
from benchmarks.recorded_losses import recorded
from benchmarks.score import Score, costs_of, oracle_row, summary, untold
from benchmarks.searches import Playback, play_study
from benchmarks.seed_means import axes_with_ties, means_of
from benchmarks.warm_start import PAST, earlier, inverted, past_of, warm

from .objectives.conftest import made_task, ready
from .study.conftest import ROOT


@pytest.fixture(scope="module")
def table() -> Table:
    return read_table(ROOT / "benchmarks" / "tables" / "digits_cnn_sgd.csv.gz")


@pytest.fixture(autouse=True)
def quiet():
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def test_the_hypervolume_is_that_of_a_monte_carlo_count():
    draw = np.random.default_rng(0)
    points, reference = draw.random((12, 3)) * 1.3, np.array([1.0, 1.1, 0.9])
    samples = draw.random((200_000, 3)) * reference
    inside = np.zeros(len(samples), dtype=bool)
    for point in points:
        inside |= (samples >= point).all(axis=1)
    expected = inside.mean() * reference.prod()
    assert hypervolume(points.tolist(), reference.tolist()) == pytest.approx(expected, rel=0.02)


def test_the_hypervolume_of_nothing_and_of_what_lies_outside_is_zero():
    assert hypervolume([], (1, 1, 1)) == 0
    assert hypervolume([(1, 0, 0), (0, 2, 0)], (1, 1, 1)) == 0
    assert hypervolume([(0, 0, 0), (0.5, 0.5, 0.5)], (1, 1, 1)) == 1


def test_ranks_peel_front_after_front():
    values = np.array([[0, 3], [1, 1], [3, 0], [1, 3], [2, 2], [4, 4]])
    assert non_domination_ranks(values) == [0, 0, 0, 1, 1, 2]


def _run(accuracy: float, size: int = 8) -> RecordedRun:
    return RecordedRun(
        batch_size=size,
        learning_rate=0.1 * accuracy,
        seed=0,
        train_loss=(1.0,),
        val_accuracy=(accuracy,),
        train_seconds=(1 / size,),
        peak_memory_bytes=size,
    )


def test_a_lost_member_is_one_that_no_completed_run_ties():
    runs = [_run(0.9), _run(0.897), _run(0.89), _run(0.8, size=16)]
    made = Table(
        task="t", optimizer="o", runs={(r.batch_size, r.learning_rate, 0): r for r in runs}
    )
    best, tie, worse, quick = runs
    assert not is_lost(made, best, [tie])
    assert is_lost(made, best, [worse])
    assert is_lost(made, best, [quick])
    assert beats(made, best, tie)
    assert not beats(made, best, quick)
    assert not beats(made, best, best)


def test_without_a_pruner_nothing_is_killed_and_nothing_saved(table):
    found = compare(table, "none", n_trials=40, seed=0, risk=0.02)
    assert (found.killed, found.stopped, found.false_stops) == (0, 0, 0)
    assert found.hypervolume_ratio == found.train_seconds_ratio == 1


def test_the_front_of_a_design_is_that_of_brute_force(table):
    free = play(table, random_design(table, n_trials=40, seed=0), NeverStop(), guarded=False)
    front = {id(run) for run in front_of(table, free)}
    runs = {id(p.run): p.run for p in free if p.completed}
    for a, b in itertools.permutations(runs.values(), 2):
        assert not (id(b) in front and beats(table, a, b))
    assert front


@pytest.mark.parametrize("name", ["median", "multi-metric", "guard", "front", "hindsight"])
def test_every_rule_saves_time(table, name):
    found = compare(table, name, n_trials=60, seed=1, risk=0.02)
    assert found.train_seconds_ratio < 0.95
    assert 0 < found.hypervolume_ratio <= 1 + 1e-9


def test_the_default_pruner_keeps_the_front_of_a_recorded_study(table):
    found = [compare(table, "front", n_trials=150, seed=seed, risk=0.02) for seed in (100, 101)]
    assert sum(c.killed for c in found) <= 1
    assert min(c.hypervolume_ratio for c in found) > 0.998
    assert max(c.train_seconds_ratio for c in found) < 0.8


def test_one_seed_is_one_design(table):
    assert random_design(table, n_trials=9, seed=1) == random_design(table, n_trials=9, seed=1)
    assert random_design(table, n_trials=9, seed=1) != random_design(table, n_trials=9, seed=2)


def test_no_cheaper_set_of_grid_points_reaches_what_the_oracle_reaches():
    """Against all sets of up to three points of a small table, not only the best of each size."""
    runs = {
        (size, rate, 0): RecordedRun(
            batch_size=size,
            learning_rate=rate,
            seed=0,
            train_loss=(1.0,),
            val_accuracy=(accuracy,),
            train_seconds=(1 / size,),
            peak_memory_bytes=100 * size,
        )
        for size, rate, accuracy in [
            (2, 0.1, 0.90), (2, 0.2, 0.95), (4, 0.1, 0.94), (4, 0.2, 0.80), (8, 0.1, 0.70),
            (8, 0.2, 0.85), (16, 0.1, 0.60),
        ]
    }  # fmt: skip
    small = Table(task="t", optimizer="o", runs=runs)
    points, reference = volume_axes(small)
    total = hypervolume(list(points.values()), reference)
    row = oracle_row(small, "small")
    for key, share in {"seconds_to_90": 0.9, "seconds_to_95": 0.95, "seconds_to_98": 0.98}.items():
        enough = [
            sum(costs_of(small)[size] for size, _ in some)
            for n in range(1, len(points) + 1)
            for some in itertools.combinations(points, n)
            if hypervolume([points[p] for p in some], reference) >= share * total - 1e-12
        ]
        assert row[key] == pytest.approx(min(enough))
    assert row["seconds_to_regret_005"] == pytest.approx(sum(costs_of(small).values()))


def test_a_score_says_when_a_share_was_reached_and_what_is_missing(table):
    points, _ = volume_axes(table)
    best = {
        size: min((e, rate) for (b, rate), (e, *_) in points.items() if b == size)[1]
        for size in table.batch_sizes
    }
    score = Score(table=table)
    for size, rate in reversed(best.items()):
        assert score.outcome()["seconds_to_regret_005"] == float("inf")
        run = table.nearest(size, rate, 0)
        score.add(Played(run=run, completed=True, train_seconds=costs_of(table)[size]))
    outcome = score.outcome()
    assert outcome["hypervolume"] == pytest.approx(1.0)
    assert outcome["regret_worst"] == 0
    assert outcome["seconds_to_regret_005"] == pytest.approx(sum(costs_of(table).values()))
    reached = [outcome[f"seconds_to_{share}"] for share in (90, 95, 98)]
    assert reached == sorted(reached)
    assert oracle_row(table, "")["seconds_to_95"] <= reached[1]


def test_stopped_runs_find_nothing_and_cost_what_they_took(table):
    score = Score(table=table)
    run = table.nearest(64, 0.1, 0)
    score.add(Played(run=run, completed=False, train_seconds=2.5))
    outcome = score.outcome()
    assert (outcome["hypervolume"], outcome["train_seconds"]) == (0.0, 2.5)
    assert outcome["regret_worst"] > 0


def test_what_half_of_the_seeds_did_not_reach_is_null():
    outcomes = [{"seconds_to_95": s, "ask_seconds": 0.1} for s in (1.0, float("inf"), float("inf"))]
    assert summary(outcomes) == {"seconds_to_95": None, "ask_seconds": pytest.approx(0.1)}


@pytest.mark.parametrize("sampler", ["cost-aware", "tpe", "grid"])
def test_a_search_spends_its_budget_and_no_more_than_one_run_beyond(table, sampler, monkeypatch):
    monkeypatch.setattr("benchmarks.score.BUDGET", 4)
    score = play_study(table, name=sampler, pruner="none", seed=0)
    assert score.budget <= score.seconds <= score.budget + max(costs_of(table).values())


@pytest.mark.parametrize("told", TOLD)
def test_a_search_is_told_a_loss_and_judged_by_it(table, told):
    objective, judged = objective_of(table, told), judged_by(table, told)
    size, rate = 64, table.learning_rates(64)[3]
    run = Run(metric=objective.metric, measure_memory=False, guard=UNGUARDED)
    with run:
        objective(TrialParams(batch_size=size, learning_rate=rate, epochs=table.epochs,
                              seed=0, device="cpu"), run)  # fmt: skip
    value, final = run.result().metric, judged.nearest(size, rate, 0).val_accuracy[-1]
    assert value == pytest.approx(final if told == "accuracy" else 1 - final)
    assert objective.metric.maximize == (told == "accuracy")
    score = play_study(table, name="random", pruner="none", seed=0, told=told, max_trials=6)
    assert score.n_trials == 6
    assert 0 < score.hypervolume < 1


def _seeds(errors: dict[float, list[float]]) -> Table:
    """One batch size with some seeds at each rate."""
    runs = {
        (8, rate, seed): RecordedRun(
            batch_size=8, learning_rate=rate, seed=seed, train_loss=(1.0,),
            val_accuracy=(1 - error,), train_seconds=(1.0,), peak_memory_bytes=100,
        )
        for rate, some in errors.items()
        for seed, error in enumerate(some)
    }  # fmt: skip
    return Table(task="t", optimizer="o", runs=runs)


def test_rates_that_seeds_cannot_tell_apart_tie_and_others_do_not():
    means = means_of(_seeds({0.1: [0.10, 0.14], 0.2: [0.11, 0.12], 0.4: [0.20, 0.24]}))
    tied = means.tied()
    assert tied[8, 0.1] == tied[8, 0.2] == pytest.approx(0.115)
    assert tied[8, 0.4] == pytest.approx(0.22)
    assert means.share_tied() == pytest.approx(2 / 3)


def test_the_noise_of_seeds_is_recovered_from_a_handful_of_each():
    draw = np.random.default_rng(0)
    rates = np.geomspace(0.01, 1, 40)
    table = _seeds({r: (0.1 + 0.01 * draw.standard_normal(3)).tolist() for r in rates})
    assert means_of(table).noise * 0.1 == pytest.approx(0.01, rel=0.2)


def test_what_a_table_cannot_tell_is_said():
    """Wine has 35 validation examples; five seeds of digits agree."""
    tables = ROOT / "benchmarks" / "tables"
    wine = untold(read_table(tables / "wine_sgd.csv.gz"))
    assert [what.split()[0] for what in wine] == ["hypervolume", "regret"]
    assert untold(read_table(tables / "digits_sgd_momentum.csv.gz")) == []


def test_a_search_with_a_budget_keeps_it_and_skips_what_it_cannot_afford(table):
    budget = 0.9 * max(costs_of(table).values())
    found = come(table, budget, seed=0, plans=True)
    assert found.runs > come(table, budget, seed=0, plans=False).runs - 2
    assert 0.5 < found.hypervolume <= 1


def test_the_truth_of_an_end_is_that_of_the_table(table):
    axes = axes_with_ties(table)
    best = {
        size: min((e, rate) for (b, rate), (e, *_) in axes[0].items() if b == size)[1]
        for size in table.batch_sizes
    }
    played = [
        Played(run=table.nearest(size, rate, 0), completed=True, train_seconds=1.0)
        for size, rate in best.items()
    ]
    truth = Truth(table, axes, dict.fromkeys(best, 0.005))
    assert truth.is_true(played)
    assert not truth.sizes(played[1:])
    stopped = [replace(one, completed=False) for one in played]
    assert truth.sizes(stopped)
    assert not truth.volume(stopped)


@pytest.mark.parametrize("kind", PAST)
def test_a_search_that_starts_warm_ends_where_it_has_enough(table, kind, monkeypatch):
    monkeypatch.setattr("benchmarks.warm_start.EARLIER_TRIALS", 8)
    monkeypatch.setattr("benchmarks.warm_start.MAX_TRIALS", 5)
    trials = earlier(table, 0)
    past = past_of(kind, table, trials, table, trials)
    assert [one.source for one in past] == {"both": ["inverted", "same"], "none": []}.get(
        kind, [kind]
    )
    score = warm(table, past, 0)
    assert score.n_trials == 5 or "seconds_to_95" in score.reached


def test_an_inverted_study_has_its_best_run_last(table):
    trials = [t for t in earlier(table, 0)[:8] if t.values is not None]
    told = [t.values[0] for t in trials]
    turned = [t.values[0] for t in inverted(trials)]
    assert told.index(max(told)) == turned.index(min(turned))
    assert sorted(turned) == pytest.approx(sorted(max(told) + min(told) - v for v in told))


def test_paused_runs_of_a_search_go_on_and_are_paid_for_once(table):
    free, pausing = (
        Playback(table, name="random", pruner=name, seed=0) for name in ("none", "front-paused")
    )
    whole = [free.next() for _ in range(60)]
    begun = [pausing.next() for _ in range(60)]
    gone_on = list(pausing.goes_on())
    assert [p.run for p in begun] == [p.run for p in whole]
    n_paused = sum(not p.completed for p in begun)
    assert 0 < len(gone_on) < n_paused
    assert all(p.train_seconds > 0 for p in gone_on)
    assert {id(p.run) for p in gone_on} <= {id(p.run) for p in begun if not p.completed}
    spent = sum(p.train_seconds for p in [*begun, *gone_on])
    assert spent < sum(p.train_seconds for p in whole)


def test_a_killed_member_is_told_from_the_rest_by_its_seeds_or_was_lucky(table):
    """Only where its grid point is better than every one that ran and costs no more."""
    means, size = means_of(table), table.batch_sizes[0]
    by_error = sorted(table.learning_rates(size), key=lambda rate: means.errors[size, rate])
    best, worst = (table.runs[size, by_error[n], 0] for n in (0, -1))
    assert is_told_lost(table, best, [worst])
    assert not is_told_lost(table, best, [worst, best])
    assert not is_told_lost(table, worst, [best])


@pytest.mark.slow
def test_runs_that_are_recorded_together_are_those_recorded_alone():
    objective = ready(made_task())
    group = [
        TrialParams(batch_size=16, learning_rate=rate, epochs=3, seed=1, device="cpu")
        for rate in (0.01, 0.1)
    ]
    alone, together = (recorded(objective, group, together=way) for way in (False, True))
    for one, same in zip(alone, together, strict=True):
        assert (one.total_steps, one.failed) == (same.total_steps, same.failed)
        for (losses, metric), (same_losses, same_metric) in zip(
            one.epochs, same.epochs, strict=True
        ):
            assert losses == pytest.approx(same_losses, rel=1e-3)
            assert metric == pytest.approx(same_metric, abs=0.04)
