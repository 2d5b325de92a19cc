"""What workers elsewhere did, read from the storage."""

from __future__ import annotations

from collections import Counter

import optuna

from batchfront.study.cli.main import main
from batchfront.study.session.follow import Follower

TASK = ("run", "--task", "planted.py", "--epochs", "4", "--sampler", "random")


def _study() -> optuna.Study:
    return optuna.load_study(
        study_name="planted.py:objective", storage="sqlite:///runs/batchfront.db"
    )


def test_every_trial_that_ended_is_told_once_with_its_verdict(workdir):
    assert main([*TASK, "--n-trials", "10", "--min-accuracy", "0.56"]) == 0
    study = _study()
    follower = Follower(study, [])
    events = {event.number: event for event in follower.news()}
    assert sorted(events) == list(range(10))
    assert {event.kind for event in events.values()} == {"ended"}
    for trial in study.trials:
        event = events[trial.number]
        feasible = trial.state.name == "COMPLETE" and not any(
            v > 0 for v in trial.constraints.values()
        )
        assert (event.values is not None) == feasible
        assert event.batch_size == trial.params["batch_size"]
    words = Counter(event.verdict for event in events.values())
    assert set(words) == {"completed", "over_budget", "stalled"}, words
    assert list(follower.news()) == []
    assert list(Follower(study, study.trials).news()) == []


def test_a_running_trial_is_told_by_its_epochs_and_a_lost_one_does_not_count(workdir):
    assert main([*TASK, "--n-trials", "1"]) == 0
    study = _study()
    follower = Follower(study, study.trials)
    study.enqueue_trial(study.trials[0].params)  # sizes that a stock sampler draws may be foreign
    trial = study.ask(study.trials[0].distributions)
    (event,) = follower.news()
    assert event.kind == "started"
    trial.set_user_attr("epochs", 4)
    trial.set_user_attr("metric_curve", [0.1, 0.2])
    (event,) = follower.news()
    assert (event.kind, event.epoch, event.metric) == ("epoch", 2, 0.2)
    study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
    (event,) = follower.news()
    assert (event.kind, event.verdict) == ("ended", "interrupted")
