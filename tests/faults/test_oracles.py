"""The oracles themselves: a sound study has no violation, and each thing that is wrong has one."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from batchfront.objectives.load import load_objective
from batchfront.objectives.measurement import Verdict
from batchfront.study.cli.main import main
from batchfront.study.trials.attributes import (
    CONSTRAINT,
    CURVE,
    DEATHS,
    DOUBLE,
    FAIL_REASON,
    INTERRUPTED,
    OWNER,
    PAUSED,
    PURPOSE,
    ROOT,
    THAW,
    VERDICT,
)
from batchfront.study.workers.retry import HISTORY
from tests.faults.kinds import kinds_of
from tests.faults.oracles import violations
from tests.faults.scene import LOST_RUN, TAKEN, WRONG, Exit, Owner, Scene, Told, scene_of

TABLE = Path(__file__).resolve().parents[2] / "benchmarks" / "tables" / "digits_sgd_momentum.csv.gz"
Tamper = Callable[[list[FrozenTrial]], None]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """A study that nothing has befallen."""
    folder = tmp_path_factory.mktemp("sound")
    url = f"journal:///{folder}/study.log"
    options = ("--epochs", "4", "--sampler", "random", "--storage", url, "--study-name", "sound")
    assert main(["run", "--task", str(TABLE), "--n-trials", "8", *options]) == 0
    objective = load_objective(str(TABLE), device="cpu")
    return scene_of(url, "sound", objective, n_trials=8, checkpoints=folder / "checkpoints")


def _completed(trials: list[FrozenTrial]) -> FrozenTrial:
    return next(trial for trial in trials if trial.state == TrialState.COMPLETE)


def _lost(trials: list[FrozenTrial]) -> FrozenTrial:
    """A ninth trial, whose worker died."""
    lost = copy.deepcopy(_completed(trials))
    lost.number, lost.state, lost.values = len(trials), TrialState.FAIL, None
    lost.user_attrs = {OWNER: lost.user_attrs[OWNER]}
    trials.append(lost)
    return lost


def _again(trials: list[FrozenTrial], lost: FrozenTrial) -> FrozenTrial:
    """A trial that waits to take up its run."""
    again = optuna.create_trial(
        state=TrialState.WAITING,
        params=lost.params,
        distributions=lost.distributions,
        user_attrs={ROOT: lost.number, DEATHS: 1},
        system_attrs={HISTORY: [lost.number]},
    )
    again.number = len(trials)
    trials.append(again)
    return again


def tampered(scene: Scene, tamper: Tamper, **more: Any) -> list[tuple[str, str]]:
    """The violations of a scene whose trials were tampered with."""
    trials = [copy.deepcopy(trial) for trial in scene.trials]
    tamper(trials)
    found = violations(replace(scene, **{"trials": trials, **more}))
    return [(violation.sort, violation.says) for violation in found]


def test_a_sound_study_has_no_violation_and_all_its_trials_are_of_one_kind(sound):
    assert violations(sound) == []
    names = {kind.name for trial in sound.trials for kind in kinds_of(trial)}
    assert {"completed", "stopped by itself"} <= names


def _set(key: str, value: Any) -> Tamper:
    return lambda trials: _completed(trials).user_attrs.__setitem__(key, value)


def _values(index: int) -> Tamper:
    def change(trials: list[FrozenTrial]) -> None:
        trial = _completed(trials)
        values = list(trial.values)
        values[index] += 0.001
        trial.values = values

    return change


def _params(name: str, value: float) -> Tamper:
    def change(trials: list[FrozenTrial]) -> None:
        trial = _completed(trials)
        trial.params = {**trial.params, name: value}

    return change


def _state(state: TrialState) -> Tamper:
    def change(trials: list[FrozenTrial]) -> None:
        trial = _completed(trials)
        trial.values, trial.state = None, state

    return change


def _queued_twice(trials: list[FrozenTrial]) -> None:
    lost = _lost(trials)
    _again(trials, lost)
    _again(trials, lost)


def _other_parameters(trials: list[FrozenTrial]) -> None:
    again = _again(trials, _lost(trials))
    again.params = {**again.params, "learning_rate": 0.01}


def _only_a_dropped_one(trials: list[FrozenTrial]) -> None:
    again = _again(trials, _lost(trials))
    again.state, again.user_attrs[FAIL_REASON] = TrialState.FAIL, DOUBLE


def _ended_and_goes_on(trials: list[FrozenTrial]) -> None:
    _again(trials, _completed(trials))


def _handed_back(trials: list[FrozenTrial]) -> None:
    _lost(trials).user_attrs[FAIL_REASON] = INTERRUPTED


@pytest.mark.parametrize(
    ("tamper", "sort", "words"),
    [
        (_values(0), WRONG, "its metric is"),
        (_values(1), WRONG, "its time and memory are"),
        (_values(2), WRONG, "its time and memory are"),
        (_set(CURVE, [0.5]), WRONG, "undisturbed"),
        (_set("seed", 1), WRONG, "its seed is not"),
        (_params("learning_rate", 99.0), WRONG, "not of this study"),
        (_state(TrialState.RUNNING), LOST_RUN, "still running"),
        (_state(TrialState.FAIL), LOST_RUN, "nobody has queued it"),
        (lambda trials: trials.pop(), LOST_RUN, "7 trials are finished"),
        (lambda trials: trials.pop(0), WRONG, "numbers are"),
        (_lost, LOST_RUN, "nobody has queued it"),
        (_queued_twice, WRONG, "its run goes on in"),
        (_other_parameters, WRONG, "it goes on with"),
        (_only_a_dropped_one, LOST_RUN, "no other goes on"),
        (_ended_and_goes_on, WRONG, "it ended, and its run goes on"),
        (_handed_back, WRONG, "no process got a signal"),
        (lambda trials: _lost(trials).user_attrs.clear(), WRONG, "of no kind"),
    ],
)
def test_what_is_wrong_with_a_trial_is_a_violation(sound, tamper, sort, words):
    found = tampered(sound, tamper)
    assert any(one == sort and words in says for one, says in found), found


def test_trials_that_a_question_asked_for_are_trained_together_where_the_study_says_so(sound):
    def asked(trials: list[FrozenTrial]) -> None:
        _completed(trials).user_attrs[PURPOSE] = "confirm"

    undisturbed = sound.undisturbed
    fused = replace(undisturbed, plan=replace(undisturbed.plan, fuse=4))
    assert tampered(sound, asked) == []
    ((sort, says),) = tampered(sound, asked, undisturbed=fused)
    assert (sort, "by itself" in says) == (WRONG, True)


def test_a_trial_may_be_taken_from_the_dead_and_the_silent_alone(sound):
    def taken(trials: list[FrozenTrial]) -> None:
        _again(trials, _lost(trials))

    trials = [copy.deepcopy(trial) for trial in sound.trials]
    at = _lost(trials).datetime_complete.timestamp()
    grace, pid = sound.grace_seconds, os.getpid()
    sorts = {
        "nobody": tampered(sound, taken),
        "alive": tampered(sound, taken, owners=[Owner(pid=pid)]),
        "dead": tampered(sound, taken, owners=[Owner(pid=pid, died_at=at)]),
        "dead later": tampered(sound, taken, owners=[Owner(pid=pid, died_at=at + 9)]),
        "silent": tampered(sound, taken, owners=[Owner(pid=pid, silences=((at - grace, at),))]),
        "hardly silent": tampered(
            sound, taken, owners=[Owner(pid=pid, silences=((at - grace / 2, at + grace),))]
        ),
    }
    assert {who for who, found in sorts.items() if found == []} == {"dead", "silent"}
    for who in ("nobody", "alive", "dead later", "hardly silent"):
        assert [sort for sort, _ in sorts[who]] == [TAKEN], who


def test_what_was_acknowledged_must_be_there(sound):
    trial = _completed(list(sound.trials))
    values = tuple(trial.values)

    def said(told: Told) -> list[str]:
        return [one.says for one in violations(replace(sound, told=[told]))]

    assert said(Told(number=trial.number, verdict="completed", values=values)) == []
    other = Told(number=trial.number, verdict="completed", values=(0.0, *values[1:]))
    assert "was told" in said(other)[0]
    assert "is gone" in said(Told(number=99, verdict="completed", values=values))[0]


@pytest.mark.parametrize(
    ("exit_", "words"),
    [
        (Exit(code=0, n_finished=8, n_trials=8), None),
        (Exit(code=0, n_finished=3, n_trials=8, timed_out=True), None),
        (Exit(code=75, n_finished=3, n_trials=8), None),
        (Exit(code=143, n_finished=3, n_trials=8, signum=15), None),
        (Exit(code=2, n_finished=3, n_trials=8, said="error: no room"), None),
        (Exit(code=0, n_finished=3, n_trials=8), "exit code 0 with 3 of 8"),
        (Exit(code=143, n_finished=3, n_trials=8), "without a signal"),
        (Exit(code=2, n_finished=3, n_trials=8), "without a reason"),
        (Exit(code=75, n_finished=3, n_trials=8, signum=15), "asked for"),
        (Exit(code=2, n_finished=3, n_trials=8, said="Traceback (most"), "traceback"),
        (Exit(code=139, n_finished=8, n_trials=8), "exit code 139"),
    ],
)
def test_exit_codes_that_lie_are_violations(sound, exit_, words):
    found = [one.says for one in violations(replace(sound, exits=[exit_]))]
    assert found == [] if words is None else words in found[0]


def _paused(trials: list[FrozenTrial]) -> FrozenTrial:
    """A run that is paused after its second epoch, in place of the completed one."""
    trial = _completed(trials)
    trial.state, trial.values = TrialState.PRUNED, None
    curve = trial.user_attrs[CURVE][:2]
    trial.user_attrs |= {VERDICT: Verdict.DOMINATED.value, CURVE: curve, PAUSED: 2}
    trial.system_attrs[f"constraints:{CONSTRAINT}"] = 0.1
    return trial


def _goes_on(*, deaths: int = 0, times: int = 1) -> Tamper:
    def change(trials: list[FrozenTrial]) -> None:
        whole = copy.deepcopy(_completed(trials))
        paused = _paused(trials)
        for _ in range(times):
            again = copy.deepcopy(whole)
            again.number = len(trials)
            again.user_attrs |= {ROOT: paused.number, DEATHS: deaths, THAW: 2}
            again.system_attrs[HISTORY] = [paused.number]
            trials.append(again)

    return change


def test_a_paused_run_may_keep_its_checkpoint_and_counts_once_where_it_goes_on(sound, tmp_path):
    (tmp_path / "kept.pt").touch()
    kept = {"folder": tmp_path, "kept": [tmp_path / "kept.pt"]}
    assert tampered(sound, _paused, **kept) == []
    assert tampered(sound, _goes_on()) == []
    (said,) = tampered(sound, _goes_on(), **kept)
    assert said == (WRONG, "kept.pt is kept for no trial")


def test_a_paused_run_that_goes_on_twice_or_with_a_death_is_a_violation(sound):
    (said,) = tampered(sound, _goes_on(deaths=1))
    assert "it goes on with deaths [1], wanted [0]" in said[1]
    assert len(tampered(sound, _goes_on(times=2))) == 3  # the pair, the total, the run


def test_a_checkpoint_that_no_trial_needs_is_a_violation(sound, tmp_path):
    (tmp_path / "left.pt").touch()
    (tmp_path / "left.pt.0123.new").touch()
    found = [one.says for one in violations(replace(sound, folder=tmp_path))]
    assert found == ["left.pt is kept for no trial", "left.pt.0123.new is kept for no trial"]


def test_a_damaged_journal_is_a_violation(sound, tmp_path):
    journal = tmp_path / "study.log"
    journal.write_text('{"op_code":0}\n{"op_co\n')
    found = [one.says for one in violations(replace(sound, url=f"journal:///{journal}"))]
    assert found == ["line 1 of the journal is damaged"]
