"""A study of everything that can be copied, and what is in its copy."""

from __future__ import annotations

from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from batchfront.storage.fence import IDENTITY
from batchfront.storage.open import open_storage
from batchfront.study.cli.main import main
from batchfront.study.plan.agreement import AGREEMENT
from batchfront.study.plan.space import SearchSpace
from batchfront.study.quiet import quiet_optuna
from batchfront.study.transfer.writing import content

SPACE = {
    "batch_size": IntDistribution(1, 512, log=True),
    "learning_rate": FloatDistribution(1e-4, 3, log=True),
    "activation": CategoricalDistribution(("relu", "tänh", None)),
}
PARAMS = {"batch_size": 32, "learning_rate": 0.1 + 0.2, "activation": "tänh"}


def record_of(task: str) -> dict[str, Any]:
    """The least that a study's record holds."""
    names = ["val_accuracy", "train_seconds", "peak_memory_bytes"]
    return {"task": task, "objectives": names, "space": SearchSpace().as_dict(), "epochs": None}


def make(url: str, name: str = "mine") -> optuna.Study:
    """A study with a trial of every state, and attributes of every kind."""
    storage = open_storage(url, mode="worker")
    study = optuna.create_study(
        storage=storage, study_name=name, directions=["maximize", "minimize", "minimize"]
    )
    with quiet_optuna():
        study.set_metric_names(["val_accuracy", "train_seconds", "peak_memory_bytes"])
    given: dict[str, Any] = {"params": PARAMS, "distributions": SPACE}
    text = {"note": "größe", "curve": [0.1, float("nan")], "long": "x" * 20_000}
    constraint = {"constraints": [2.5]}
    for trial in (
        optuna.create_trial(values=[0.9, 1e-300, 2.0**53], user_attrs=text, **given),
        optuna.create_trial(
            state=TrialState.PRUNED, user_attrs=text, system_attrs=constraint, **given
        ),
        optuna.create_trial(state=TrialState.FAIL, intermediate_values={3: 0.5}),
        optuna.create_trial(state=TrialState.WAITING, system_attrs={"fixed_params": PARAMS}),
        optuna.create_trial(
            state=TrialState.RUNNING,
            user_attrs={"owner": {"pid": 1}, "retry_of": 2, "worker_deaths": 1},
            system_attrs={**constraint, "batchfront_beat": 7, "grid_id": 4},
            **given,
        ),
    ):
        study.add_trial(trial)
    study.set_user_attr(AGREEMENT, record_of("planted"))
    study.set_user_attr("ключ", {"a": [1, None]})
    return study


def everything(url: str, *, times: bool = True) -> Any:
    """All of the only study, apart from ids and identity; NaN as text, since it equals nothing."""
    storage = open_storage(url, mode="reader")
    (found,) = storage.get_all_studies()
    trials = [
        (
            content(trial),
            *((trial.datetime_start, trial.datetime_complete) if times else ()),
        )
        for trial in storage.get_all_trials(found._study_id)
    ]
    user = {key: value for key, value in found.user_attrs.items() if key != IDENTITY}
    return found.study_name, found.directions, user, found.system_attrs, trials


def copied(source: str, target: str, *options: str) -> int:
    return main(["copy", "--from", source, "--to", target, *options])
