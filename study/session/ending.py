"""Why a search is at its end, in a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from batchfront.study.plan.limits import known_limits
from batchfront.study.search.ending import End, Ending
from batchfront.study.search.enough import LITTLE, SURE, Expected, SizeOutlook
from batchfront.study.show import counted, metric_form
from batchfront.study.trials.attributes import is_finished
from batchfront.study.trials.hardware import stored_costs
from batchfront.study.trials.sound import sound_trials

if TYPE_CHECKING:
    from optuna import Study

    from batchfront.study.plan.plan import Plan

SHOWN = 3  # batch sizes that are named


def end_of(study: Study, plan: Plan) -> End | None:
    """The end that a search is at, as its workers see it; None where it goes on.

    A search that ends by itself leaves no trial behind that waits or runs.
    """
    trials = sound_trials(study)
    if plan.goal.is_open and not all(trial.state.is_finished() for trial in trials):
        return None
    limits = known_limits(trials, plan, stored_costs(study, plan.hardware) or plan.costs)
    return Ending(plan).of(study, limits, n_finished=sum(map(is_finished, trials)))


def end_line(end: End, n_finished: int) -> str:
    """`ended after 43 trials: more are expected to …`, of a search that ends by itself."""
    trials, expected = counted(n_finished, "trial"), end.expected
    if expected is None or end.why == "trials":
        more = "" if expected is None else f": {_not_enough(expected)}"
        return f"ended after {trials}, the greatest number{more}"
    name, differ = expected.yardstick.metric.name, _range(expected)
    return (
        f"ended after {trials}: more are expected to gain less than {LITTLE:.1%} of the "
        f"hypervolume, and at no batch size more {name} than two runs of one setting differ by "
        f"({differ}), each with probability {SURE:g}"
    )


def _not_enough(expected: Expected) -> str:
    """What may still be gained."""
    open_sizes = sorted(expected.open_sizes, key=lambda size: size.gain, reverse=True)
    if not open_sizes:
        return f"more may still gain {expected.volume:.1%} of the hypervolume"
    named = ", ".join(_gain(size, expected) for size in open_sizes[:SHOWN])
    others = len(open_sizes) - SHOWN
    more = f", and at {others} more" if others > 0 else ""
    name = expected.yardstick.metric.name
    return f"more may still gain {name} at {_sizes(open_sizes)}: {named}{more}"


def _sizes(sizes: Sequence[SizeOutlook]) -> str:
    return "batch size" if len(sizes) == 1 else "batch sizes"


def _gain(size: SizeOutlook, expected: Expected) -> str:
    gain = abs(float(expected.yardstick.own_difference(size.gain)))
    return f"{size.batch_size} ({gain:{metric_form(gain, digits=3)}})"


def _range(expected: Expected) -> str:
    """The tolerances of all sizes, in the metric's own values."""
    own = expected.yardstick.own_difference
    found = sorted(abs(float(own(size.tolerance))) for size in expected.sizes)
    form = metric_form(*found, digits=3)
    low, high = (f"{found[at]:{form}}" for at in (0, -1))
    return low if low == high else f"{low} to {high}"
