"""Recorded curves as an objective."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from batchfront.objectives.curves.replay import STEPS_PER_EPOCH, ReplayObjective
from batchfront.objectives.curves.table import RecordedRun, Table
from batchfront.objectives.load import load_objective
from batchfront.objectives.measurement import ObjectiveError, TrialParams, Verdict
from batchfront.objectives.probes.cost import probe
from batchfront.objectives.run import Run

from ..conftest import train

ROOT = Path(__file__).resolve().parents[3]


def recorded(losses, values, *, seed=0, size=16, rate=0.05) -> RecordedRun:
    return RecordedRun(
        batch_size=size,
        learning_rate=rate,
        seed=seed,
        train_loss=tuple(losses),
        val_accuracy=tuple(values),
        train_seconds=tuple(0.5 * n for n in range(1, len(losses) + 1)),
        peak_memory_bytes=4321,
    )


def replay(*runs: RecordedRun, **said: Any) -> ReplayObjective:
    by_key = {(r.batch_size, r.learning_rate, r.seed): r for r in runs}
    table = Table(task="made", optimizer="sgd", runs=by_key, **said)
    return ReplayObjective(table, name="made.csv")


GOOD = recorded([2.3, 1.0, 0.5, 0.4], [0.2, 0.5, 0.8, 0.9])


def test_a_replay_reports_the_recorded_curve_time_and_memory():
    result = train(replay(GOOD), epochs=4).result()
    assert result.verdict is Verdict.COMPLETED
    assert result.metric_curve == (0.2, 0.5, 0.8, 0.9)
    assert result.train_seconds == pytest.approx(2.0)
    assert result.peak_memory_bytes == 4321
    assert result.steps == result.total_steps == 4 * STEPS_PER_EPOCH


def test_fewer_epochs_play_the_first_ones():
    result = train(replay(GOOD), epochs=2).result()
    assert result.metric_curve == (0.2, 0.5)
    assert result.train_seconds == pytest.approx(1.0)


def test_a_replay_says_what_it_can_train_with():
    objective = replay(GOOD, recorded([1.0], [0.5], size=64))
    assert objective.max_epochs == 4
    assert objective.batch_sizes == (16, 64)


def test_the_seed_picks_a_recorded_seed():
    other = recorded([2.3, 1.0, 0.5, 0.4], [0.1, 0.1, 0.1, 0.7], seed=5)
    objective = replay(GOOD, other)
    ends = [train(objective, epochs=4, seed=s).result().metric for s in range(4)]
    assert ends == [0.9, 0.7, 0.9, 0.7]


@pytest.mark.parametrize(
    "run",
    [
        recorded([2.3, math.nan], [0.2, math.nan], seed=1),
        recorded([2.3, 5.0], [0.2, math.nan], seed=1),
        recorded([2.3], [0.2], seed=1),
    ],
    ids=["nan loss", "nan metric", "no further rows"],
)
def test_a_run_that_went_non_finite_does_so_again(run):
    result = train(replay(GOOD, run), epochs=4, seed=1).result()
    assert result.verdict is Verdict.NON_FINITE
    assert result.metric_curve == (0.2,)
    assert 0.5 < result.train_seconds <= 1.0


def test_the_divergence_guard_stops_a_recorded_run_that_never_learns():
    stuck = recorded([2.4] * 4, [0.1] * 4, seed=1)
    result = train(replay(GOOD, stuck), epochs=4, seed=1).result()
    assert result.verdict is Verdict.STALLED
    assert len(result.metric_curve) < 4


def test_one_bad_epoch_is_not_divergence():
    bad = recorded([2.0, 9.9] + [1.0] * 18, [0.2, 0.1] + [0.5] * 18)
    assert train(replay(bad), epochs=20).result().verdict is Verdict.COMPLETED
    two = recorded([2.0, 9.9, 9.9] + [1.0] * 17, [0.2, 0.1, 0.1] + [0.5] * 17)
    assert train(replay(two), epochs=20).result().verdict is Verdict.DIVERGED


@pytest.mark.parametrize(
    ("said", "steps"),
    [
        ({}, 4 * STEPS_PER_EPOCH),
        ({"n_train": 40}, 40 * 4 // 16),
        ({"n_train": 4000}, 4 * STEPS_PER_EPOCH),
        ({"unit": "examples", "amount": 100}, 100 // 16),
        ({"unit": "examples", "amount": 12}, 4),  # less than a batch
        ({"unit": "steps", "amount": 9}, 9),
        ({"unit": "steps", "amount": 2}, 4),
        ({"unit": "tokens", "amount": 9}, 4 * STEPS_PER_EPOCH),
    ],
    ids=str,
)
def test_a_replay_takes_no_more_steps_than_the_run_did(said, steps):
    result = train(replay(GOOD, **said), epochs=4).result()
    assert result.steps == result.total_steps == steps
    assert result.metric_curve == (0.2, 0.5, 0.8, 0.9)
    assert result.train_seconds == pytest.approx(2.0)


def test_a_run_of_few_steps_is_judged_by_as_few():
    """Its loss is above the constant predictor's for a fifth of 44 steps, 5 of its 25 epochs."""
    slow = recorded([0.9] * 5 + [0.5] * 20, [0.5] * 5 + [0.8] * 20, size=512)
    usual = recorded([0.69] * 25, [0.5] * 25, size=512, rate=1e-4)

    def verdict_of(**said: Any) -> Verdict:
        objective = replay(slow, usual, **said)
        return train(objective, epochs=25, batch_size=512, learning_rate=0.05).result().verdict

    assert verdict_of() is Verdict.STALLED
    assert verdict_of(n_train=900) is Verdict.COMPLETED


@pytest.mark.parametrize("said", [{"n_train": 16}, {"unit": "examples", "amount": 40}], ids=str)
def test_a_run_of_few_steps_that_went_non_finite_does_so_again(said):
    lost = recorded([2.3], [0.2], seed=1)
    result = train(replay(GOOD, lost, **said), epochs=4, seed=1).result()
    assert result.verdict is Verdict.NON_FINITE


def test_a_probe_takes_the_recorded_cost_without_playing():
    params = TrialParams(batch_size=16, learning_rate=0.05, epochs=4, seed=0, device="cpu")
    cost = probe(replay(GOOD), params, metric="val_accuracy", seconds=1.0)
    assert cost.step_seconds * cost.total_steps == pytest.approx(2.0)
    assert cost.peak_memory_bytes == 4321
    assert cost.busy == 1.0


def test_a_replay_needs_no_torch():
    code = (
        "import sys, batchfront.objectives.curves.replay as c, batchfront.objectives.run as r\n"
        "from batchfront import TrialParams\n"
        "o = c.load_replay(__import__('pathlib').Path(sys.argv[1]))\n"
        "with r.Run(measure_memory=False) as run:\n"
        "    o(TrialParams(batch_size=8, learning_rate=.01, epochs=9, seed=0, device=''), run)\n"
        "assert run.result().metric > 0.9, run.result()\n"
        "print('torch' in sys.modules)"
    )
    table = ROOT / "benchmarks" / "tables" / "digits_sgd_momentum.csv.gz"
    done = subprocess.run(
        [sys.executable, "-c", code, table], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "False\n"), done.stderr


def test_a_table_is_loaded_by_its_path_and_its_content_is_its_fingerprint(tmp_path):
    source = ROOT / "benchmarks" / "tables" / "wine_sgd.csv.gz"
    path = tmp_path / "mine.csv.gz"
    path.write_bytes(source.read_bytes())
    objective = load_objective(str(path), device="cpu")
    assert (objective.name, objective.default_epochs) == ("mine.csv.gz", 15)
    assert objective.fingerprint == load_objective(str(source), device="cpu").fingerprint
    with pytest.raises(ObjectiveError, match="is not there"):
        load_objective(str(tmp_path / "absent.csv"), device="cpu")
    with pytest.raises(ObjectiveError, match="run without --compile"):
        load_objective(str(path), device="cpu", compiled=True)


def test_what_a_run_has_cost_so_far_is_free_of_its_warm_up(fake):
    run = Run(measure_memory=False)
    with run:
        run.begin(10)
        for seconds in (10.0, 1.0, 1.0):
            fake.pass_by(seconds)
            run.step(0.5)
            run.report(0.5)
        assert run.so_far() == (3.0, 0)
        assert run.share_done == 0.3


def test_a_run_says_what_it_has_cost_so_far(fake):
    run = Run(measure_memory=False)
    with run:
        run.begin(10)
        fake.pass_by(2.0)
        with run.validating():
            fake.pass_by(5.0)
            assert run.so_far() == (2.0, 0)
