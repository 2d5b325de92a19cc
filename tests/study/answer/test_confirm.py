"""Fresh runs of what was recommended, and what they say of the promise."""

from __future__ import annotations

import json

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from batchfront.study.answer.confirm import (
    Confirmation,
    Confirming,
    confirmation_line,
    confirmation_of,
)
from batchfront.study.answer.known import CONFIRM
from batchfront.study.answer.show import answer_form, sentences
from batchfront.study.cli.main import main
from batchfront.study.plan.space import SearchSpace
from batchfront.study.trials.attributes import PURPOSE, VERDICT

from ..conftest import ROOT
from .test_answer import SPACE, add, answered, made_study, seconds, world
from .test_evidence import counted

TABLE = ROOT / "benchmarks" / "tables" / "digits_sgd_momentum.csv.gz"
QUICK = ["run", "--batch-sizes", "16:64", "--epochs", "2", "--n-trials", "8"]


def with_fresh(
    study: optuna.Study, *errors: float | None, moved: float = 1.0
) -> Confirmation | None:
    """What runs of the recommendation say that had these errors; None: it diverged.

    `moved`: the factor by which their rate is another than that of the recommendation.
    """
    answer, _ = answered(study)
    assert answer.recommended is not None
    size, found = answer.recommended.batch_size.bit_length() - 1, answer.recommended.shown
    for error in errors:
        done = {"values": [1 - error, seconds(size), 1e5]} if error is not None else {}
        study.add_trial(
            create_trial(
                state=TrialState.COMPLETE if done else TrialState.PRUNED,
                params={"log2_batch_size": size, "learning_rate": moved * found.learning_rate},
                distributions=SPACE,
                user_attrs={PURPOSE: CONFIRM} | ({} if done else {VERDICT: "diverged"}),
                **done,
            )
        )
    again, known = answered(study)
    assert again.recommended == answer.recommended, "fresh runs choose nothing"
    confirmed = confirmation_of(again.recommended, known)
    if confirmed is not None:
        form = answer_form(again, known)
        assert confirmation_line(confirmed, form) in sentences(again, known)
    return confirmed


def confirmed_by(study: optuna.Study, *errors: float | None, moved: float = 1.0) -> Confirmation:
    """The same, of runs that count."""
    found = with_fresh(study, *errors, moved=moved)
    assert found is not None
    return found


def promised_error(study: optuna.Study) -> float:
    answer, _ = answered(study)
    assert answer.recommended is not None
    return answer.recommended.error


def test_runs_near_what_was_promised_confirm_it():
    study = world(0)
    error = promised_error(study)
    found = confirmed_by(study, 0.95 * error, error, 1.1 * error)
    assert found.verdict == "as promised"
    assert "3 fresh runs of it reached" in confirmation_line(found, ".3f")


@pytest.mark.parametrize(
    ("times", "verdict"),
    [(3.0, "worse"), pytest.param(0.2, "better", marks=pytest.mark.slow)],
)
def test_runs_far_from_what_was_promised_contradict_it(times, verdict):
    study = world(0)
    error = promised_error(study)
    found = confirmed_by(study, times * error, times * error)
    assert found.verdict == verdict
    assert f"{verdict} than promised" in confirmation_line(found, ".3f")


def test_fresh_runs_that_are_within_the_promise_but_aside_of_it_are_told_so():
    study = world(0)
    error = promised_error(study)
    found = confirmed_by(study, 1.25 * error, 1.25 * error)
    assert (found.verdict, found.aside) == ("as promised", "worse")
    least, most = found.promised
    assert found.expected == pytest.approx(1 - error)
    assert least < 1 - 1.25 * error < 1 - error < most
    assert f"though {0.25 * error:.3f} worse than expected" in confirmation_line(found, ".3f")


def test_a_mean_on_the_other_side_of_what_was_expected_is_not_called_better():
    """Judged is the mean of log errors; one bad run pulls the plain mean, which is printed."""
    study = world(0)
    error = promised_error(study)
    found = confirmed_by(study, 0.3 * error, 2.2 * error)
    assert sum(found.reached) / 2 < found.expected
    assert found.aside != "better"


def test_fresh_runs_still_count_when_the_recommended_rate_moves_a_little():
    study = world(0)
    error = promised_error(study)
    found = confirmed_by(study, error, error, moved=1.1)
    assert found.n_runs == 2
    assert f"2 fresh runs at {found.rates[0]:.2g} reached" in confirmation_line(found, ".3f")
    assert with_fresh(world(1), error, moved=1.5) is None


def test_fresh_runs_choose_nothing_where_errors_are_told_by_what_was_seen():
    """A loss has no useless value: its unit comes from the runs, but not from fresh ones."""
    study = made_study("val_loss", "minimize")
    for trial in world(0).trials:
        size, rate = trial.params["log2_batch_size"], trial.params["learning_rate"]
        add(study, size, rate, 1 - trial.values[0])
    _, before = answered(study)
    confirmed_by(study, 1 - 0.1 * min(trial.values[0] for trial in study.trials))
    assert answered(study)[1].yardstick == before.yardstick


def test_a_fresh_run_inside_the_interval_that_was_printed_is_as_promised():
    """The interval reaches half an example further, which is much where there are 35 of them."""
    answer, _ = answered(counted(0, 35))
    assert answer.recommended is not None
    _, most = answer.recommended.shown.fresh_run
    assert answer.recommended.shown.step > 0
    assert confirmed_by(counted(0, 35), 0.999 * most).verdict == "as promised"


@pytest.mark.slow
def test_a_fresh_run_that_diverged_contradicts_the_promise():
    study = world(0)
    found = confirmed_by(study, promised_error(study), None)
    assert (found.verdict, found.n_stopped) == ("worse", 1)
    assert "1 did not complete: not as promised" in confirmation_line(found, ".3f")
    assert "did not complete" in confirmation_line(confirmed_by(world(1), None, None), ".3f")


def test_a_search_ends_with_fresh_runs_that_are_made_once(workdir, rows, capsys):
    assert main([*QUICK, "--confirm", "2"]) == 0
    assert "2 fresh runs of it reached" in " ".join(capsys.readouterr().err.split())
    fresh = [row for row in rows("export") if row.get("purpose") == CONFIRM]
    assert len(fresh) == 2
    assert len({row["seed"] for row in rows("export")}) == 10, "every run has a seed of its own"

    assert main([*QUICK, "--confirm", "2"]) == 0
    assert len(rows("export")) == 10, "those that are there are not run again"
    capsys.readouterr()
    assert main(["advise", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    said, chosen = answer["confirmed"], answer["recommended"]
    assert said["trials"] == [row["number"] for row in fresh]
    assert said["reached"] == [row["val_accuracy"] for row in fresh]
    assert {row["batch_size"] for row in fresh} == {chosen["batch_size"]}


def test_a_fresh_run_whose_worker_died_before_it_had_all_parameters_is_none_yet():
    """It is queued again by whoever comes next."""
    asked = Confirming(batch_size=4, learning_rate=0.1, params={}, space=SearchSpace(), n_runs=2)
    study = optuna.create_study()
    assert asked.queue(study, []) == 2
    begun = study.ask()
    begun.suggest_int("batch_size", 2, 8)
    assert asked.n_missing(study.trials) == 1


@pytest.mark.slow
def test_base_rates_are_scaled_for_fresh_runs_too(workdir, rows):
    assert main([*QUICK, "--confirm", "1", "--scale-rule", "sqrt"]) == 0
    fresh = [row for row in rows("export") if row.get("purpose") == CONFIRM]
    assert len(fresh) == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--confirm", "0"], "confirm is 0"),
        (["--confirm", "2", "--launcher", "ray"], "leave out --launcher ray"),
        (["--confirm", "2", "--task", str(TABLE)], "leave out --confirm"),
    ],
)
def test_what_cannot_be_confirmed_is_refused_in_one_line(workdir, capsys, options, said):
    with pytest.raises(SystemExit) as ended:
        raise SystemExit(main(["run", *options]))
    assert ended.value.code not in (0, None)
    error = capsys.readouterr().err.strip()
    assert said in error
    assert not (workdir / "runs" / "batchfront.db").exists()


def test_a_search_too_short_for_a_recommendation_says_so(workdir, rows, capsys):
    assert main([*QUICK[:-1], "3", "--confirm", "2"]) == 0
    assert "nothing to confirm" in capsys.readouterr().err
    assert len(rows("export")) == 3
