"""Known costs, budgets, memory that runs out, other hardware."""

from __future__ import annotations

import signal
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import pytest

import batchfront.objectives.device.hardware
from batchfront.study.cli.main import main
from batchfront.study.probes import prober
from batchfront.study.probes.prober import faster
from batchfront.study.trials.costs import advice
from batchfront.study.trials.hardware import known_hardware, store_costs, stored_costs

from ..conftest import study_of
from ..known import known_cost, known_costs

DIGITS = ("run", "--epochs", "2", "--batch-sizes", "64:512", "--sampler", "random")
pytestmark = pytest.mark.usefixtures("journal")


def test_advice_names_the_smallest_fast_size_and_the_largest_that_fits():
    costs = known_costs(1, 2, 4, 8)
    costs[4] = known_cost(4, 0.00051)
    costs[16] = known_cost(16, None)
    found = advice(costs)
    assert (found.best_throughput, found.smallest_near_best, found.largest_that_fits) == (8, 4, 8)
    assert advice({1: known_cost(1, None)}) is None


def test_of_two_probes_the_faster_undisturbed_one_counts():
    slow, quick = known_cost(1, 0.002), known_cost(1, 0.001)
    disturbed = known_cost(1, 0.0005, disturbed=True)
    assert faster(slow, quick) is quick
    assert faster(quick, disturbed) is quick
    assert faster(known_cost(1, None), quick) is quick


def test_trials_of_one_size_are_told_one_time_and_one_memory(workdir, rows):
    assert main([*DIGITS, "--n-trials", "10", "--batch-sizes", "128:256"]) == 0
    exported = [r for r in rows("export") if r["state"] == "COMPLETE"]
    for size in (128, 256):
        some = [r for r in exported if r["batch_size"] == size]
        assert len(some) > 1
        assert len({(r["train_seconds"], r["peak_memory_bytes"]) for r in some}) == 1
        assert len({r["measured_seconds"] for r in some}) > 1
    (known,) = [r for r in rows("probe", "--batch-sizes", "128:256") if r["batch_size"] == 256]
    assert known["step_seconds"] * (2 * 1079 // 256) == pytest.approx(
        next(r["train_seconds"] for r in exported if r["batch_size"] == 256)
    )


def test_a_probe_of_some_sizes_or_of_another_length_leaves_what_is_known(workdir, rows, capsys):
    assert main([*DIGITS, "--n-trials", "1"]) == 0

    def stored():
        study = study_of("digits")
        (hardware,) = known_hardware(study)
        return stored_costs(study, hardware)

    before = stored()
    assert [row["batch_size"] for row in rows("probe", "--batch-sizes", "64:128")] == [64, 128]
    again = rows("probe", "--again", "--batch-sizes", "64:128")
    assert [row["batch_size"] for row in again] == [64, 128]
    after = stored()
    assert {size: after[size] for size in (256, 512)} == {s: before[s] for s in (256, 512)}
    assert after[64].step_seconds == again[0]["step_seconds"] != before[64].step_seconds
    for beside in (("--again", "--epochs", "1"), ("--batch-sizes", "512:1024")):
        capsys.readouterr()
        assert main(["probe", *beside]) == 0
        assert stored() == after
        assert ("whose runs train for 2 epochs" in capsys.readouterr().err) == ("1" in beside)


def test_the_probe_verb_prints_the_documented_rows_and_reuses_what_is_stored(workdir, rows, capsys):
    fresh = rows("probe", "--batch-sizes", "64:128", "--epochs", "2")
    keys = "batch_size step_seconds examples_per_second peak_memory_bytes evaluation_peak_bytes"
    assert [list(row) for row in fresh] == [[*keys.split(), "predicted_peak_memory_bytes"]] * 2
    assert all(row["evaluation_peak_bytes"] > row["peak_memory_bytes"] for row in fresh)
    assert not (workdir / "runs").exists(), "a probe without a study stores nothing"
    assert main([*DIGITS, "--n-trials", "1"]) == 0
    assert rows("probe") == rows("probe")
    assert main(["probe"]) == 0
    captured = capsys.readouterr()
    assert "stored with study 'digits'" in captured.err
    assert "smallest batch size within 5% of the best throughput: " in captured.out
    assert "█" in captured.out
    assert max(map(len, captured.out.splitlines())) <= 100


SLOWER_THAN_ITS_PROBE = """
    import os, pathlib, signal, time

    PROBES = pathlib.Path("probes")
    RAN = False

    def objective(params, run):
        '''Real runs take ten times as long as their probe.'''
        global RAN
        real = type(run).__name__ == "Run"
        RAN |= real
        run.begin(40 * params.epochs)
        if not real:
            {at_a_probe}
        for _ in range(params.epochs):
            for _ in range(40):
                end = time.perf_counter() + (0.01 if real else 0.001)
                while time.perf_counter() < end:
                    pass
                run.step(0.5)
            run.report(0.5)
"""


@pytest.mark.usefixtures("doubted_sizes_are_probed_again")
@pytest.mark.timed
def test_a_run_far_off_its_known_time_is_flagged_and_the_size_probed_again(
    write_task, rows, monkeypatch
):
    """As if the device were shared since: real runs take ten times as long as their probe."""
    monkeypatch.setattr("batchfront.study.probes.prober.PROBE_SECONDS", 0.15)  # as it is in use
    count = 'PROBES.write_text((PROBES.read_text() if PROBES.exists() else "") + "x")'
    name = write_task(SLOWER_THAN_ITS_PROBE.format(at_a_probe=count))
    argv = ["run", "--task", name, "--epochs", "2", "--batch-sizes", "4"]
    assert main([*argv, "--n-trials", "1"]) == 0
    n_before = len(Path("probes").read_text())
    assert main([*argv, "--n-trials", "4"]) == 0
    assert len(Path("probes").read_text()) > n_before
    exported = rows("export")
    assert all(row["time_off"] > 3 for row in exported)
    told = [row["train_seconds"] for row in exported]
    assert told == sorted(told, reverse=True), "a slower time is not believed"


@pytest.mark.usefixtures("doubted_sizes_are_probed_again")
def test_a_signal_ends_a_probe_that_is_repeated_between_trials(write_task, rows):
    """The repeated probe never ends by itself."""
    never_end = "RAN and (os.kill(os.getpid(), signal.SIGINT), time.sleep(60))"
    name = write_task(SLOWER_THAN_ITS_PROBE.format(at_a_probe=never_end))
    began = time.monotonic()
    argv = ["run", "--task", name, "--epochs", "2", "--batch-sizes", "4"]
    assert main([*argv, "--n-trials", "4"]) == 130
    assert time.monotonic() - began < 60
    (row,) = rows("ls")
    assert (row["n_trials"], row["n_running"]) == (1, 0)


@pytest.mark.parametrize(
    ("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)]
)
def test_a_signal_ends_the_first_probes_in_one_line(workdir, write_task, capsys, signum, code):
    name = write_task(f"""
        import os, time
        def objective(params, run):
            os.kill(os.getpid(), {int(signum)})
            time.sleep(60)
    """)
    assert main(["run", "--task", name, "--n-trials", "1"]) == code
    *progress, line = capsys.readouterr().err.splitlines()
    assert progress == ["probing batch sizes"]
    assert line == f"ended by {'SIGINT' if code == 130 else 'SIGTERM'}: give the same command again"


@pytest.mark.slow
def test_other_hardware_is_refused_unless_wanted_and_then_has_its_own_front(
    workdir, rows, capsys, monkeypatch
):
    assert main([*DIGITS, "--n-trials", "4"]) == 0
    monkeypatch.setattr(batchfront.objectives.device.hardware, "cpu_model", lambda: "Other CPU")
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
    assert (workdir / "report.html").read_text().count('<div class="figure">') == 12
    assert main([*DIGITS, "--n-trials", "9"]) == 0, "now it is known"


def test_a_front_shows_one_time_for_a_size_whose_probe_was_corrected(workdir, rows):
    """The study looks as if its first probe had been disturbed, and a later one half as slow."""
    argv = ["run", "--task", "planted.py", "--epochs", "2", "--batch-sizes", "8"]
    assert main([*argv, "--n-trials", "6"]) == 0
    study = study_of("planted.py:objective")
    (hardware,) = known_hardware(study)
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


SLOW_EPOCHS = """
    import time

    def objective(params, run):
        run.begin(50 * params.epochs)
        for _ in range(params.epochs):
            for _ in range(50):
                time.sleep(0.004)
                run.step(1.0)
            run.report({report})
"""


@pytest.mark.parametrize(
    ("report", "said"),
    [
        ("val_f1=0.5", "run.report got val_f1 alone, wanted val_accuracy too"),
        ("61.0", "run.report got val_accuracy=61, wanted a fraction between 0 and 1"),
    ],
)
def test_a_metric_that_is_none_is_said_before_any_trial(
    report, said, write_task, capsys, monkeypatch
):
    monkeypatch.setattr(prober, "PROBE_SECONDS", 0.15)  # as for users
    task = write_task(SLOW_EPOCHS.replace("{report}", report))
    assert main(["run", "--task", task, "--batch-sizes", "8:16", "--n-trials", "3"]) == 2
    assert said in capsys.readouterr().err
    assert not Path("runs/batchfront.db").exists()


LOSSES = """
import torch

KEPT = torch.tensor(0.7, requires_grad=True)

class Loss:
    __slots__ = ()
    detach = item = __float__ = lambda self: 0.7
"""


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        ("0.7", "at a training loss of 0.7: look at how it is computed"),
        ("float('inf')", "and the training loss is inf: scale inputs and targets"),
        ("KEPT", "at a training loss of 0.7: look at how it is computed"),
        ("Loss()", "look at how it is computed"),
    ],
)
@pytest.mark.filterwarnings("error:Converting a tensor")
def test_a_metric_that_is_not_finite_is_said_before_any_trial(
    loss, said, write_task, capsys, monkeypatch
):
    monkeypatch.setattr(prober, "PROBE_SECONDS", 0.15)
    text = SLOW_EPOCHS.replace("{report}", "float('nan')").replace("step(1.0)", f"step({loss})")
    text = LOSSES + textwrap.dedent(text)
    task = ("--task", write_task(text), "--batch-sizes", "8:16")
    assert main(["probe", *task]) == 0
    at = ": " if loss == "Loss()" else ", "
    line = f"val_accuracy is nan when it is first evaluated, in a probe{at}{said}"
    assert line in " ".join(capsys.readouterr().out.split())
    assert main(["run", *task, "--n-trials", "1"]) == 0
    errors = capsys.readouterr().err
    assert errors.index(f"note: {line}") < errors.index("1/1")
    assert main(["run", *task, "--n-trials", "1"]) == 0
    assert "in a probe" not in capsys.readouterr().err


def test_sizes_that_were_probed_beside_other_work_are_named_beside_the_answer(workdir, capsys):
    argv = ["run", "--task", "planted.py", "--epochs", "2", "--batch-sizes", "8:16"]
    assert main([*argv, "--n-trials", "6"]) == 0
    study = study_of("planted.py:objective")
    (hardware,) = known_hardware(study)
    costs = stored_costs(study, hardware)
    quiet = {size: replace(cost, disturbed=False) for size, cost in costs.items()}
    for disturbed, said in [((), ""), ((8,), "batch size 8 was"), ((8, 16), "sizes 8, 16 were")]:
        busy = {size: replace(quiet[size], disturbed=True) for size in disturbed}
        store_costs(study, hardware, {**quiet, **busy})
        capsys.readouterr()
        for verb in ("front", "advise"):
            assert main([verb]) == 0
            text = " ".join(capsys.readouterr().out.split())
            assert said in text
            assert bool(disturbed) == ("other work ran on this CPU" in text)
