"""Budgets and memory: what is cut, what is refused, and what is told infeasible."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from batchfront.objectives.length import Length
from batchfront.objectives.load import load_objective
from batchfront.objectives.probes.cost import probe
from batchfront.study.cli.main import main
from batchfront.study.errors import StudyError
from batchfront.study.plan.agreement import AGREEMENT
from batchfront.study.plan.budgets import Budgets, cut_by_cost, parse_bytes
from batchfront.study.plan.choices import SAMPLERS
from batchfront.study.plan.limits import Limits
from batchfront.study.plan.sizes import powers_of_two
from batchfront.study.plan.space import SearchSpace
from batchfront.study.probes.prober import Prober
from batchfront.study.trials.hardware import known_hardware, store_costs, stored_costs

from ..conftest import study_of
from ..known import known_cost, known_costs

DIGITS = ("run", "--epochs", "2", "--batch-sizes", "64:512", "--sampler", "random")
pytestmark = pytest.mark.usefixtures("journal")


@pytest.mark.parametrize(
    ("text", "size"),
    [("2GiB", 2**31), ("500MB", 5 * 10**8), ("1.5 KiB", 1536), ("1048576", 2**20), ("1gb", 10**9)],
)
def test_sizes_of_memory_are_read_with_their_unit(text, size):
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "GiB", "-1GiB", "2 bananas", "0", "1..2MB"])
def test_bad_sizes_of_memory_are_refused(text):
    with pytest.raises(StudyError, match="max_memory"):
        parse_bytes(text)


def test_the_space_is_cut_to_what_budgets_allow():
    space = SearchSpace(batch_sizes=powers_of_two(1, 64))
    costs = known_costs(1, 2, 4, 8, 16, 32, 64)  # memory grows, time falls with the size
    budgets = Budgets(max_memory_bytes=32_000, max_seconds=0.3)
    assert cut_by_cost(space, costs, budgets).batch_sizes == powers_of_two(4, 32)
    costs[32] = known_cost(32, None)
    assert cut_by_cost(space, costs, Budgets()).batch_sizes == powers_of_two(1, 64)
    costs[64] = known_cost(64, None)
    assert cut_by_cost(space, costs, Budgets()).batch_sizes == powers_of_two(1, 16)


def test_what_breaks_a_budget_closes_the_sizes_beyond_it_whose_probe_failed():
    space, failed = SearchSpace(batch_sizes=powers_of_two(1, 64)), {"error": "ValueError: no"}
    costs = known_costs(1, 2, 4, 8, 16, 32, 64)
    for size in (1, 8, 64):
        unknown = replace(known_cost(size, None, **failed), predicted_peak_memory_bytes=None)
        costs[size] = unknown

    def cut(budgets):
        return cut_by_cost(space, costs, budgets).batch_sizes

    assert cut(Budgets()) == powers_of_two(1, 64)
    assert cut(Budgets(max_memory_bytes=20_000)) == powers_of_two(1, 16)
    assert cut(Budgets(max_memory_bytes=5_000)) == powers_of_two(1, 8)
    assert cut(Budgets(max_memory_bytes=32_000)) == powers_of_two(1, 64)
    assert cut(Budgets(max_seconds=0.3)) == powers_of_two(4, 64)
    limits = Limits(
        costs=costs,
        budgets=Budgets(max_memory_bytes=20_000, max_seconds=0.3),
        failed_size=None,
        device_bytes=10**9,
    )
    excused = [size for size in costs if limits.excuse(size) is not None]
    assert excused == [1, 2, 32, 64]
    assert limits.excuse(64).verdict == "over_budget"


def test_what_ran_out_of_memory_closes_larger_sizes_unless_they_have_completed():
    limits = Limits(
        costs=known_costs(8, 16, 32, 64),
        budgets=Budgets(),
        failed_size=16,
        device_bytes=10**9,
        completed=frozenset({8, 16, 32}),
    )
    assert [size for size in (8, 16, 32, 64) if limits.excuse(size)] == [16, 64]


def test_time_closes_no_size_where_runs_may_end_early():
    limits = Limits(
        costs=known_costs(8, 16),
        budgets=Budgets(max_seconds=0.1, max_memory_bytes=10_000),
        failed_size=None,
        device_bytes=10**9,
    )
    assert [size for size in (8, 16) if limits.excuse(size)] == [8, 16]
    early = replace(limits, stops_early=True)
    assert [size for size in (8, 16) if early.excuse(size)] == [16]


def test_a_space_of_which_nothing_is_left_names_the_cheapest():
    with pytest.raises(StudyError, match=r"least memory is 0\.977 KiB, max_memory allows 500 B"):
        cut_by_cost(SearchSpace(), known_costs(1, 2), Budgets(max_memory_bytes=500))


def test_the_grade_of_an_excuse_grows_with_the_distance():
    limits = Limits(
        costs=known_costs(8, 16), budgets=Budgets(), failed_size=32, device_bytes=10**9
    )  # fmt: skip
    assert limits.excuse(16) is None
    grades = [limits.excuse(size).grade for size in (32, 64, 128)]
    assert grades == sorted(grades)
    assert grades[0] > 4
    budget = Limits(
        costs=known_costs(8, 16),
        budgets=Budgets(max_memory_bytes=10_000),
        failed_size=None,
        device_bytes=10**9,
    )
    assert budget.excuse(16).grade == pytest.approx(4.6)
    assert budget.excuse(8) is None


def test_sizes_that_cannot_fit_are_predicted_and_never_run(monkeypatch):
    digits = load_objective("digits", device="cpu")
    free = 1.05 * digits.predict_peak_bytes(128)  # it would just fit, and nine tenths are safe
    monkeypatch.setattr("batchfront.study.probes.prober.usable_memory_bytes", lambda device: free)
    prober = Prober(digits, length=Length(amount=2), device="cpu", rate=1e-4)
    costs = prober.sizes([32, 64, 128, 256])
    assert [costs[size].cannot_fit for size in (32, 64, 128, 256)] == [False, False, True, True]
    assert costs[128].predicted_peak_memory_bytes < free < costs[256].predicted_peak_memory_bytes
    assert costs[128].peak_memory_bytes is None


def test_memory_and_time_budgets_cut_the_space_for_good(workdir, rows, capsys):
    argv = [*DIGITS, "--n-trials", "6", "--max-memory", "300KiB", "--max-seconds", "60"]
    assert main(argv) == 0
    said = capsys.readouterr().err
    assert "budgets: memory at most 300 KiB, time at most 60 s" in said
    assert "64..512 were cut to what data, memory and budgets allow: 64..128" in said
    assert {row["batch_size"] for row in rows("export")} <= {64, 128}
    assert main([*argv[:-6], "--n-trials", "7"]) == 0, "a bare rerun keeps the budgets"
    assert main([*argv, "--n-trials", "8"]) == 0, "and so does the same command"
    assert {row["batch_size"] for row in rows("export")} <= {64, 128}
    assert main([*argv, "--max-memory", "1MiB", "--n-trials", "9"]) == 2
    assert "other budgets" in capsys.readouterr().err


def test_a_budget_nothing_can_keep_is_one_line_and_creates_nothing(workdir, capsys):
    assert main([*DIGITS, "--max-memory", "1KiB"]) == 2
    assert "no batch size fits: the least memory is 176 KiB" in capsys.readouterr().err
    assert not (workdir / "runs").exists()


BEYOND = 2**20  # bytes that a device loses besides the model's peak


@pytest.fixture
def on_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Probes tell what an accelerator loses, as they do on one."""

    def probed(*args, **options):
        cost = probe(*args, **options)
        return replace(cost, device_memory_bytes=cost.peak_memory_bytes + BEYOND)

    monkeypatch.setattr("batchfront.study.probes.prober.probe", probed)


@pytest.mark.usefixtures("on_a_device")
def test_a_new_studys_memory_budget_is_held_against_what_a_device_loses(workdir, rows, capsys):
    with_it = 300 * 1024 + BEYOND
    assert main([*DIGITS, "--n-trials", "3", "--max-memory", str(with_it)]) == 0
    assert "64..512 were cut to what data, memory and budgets allow: 64..128" in (
        capsys.readouterr().err
    )
    costs = {row["batch_size"]: row for row in rows("probe")}
    for size, row in costs.items():
        assert row["device_memory_bytes"] == row["peak_memory_bytes"] + BEYOND
        if size > 64:  # of the smallest nothing is known before
            assert row["predicted_device_memory_bytes"] == pytest.approx(
                row["device_memory_bytes"], rel=0.01
            )
    assert main(["probe"]) == 0
    said = capsys.readouterr().out
    assert "device loses" in said
    assert max(map(len, said.splitlines())) <= 110
    for row in rows("export"):
        assert row["state"] == "COMPLETE"
        assert row["device_memory_bytes"] == costs[row["batch_size"]]["device_memory_bytes"]
    assert main([*DIGITS, "--study-name", "none", "--max-memory", "400KiB"]) == 2
    assert "no batch size fits: the least memory is 1.17 MiB" in capsys.readouterr().err


def test_a_study_of_format_4_keeps_the_budget_on_the_models_peak(workdir, rows):
    """Though its sizes have been probed again since, on a device."""
    assert main([*DIGITS, "--n-trials", "2", "--max-memory", "300KiB"]) == 0
    study = study_of("digits")
    record = study.user_attrs[AGREEMENT]
    assert record["format"] == 5
    study.set_user_attr(AGREEMENT, {**record, "format": 4})
    (hardware,) = known_hardware(study)
    costs = stored_costs(study, hardware)
    beyond = {
        size: replace(cost, device_memory_bytes=cost.peak_memory_bytes + BEYOND)
        for size, cost in costs.items()
    }
    store_costs(study, hardware, beyond)
    assert main([*DIGITS, "--n-trials", "4"]) == 0
    exported = rows("export")
    assert [row["state"] for row in exported] == ["COMPLETE"] * 4
    assert all(row["device_memory_bytes"] > BEYOND for row in exported[2:])
    assert all(t.constraints == {"stopped": 0.0} for t in study_of("digits").trials)
    assert study_of("digits").user_attrs[AGREEMENT]["format"] == 4
    study_of("digits").set_user_attr(AGREEMENT, record)
    assert main([*DIGITS, "--n-trials", "5"]) == 1, "by the newer rule no size is left"


def test_a_trial_that_measured_itself_is_held_against_what_its_device_lost():
    budgets = Budgets(max_memory_bytes=1000)
    assert budgets.held((0.9, 1.0, 800.0), 1200) == (0.9, 1.0, 1200.0)
    assert budgets.held((0.9, 1.0, 800.0), None) == (0.9, 1.0, 800.0), "a CPU"
    assert replace(budgets, of_device=False).held((0.9, 1.0, 800.0), 1200)[2] == 800.0
    assert "of_device" not in budgets.as_dict()


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_runs_below_the_minimum_are_complete_infeasible_and_off_the_front(workdir, rows, sampler):
    argv = ["run", "--epochs", "2", "--batch-sizes", "256:512", "--sampler", sampler]
    assert main([*argv, "--n-trials", "12", "--min-accuracy", "0.5"]) == 0
    study = study_of("digits")
    complete = [t for t in study.trials if t.state.name == "COMPLETE"]
    below = [t for t in complete if t.values[0] < 0.5]
    assert below
    for trial in below:
        grade = trial.constraints["stopped"]
        assert grade == pytest.approx(4 + (0.5 - trial.values[0]) / 0.5)
        assert trial.system_attrs["constraints"] == [grade], "as optuna-dashboard reads it"
    for trial in (t for t in complete if t.values[0] >= 0.5):
        assert trial.constraints == {"stopped": 0.0}
    front = {row["number"] for row in rows("front")}
    assert front
    assert not front & {t.number for t in below}


OUT_OF_MEMORY = """
    import torch

    def objective(params, run):
        run.begin(20 * params.epochs, baseline_loss=1.0)
        for epoch in range(params.epochs):
            if params.batch_size > 16 and {condition}:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB")
            for _ in range(20):
                run.step(0.5)
            run.report(0.5 + params.learning_rate / 10)
"""


@pytest.fixture
def even_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    """One speed at every size: what a sampler draws then depends on no clock."""
    monkeypatch.setattr(
        "batchfront.study.probes.prober.probe",
        lambda *args, **options: replace(probe(*args, **options), step_seconds=0.001, busy=1.0),
    )


@pytest.mark.usefixtures("even_probes")
@pytest.mark.parametrize(
    "sampler",
    [
        pytest.param(name, marks=[] if name == "cost-aware" else [pytest.mark.slow])
        for name in SAMPLERS
    ],
)
def test_running_out_of_memory_is_evidence_and_happens_at_most_three_times(
    write_task: Callable[[str], str], rows, sampler
):
    """It happens late in real runs only, where no probe sees it."""
    late = "epoch == params.epochs - 1 and type(run).__name__ == 'Run'"
    name = write_task(OUT_OF_MEMORY.format(condition=late))
    argv = ["run", "--task", name, "--epochs", "4", "--sampler", sampler, "--n-trials"]
    assert main([*argv, "12" if sampler == "gp" else "24"]) == 0
    exported = rows("export")
    failed = [r for r in exported if r["state"] == "FAIL"]
    assert {r["fail_reason"] for r in failed} == {"crowded_out"}, "twice at each size"
    dead = [r for r in exported if r["verdict"] == "out_of_memory"]
    real = [r for r in dead if not r["predicted"]]
    assert 1 <= len(real) <= 3
    assert len(failed) <= 2 * len(real)
    assert all(r["batch_size"] > 16 for r in dead)
    assert all(r["state"] == "PRUNED" for r in dead)
    smallest = min(r["batch_size"] for r in real)
    assert all(r["batch_size"] >= smallest for r in dead if r["predicted"])
    (row,) = rows("ls")
    assert row["n_trials"] == (12 if sampler == "gp" else 24), "predicted ones do not count"


CROWDED = """
    import os

    def objective(params, run):
        run.begin(20 * params.epochs, baseline_loss=1.0)
        for epoch in range(params.epochs):
            if epoch == 1 and {condition} and type(run).__name__ == "Run":
                open("seen", "a").write("x")
                raise ValueError("fold 3") from RuntimeError("CUBLAS_STATUS_ALLOC_FAILED")
            for _ in range(20):
                run.step(0.5)
            run.report(0.5 + params.learning_rate / 10)
"""


def test_memory_that_something_else_takes_for_a_while_closes_no_size(write_task, rows, capsys):
    """At a size that its probe has measured: twice, and then it is there again."""
    seen = "not (os.path.exists('seen') and os.path.getsize('seen') >= 2)"
    name = write_task(CROWDED.format(condition=seen))
    argv = ["run", "--task", name, "--epochs", "4", "--batch-sizes", "8:32", "--sampler", "random"]
    assert main([*argv, "--n-trials", "5"]) == 0
    said = capsys.readouterr().err
    exported = rows("export")
    assert [r["fail_reason"] for r in exported[:2]] == ["crowded_out"] * 2
    assert {r["state"] for r in exported[2:]} == {"COMPLETE"}
    assert len(exported) == 7, "what found no memory does not count"
    again = exported[2]
    assert again["retry_of"] == 0
    assert again["learning_rate"] == exported[0]["learning_rate"]
    assert said.count("known to fit: something else uses the memory") == 2


def test_memory_that_is_never_there_is_evidence_the_third_time(write_task, rows):
    name = write_task(CROWDED.format(condition="params.batch_size == 16"))
    argv = ["run", "--task", name, "--epochs", "4", "--batch-sizes", "8:32", "--sampler", "random"]
    assert main([*argv, "--n-trials", "20", "--seed", "3"]) == 0
    exported = rows("export")
    assert sum(r["fail_reason"] == "crowded_out" for r in exported) == 2
    real = [r for r in exported if r["verdict"] == "out_of_memory" and not r["predicted"]]
    assert [r["batch_size"] for r in real] == [16]
    assert not [r for r in exported if r["batch_size"] == 8 and r["verdict"] == "out_of_memory"]


def test_sizes_whose_probe_runs_out_of_memory_are_cut(write_task, rows, capsys):
    name = write_task(OUT_OF_MEMORY.format(condition="True"))
    assert main(["run", "--task", name, "--epochs", "2", "--n-trials", "8"]) == 0
    assert "allow: 1..16" in capsys.readouterr().err
    assert {r["state"] for r in rows("export")} == {"COMPLETE"}


def test_where_nothing_can_run_a_worker_gives_up_and_fails_no_trial(
    write_task, rows, capsys, monkeypatch
):
    monkeypatch.setattr("batchfront.study.workers.telling.MAX_REFUSALS", 3)
    name = write_task(OUT_OF_MEMORY.format(condition="type(run).__name__ == 'Run'"))
    argv = ["run", "--task", name, "--batch-sizes", "32:64", "--epochs", "1"]
    assert main([*argv, "--sampler", "random", "--n-trials", "9"]) == 1
    assert "3 proposals in a row cannot run: batch size" in capsys.readouterr().err
    exported = [r for r in rows("export") if r["fail_reason"] != "crowded_out"]
    assert {(r["state"], r["verdict"]) for r in exported} == {("PRUNED", "out_of_memory")}
    assert [r["predicted"] for r in exported[-3:]] == [True] * 3


def test_what_lies_beyond_a_peak_is_that_of_its_own_size_or_of_smaller_ones():
    known = {
        size: known_cost(size, memory=10, device_memory_bytes=10 * size + beyond)
        for size, beyond in ((64, 600), (256, 1200), (512, 3000))
    }
    budgets = Budgets(max_memory_bytes=5000)
    found = {size: budgets.beyond_peak(known, size) for size in (32, 64, 128, 256, 512, 1024)}
    assert found == {32: 0, 64: 600, 128: 600, 256: 1200, 512: 3000, 1024: 3000}
    assert replace(budgets, of_device=False).beyond_peak(known, 512) == 0
