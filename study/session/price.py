"""What a search will take, said before its first trial: people should know before they wait."""

from __future__ import annotations

from statistics import geometric_mean

from batchfront.study.plan.goal import BETWEEN
from batchfront.study.plan.plan import Plan
from batchfront.study.show import counted, human_seconds
from batchfront.study.trials.growing import whole_runs

USUAL = 0.5, 3.0
"""Training time of a search over that of as many trials at the geometric mean of the sizes' times:
29 of 30 studies of the recorded tables lie between. Sizes are not drawn evenly, runs are stopped.
"""


def price_lines(plan: Plan, *, n_finished: int) -> list[str]:
    """How long the missing trials will train, about; nothing where a run's time is not known."""
    fewest, most = (max(0, n - n_finished) for n in _totals(plan))
    runs = whole_runs(plan.costs, plan.growth)
    known = {size: cost.train_seconds for size, cost in runs.items() if cost.train_seconds}
    seconds = {size: known[size] for size in plan.space.batch_sizes if size in known}
    if most <= 0 or not seconds:
        return []
    usual = geometric_mean(seconds.values())
    dear, cheap = max(seconds, key=seconds.__getitem__), min(seconds, key=seconds.__getitem__)
    least, longest = USUAL[0] * usual * max(fewest, 1), USUAL[1] * usual * most
    low, high = map(human_seconds, (least, min(longest, most * seconds[dear])))
    a_run = f"{human_seconds(seconds[cheap])} at batch size {cheap}"
    if dear != cheap:
        a_run += f", {human_seconds(seconds[dear])} at {dear}"
    trials = counted(most, "trial")
    if plan.goal.is_auto:
        trials = f"as many trials as it takes, usually {' to '.join(map(str, BETWEEN))} in all"
    return [f"{trials}: about {low} to {high} of training; a run takes {a_run}"]


def _totals(plan: Plan) -> tuple[int, int]:
    """The least and the greatest number of trials that are to be expected."""
    return BETWEEN if plan.goal.is_auto else (plan.n_trials, plan.n_trials)
