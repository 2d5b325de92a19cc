"""A study is gone through once: every finished trial of ours is handed out, and none twice."""

from __future__ import annotations

import random

import optuna
from optuna.trial import TrialState, create_trial

from batchfront.study.plan.agreement import AGREEMENT
from batchfront.study.plan.space import SearchSpace
from batchfront.study.search.samplers import stock_sampler
from batchfront.study.trials.attributes import CURVE
from batchfront.study.trials.followed import Followed
from batchfront.study.trials.sound import sound_trials

SPACE = SearchSpace()


def _study() -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = stock_sampler("random", space=SPACE, seed=0)
    study = optuna.create_study(directions=["maximize", "minimize", "minimize"], sampler=sampler)
    study.set_user_attr(AGREEMENT, {"space": SPACE.as_dict()})
    return study


def test_what_was_handed_out_and_what_is_unfinished_are_all_sound_trials_at_any_time():
    study, draw, followed = _study(), random.Random(0), Followed()
    handed_out: list[int] = []
    running: list[optuna.Trial] = []
    for _ in range(60):
        for _ in range(draw.randrange(4)):
            match draw.randrange(5):
                case 0 | 1:
                    running.append(study.ask(SPACE.distributions()))
                case 2 if running:
                    study.tell(running.pop(draw.randrange(len(running))), (0.5, 1.0, 2.0))
                case 3:
                    study.add_trial(create_trial(state=TrialState.COMPLETE, values=[0, 1, 2]))
                case 4:
                    curve = draw.choice([[0.5], "no list"])
                    study.add_trial(
                        create_trial(state=TrialState.RUNNING, user_attrs={CURVE: curve})
                    )
        look = followed.look(study)
        handed_out += [trial.number for trial in look.finished]
        known = handed_out + [trial.number for trial in look.unfinished]
        assert sorted(known) == [trial.number for trial in sound_trials(study)]
        assert all(trial.state.is_finished() for trial in look.finished)
        foreign = {trial.number for trial, _ in look.foreign}
        others = {t.number for t in study.trials if not t.state.is_finished()} - set(known)
        assert foreign == others
    assert len(handed_out) > 10


def test_a_trial_that_turns_foreign_while_it_runs_is_never_handed_out():
    study, followed = _study(), Followed()
    trial = study.ask(SPACE.distributions())
    assert [t.number for t in followed.look(study).unfinished] == [0]
    trial.set_user_attr(CURVE, "no list")
    study.tell(trial, (0.5, 1.0, 2.0))
    look = followed.look(study)
    assert (look.finished, look.unfinished, look.foreign) == ([], [], [])
