"""Studies whose batch size grows: times sum over phases, memory is that of the largest."""

from __future__ import annotations

import pickle
from typing import Any

import optuna
import pytest
from optuna.distributions import IntDistribution
from optuna.trial import TrialState

from batchfront.objectives.length import Length
from batchfront.objectives.load import load_objective
from batchfront.objectives.measurement import Phase, TrialParams
from batchfront.objectives.probes.cost import Cost, probe
from batchfront.objectives.training.recipe import Recipe
from batchfront.objectives.training.schedules import Growth
from batchfront.study.cli.main import main
from batchfront.study.plan.limits import smallest_out_of_memory
from batchfront.study.trials.costs import SizeCost
from batchfront.study.trials.growing import cost_of, growth_of, whole_runs
from batchfront.study.trials.hardware import stored_costs

from ..conftest import study_of

pytestmark = pytest.mark.usefixtures("journal")


def costs(*sizes: int) -> dict[int, SizeCost]:
    """A step of B examples takes 1 + B milliseconds and holds 1000 B bytes."""
    return {
        size: SizeCost(
            batch_size=size,
            step_seconds=(1 + size) / 1000,
            peak_memory_bytes=1000 * size,
            predicted_peak_memory_bytes=None,
            total_steps=64 // size,
        )
        for size in sizes
    }


PHASES = (Phase(4, 2, 32), Phase(8, 1, 8), Phase(16, 1, 4))


def test_time_sums_over_phases_and_memory_is_that_of_the_largest():
    cost = cost_of(PHASES, costs(4, 8, 16))
    assert cost is not None
    assert cost.train_seconds == pytest.approx(32 * 0.005 + 8 * 0.009 + 4 * 0.017)
    assert (cost.batch_size, cost.total_steps, cost.peak_memory_bytes) == (4, 44, 16000)


def test_a_run_through_a_size_that_nobody_probed_has_no_known_cost():
    assert cost_of(PHASES, costs(4, 8)) is None


def test_what_a_doubling_run_costs_is_known_before_it_starts():
    growth = Growth(schedule="doubling", length=Length(amount=4, n_train=64))
    found = whole_runs(costs(4, 8, 16, 32), growth)
    assert found[4] == cost_of((Phase(4, 2, 32), Phase(8, 1, 8), Phase(16, 1, 4)), costs(4, 8, 16))
    assert found[32] == costs(32)[32]  # 64 was not probed: as if it stayed


def test_a_run_that_follows_its_noise_costs_at_least_its_quickest_growth():
    growth = Growth(schedule="noise-scale", length=Length(amount=4, n_train=64))  # up to 8
    found = whole_runs(costs(2, 4, 8), growth)
    assert found[2].train_seconds == pytest.approx(32 * 0.003 + 3 * 8 * 0.009)


def ran(name: str, *args: str) -> tuple[optuna.Study, Any]:
    size = ("--batch-sizes", "16:128", "--epochs", "4")
    assert main(["run", "--study-name", name, "--n-trials", "3", *size, *args]) == 0
    study = study_of(name)
    hardware = study.trials[0].user_attrs["hardware"]
    return study, stored_costs(study, hardware)


@pytest.mark.parametrize("schedule", ["doubling", "noise-scale"])
def test_trials_are_told_the_sum_of_what_their_phases_are_known_to_cost(workdir, rows, schedule):
    study, known = ran(schedule, "--schedule", schedule, "--learning-rates", "0.03:0.1")
    assert set(known) >= {16, 32, 64, 128}
    assert schedule == "noise-scale" or {256, 512} <= set(known)  # what runs grow to
    grown = [t for t in study.trials if "phases" in t.user_attrs and t.values]
    assert grown
    for trial in grown:
        phases = [Phase(*phase) for phase in trial.user_attrs["phases"]]
        assert phases[0].batch_size == trial.params["batch_size"]
        assert sum(phase.epochs for phase in phases) == 4
        seconds = sum(known[p.batch_size].step_seconds * p.steps for p in phases)
        assert trial.values[1] == pytest.approx(seconds)
        assert trial.values[2] == known[phases[-1].batch_size].peak_memory_bytes
    assert main(["run", "--study-name", schedule, "--n-trials", "4"]) == 0  # a bare rerun goes on
    front = rows("front", "--study-name", schedule)
    own = {row["number"]: row for row in front}
    for trial in grown:
        if trial.number in own:  # at what phases are known to cost today
            study = study_of(schedule)
            today = stored_costs(study, trial.user_attrs["hardware"])
            cost = cost_of([Phase(*p) for p in trial.user_attrs["phases"]], today)
            assert cost is not None
            assert own[trial.number]["train_seconds"] == pytest.approx(cost.train_seconds)


LOADERS = """
from tests.objectives.loading.people import loaders, task_of

task = task_of(loaders=loaders)
"""


@pytest.mark.slow
def test_what_doubling_costs_on_loaders_is_known_by_the_batches_they_say(workdir):
    (workdir / "mine.py").write_text(LOADERS)
    args = ("--batch-sizes", "4,6", "--epochs", "4", "--schedule", "doubling", "--n-trials", "3")
    assert main(["run", "--study-name", "own", "--task", "mine.py", *args]) == 0
    study = study_of("own")
    task = load_objective("mine.py", device="cpu", recipe=Recipe(schedule="doubling"))
    growth = growth_of(task, Length(amount=4), (4, 6))
    assert growth == pickle.loads(pickle.dumps(growth))  # workers have it, too
    foretold = whole_runs(stored_costs(study, study.trials[0].user_attrs["hardware"]), growth)
    for trial in study.trials:
        size = trial.params["batch_size"]
        steps = 2 * -(-50 // size) + -(-50 // (2 * size)) + -(-50 // (4 * size))  # of 50 examples
        assert sum(phase[2] for phase in trial.user_attrs["phases"]) == steps
        assert foretold[size].total_steps == steps
        assert trial.values[1] == pytest.approx(foretold[size].train_seconds)
        assert trial.values[2] == foretold[size].memory


def test_another_schedule_is_refused(workdir, capsys):
    ran("one", "--schedule", "doubling")
    assert main(["run", "--study-name", "one", "--schedule", "constant"]) == 2
    assert "recipe" in capsys.readouterr().err


def test_a_warm_up_longer_than_a_run_is_refused(workdir, capsys):
    assert main(["run", "--warmup-examples", "9999", "--epochs", "2"]) == 2
    assert "warmup_examples is 9999, and a run sees 2158 in all" in capsys.readouterr().err
    assert main(["run", "--warmup-examples", "500", "--epochs", "2", "--n-trials", "1",
                 "--batch-sizes", "64:128"]) == 0  # fmt: skip


def test_a_run_that_grows_beyond_what_was_probed_measures_its_own_memory(workdir, monkeypatch):
    def only_small(objective: Any, params: TrialParams, **options: Any) -> Cost:
        if params.batch_size > 256:
            raise ValueError("not this one")
        return probe(objective, params, **options)

    monkeypatch.setattr("batchfront.study.probes.prober.probe", only_small)
    args = ("--epochs", "4", "--batch-sizes", "256", "--schedule", "doubling")
    assert main(["run", *args, "--n-trials", "1"]) == 0
    trial = study_of("digits").trials[0]
    assert trial.user_attrs["phases"][-1][0] > 256
    assert trial.values[2] > 0


def test_an_adaptive_run_that_ran_out_of_memory_says_nothing_of_the_size_it_started_with():
    def dead(size: int, **more: Any) -> optuna.trial.FrozenTrial:
        return optuna.create_trial(
            state=TrialState.PRUNED,
            params={"log2_batch_size": size.bit_length() - 1},
            distributions={"log2_batch_size": IntDistribution(0, 9)},
            user_attrs={"verdict": "out_of_memory", "hardware": "here", **more},
        )

    assert smallest_out_of_memory([dead(8, schedule="noise-scale"), dead(64)], "here") == 64
