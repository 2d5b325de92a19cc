"""What a search will take, said before its first trial: people should know before they wait."""

from __future__ import annotations

from statistics import geometric_mean

from batchfront.study.plan.plan import Plan
from batchfront.study.show import counted, human_seconds
from batchfront.study.trials.growing import whole_runs

USUAL = 0.5, 3.0
"""Training time of a search over that of as many trials at the geometric mean of the sizes' times:
29 of 30 studies of the recorded tables lie between. Sizes are not drawn evenly, runs are stopped.
"""


def price_lines(plan: Plan, *, n_missing: int) -> list[str]:
    """How long the missing trials will train, about; nothing where a run's time is not known."""
    runs = whole_runs(plan.costs, plan.growth)
    known = {size: cost.train_seconds for size, cost in runs.items() if cost.train_seconds}
    seconds = {size: known[size] for size in plan.space.batch_sizes if size in known}
    if n_missing <= 0 or not seconds:
        return []
    usual = n_missing * geometric_mean(seconds.values())
    dear, cheap = max(seconds, key=seconds.__getitem__), min(seconds, key=seconds.__getitem__)
    least, most = (share * usual for share in USUAL)
    low, high = map(human_seconds, (least, min(most, n_missing * seconds[dear])))
    a_run = f"{human_seconds(seconds[cheap])} at batch size {cheap}"
    if dear != cheap:
        a_run += f", {human_seconds(seconds[dear])} at {dear}"
    trials = counted(n_missing, "trial")
    return [f"{trials}: about {low} to {high} of training; a run takes {a_run}"]
