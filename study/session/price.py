"""What a search will take, said before its first trial: people should know before they wait."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import geometric_mean

from batchfront.study.plan.goal import BETWEEN, Goal
from batchfront.study.plan.limits import Limits
from batchfront.study.plan.plan import Plan
from batchfront.study.plan.sizes import span_of
from batchfront.study.search.spending import Spending
from batchfront.study.show import counted, human_seconds
from batchfront.study.trials.growing import whole_runs

USUAL = 0.5, 3.0
"""Training time of a search over that of as many trials at the geometric mean of the sizes' times:
29 of 30 studies of the recorded tables lie between. Sizes are not drawn evenly, runs are stopped.
"""

SAID = 0.1  # seconds of probing: less is no wait

A_RUN = 0.8
"""Training time of a run of a search with a budget, over that geometric mean of what it affords."""


def price_lines(plan: Plan, *, n_finished: int) -> list[str]:
    """How long the missing trials will train, about; nothing where a run's time is not known."""
    fewest, most = (max(0, n - n_finished) for n in _totals(plan))
    runs = whole_runs(plan.costs, plan.growth)
    known = {size: cost.train_seconds for size, cost in runs.items() if cost.train_seconds}
    seconds = {size: known[size] for size in plan.space.batch_sizes if size in known}
    if most <= 0 or not seconds:
        return []
    usual = geometric_mean(seconds.values())
    dear = max(seconds.values())
    least, longest = USUAL[0] * usual * max(fewest, 1), USUAL[1] * usual * most
    low, high = map(human_seconds, (least, min(longest, most * dear)))
    trials = counted(most, "trial")
    if plan.goal.is_auto:
        trials = f"as many trials as it takes, usually {' to '.join(map(str, BETWEEN))} in all"
    said = f"{trials}: about {low} to {high} of training; {_a_run(seconds)}"
    return [f"{said}{_probing(plan)}"]


def budget_line(plan: Plan, limits: Limits, spending: Spending) -> str:
    """What a budget will buy: which batch sizes, and about how many runs."""
    within = spending.within(limits)
    sizes = [size for size in plan.space.batch_sizes if limits.excuse(size) is None]
    afforded = [size for size in sizes if within.can_afford(size)]
    what = budget_words(plan.goal, spending)
    if spending.spent > 0:
        what += f", {human_seconds(spending.spent)} of it spent"
    if not afforded:
        return f"{what}: no whole run any more"
    runs = {size: limits.runs[size].train_seconds for size in afforded if size in limits.runs}
    seconds = {size: one for size, one in runs.items() if one}
    named = f"batch size{'s' if len(afforded) > 1 else ''} {_sizes(afforded)}"
    if not seconds:
        return f"{what}: {named}"
    n_runs = max(1, round(spending.left / (A_RUN * geometric_mean(seconds.values()))))
    dear = [size for size in sizes if size not in afforded]
    too_dear = f"; too dear: {_sizes(dear)}" if dear else ""
    probing = "" if plan.goal.is_total else _probing(plan)  # else it is what was spent
    runs_said = f"about {counted(n_runs, 'run')}; {_a_run(seconds)}"
    return f"{what}: {named}, {runs_said}{too_dear}{probing}"


def _probing(plan: Plan) -> str:
    """What the probes have just taken, which is no training of the search."""
    seconds = plan.probing_seconds or 0.0
    return f"; probing took {human_seconds(seconds)} besides" if seconds >= SAID else ""


def budget_words(goal: Goal, spending: Spending) -> str:
    """`budget 20 min 00 s of training`."""
    of = "with all that belongs to it" if goal.is_total else "of training"
    return f"budget {human_seconds(spending.budget)} {of}"


def _sizes(sizes: Sequence[int]) -> str:
    return span_of(sizes) if len(sizes) > 1 else str(sizes[0])


def _a_run(seconds: Mapping[int, float]) -> str:
    """`a run takes 48.7 ms at batch size 512, 5.58 s at 2`."""
    dear, cheap = max(seconds, key=seconds.__getitem__), min(seconds, key=seconds.__getitem__)
    said = f"a run takes {human_seconds(seconds[cheap])} at batch size {cheap}"
    return said if dear == cheap else f"{said}, {human_seconds(seconds[dear])} at {dear}"


def _totals(plan: Plan) -> tuple[int, int]:
    """The least and the greatest number of trials that are to be expected."""
    return BETWEEN if plan.goal.is_auto else (plan.n_trials, plan.n_trials)
