"""Why a search is at its end, in a sentence."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from batchfront.study.errors import StudyError
from batchfront.study.plan.goal import LEAST_TRIALS
from batchfront.study.plan.limits import Limits, known_limits
from batchfront.study.search.ending import End, Ending
from batchfront.study.search.enough import LITTLE, SURE, Bought, Enough, Expected, SizeOutlook
from batchfront.study.search.spending import spending_of
from batchfront.study.session.price import budget_line, price_lines
from batchfront.study.show import counted, human_seconds, metric_form
from batchfront.study.trials.attributes import PURPOSE, is_finished, is_searched
from batchfront.study.trials.hardware import stored_costs
from batchfront.study.trials.sound import sound_trials
from batchfront.study.trials.yardstick import metric_in

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

    from batchfront.objectives.metric import Metric
    from batchfront.study.plan.plan import Plan

SHOWN = 3  # batch sizes that are named
FORM = ".2g"  # of a gain, of any metric


def end_of(study: Study, plan: Plan) -> End | None:
    """The end that a search is at, as its workers see it; None where it goes on.

    A search that ends by itself leaves no trial behind that waits or runs.

    Raises:
        StudyError: the budget does not allow a single run.
    """
    trials = sound_trials(study)
    if plan.goal.is_open and is_under_way(trials):
        return None
    limits, n_done = limits_now(study, trials, plan), sum(map(is_searched, trials))
    spending = spending_of(study, trials, plan.goal, limits)
    end = Ending(plan).of(study, limits, n_finished=n_done, spending=spending)
    if end is not None and end.why == "budget" and not any(map(is_finished, trials)):
        raise StudyError(_too_small(limits, plan))
    return end


def is_under_way(trials: Iterable[FrozenTrial]) -> bool:
    """Whether a trial of the search runs or waits: what it will show may change the end."""
    return any(not t.state.is_finished() and PURPOSE not in t.user_attrs for t in trials)


def limits_now(study: Study, trials: Sequence[FrozenTrial], plan: Plan) -> Limits:
    """What is known of costs, and of sizes that cannot run."""
    return known_limits(trials, plan, stored_costs(study, plan.hardware) or plan.costs)


def limits_left(study: Study, trials: Sequence[FrozenTrial], plan: Plan) -> Limits:
    """The same, within what is left of a budget."""
    limits = limits_now(study, trials, plan)
    spending = spending_of(study, trials, plan.goal, limits)
    return limits if spending is None else spending.within(limits)


def _too_small(limits: Limits, plan: Plan) -> str:
    known = {size: cost.train_seconds for size, cost in limits.runs.items() if cost.train_seconds}
    seconds = {size: known[size] for size in plan.space.batch_sizes if size in known}
    cheap = min(seconds, key=seconds.__getitem__)
    return (
        f"the budget is {human_seconds(plan.goal.budget or 0)}, and the shortest run takes "
        f"{human_seconds(seconds[cheap])}, at batch size {cheap}: give at least "
        f"{math.ceil(seconds[cheap])}s"
    )


def said_before(study: Study, plan: Plan) -> list[str]:
    """What the search will take, or what its budget will buy."""
    trials = sound_trials(study)
    limits = limits_now(study, trials, plan)
    spending = spending_of(study, trials, plan.goal, limits)
    if spending is None:
        return price_lines(plan, n_finished=sum(map(is_searched, trials)))
    return [budget_line(plan, limits, spending)]


def twice_line(study: Study, plan: Plan) -> str | None:
    """What twice the budget is expected to buy at each batch size; None where nobody can tell."""
    trials = sound_trials(study)
    limits = limits_now(study, trials, plan)
    spending = spending_of(study, trials, plan.goal, limits)
    if spending is None or sum(map(is_searched, trials)) < LEAST_TRIALS:
        return None
    twice = replace(spending, budget=2 * spending.budget)
    looking = Enough(space=plan.space, seed=plan.seed, hardware=plan.hardware)
    sizes = looking.bought(study, twice.within(limits), twice.left)
    return _bought_line(sizes, metric_in(study)) if sizes else None


def _bought_line(sizes: Sequence[Bought], metric: Metric) -> str:
    """`twice the budget is expected to raise val_accuracy by 0.004 at 8, and to afford 4`."""
    clear = [size for size in sizes if size.is_clear and size.has_run]
    verb = "raise" if metric.maximize else "lower"
    said = ", ".join(f"{size.gain:{FORM}} at {size.batch_size}" for size in clear)
    if clear:
        said = f"by {said}"
    if len(clear) < sum(size.has_run for size in sizes):
        said += ", elsewhere by less" if clear else "by next to nothing at any batch size"
    afforded = [str(size.batch_size) for size in sizes if not size.has_run]
    more = f", and to afford a run at batch size {', '.join(afforded)}" if afforded else ""
    return f"twice the budget is expected to {verb} {metric.name} {said}{more}"


def end_line(end: End, n_finished: int) -> str:
    """`ended after 43 trials: more are expected to …`, of a search that ends by itself."""
    trials, expected = counted(n_finished, "trial"), end.expected
    if end.spending is not None and end.why == "budget":
        spent = human_seconds(end.spending.spent)
        return f"ended after {trials}: {spent} of {human_seconds(end.spending.budget)} are spent"
    if expected is None or end.why == "trials":
        more = "" if expected is None else f": {_not_enough(expected)}"
        return f"ended after {trials}, the greatest number{more}"
    name, differ = expected.yardstick.metric.name, _range(expected)
    return (
        f"ended after {trials}: more are expected to gain less than {LITTLE:.1%} of the "
        f"hypervolume, and at no batch size more {name} than repeating a run changes "
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


def n_finished(study: Study) -> int:
    """Trials that count towards the total."""
    return sum(is_searched(trial) for trial in sound_trials(study))
