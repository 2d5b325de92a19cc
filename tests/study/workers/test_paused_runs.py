"""Runs that are paused, and go on when more is known: once, from where they were, counted once."""

from __future__ import annotations

import contextlib
import shutil
import textwrap
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from batchfront.objectives.load import load_objective
from batchfront.objectives.measurement import TrialParams
from batchfront.objectives.run import Run, carry_out
from batchfront.study.cli.main import main
from batchfront.study.opening.open import the_study
from batchfront.study.opening.planned import resumed_plan
from batchfront.study.opening.terms import stored_identity
from batchfront.study.plan.settings import StudySettings
from batchfront.study.pruning.by_name import make_stop_rule
from batchfront.study.pruning.pausing import ranked
from batchfront.study.session.job import job_of
from batchfront.study.session.session import Session
from batchfront.study.trials.attributes import DEATHS, PAUSED, ROOT, THAW, trained_seconds
from batchfront.study.trials.hardware import known_hardware, stored_costs
from batchfront.study.trials.paused import is_paused, superseded
from batchfront.study.trials.sound import sound_trials
from batchfront.study.workers.kept import Kept
from tests.faults.oracles import violations
from tests.faults.scene import Scene, scene_of

from ..conftest import finish
from ..processes import Command

CURVES = """
    import math, os, random, time

    def objective(params, run):
        draw = random.Random(params.seed)
        level, speed = draw.uniform(0.4, 0.9), draw.choice([0.15, 0.3, 0.6])
        first = run.restored["epoch"] if run.restored else 0
        run.begin(10 * params.epochs, baseline_loss=1.0, baseline_metric=0.0)
        run.told_cost(step_seconds=0.001, peak_memory_bytes=1000)
        for epoch in range(first, params.epochs):
            if run.restored and os.path.exists("hold"):
                open("held", "w").close()
                time.sleep(60)
            for _ in range(10):
                run.step(0.5)
            if params.seed:  # not in a probe
                with open("trained", "a") as file:
                    print(params.seed, epoch, file=file)
            noise = random.Random(f"{params.seed} {epoch}").gauss(0, 0.01)
            run.report(level * (1 - math.exp(-speed * (epoch + 1))) + noise)
            run.save({"epoch": epoch + 1})
"""
URL = "journal:///runs/study.log"
N = 20
OPTIONS = ("--task", "mine.py", "--epochs", "12", "--batch-sizes", "4", "--sampler", "random",
           "--study-name", "mine", "--storage", URL)  # fmt: skip
PAUSES = ("run", *OPTIONS, "--n-trials", str(N), "--pruner", "front-paused")
BOLDLY, CAREFULLY = ("--pruner-risk", "0.5"), ("--pruner-risk", "1e-9")
"""At the first, no paused run is worth going on with; at the second nearly all are."""

pytestmark = pytest.mark.usefixtures("workdir")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study with paused runs."""
    folder = tmp_path_factory.mktemp("paused")
    (folder / "mine.py").write_text(textwrap.dedent(CURVES))
    with contextlib.chdir(folder), pytest.MonkeyPatch.context() as patch:
        patch.setattr("batchfront.study.probes.prober.PROBE_SECONDS", 0.01)
        patch.setattr("batchfront.study.probes.prober.PATIENCE_SECONDS", 0.0)
        assert main([*PAUSES, *BOLDLY]) == 0
    return folder


@pytest.fixture
def paused(made: Path, workdir: Path) -> list[int]:
    """The study in the folder to run in; the numbers of its paused trials."""
    shutil.copytree(made, workdir, dirs_exist_ok=True)
    found = [trial.number for trial in trials() if is_paused(trial)]
    assert len(found) >= 4
    return found


def trials() -> Any:
    return the_study(URL, "mine").get_trials(deepcopy=False)


def scene(n_trials: int = N, **more: Any) -> Scene:
    objective = load_objective("mine.py", device="cpu")
    kept = Path("runs/checkpoints")
    return scene_of(URL, "mine", objective, n_trials=n_trials, checkpoints=kept, **more)


def files() -> int:
    return len(list(Path("runs/checkpoints").iterdir()))


def test_a_paused_run_keeps_its_checkpoint_and_ls_says_so(paused, rows):
    assert files() == len(paused)
    (row,) = rows("ls", "--storage", URL)
    assert (row["n_trials"], row["n_paused"]) == (N, len(paused))
    assert row["checkpoint_bytes"] > 0
    assert violations(scene()) == []


def test_what_a_killed_writer_left_of_a_run_that_was_paused_later_is_removed(paused):
    kept = next(Path("runs/checkpoints").glob("*.pt"))
    kept.with_name(f"{kept.name}.0123abcd.new").touch()
    assert main([*PAUSES, *BOLDLY, "--n-trials", str(N + 1)]) == 0
    assert kept.exists()
    assert list(Path("runs/checkpoints").glob("*.new")) == []


def test_a_finished_study_with_hopeless_runs_has_nothing_to_do(paused, capsys):
    assert main([*PAUSES, *BOLDLY]) == 0
    assert "nothing to do" in capsys.readouterr().err
    assert len(trials()) == N


def test_paused_runs_go_on_though_the_total_is_reached_and_count_once(paused, rows, capsys):
    assert main([*PAUSES, *CAREFULLY]) == 0
    said = capsys.readouterr().err
    assert f"going on with {len(paused)} paused runs" in said
    assert f"{N + 1}/{N}" not in said
    after = [trial for trial in trials() if THAW in trial.user_attrs]
    assert {trial.user_attrs[ROOT] for trial in after} == set(paused)
    assert not any(trial.user_attrs[DEATHS] for trial in after)
    exported = rows("export", "--storage", URL)
    assert len(exported) == N
    runs = [row["retry_of"] or row["number"] for row in exported]
    assert sorted(runs) == list(range(N))
    front = rows("front", "--study-name", "mine", "--storage", URL)
    best = max(trial.values[0] for trial in trials() if trial.values)
    assert max(row["val_accuracy"] for row in front) == best
    assert rows("ls", "--storage", URL)[0]["n_trials"] == N
    assert violations(scene()) == []


def test_a_run_goes_on_from_its_last_epoch(paused):
    before = len(Path("trained").read_text().splitlines())
    assert main([*PAUSES, *CAREFULLY]) == 0
    trained = Path("trained").read_text().splitlines()
    assert len(trained) > before
    assert len(set(trained)) == len(trained)  # no epoch of any run twice


def test_a_study_that_is_ended_early_says_how_many_runs_it_leaves_behind(paused, capsys):
    assert main([*PAUSES, *CAREFULLY, "--timeout", "0.001"]) == 0
    words = f"{len(paused)} paused runs may still belong to the front; run it again to go on"
    assert words in capsys.readouterr().err
    assert len(trials()) == N


@pytest.mark.slow
def test_a_budget_goes_on_with_the_paused_runs_that_it_affords(paused, capsys):
    for budget, n_gone_on in (("0.02s", 0), ("1h", len(paused))):  # a run takes 0.12 s
        assert main([*PAUSES, *CAREFULLY, "--budget", budget]) == 0
        said = capsys.readouterr().err
        assert ("nothing to do" in said) == (n_gone_on == 0)
        assert ("going on with" in said) == (n_gone_on > 0)
        gone_on = {trial.user_attrs[ROOT] for trial in trials() if THAW in trial.user_attrs}
        assert len(gone_on) == n_gone_on
    assert main([*PAUSES, *CAREFULLY, "--budget", "1h"]) == 0
    assert "nothing to do" in capsys.readouterr().err


@pytest.mark.parametrize("is_kept", [True, False])
def test_a_budget_affords_the_rest_of_what_is_kept_and_else_whole_runs(paused, capsys, is_kept):
    for path in () if is_kept else Path("runs/checkpoints").glob("*.pt"):
        path.unlink()
    spent = sum(map(trained_seconds, trials()))
    assert main([*PAUSES, *CAREFULLY, "--budget", f"{spent + 0.119:.4f}s"]) == 0  # a run: 0.12 s
    said = capsys.readouterr().err
    assert ("nothing to do" in said) == (not is_kept)
    assert ("spent: no whole run any more" in said) == is_kept
    gone_on = {trial.user_attrs[ROOT] for trial in trials() if THAW in trial.user_attrs}
    assert len(gone_on) == is_kept


def test_a_larger_total_is_reached_exactly_with_runs_that_went_on(paused, rows):
    assert main([*PAUSES, *CAREFULLY]) == 0
    assert main([*PAUSES, *CAREFULLY, "--n-trials", str(N + 3)]) == 0
    assert len(rows("export", "--storage", URL)) == N + 3
    assert violations(scene(N + 3)) == []


@pytest.mark.slow
def test_workers_side_by_side_go_on_with_each_run_once(paused):
    assert main([*PAUSES, *CAREFULLY, "--n-workers", "2"]) == 0
    taken_up = [t.user_attrs[ROOT] for t in trials() if THAW in t.user_attrs and t.values]
    assert len(set(taken_up)) == len(taken_up)
    assert violations(scene()) == []


@pytest.mark.slow
def test_kill_9_while_a_paused_run_goes_on_costs_an_epoch_and_no_run(paused, workdir):
    (workdir / "hold").touch()
    worker = Command(*PAUSES, *CAREFULLY, cwd=workdir)
    while not (workdir / "held").exists():
        assert worker.poll() is None
    worker.kill()
    finish(worker)
    (workdir / "hold").unlink()
    assert files() == len(paused)
    assert main([*PAUSES, *CAREFULLY]) == 0
    (killed,) = [t for t in trials() if t.state.name == "FAIL"]
    assert killed.user_attrs[ROOT] in paused
    assert superseded(trials()) >= set(paused)
    ended = [trial for trial in sound_trials(the_study(URL, "mine")) if trial.state.name != "FAIL"]
    assert len(ended) == N


def test_the_most_hopeless_lose_their_checkpoints_where_the_disk_is_bounded(paused):
    size = next(Path("runs/checkpoints").iterdir()).stat().st_size
    more = ("--n-trials", str(N + 6), "--paused-gib", str(2.5 * size / 2**30))
    assert main([*PAUSES, *BOLDLY, *more]) == 0
    objective = load_objective("mine.py", device="cpu")
    study = the_study(URL, "mine")
    plan = replace(scene().undisturbed.plan, study_id=stored_identity(study))
    order = ranked(make_stop_rule(plan, lambda: plan.costs), study)
    kept = Kept(folder=Path("runs/checkpoints"), plan=plan, objective=objective)
    there = [kept.of(trial).path.exists() for trial in order]
    assert files() == 2
    assert there == [True] * 2 + [False] * (len(order) - 2)
    assert len(order) > len(paused)


def test_a_paused_run_without_its_checkpoint_starts_over_and_tells_the_same(paused, made):
    shutil.rmtree("runs/checkpoints")
    assert main([*PAUSES, *CAREFULLY]) == 0
    assert violations(scene()) == []  # curves are compared with undisturbed ones


def test_without_checkpoints_runs_are_stopped_as_the_pruner_front_stops_them(made, workdir):
    shutil.copy(made / "mine.py", workdir)
    stopped = {}
    for pruner in ("front", "front-paused"):
        name = ("--study-name", pruner, "--pruner", pruner, "--checkpoint-dir", "none")
        assert main([*PAUSES, *name]) == 0
        study = the_study(URL, pruner)
        assert not any(PAUSED in trial.user_attrs for trial in study.trials)
        stopped[pruner] = [(t.state.name, t.user_attrs["metric_curve"]) for t in study.trials]
    assert stopped["front-paused"] == stopped["front"]


@pytest.mark.slow
def test_a_copy_goes_on_with_paused_runs_from_their_beginning(paused, workdir, rows):
    there = f"journal:///{workdir}/copy.log"
    assert main(["copy", "--from", URL, "--to", there]) == 0
    assert main([*PAUSES, *CAREFULLY, "--storage", there]) == 0
    exported = rows("export", "--storage", there)
    assert len(exported) == N
    assert {row["retry_of"] for row in exported} - {None} == set(paused)


def test_delete_removes_the_checkpoints_of_paused_runs(paused):
    assert main(["delete", "--study-name", "mine", "--storage", URL, "--yes"]) == 0
    assert files() == 0


SMALL = """
    import torch
    from torch import nn
    from batchfront.objectives.task import Data, Task, sgd_momentum

    def data():
        g = torch.Generator().manual_seed(0)
        x = torch.randn(300, 8, generator=g)
        y = (x[:, 0] * x[:, 1] > 0).long()
        return Data(x_train=x[:200], y_train=y[:200], x_val=x[200:250], y_val=y[200:250],
                    x_test=x[250:], y_test=y[250:])

    def model():
        return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 2))

    def task():
        return Task(name="small", data=data, model=model, loss=nn.functional.cross_entropy,
                    optimizer=sgd_momentum, epochs=6)
"""


def test_a_run_that_goes_on_tells_what_an_uninterrupted_one_tells_to_the_last_bit(
    workdir, rows, write_task
):
    task = write_task(SMALL)
    command = ("run", "--task", task, "--sampler", "random", "--pruner", "front-paused",
               "--batch-sizes", "16", "--storage", URL, "--n-trials", "24")  # fmt: skip
    assert main([*command, *BOLDLY]) == 0
    assert main([*command, *CAREFULLY]) == 0
    again = [r for r in rows("export", "--storage", URL) if r["goes_on_after"]]
    again = [row for row in again if row["state"] == "COMPLETE"]
    assert len(again) >= 3
    assert min(row["goes_on_after"] for row in again) == 1, "the first epoch is kept, too"
    for row in again:
        assert len(row["metric_curve"]) > row["goes_on_after"] >= 1
        params = TrialParams(
            batch_size=row["batch_size"], learning_rate=row["learning_rate"], epochs=6,
            seed=row["seed"], device="cpu",
        )  # fmt: skip
        run = Run(measure_memory=False)
        carry_out(load_objective(task, device="cpu"), params, run)
        assert row["metric_curve"] == [round(value, 6) for value in run.result().metric_curve]
        assert row["train_loss"] == run.result().train_loss
        assert row["steps"] == run.result().steps
    assert files() == len([r for r in rows("export", "--storage", URL) if r["paused_after"]])


def test_where_checkpoints_cannot_be_written_runs_are_stopped_as_front_stops_them(
    workdir, write_task, monkeypatch
):
    task = write_task(SMALL)
    command = ("run", "--task", task, "--sampler", "random", "--batch-sizes", "16",
               "--storage", URL, "--n-trials", "24")  # fmt: skip

    def full(self, state):
        raise OSError("no space left on device")

    stopped = {}
    for pruner in ("front", "front-paused"):
        with monkeypatch.context() as disk:
            disk.setattr("batchfront.storage.checkpoint.Checkpoint.save", full)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                assert main([*command, "--study-name", pruner, "--pruner", pruner]) == 0
        trials = the_study(URL, pruner).trials
        assert not any(PAUSED in trial.user_attrs for trial in trials)
        stopped[pruner] = [(t.state.name, t.user_attrs.get("metric_curve")) for t in trials]
    assert "PRUNED" in {state for state, _ in stopped["front"]}
    assert stopped["front-paused"] == stopped["front"]


def test_how_many_runs_are_left_is_told_at_what_sizes_are_known_to_cost_by_now(paused, made):
    """A worker that comes later may have probed again; what the launch knew is older."""
    study, objective = the_study(URL, "mine"), load_objective("mine.py", device="cpu")
    settings = StudySettings(
        task="mine.py", storage=URL, study_name="mine", pruner="front-paused", pruner_risk=0.5
    )
    (hardware,) = known_hardware(study)
    known = stored_costs(study, hardware)
    plan = replace(resumed_plan(study, settings, objective, "cpu"), hardware=hardware, costs=known)
    quick = {size: replace(cost, step_seconds=1e-9) for size, cost in known.items()}
    session = Session(settings, Console(quiet=True))
    for costs in (known, quick):
        job = job_of(settings, replace(plan, costs=costs), objective, devices=())
        assert session._n_paused(study, job, objective) == 0
