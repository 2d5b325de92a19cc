"""Trials that were added or edited through Optuna: set aside by every verb, never in the way."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from batchfront.storage.open import open_storage
from batchfront.study.cli.main import main
from batchfront.study.plan.agreement import AGREEMENT
from batchfront.study.plan.space import SearchSpace
from batchfront.study.trials.attributes import FAIL_REASON, INTERRUPTED, is_finished
from batchfront.study.trials.sound import Rules, SoundTrials, foreign_line, sound_trials

from ..tables import imported

Edit = Callable[[optuna.Study], Any]
RUN = ("run", "--task", "planted.py", "--epochs", "3", "--batch-sizes", "4:64")
SIZES, RATES = IntDistribution(4, 64, log=True), FloatDistribution(1e-4, 3.0, log=True)
PARAMS = {"batch_size": 16, "learning_rate": 0.1}
SPACE = {"batch_size": SIZES, "learning_rate": RATES}
VALUES = [0.99, 0.001, 10.0]  # better than all others, where it counted


def added(
    state: TrialState = TrialState.COMPLETE,
    *,
    params: dict[str, Any] = PARAMS,
    values: list[float] = VALUES,
    space: dict[str, Any] = SPACE,
    **attributes: Any,
) -> Edit:
    """A trial that somebody adds: ours, but for what is said."""

    def edit(study: optuna.Study) -> None:
        study.add_trial(
            optuna.create_trial(
                state=state,
                values=values if state == TrialState.COMPLETE else None,
                params=params,
                distributions={name: space[name] for name in params},
                user_attrs=attributes,
            )
        )

    return edit


def queued(params: dict[str, Any], **attributes: Any) -> Edit:
    return lambda study: study.enqueue_trial(params, user_attrs=attributes)


def running(owner: Any) -> Edit:
    return lambda study: study.ask(SPACE).set_user_attr("owner", owner)


WORDS = CategoricalDistribution(["fast", "slow"])
FINISHED: dict[str, Edit] = {
    "without our parameters": added(params={}),
    "without a batch size": added(params={"learning_rate": 0.1}),
    "without a rate": added(params={"batch_size": 16}),
    "with an infinite metric": added(values=[math.inf, 1.0, 1.0]),
    "with an infinite time": added(values=[0.9, math.inf, 1.0]),
    "with a metric of minus infinity": added(values=[-math.inf, 1.0, 1.0]),
    "with a negative time": added(values=[0.9, -1.0, 1.0]),
    "with a huge batch": added(
        params={**PARAMS, "batch_size": 2**40},
        space={**SPACE, "batch_size": IntDistribution(1, 2**40, log=True)},
    ),
    "with a batch that is none of its sizes": added(params={**PARAMS, "batch_size": 24}),
    "with the logarithm of a batch": added(
        params={"log2_batch_size": 4, "learning_rate": 0.1},
        space={**SPACE, "log2_batch_size": IntDistribution(0, 9)},
    ),
    "with a rate in words": added(
        params={**PARAMS, "learning_rate": "fast"}, space={**SPACE, "learning_rate": WORDS}
    ),
    "with a rate of 0": added(
        params={**PARAMS, "learning_rate": 0.0},
        space={**SPACE, "learning_rate": FloatDistribution(0.0, 1.0)},
    ),
    "with total steps in words": added(total_steps="many"),
    "with a curve in words": added(metric_curve="rising"),
    "with a curve of words": added(metric_curve=[0.1, "x", 0.3]),
    "with epochs in words": added(epochs="three"),
    "of hardware in a list": added(hardware=["gpu"]),
    "with wrong phases": added(phases=[[1, 2], 3]),
    "with seconds in words": added(measured_seconds="long", planned_train_seconds="longer"),
    "going on from words": added(retry_of="first"),
    "going on from later": added(retry_of=10**6),
    "scaled by words": added(scaled_learning_rate="x"),
    "pruned without parameters": added(TrialState.PRUNED, params={}),
    "pruned with values in words": added(TrialState.PRUNED, values_so_far="none"),
    "pruned with two values": added(TrialState.PRUNED, values_so_far=[0.5, 1.0]),
    "pruned with a verdict in a list": added(TrialState.PRUNED, verdict=["diverged"]),
    "pruned with a spare in words": added(TrialState.PRUNED, spared="yes"),
    "failed with deaths in words": added(TrialState.FAIL, worker_deaths="many"),
}
WAITING: dict[str, Edit] = {
    "a rate in words": queued({"learning_rate": "fast"}),
    "a rate as text": queued({"learning_rate": "0.1"}),
    "a rate of 0": queued({"learning_rate": 0}),
    "a rate below 0": queued({"learning_rate": -0.1}),
    "a rate of nan": queued({"learning_rate": math.nan}),
    "an infinite rate": queued({"learning_rate": math.inf}),
    "no rate": queued({"learning_rate": None}),
    "a huge batch": queued({"batch_size": 2**40}),
    "half an example": queued({"batch_size": 16.5}),
    "a batch that is none of its sizes": queued({"batch_size": 24}),
    "the logarithm of a batch": queued({"log2_batch_size": 4}),
    "a size as text": queued({"batch_size": "32"}),
    "a truth as a size": queued({"batch_size": True}),
    "going on from words": queued(PARAMS, retry_of="first"),
    "going on from later": queued(PARAMS, retry_of=10**6),
    "deaths in words": queued(PARAMS, worker_deaths="many"),
    "a scaled rate in words": queued(PARAMS, scaled_learning_rate="x"),
    "another kind of rate": added(
        TrialState.WAITING,
        params={"learning_rate": "fast"},
        space={"learning_rate": WORDS},
    ),
}
RUNNING: dict[str, Edit] = {
    "an owner in words": running("me"),
    "an owner without a process": running({"host": "here"}),
    "a process in words": running({"host": "here", "pid": "one"}),
    "an owner that is a number": running(7),
}
# Asking for a trial takes up one that waits: those that run come first.
EDITS = {
    f"{state}: {name}": edit
    for state, edits in (("finished", FINISHED), ("running", RUNNING), ("waiting", WAITING))
    for name, edit in edits.items()
}
SOUND: dict[str, Edit] = {
    "as we write them": added(metric_curve=[0.1, 0.2], retry_of=0, total_steps=30, hardware="x"),
    "with attributes of somebody else": added(mine=[{"a": None}], note="x"),
    "with values that a stopped run has": added(TrialState.PRUNED, values_so_far=[None, 1.0, None]),
    "a whole rate": queued({"learning_rate": 1}),
    "a rate out of range": queued({"learning_rate": 30.0}),
    "nothing in particular": queued({}),
    "something that nobody searches": queued({"momentum": "high"}),
    "just asked for": lambda study: study.ask(),
    "lost before it had parameters": lambda study: study.tell(study.ask(), state=TrialState.FAIL),
}


@pytest.fixture
def made() -> optuna.Study:
    """As a search makes them; in memory."""
    study = optuna.create_study(directions=["maximize", "minimize", "minimize"])
    study.set_user_attr(AGREEMENT, {"space": SearchSpace().as_dict()})
    added()(study)
    return study


@pytest.mark.parametrize("edit", EDITS)
def test_a_trial_that_we_could_not_use_is_foreign_for_a_reason(made, edit):
    EDITS[edit](made)
    assert [trial.number for trial in sound_trials(made)] == [0]
    line = foreign_line(made)
    assert line is not None
    assert line.startswith("1 trial was set aside: it is not as batchfront writes them (")
    assert "\n" not in line
    EDITS[edit](made)
    assert str(foreign_line(made)).startswith("2 trials were set aside")


@pytest.mark.parametrize("edit", SOUND)
def test_a_trial_that_differs_in_nothing_that_matters_is_ours(made, edit):
    SOUND[edit](made)
    assert [trial.number for trial in sound_trials(made)] == [0, 1]
    assert foreign_line(made) is None


def test_a_finished_trial_is_judged_once(made, monkeypatch):
    """A study of thousands is read before every trial."""
    judged = []
    monkeypatch.setattr(Rules, "why_not", lambda self, trial: judged.append(trial.number))
    sound = SoundTrials()
    made.enqueue_trial({})
    for _ in range(3):
        assert len(sound.of(made)) == 2
    assert judged == [0, 1, 1, 1]


@pytest.fixture
def study(workdir, recorded) -> optuna.Study:
    """A search of eight trials on disk."""
    recorded(workdir, *RUN, "--sampler", "random", "--n-trials", "8")
    storage = open_storage("sqlite:///runs/batchfront.db", mode="worker")
    (name,) = optuna.get_all_study_names(storage)
    return optuna.load_study(study_name=name, storage=storage)


@pytest.fixture
def before(study) -> list[int]:
    """Numbers of its own trials; all the edits are made after these."""
    numbers = [trial.number for trial in study.get_trials(deepcopy=False)]
    assert len(sound_trials(study)) == len(numbers) == 8
    return numbers


def make_all(study: optuna.Study) -> int:
    """How many edits there were: databases refuse another kind of a parameter by themselves."""
    refused = 0
    for edit in EDITS.values():
        try:
            edit(study)
        except ValueError as error:
            if "Cannot set different" not in str(error):
                raise
            refused += 1
    assert refused <= 3
    return len(EDITS) - refused


LOOKS = [
    ("front", "--json"), ("front", "--csv"), ("export",), ("ls", "--json"), ("rates", "--json"),
    ("claims", "--json"), ("critical-batch", "--json", "--target", "0.4"),
    ("smallest", "--max-trials", "0", "--target", "0.4", "--json"), ("report",),
]  # fmt: skip


@pytest.mark.parametrize("look", LOOKS, ids=" ".join)
def test_a_verb_says_what_it_says_without_the_foreign_trials_and_counts_them(
    study, before, look, capsys
):
    capsys.readouterr()
    code = main(list(look))
    expected = capsys.readouterr().out
    n_edits = make_all(study)
    assert main(list(look)) == code
    out, err = capsys.readouterr()
    assert _without_bytes(out) == _without_bytes(expected)
    assert (f"{n_edits} trials were set aside: they are" in err) == (look[0] != "ls")
    assert "Traceback" not in err


def _without_bytes(out: str) -> str:
    """The file does grow."""
    return re.sub(r'"storage_bytes": \d+', "", out)


SEARCHES = [
    ("cost-aware", "front"), ("tpe", "median"), ("gp", "hyperband"), ("nsgaii", "none"),
    ("nsgaiii", "none"), ("qmc", "none"), ("grid", "none"),
]  # fmt: skip


@pytest.mark.parametrize(("sampler", "pruner"), SEARCHES)
def test_a_search_passes_foreign_trials_by_and_fails_those_that_wait_with_their_reason(
    study, before, sampler, pruner, capsys
):
    n_edits = make_all(study)
    edited = [t for t in study.get_trials(deepcopy=False) if t.number not in before]
    command = [*RUN, "--sampler", sampler, "--pruner", pruner, "--n-trials", "10"]
    assert main(command) == 0
    err = capsys.readouterr().err
    assert f"{n_edits} trials were set aside" in err
    assert "Traceback" not in err
    after = study.get_trials(deepcopy=False)
    new = [t for t in after if t.number not in before and t.number < len(after)][len(edited) :]
    assert len(new) == 2
    assert all(map(is_finished, new))
    assert sum(map(is_finished, sound_trials(study))) == 10
    for was in edited:
        now = after[was.number]
        if was.state in (TrialState.WAITING, TrialState.RUNNING):
            assert now.state == TrialState.FAIL
            assert now.user_attrs[FAIL_REASON] == "unusable"
            assert now.user_attrs["reason"].startswith("it cannot be run: ")
        else:
            assert (now.state, now.values) == (was.state, was.values)


def test_what_can_be_run_is_run_in_spite_of_what_was_queued_before_it(study, before, rows):
    WAITING["a rate of 0"](study)
    study.enqueue_trial({"learning_rate": 0.25})
    assert main([*RUN, "--n-trials", "9"]) == 0
    assert rows("export")[-1]["learning_rate"] == 0.25


def test_all_runs_of_an_imported_table_are_ours_whatever_its_columns_are_called(few):
    """Recorded batch sizes are of any kind; their study has a record of a space all the same."""
    study = imported(few)
    assert len(sound_trials(study)) == len(study.get_trials(deepcopy=False)) == 13
    assert foreign_line(study) is None


def test_a_lost_run_goes_on_beside_foreign_trials(study, before, rows):
    """Numbers of trials are no places in the list of those that are ours."""
    make_all(study)
    edited = len(study.get_trials(deepcopy=False)) - len(before)
    added(TrialState.FAIL, **{FAIL_REASON: INTERRUPTED})(study)
    assert main([*RUN, "--n-trials", "9"]) == 0
    again = study.get_trials(deepcopy=False)[-1]
    assert again.state.is_finished()
    assert again.user_attrs["retry_of"] == len(before) + edited
