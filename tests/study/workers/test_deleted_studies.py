"""A study is deleted, and perhaps made anew, while a worker runs one of its trials."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from batchfront.objectives.load import load_objective
from batchfront.storage.fence import IDENTITY
from batchfront.storage.open import open_storage
from batchfront.study.cli.main import main
from batchfront.study.opening.create import create_or_resume
from batchfront.study.plan.settings import StudySettings
from batchfront.study.probes.prober import Watch
from batchfront.study.quiet import quiet_optuna
from batchfront.study.search.samplers import stock_sampler
from tests.storage.test_contract import ALL, made
from tests.study.copies import copied
from tests.study.workers import hooks

KEEPS = """
    from tests.study.workers import hooks

    def objective(params, run):
        run.begin(10 * params.epochs)
        for epoch in range(params.epochs):
            for _ in range(10):
                run.step(0.5)
            run.report(0.99)
            if params.seed:
                run.save({"epoch": epoch + 1})
                hooks.happen()
"""


@pytest.fixture(autouse=True)
def _none_left() -> Any:
    hooks.in_a_trial.clear()
    yield
    hooks.in_a_trial.clear()


@pytest.fixture
def task(write_task: Any) -> str:
    return str(write_task(KEEPS))


@pytest.fixture(params=ALL)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    with made(request.param, tmp_path) as found:
        yield found


def command(task: str, url: str, n_trials: int, *more: str) -> list[str]:
    return ["run", "--task", task, "--epochs", "3", "--sampler", "random", "--storage", url,
            "--study-name", "mine", "--n-trials", str(n_trials), "--checkpoint-dir", "kept",
            *more]  # fmt: skip


def delete(url: str) -> None:
    optuna.delete_study(study_name="mine", storage=open_storage(url, mode="worker"))


def create(url: str, task: str) -> optuna.Study:
    """The study of that name, as another process makes it: with other rates, and one trial."""
    settings = StudySettings(
        task=task, study_name="mine", storage=url, epochs=3, learning_rates=(0.5, 0.9)
    )
    with quiet_optuna():
        study, plan, _ = create_or_resume(
            open_storage(url, mode="worker"),
            settings,
            load_objective(task, device="cpu"),
            device="cpu",
            watch=Watch(),
        )
    study.sampler = stock_sampler("random", space=plan.space, seed=0)
    study.ask(plan.space.distributions())
    return study


def test_its_worker_ends_with_one_line_and_the_new_study_is_as_its_own_worker_left_it(
    url, task, capsys
):
    made_anew = []

    def replace() -> None:
        delete(url)
        made_anew.append(create(url, task))

    hooks.in_a_trial.append(replace)
    assert main(command(task, url, 3)) == 2
    err = capsys.readouterr().err
    assert "error: study 'mine' was deleted" in err
    assert "Traceback" not in err
    (study,) = made_anew
    (trial,) = study.trials
    assert (trial.state, trial.values, trial.user_attrs) == (TrialState.RUNNING, None, {})
    assert trial.params["learning_rate"] >= 0.5
    assert list(Path("kept").iterdir()) == []


@pytest.mark.slow
def test_its_worker_ends_with_one_line_where_there_is_no_other(url, task, capsys):
    hooks.in_a_trial.append(lambda: delete(url))
    assert main(command(task, url, 3)) == 2
    err = capsys.readouterr().err
    assert "error: study 'mine' was deleted while this worker ran" in err
    assert "Traceback" not in err
    assert optuna.get_all_study_names(open_storage(url, mode="worker")) == []
    assert list(Path("kept").iterdir()) == []


def test_an_old_study_gets_an_identity_once_and_a_copy_one_of_its_own(workdir, task):
    url, there = f"sqlite:///{workdir}/old.db", f"sqlite:///{workdir}/copy.db"
    assert main(command(task, url, 1)) == 0
    with sqlite3.connect(workdir / "old.db") as database:
        database.execute("DELETE FROM study_user_attributes WHERE key = ?", (IDENTITY,))
    identities = []
    for n_trials in (2, 3):
        assert main(command(task, url, n_trials)) == 0
        identities.append(_identity(url))
    assert copied(url, there) == 0
    assert identities[0] == identities[1] != _identity(there)
    assert main(command(task, there, 4)) == 0


def _identity(url: str) -> str:
    storage = open_storage(url, mode="reader")
    return str(optuna.load_study(study_name="mine", storage=storage).user_attrs[IDENTITY])
