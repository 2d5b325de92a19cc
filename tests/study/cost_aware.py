"""A study of the cost-aware sampler as a worker would ask and tell, with made-up costs."""

from __future__ import annotations

import math
from dataclasses import replace

import optuna
from optuna.trial import TrialState

from batchfront.study.plan.budgets import Budgets
from batchfront.study.plan.limits import Limits
from batchfront.study.plan.space import SearchSpace
from batchfront.study.search.by_name import make_sampler
from batchfront.study.trials.attributes import (
    CONSTRAINT,
    CURVE,
    SO_FAR,
    VERDICT,
    batch_size_of,
    log2_batch_size_of,
)

from .known import costs_by

SPACE = SearchSpace()


def cost(size: int) -> tuple[float, int]:
    """Seconds and bytes."""
    return 100.0 / size + 1, 1000 + 10 * size


def limits_of(sizes=None, **changes) -> Limits:
    costs = costs_by(cost, sizes or SPACE.batch_sizes)
    known = Limits(costs=costs, budgets=Budgets(), failed_size=None, device_bytes=2**40)
    return replace(known, **changes)


def new_study(space=SPACE, *, limits=None, seed=0):
    known = limits or limits_of()
    sampler = make_sampler(
        "cost-aware", space=space, seed=seed, hardware="here", limits=lambda study: known
    )
    return optuna.create_study(directions=["maximize", "minimize", "minimize"], sampler=sampler)


def accuracy_at(params) -> float:
    """Best at a rate of size ** 0.5 / 1000, a little worse at each doubling of the size."""
    off = math.log2(params["learning_rate"] * 1000) - 0.5 * log2_batch_size_of(params)
    return 1 - min(0.02 * 1.05 ** log2_batch_size_of(params) * math.exp(0.08 * off**2), 0.9)


def tell(study, trial, accuracy=None, **attributes):
    size = batch_size_of(trial.params)
    for key, value in attributes.items():
        trial.set_user_attr(key, value)
    trial.set_constraint(CONSTRAINT, 0.0)
    study.tell(trial, [accuracy_at(trial.params) if accuracy is None else accuracy, *cost(size)])


def stop(study, trial, verdict, *, curve=(), metric=None, state=TrialState.PRUNED, **attributes):
    for key, value in {VERDICT: verdict, **attributes}.items():
        trial.set_user_attr(key, value)
    if curve:
        trial.set_user_attr(CURVE, list(curve))
    trial.set_user_attr(SO_FAR, [metric, *cost(batch_size_of(trial.params))])
    study.tell(trial, state=state)
