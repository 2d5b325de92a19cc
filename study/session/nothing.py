"""Why nothing completed in a search, and what would help: more trials would not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from batchfront.objectives.measurement import Verdict
from batchfront.objectives.meters.divergence import METRIC_BECAME
from batchfront.objectives.metric import Metric
from batchfront.study.commands import setting
from batchfront.study.show import counted
from batchfront.study.trials.attributes import (
    REASON,
    VERDICT,
    is_feasible,
    is_finished,
    rate_of,
)

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

LEAST_RUNS = 5  # before that, it may be chance
BUDGETS = (Verdict.OUT_OF_MEMORY, Verdict.OVER_BUDGET)
WHAT = {
    "undefined": "ended since the metric {metric} was not finite, while the training loss was",
    "diverged": "diverged, or their loss became NaN or infinite",
    "stalled": "never got below the loss of the best constant predictor",
    "budget": "broke a limit or ran out of memory",
}


def nothing_line(trials: Sequence[FrozenTrial], metric: Metric, *, in_python: bool) -> str | None:
    """The most frequent reason, and the remedy; None where runs completed, or failed by errors."""
    ended = [t for t in trials if is_finished(t) and "learning_rate" in t.params]
    if len(ended) < LEAST_RUNS or any(map(is_feasible, ended)):
        return None
    kinds = [_kind(trial) for trial in ended]
    kind, n = Counter(kinds).most_common(1)[0]
    if kind is None:
        return None
    lowest = min(ended, key=rate_of)
    remedy = _remedy(kind, lowest, metric, in_python=in_python)
    what = WHAT[kind].format(metric=metric)
    return f"nothing completed: {n} of {counted(len(ended), 'run')} {what}: {remedy}"


def _kind(trial: FrozenTrial) -> str | None:
    """The key of WHAT; None for errors, and for what a stop rule ended."""
    verdict, reason = trial.user_attrs.get(VERDICT), str(trial.user_attrs.get(REASON) or "")
    if trial.state.name == "COMPLETE" or verdict in BUDGETS:  # beyond a budget, or it would count
        return "budget"
    if verdict == Verdict.NON_FINITE and reason.startswith(METRIC_BECAME):
        return "undefined"
    if verdict in (Verdict.NON_FINITE, Verdict.DIVERGED):
        return "diverged"
    return "stalled" if verdict == Verdict.STALLED else None


def _remedy(kind: str, lowest: FrozenTrial, metric: Metric, *, in_python: bool) -> str:
    """What would help; `lowest`: the run of the lowest rate."""

    def name(option: str) -> str:
        return setting(option, in_python=in_python)

    rate, rates = f"{rate_of(lowest):.2g}", name("learning_rates")
    if kind == "undefined":
        return f"look at how {metric} is computed, and at what the model gives it"
    if kind == "budget":
        return f"loosen the limit that was set, or choose smaller {name('batch_sizes')}"
    if kind == "stalled":
        return f"more {name('epochs')}, or larger {rates}, might help"
    if _kind(lowest) == kind:
        return f"at the lowest rate, {rate}, too: lower {rates}, or scale inputs and targets"
    return f"the lowest rate, {rate}, ended otherwise: narrow {rates} down to lower ones"
