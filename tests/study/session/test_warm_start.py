"""`run --warm-start`: what is recorded, what a resume does with it, and what is refused."""

from __future__ import annotations

import argparse
from pathlib import Path

import optuna
import pytest

import batchfront as bf
from batchfront.study.cli.main import main
from batchfront.study.cli.typed import password_warning
from batchfront.study.opening.warm import _said

OLD = ("--storage", "sqlite:///old.db", "--study-name", "old")


@pytest.fixture
def curves_csv():
    return Path(__file__).resolve().parents[2] / "data" / "digits_curves.csv"


@pytest.fixture
def run(workdir, curves_csv):
    def run(*argv: str, n: int = 8) -> int:
        return main(["run", "--task", str(curves_csv), "--n-trials", str(n), *argv])

    return run


def params_of(storage: str, name: str) -> list[dict]:
    return [t.params for t in optuna.load_study(study_name=name, storage=storage).trials]


@pytest.mark.slow
def test_a_resume_goes_on_with_the_same_and_needs_the_earlier_study_no_more(run, workdir, capsys):
    assert run(*OLD, "--seed", "3") == 0
    warm = ("--warm-start", "sqlite:///old.db#old")
    assert run("--storage", "sqlite:///a.db", "--study-name", "s", *warm, n=6) == 0
    assert "warm start: 8 runs of sqlite:///old.db#old" in capsys.readouterr().err
    assert run("--storage", "sqlite:///b.db", "--study-name", "s", *warm, n=3) == 0
    (workdir / "old.db").unlink()
    assert run("--storage", "sqlite:///b.db", "--study-name", "s", n=5) == 0
    assert run("--storage", "sqlite:///b.db", "--study-name", "s", *warm, n=6) == 0
    whole = params_of("sqlite:///a.db", "s")
    assert params_of("sqlite:///b.db", "s") == whole
    assert run("--storage", "sqlite:///c.db", "--study-name", "s", n=6) == 0
    assert params_of("sqlite:///c.db", "s") != whole
    assert run("--storage", "sqlite:///b.db", "--study-name", "s", "--warm-start", "s") == 2
    assert "began with warm_start sqlite:///old.db#old, now s" in capsys.readouterr().err
    assert run("--storage", "sqlite:///c.db", "--study-name", "s", "--warm-start", "s") == 2
    assert "began without warm_start, now s" in capsys.readouterr().err


def test_several_are_named_from_python_and_imported_ones_too(workdir, curves_csv):
    assert main(["import", str(curves_csv), "--study-name", "past"]) == 0
    storage = "sqlite:///runs/batchfront.db"
    bf.Study(str(curves_csv), n_trials=3, study_name="old", storage=storage).run()
    study = bf.Study(
        str(curves_csv), n_trials=3, study_name="new", storage=storage, warm_start=["past", "old"]
    )
    study.run()
    kept = [study.optuna.user_attrs[f"batchfront_past:{n}"] for n in (0, 1)]
    assert [one["source"] for one in kept] == ["past", "old"]
    assert len(kept[0]["runs"]) > len(kept[1]["runs"]) == 3


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--warm-start", "none"], "warm_start: there is no study 'none': there are 'old'"),
        (["--warm-start", "sqlite:///no.db"], "sqlite:///no.db is no storage yet"),
        (["--warm-start", "old", "--sampler", "tpe"], "is for the sampler cost-aware, not for tpe"),
        (["--warm-start", ","], "warm_start is ',', wanted the name of a study"),
        (["--warm-start", "old", "--metric", "train_loss"], "old has the metric val_accuracy, max"),
        (["--warm-start", "theirs"], "'theirs' was made by Optuna: batchfront import"),
        (["--warm-start", "failed"], "failed has no run that tells of val_accuracy"),
    ],
)
def test_what_no_study_could_start_from_is_refused_in_a_line(run, argv, said, capsys):
    assert run(*OLD, n=1) == 0
    for name in ("theirs", "failed"):
        optuna.create_study(study_name=name, storage="sqlite:///old.db", direction="maximize")
    study = optuna.load_study(study_name="failed", storage="sqlite:///old.db")
    record = optuna.load_study(study_name="old", storage="sqlite:///old.db").user_attrs
    study.set_user_attr("batchfront", record["batchfront"])
    capsys.readouterr()
    assert run("--storage", "sqlite:///old.db", "--study-name", "new", *argv) == 2
    (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("error")]
    assert said in line
    assert "new" not in optuna.get_all_study_names("sqlite:///old.db")


def test_a_password_is_not_shown_and_whoever_types_one_is_told():
    url = "postgresql://me:secret@host/db#old"
    assert _said(url) == "postgresql://me:***@host/db#old"
    warning = password_warning(argparse.Namespace(warm_start=("old", url)))
    assert "after --warm-start in `ps`" in warning
    assert "secret" not in warning
    assert password_warning(argparse.Namespace(warm_start=("old",))) is None
