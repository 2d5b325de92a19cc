"""What `ls` counts of an SQLite file without Optuna is what it counts through Optuna."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, IntDistribution
from optuna.trial import TrialState

from batchfront.storage.checkpoint import Checkpoint
from batchfront.storage.open import open_storage
from batchfront.study.cli.main import main
from batchfront.study.opening import open as opening
from batchfront.study.opening.open import study_rows
from batchfront.study.plan.agreement import AGREEMENT
from batchfront.study.plan.space import SearchSpace
from batchfront.study.trials.attributes import (
    BEGUN,
    DEATHS,
    ERROR,
    FAIL_REASON,
    IMPORTED,
    INTERRUPTED,
    MAX_RETRIES,
    PAUSED,
    PREDICTED,
    ROOT,
    THAW,
)
from batchfront.study.trials.kept import identity_of

from ..trials.test_foreign import EDITS, PARAMS, SOUND, SPACE, added

URL = "sqlite:///all.db"
RECORD = {
    "format": 5, "task": "digits", "objectives": ["val_accuracy", "train_seconds", "bytes"],
    "space": SearchSpace().as_dict(), "epochs": 20,
}  # fmt: skip
GOLDEN = sorted((Path(__file__).resolve().parents[2] / "data").glob("golden-*.db"))


def through_optuna(url: str) -> Any:
    """The rows as Optuna reads the trials."""

    @contextmanager
    def not_glanced(url: str) -> Iterator[None]:
        yield None

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(opening, "at_a_glance", not_glanced)
        return study_rows(url)


def by_name(url: str) -> dict[str, dict[str, Any]]:
    """The rows of our studies, once both ways of reading have found them to be the same."""
    ours, others = study_rows(url)
    assert (ours, others) == through_optuna(url)
    return {row["study_name"]: row for row in ours + others}


@pytest.fixture
def new(tmp_path, monkeypatch) -> Any:
    """Makes studies of ours in one file."""
    monkeypatch.chdir(tmp_path)
    storage = open_storage(URL, mode="worker")

    def make(name: str, **record: Any) -> optuna.Study:
        directions = ["maximize", "minimize", "minimize"]
        study = optuna.create_study(storage=storage, study_name=name, directions=directions)
        study.set_user_attr(AGREEMENT, {**RECORD, **record})
        return study

    return make


def counts(row: dict[str, Any]) -> tuple[int, ...]:
    """Trials, complete, pruned, paused, failed and running."""
    names = ("trials", "complete", "pruned", "paused", "fail", "running")
    return tuple(row[f"n_{name}"] for name in names)


def made(study: optuna.Study, *edits: Any) -> int:
    """How many of the edits were made: databases refuse another kind of a parameter."""
    n = 0
    for edit in edits:
        with suppress(optuna.exceptions.OptunaError, ValueError):
            edit(study)
            n += 1
    return n


def test_no_foreign_trial_counts_whatever_is_wrong_with_it(new):
    for name, edit in EDITS.items():
        edit(new(name))
    study = new("all")
    assert made(study, added(), *EDITS.values(), added(metric_curve=[0.1])) >= len(EDITS) - 1
    found = by_name(URL)
    assert list(found) == [*EDITS, "all"]
    assert {counts(found[name]) for name in EDITS} == {(0,) * 6}
    assert counts(found["all"]) == (2, 2, 0, 0, 0, 0)


def test_every_trial_that_is_ours_counts_once_it_has_ended(new):
    for name, edit in SOUND.items():
        made(new(name), edit, edit)
    found = by_name(URL)
    assert counts(found["as we write them"]) == (2, 2, 0, 0, 0, 0)
    assert counts(found["just asked for"]) == (0, 0, 0, 0, 0, 2)
    assert counts(found["with values that a stopped run has"]) == (2, 0, 2, 0, 0, 0)


def running_with(study: optuna.Study, **system: Any) -> None:
    """A trial with attributes that Optuna gives it, as a queue or a constraint does."""
    trial = study.ask()
    for name, value in system.items():
        study._storage.set_trial_system_attr(trial._trial_id, name.replace("_colon_", ":"), value)


def test_what_optuna_notes_of_a_trial_makes_it_foreign_here_too(new):
    study = new("mine")
    running_with(study, fixed_params={"learning_rate": 0.1}, constraints_colon_stopped=0.5)
    running_with(study, constraints=[0.5, -1])
    running_with(study, fixed_params={"learning_rate": 0})
    running_with(study, fixed_params=[])
    running_with(study, constraints_colon_stopped="none")
    running_with(study, constraints=[0.5, "none"])
    (row,) = by_name(URL).values()
    assert counts(row) == (0, 0, 0, 0, 0, 2)


FAIL, PRUNED = TrialState.FAIL, TrialState.PRUNED


def test_runs_that_are_paused_taken_up_lost_or_refused_count_as_they_do_elsewhere(new):
    study = new("mixed")
    edits = [
        added(PRUNED, **{PAUSED: 2}),  # taken up by the next, and that by the one after
        added(PRUNED, **{PAUSED: 3, THAW: 2, ROOT: 0}),
        added(**{THAW: 3, ROOT: 0}),
        added(PRUNED, **{PAUSED: 1}),
        added(PRUNED, **{PREDICTED: True}),
        added(**{PREDICTED: False}),
        added(FAIL, **{FAIL_REASON: ERROR}),
        added(FAIL, **{FAIL_REASON: INTERRUPTED}),
        added(FAIL, **{DEATHS: MAX_RETRIES}),
        added(FAIL, **{DEATHS: 1}),
        lambda study: study.enqueue_trial({}),
    ]
    assert made(study, *edits) == len(edits)
    (row,) = by_name(URL).values()
    assert counts(row) == (5, 2, 1, 1, 2, 0)


def test_studies_of_other_kinds_count_as_they_do_elsewhere(new):
    """Recorded runs, searched parameters, sizes by their logarithm."""
    recorded = new("recorded", **{IMPORTED: "runs.csv"})
    odd = {"batch_size": IntDistribution(1, 100), "learning_rate": SPACE["learning_rate"]}
    any_size = {"batch_size": 24, "learning_rate": 0.1}
    made(recorded, added(params=any_size, space=odd, phases="none"), added(total_steps="many"))
    old = {"batch_sizes": [4, 64], "learning_rates": [1e-4, 3.0]}
    logs = {"log2_batch_size": IntDistribution(2, 6), "learning_rate": SPACE["learning_rate"]}
    log = {"log2_batch_size": 4, "learning_rate": 0.1}
    made(new("old", space=old, format=3), added(params=log, space=logs), added())
    search = {"kind": {"choices": ["a", "b"]}}
    searched = new("searched", space={**SearchSpace().as_dict(), "search": search})
    kind = {**SPACE, "kind": CategoricalDistribution(["a", "b"])}
    made(searched, added(params={**PARAMS, "kind": "b"}, space=kind), added())
    other = {**SPACE, "kind": CategoricalDistribution(["b", "c"])}
    odd_choice = new("odd choice", space={**SearchSpace().as_dict(), "search": search})
    made(odd_choice, added(params={**PARAMS, "kind": "b"}, space=other))
    assert {name: counts(row)[1] for name, row in by_name(URL).items()} == {
        "recorded": 1, "old": 1, "searched": 1, "odd choice": 0,
    }  # fmt: skip


def test_studies_of_optunas_are_listed_and_one_that_is_half_copied_is_not(new):
    added()(new("ours"))
    storage = open_storage(URL, mode="worker")
    theirs = optuna.create_study(storage=storage, study_name="the irs", direction="minimize")
    theirs.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=3)
    theirs.enqueue_trial({"x": 0.5})
    for kind in ("user", "system"):
        half = optuna.create_study(storage=storage, study_name=f"half {kind}")
        set_attr = getattr(storage, f"set_study_{kind}_attr")
        set_attr(half._study_id, BEGUN, True)
    found = by_name(URL)
    assert list(found) == ["ours", "the irs"]
    assert counts(found["the irs"]) == (4, 3, 0, 0, 0, 0)
    assert found["the irs"]["import"] == f"batchfront import {URL} --study-name 'the irs'"


def test_checkpoints_are_those_of_all_its_trials(new):
    study = new("mine")
    study.set_user_attr("batchfront_identity", "abc")
    how = {"seed": 7, "hardware": "cpu", "epochs": 20}
    edits = added(PRUNED, **how, **{PAUSED: 2}), added(FAIL, **how, compiled=True), added(**how)
    assert made(study, *edits) == 3
    folder = Path("checkpoints")
    folder.mkdir()
    for n, trial in enumerate(study.trials, 1):
        told = identity_of(trial, study_name="mine", study_id="abc", how=trial.user_attrs)
        Checkpoint(folder, told).path.write_bytes(b"x" * 10**n)
    (folder / "another.pt").write_bytes(b"x" * 5)
    assert by_name(URL)["mine"]["checkpoint_bytes"] == 1110


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda path: path.stem)
def test_studies_of_older_versions_count_as_they_do_elsewhere(golden, tmp_path):
    found = by_name(f"sqlite:///{shutil.copy(golden, tmp_path)}")
    assert {row["n_trials"] for row in found.values()} == {14}


def test_a_record_that_is_damaged_is_told_as_elsewhere(new):
    added()(new("mine", space=None))
    said = []
    for rows in (study_rows, through_optuna):
        with pytest.raises(Exception, match="the record of study 'mine' is damaged") as caught:
            rows(URL)
        said.append((type(caught.value), str(caught.value)))
    assert said[0] == said[1]


def test_the_tables_of_another_optuna_end_in_one_line(new, capsys):
    new("mine")
    with closing(sqlite3.connect("all.db")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = 'v3.0.0.d'")
    assert main(["ls", "--storage", URL]) == 2
    out, err = capsys.readouterr()
    (line,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert "all.db cannot be opened: The runtime optuna version" in line
    assert "optuna storage upgrade" in line
    assert out == ""


def test_listing_imports_neither_optuna_nor_sqlalchemy(new):
    added()(new("mine"))
    code = (
        "import sys; from batchfront.study.cli.main import main; "
        f"main(['ls', '--storage', {URL!r}]); "
        "print({'optuna', 'sqlalchemy', 'torch', 'numpy'} & set(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "mine" in done.stdout
    assert done.stderr.strip() == "set()"
