"""Known costs, budgets, memory that runs out, other hardware."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import optuna
import pytest

import objectives.hardware
from objectives.load import load_objective
from study.budgets import Budgets, cut_by_cost, parse_bytes
from study.cli import main
from study.comparable import recorded_hardware, store_costs, stored_costs
from study.costs import Costs, Prober, SizeCost, advice, faster
from study.errors import StudyError
from study.limits import Limits
from study.settings import SAMPLERS
from study.space import SearchSpace

DIGITS = ("run", "--epochs", "2", "--batch-sizes", "64:512", "--sampler", "random")
STORAGE = "sqlite:///runs/batchfront.db"


def _cost(size: int, step_seconds: float | None = 0.001, memory: int = 1000, **more) -> SizeCost:
    return SizeCost(
        batch_size=size,
        step_seconds=step_seconds,
        peak_memory_bytes=None if step_seconds is None else memory * size,
        predicted_peak_memory_bytes=memory * size,
        total_steps=None if step_seconds is None else 1024 // size,
        **more,
    )


def _costs(*sizes: int, **more) -> Costs:
    return {size: _cost(size, **more) for size in sizes}


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
    space = SearchSpace(batch_sizes=(1, 64))
    costs = _costs(1, 2, 4, 8, 16, 32, 64)  # memory grows, time falls with the size
    budgets = Budgets(max_memory_bytes=32_000, max_seconds=0.3)
    assert cut_by_cost(space, costs, budgets).batch_sizes == (4, 32)
    costs[32] = _cost(32, None)
    assert cut_by_cost(space, costs, Budgets()).batch_sizes == (1, 64)
    costs[64] = _cost(64, None)
    assert cut_by_cost(space, costs, Budgets()).batch_sizes == (1, 16)


def test_a_space_of_which_nothing_is_left_names_the_cheapest():
    with pytest.raises(StudyError, match=r"least memory is 0\.977 KiB, max_memory allows 500 B"):
        cut_by_cost(SearchSpace(), _costs(1, 2), Budgets(max_memory_bytes=500))


def test_advice_names_the_smallest_fast_size_and_the_largest_that_fits():
    costs = _costs(1, 2, 4, 8)
    costs[4] = _cost(4, 0.00051)
    costs[16] = _cost(16, None)
    found = advice(costs)
    assert (found.best_throughput, found.smallest_near_best, found.largest_that_fits) == (8, 4, 8)
    assert advice({1: _cost(1, None)}) is None


def test_of_two_probes_the_faster_undisturbed_one_counts():
    slow, quick = _cost(1, 0.002), _cost(1, 0.001)
    disturbed = _cost(1, 0.0005, disturbed=True)
    assert faster(slow, quick) is quick
    assert faster(quick, disturbed) is quick
    assert faster(_cost(1, None), quick) is quick


def test_the_grade_of_an_excuse_grows_with_the_distance():
    limits = Limits(
        costs=_costs(8, 16), budgets=Budgets(), failed_size=32, device_bytes=10**9
    )  # fmt: skip
    assert limits.excuse(16) is None
    grades = [limits.excuse(size).grade for size in (32, 64, 128)]
    assert grades == sorted(grades)
    assert grades[0] > 4
    budget = Limits(
        costs=_costs(8, 16),
        budgets=Budgets(max_memory_bytes=10_000),
        failed_size=None,
        device_bytes=10**9,
    )
    assert budget.excuse(16).grade == pytest.approx(4.6)
    assert budget.excuse(8) is None


def test_sizes_that_cannot_fit_are_predicted_and_never_run(monkeypatch):
    digits = load_objective("digits", device="cpu")
    limit = digits.predict_peak_bytes(128)
    monkeypatch.setattr("study.costs.device_memory_bytes", lambda device: limit / 0.89)
    prober = Prober(digits, epochs=2, device="cpu", rate=1e-4)
    costs = prober.sizes([32, 64, 128, 256])
    assert [costs[size].cannot_fit for size in (32, 64, 128, 256)] == [False, False, False, True]
    assert costs[256].predicted_peak_memory_bytes > limit
    assert costs[256].peak_memory_bytes is None


def test_trials_of_one_size_are_told_one_time_and_one_memory(workdir, rows, monkeypatch):
    monkeypatch.setattr("study.worker.TIME_OFF", float("inf"))  # however busy this machine is
    assert main([*DIGITS, "--n-trials", "10", "--batch-sizes", "128:256"]) == 0
    exported = [r for r in rows("export") if r["state"] == "COMPLETE"]
    for size in (128, 256):
        some = [r for r in exported if r["batch_size"] == size]
        assert len(some) > 1
        assert len({(r["train_seconds"], r["peak_memory_bytes"]) for r in some}) == 1
        assert len({r["measured_seconds"] for r in some}) > 1
    (known,) = [r for r in rows("probe", "--batch-sizes", "128:256") if r["batch_size"] == 256]
    assert known["step_seconds"] * 10 == pytest.approx(
        next(r["train_seconds"] for r in exported if r["batch_size"] == 256)
    )


def test_the_probe_verb_prints_the_documented_rows_and_reuses_what_is_stored(workdir, rows, capsys):
    fresh = rows("probe", "--batch-sizes", "64:128", "--epochs", "2")
    keys = "batch_size step_seconds examples_per_second peak_memory_bytes"
    assert [list(row) for row in fresh] == [[*keys.split(), "predicted_peak_memory_bytes"]] * 2
    assert not (workdir / "runs").exists(), "a probe without a study stores nothing"
    assert main([*DIGITS, "--n-trials", "1"]) == 0
    assert rows("probe") == rows("probe")
    assert main(["probe"]) == 0
    captured = capsys.readouterr()
    assert "stored with study 'digits'" in captured.err
    assert "smallest batch size within 5% of the best throughput: " in captured.out
    assert "█" in captured.out
    assert max(map(len, captured.out.splitlines())) <= 100


def test_a_run_far_off_its_known_time_is_flagged_and_the_size_probed_again(write_task, rows):
    """As if the device were shared since: real runs take ten times as long as their probe."""
    name = write_task(
        """
        import pathlib, time

        PROBES = pathlib.Path("probes")

        def objective(params, run):
            real = type(run).__name__ == "Run"
            if not real:
                PROBES.write_text((PROBES.read_text() if PROBES.exists() else "") + "x")
            run.begin(40 * params.epochs)
            for _ in range(params.epochs):
                for _ in range(40):
                    end = time.perf_counter() + (0.01 if real else 0.001)
                    while time.perf_counter() < end:
                        pass
                    run.step(0.5)
                run.report(0.5)
        """
    )
    argv = ["run", "--task", name, "--epochs", "2", "--batch-sizes", "4"]
    assert main([*argv, "--n-trials", "1"]) == 0
    n_before = len(Path("probes").read_text())
    assert main([*argv, "--n-trials", "4"]) == 0
    assert len(Path("probes").read_text()) > n_before
    exported = rows("export")
    assert all(row["time_off"] > 3 for row in exported)
    assert len({row["train_seconds"] for row in exported}) == 1, "a slower time is not believed"


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


def test_a_budget_nothing_can_keep_is_one_line_and_creates_no_study(workdir, capsys):
    assert main([*DIGITS, "--max-memory", "1KiB"]) == 2
    assert "no batch size fits: the least memory is 176 KiB" in capsys.readouterr().err
    assert main(["ls", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_runs_below_the_minimum_are_complete_infeasible_and_off_the_front(workdir, rows, sampler):
    argv = ["run", "--epochs", "2", "--batch-sizes", "64:512", "--sampler", sampler]
    assert main([*argv, "--n-trials", "16", "--min-accuracy", "0.5"]) == 0
    study = optuna.load_study(study_name="digits", storage=STORAGE)
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


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_running_out_of_memory_is_evidence_and_happens_at_most_three_times(
    write_task: Callable[[str], str], rows, sampler
):
    """It happens late in real runs only, where no probe sees it."""
    late = "epoch == params.epochs - 1 and type(run).__name__ == 'Run'"
    name = write_task(OUT_OF_MEMORY.format(condition=late))
    argv = ["run", "--task", name, "--epochs", "4", "--sampler", sampler, "--n-trials"]
    assert main([*argv, "12" if sampler == "gp" else "40"]) == 0
    exported = rows("export")
    assert not [r for r in exported if r["state"] == "FAIL"]
    dead = [r for r in exported if r["verdict"] == "out_of_memory"]
    real = [r for r in dead if not r["predicted"]]
    assert 1 <= len(real) <= 3
    assert all(r["batch_size"] > 16 for r in dead)
    assert all(r["state"] == "PRUNED" for r in dead)
    smallest = min(r["batch_size"] for r in real)
    assert all(r["batch_size"] >= smallest for r in dead if r["predicted"])
    (row,) = rows("ls")
    assert row["n_trials"] == (12 if sampler == "gp" else 40), "predicted ones do not count"


def test_where_nothing_can_run_a_worker_gives_up_and_fails_no_trial(
    write_task, rows, capsys, monkeypatch
):
    monkeypatch.setattr("study.worker.MAX_REFUSALS", 3)
    name = write_task(OUT_OF_MEMORY.format(condition="type(run).__name__ == 'Run'"))
    argv = ["run", "--task", name, "--batch-sizes", "32:64", "--epochs", "1"]
    assert main([*argv, "--sampler", "random", "--n-trials", "9"]) == 1
    assert "3 proposals in a row cannot run: batch size" in capsys.readouterr().err
    exported = rows("export")
    assert {(r["state"], r["verdict"]) for r in exported} == {("PRUNED", "out_of_memory")}
    assert [r["predicted"] for r in exported[-3:]] == [True] * 3


def test_sizes_whose_probe_runs_out_of_memory_are_cut(write_task, rows, capsys):
    name = write_task(OUT_OF_MEMORY.format(condition="True"))
    assert main(["run", "--task", name, "--epochs", "2", "--n-trials", "8"]) == 0
    assert "allow: 1..16" in capsys.readouterr().err
    assert {r["state"] for r in rows("export")} == {"COMPLETE"}


def test_other_hardware_is_refused_unless_wanted_and_then_has_its_own_front(
    workdir, rows, capsys, monkeypatch
):
    assert main([*DIGITS, "--n-trials", "4"]) == 0
    monkeypatch.setattr(objectives.hardware, "cpu_model", lambda: "Other CPU")
    assert main([*DIGITS, "--n-trials", "8"]) == 2
    said = capsys.readouterr().err
    assert "timed on other hardware (cpu: " in said
    assert "here Other CPU" in said
    assert "--mixed-hardware" in said
    assert len(rows("export")) == 4
    assert main([*DIGITS, "--n-trials", "8", "--mixed-hardware"]) == 0
    front = rows("front")
    assert len({row["hardware"] for row in front}) == 2
    by_hardware = {row["number"]: row["hardware"] for row in rows("export")}
    assert len({by_hardware[n] for n in range(4)}) == 1
    assert {by_hardware[n] for n in range(4, 8)} & {by_hardware[0]} == set()
    assert main(["front"]) == 0
    assert "Pareto front on Other CPU [" in capsys.readouterr().out
    assert main(["report", "-o", "report.html"]) == 0
    assert (workdir / "report.html").read_text().count('class="plotly-graph-div"') == 8
    assert main([*DIGITS, "--n-trials", "9"]) == 0, "now it is known"


def test_a_front_shows_one_time_for_a_size_whose_probe_was_corrected(workdir, rows, monkeypatch):
    """As if the first probe had been disturbed, and a later one showed half its time."""
    monkeypatch.setattr("study.worker.TIME_OFF", math.inf)  # no probe is repeated but by us
    argv = ["run", "--task", "planted.py", "--epochs", "2", "--batch-sizes", "8"]
    assert main([*argv, "--n-trials", "6"]) == 0
    study = optuna.load_study(study_name="planted.py:objective", storage=STORAGE)
    (hardware,) = recorded_hardware(study)
    (told,) = {row["train_seconds"] for row in rows("export") if row["state"] == "COMPLETE"}
    costs = stored_costs(study, hardware)
    half = replace(costs[8], step_seconds=costs[8].step_seconds / 2)
    store_costs(study, hardware, {8: half})
    assert main([*argv, "--n-trials", "12"]) == 0
    exported = [row for row in rows("export") if row["state"] == "COMPLETE"]
    assert {row["train_seconds"] for row in exported} == {told, told / 2}, "told values are final"
    best = max(exported, key=lambda row: row["val_accuracy"])
    assert [(row["number"], row["train_seconds"]) for row in rows("front")] == [
        (best["number"], told / 2)
    ]
