"""Which of a script's parameters a run would have: others belong to branches it does not take.

A script for Optuna may suggest `units_1` only where it builds a second layer. What is searched is
every parameter that its first run has suggested, so a trial has a value of each; which of them its
run asked for is known of the runs alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from batchfront.study.search.encoding import Encoding
from batchfront.study.trials.attributes import not_suggested

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

SAME = 1e-9  # of encoded parameters, which are shares of their ranges


@dataclass(frozen=True, kw_only=True)
class Branch:
    """One run that did not ask for all that is searched."""

    own: Sequence[float]  # the task's own parameters, encoded
    unasked: frozenset[str]  # by name


def branches_of(trials: Iterable[FrozenTrial], encoding: Encoding) -> list[Branch]:
    """The runs that did not ask for all parameters; `trials` know all of them."""
    found = ((trial, not_suggested(trial)) for trial in trials)
    return [
        Branch(own=encoding.row(trial.params)[2:], unasked=unasked)
        for trial, unasked in found
        if unasked
    ]


def asked_for(
    params: dict[str, Any], branches: Sequence[Branch], encoding: Encoding
) -> dict[str, Any]:
    """The task's own parameters, without those that runs with these values did not ask for."""
    if not branches:
        return params
    row = encoding.row({"batch_size": 1, "learning_rate": 1.0, **params})[2:]
    same = [one.unasked for one in branches if _are_same(one.own, row)]
    return {name: value for name, value in params.items() if name not in frozenset().union(*same)}


def _are_same(one: Sequence[float], other: Sequence[float]) -> bool:
    return all(math.isclose(a, b, abs_tol=SAME) for a, b in zip(one, other, strict=True))
