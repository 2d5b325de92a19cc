"""`--n-trials auto`: a search that ends by itself."""

from __future__ import annotations

import optuna
import pytest

import batchfront as bf
from batchfront.study.cli.main import main
from batchfront.study.opening.open import the_study
from batchfront.study.search.enough import Enough, Expected, SizeOutlook
from batchfront.study.trials.attributes import PURPOSE
from batchfront.study.trials.sound import sound_trials
from batchfront.study.trials.yardstick import AS_IT_IS

from ..tables import CURVES, STORAGE

AUTO = ["run", "--task", str(CURVES), "--n-trials", "auto"]
ENDS_AFTER = 5


def _stated(gain: float) -> Expected:
    size = SizeOutlook(batch_size=64, gain=gain, tolerance=0.005)
    return Expected(volume=0.001, sizes=[size], yardstick=AS_IT_IS)


@pytest.fixture
def quick(workdir, monkeypatch):
    """Searches that know enough after so many trials."""

    def look(self, study, limits):
        n = sum(trial.state.is_finished() for trial in study.get_trials(deepcopy=False))
        return _stated(0.001 if n >= ENDS_AFTER else 0.02)

    monkeypatch.setattr("batchfront.study.search.ending.LEAST_TRIALS", 2)
    monkeypatch.setattr(Enough, "look", look)


def _n_trials() -> int:
    return len(sound_trials(the_study(STORAGE, None)))


def test_a_search_ends_by_itself_and_says_why_in_a_sentence(quick, capsys):
    assert main(AUTO) == 0
    said = capsys.readouterr().err
    assert _n_trials() == ENDS_AFTER
    assert "as many trials as it takes" in said
    (line,) = (line for line in said.splitlines() if line.startswith("ended after"))
    assert line == (
        "ended after 5 trials: more are expected to gain less than 0.5% of the hypervolume, and at "
        "no batch size more val_accuracy than repeating a run changes (0.005), each with "
        "probability 0.9"
    )


def test_at_its_end_it_says_so_again_and_a_larger_total_goes_on(quick, capsys):
    assert main(AUTO) == 0
    capsys.readouterr()
    assert main(AUTO) == 0
    again = capsys.readouterr().err
    assert _n_trials() == ENDS_AFTER
    assert "nothing to do: for more trials pass --n-trials 10" in again
    assert "ended after 5 trials: more are expected" in again
    assert main([*AUTO[:-1], "7"]) == 0
    assert _n_trials() == 7


def test_the_greatest_number_ends_it_too_and_says_what_may_still_be_gained(
    quick, capsys, monkeypatch
):
    monkeypatch.setattr("batchfront.study.plan.search_settings.MOST_TRIALS", 3)
    assert main(AUTO) == 0
    said = capsys.readouterr().err
    assert _n_trials() == 3
    assert (
        "ended after 3 trials, the greatest number: more may still gain val_accuracy at batch size"
        ": 64 (0.020)"
    ) in said


@pytest.mark.slow
def test_a_trial_that_waits_is_not_left_behind(quick, capsys):
    assert main(AUTO) == 0
    study = optuna.load_study(study_name=CURVES.name, storage=STORAGE)
    study.enqueue_trial({"batch_size": 32, "learning_rate": 0.1})
    assert main(AUTO) == 0
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * (ENDS_AFTER + 1)


def test_a_trial_of_another_question_keeps_no_search_from_its_end(quick, capsys):
    assert main(AUTO) == 0
    study = optuna.load_study(study_name=CURVES.name, storage=STORAGE)
    beside = study.ask(study.trials[0].distributions)
    beside.set_user_attr(PURPOSE, "smallest")
    capsys.readouterr()
    assert main(AUTO) == 0
    assert "ended after 5 trials: more are expected" in capsys.readouterr().err


def test_cut_short_it_says_how_many_there_are_and_is_run_again(quick, capsys):
    assert main([*AUTO, "--timeout", "1e-9"]) == 0
    assert "0 trials; run it again to go on" in capsys.readouterr().err


@pytest.mark.slow
def test_python_and_files_of_settings_say_it_too(quick, tmp_path):
    study = bf.Study(str(CURVES), n_trials="auto").run()
    assert len(study.optuna.trials) == ENDS_AFTER
    file = tmp_path / "study.toml"
    for value, n in (("7", 7), ('"8"', 8), ('"auto"', 8)):
        file.write_text(f"task = {str(CURVES)!r}\nn_trials = {value}\n")
        assert main(["run", "--config", str(file)]) == 0
        assert _n_trials() == n


@pytest.mark.parametrize("bad", ["aut", "0", "-3", "1.5", "many"])
def test_what_is_neither_is_refused_in_one_line(workdir, capsys, bad):
    assert main([*AUTO[:-1], bad]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "n_trials is" in line
    assert line.endswith("wanted a whole number of at least 1, or auto")


@pytest.mark.slow
def test_two_workers_end_a_search_together(workdir, capsys):
    assert main([*AUTO, "--n-workers", "2", "--batch-sizes", "32:128"]) == 0
    said = capsys.readouterr().err
    trials = sound_trials(the_study(STORAGE, None))
    assert "more are expected to gain less than" in said
    assert f"ended after {len(trials)} trials" in said
    assert all(trial.state.is_finished() for trial in trials)
