"""Copies that are cut off, or meet another study: none of both is lost or mixed."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import optuna
import pytest

from batchfront.storage.open import open_storage
from batchfront.study.cli.main import main
from batchfront.study.plan.agreement import AGREEMENT
from batchfront.study.transfer import copying
from tests.study.conftest import finish
from tests.study.processes import Command

from ..copies import PARAMS, SPACE, copied, everything, make


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_unfinished_copy_is_completed(source, workdir, capsys, monkeypatch, signum, code):
    make(source)
    target = f"sqlite:///{workdir}/target.db"

    def die(*args: Any) -> None:
        os.kill(os.getpid(), signum)

    with monkeypatch.context() as patch:
        patch.setattr(copying, "_finish", die)
        assert copied(source, target) == code
    assert capsys.readouterr().err.splitlines()[-1].startswith("ended by ")
    assert main(["ls", "--storage", target, "--json"]) == 0
    assert capsys.readouterr().out == "[]\n"  # nobody takes it for a study
    assert main(["front", "--storage", target, "--study-name", "mine"]) == 2
    assert "is a copy that was cut off" in capsys.readouterr().err
    assert copied(source, target) == 0
    assert "5 of 5 trials copied before: going on" in capsys.readouterr().err
    assert copied(source, f"sqlite:///{workdir}/whole.db") == 0
    assert everything(target) == everything(f"sqlite:///{workdir}/whole.db")


@pytest.mark.slow
def test_a_copy_killed_in_the_middle_is_completed_by_the_same_command(source, workdir, capsys):
    study = make(source)
    study.add_trials(
        [
            optuna.create_trial(values=[0.1, 1, n], params=PARAMS, distributions=SPACE)
            for n in range(300)
        ]
    )
    target = f"journal:///{workdir}/target.log"
    environment = {"BATCHFRONT_FROM": source, "BATCHFRONT_TO": target}
    process = Command("copy", cwd=workdir, **environment)
    log = workdir / "target.log"
    while not log.exists() or log.read_bytes().count(b"\n") < 50:
        assert process.poll() is None
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    finish(process)
    n_copied = log.read_bytes().count(b'{"op_code":4')
    assert 0 < n_copied < 305
    assert copied(source, target) == 0
    assert "of 305 trials copied before: going on" in capsys.readouterr().err
    assert copied(source, f"journal:///{workdir}/whole.log") == 0
    assert everything(target) == everything(f"journal:///{workdir}/whole.log")


def test_another_writer_is_noticed_before_the_copy_counts_as_a_study(
    source, workdir, capsys, monkeypatch
):
    make(source)
    target = f"sqlite:///{workdir}/target.db"
    finish_ = copying._finish

    def meddle(study: optuna.Study, *args: Any) -> None:
        study.ask()
        finish_(study, *args)

    monkeypatch.setattr(copying, "_finish", meddle)
    assert copied(source, target) == 2
    assert "is not equal to its source" in capsys.readouterr().err
    (found,) = open_storage(target, mode="reader").get_all_studies()
    assert AGREEMENT not in found.user_attrs


def test_a_study_of_that_name_is_not_overwritten_nor_one_copied_to_itself(source, workdir, capsys):
    make(source)
    assert copied(source, source) == 2
    assert "already has a study 'mine' of 5 trials" in capsys.readouterr().err
    other = f"sqlite:///{workdir}/other.db"
    assert copied(source, other) == 0
    before = everything(other)
    assert copied(source, other) == 2
    assert everything(other) == before


def test_somebody_elses_study_of_that_name_is_left_alone(source, workdir, capsys):
    make(source)
    other = f"sqlite:///{workdir}/other.db"
    study = optuna.create_study(
        storage=open_storage(other, mode="worker"),
        study_name="mine",
        directions=["maximize", "minimize", "minimize"],
    )
    study.ask()
    assert copied(source, other) == 2
    assert "is no unfinished copy of this one" in capsys.readouterr().err
    assert len(study.trials) == 1
