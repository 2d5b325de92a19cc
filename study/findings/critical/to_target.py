"""What the runs of a study took to reach a target, at the best learning rate of each batch size."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Literal

from batchfront.objectives.measurement import Verdict
from batchfront.study.commands import setting
from batchfront.study.errors import StudyError
from batchfront.study.findings.critical.fit import SizeRuns
from batchfront.study.trials.epoch_examples import epoch_examples
from batchfront.study.trials.rows import RunRow
from batchfront.study.trials.yardstick import AS_IT_IS, Yardstick

Unit = Literal["epochs", "examples", "tokens"]
NOT_REACHED = float("inf")
NEVER = (Verdict.NON_FINITE, Verdict.DIVERGED, Verdict.STALLED)  # also before the first epoch
MIN_RATES = 3  # of a size, for its best one to lie on an edge
N_TRAIN_SHARE = 0.05  # by which the bounds on the training examples may differ


@dataclass(frozen=True, kw_only=True)
class ToTarget:
    """One learning rate for each batch size, and how the costs were counted."""

    sizes: list[SizeRuns]
    unit: Unit
    resolution: float  # costs are known up to this much; 0 where the table does not say
    of_steps: bool = False
    """The resolution is one of equal steps, and in `unit` for a batch size of one."""
    examples_per_unit: float | None  # of `unit`, where the runs tell
    n_rates: int  # the most that were tried at a size
    at_edge: list[int]  # batch sizes whose best rate is the smallest or the largest tried


def to_target(rows: Sequence[RunRow], target: float | None, by: Yardstick = AS_IT_IS) -> ToTarget:
    """The costs of runs up to a target, from their curves or from figures recorded for one.

    `target` is in the metric's units, and the metrics of `rows` are standard values.

    Raises:
        StudyError: a target is missing or out of place; no run says anything.
    """
    curves = [row for row in rows if row.curve or row.verdict in NEVER]
    recorded = [row for row in rows if row.finished and not row.curve]
    if any(row.curve for row in curves):
        if target is None:
            best = by.own(max(max(row.curve) for row in curves if row.curve))
            raise StudyError(
                f"which target? give {setting('target')}; the best run reached {best:.4g}"
            )
        return _from_curves(curves, by.standard(target))
    if not any(_recorded(row) for row in recorded):
        raise StudyError("the study has no finished runs with a curve of the metric: run it first")
    if target is not None:
        raise StudyError(
            "these runs record what they took to a target of their own, and no curves: leave out "
            "--target"
        )
    return _as_recorded(recorded)


def _from_curves(rows: Sequence[RunRow], target: float) -> ToTarget:
    """Epochs, where that is what all runs were given; else tokens, where the task has them, or
    examples: runs of equal steps differ in these."""
    stride = float(max(row.stride for row in rows))
    length = next((row.length for row in rows if row.length is not None), None)
    if length is None or length.unit == "epochs":
        costs = [(row, row.epochs_to(target)) for row in rows]
        point = 1.0 if length is None else length.amount / length.points
        n_train = _n_train(rows)
        return _at_best_rates(costs, unit="epochs", resolution=stride * point, each=n_train)
    point = stride * length.amount / length.points
    if length.unit == "tokens":
        costs = [(row, row.tokens_to(target)) for row in rows]
        tokens = length.tokens_per_example
        return _at_best_rates(
            costs, unit="tokens", resolution=point, each=1 / tokens if tokens else None
        )
    costs = [(row, row.examples_to(target)) for row in rows]
    of_steps = length.counts_steps
    return _at_best_rates(costs, unit="examples", resolution=point, each=1.0, of_steps=of_steps)


def _recorded(row: RunRow) -> dict[str, float]:
    """Tokens, examples or epochs, by the column that says them."""
    costs = {
        "tokens_to_target": row.tokens_to_target,
        "examples_to_target": row.examples_to_target,
        "steps_to_target": row.steps_to_target and row.steps_to_target * row.batch_size,
        "epochs_to_target": row.epochs_to_target,
    }
    return {column: float(cost) for column, cost in costs.items() if cost is not None}


def _as_recorded(rows: Sequence[RunRow]) -> ToTarget:
    """The costs by the column that most runs have; a run without it did not get there."""
    seen = [_recorded(row) for row in rows]
    counts = Counter(column for costs in seen for column in costs)
    column = counts.most_common(1)[0][0]
    costs = [(row, cost.get(column)) for row, cost in zip(rows, seen, strict=True)]
    step = _counted_every(costs)
    if column == "tokens_to_target":
        return _at_best_rates(costs, unit="tokens", resolution=step, each=None)
    if column != "epochs_to_target":
        return _at_best_rates(costs, unit="examples", resolution=step, each=1.0)
    whole = all(cost.is_integer() for _, cost in costs if cost is not None)
    return _at_best_rates(costs, unit="epochs", resolution=1.0 if whole else step, each=None)


def _counted_every(costs: Sequence[tuple[RunRow, float | None]]) -> float:
    """How finely costs were counted: two runs of a size that took exactly as much show that they
    were, at evaluations, and the least that two differ by shows how often. 0: nothing shows it."""
    by_size: dict[int, list[float]] = {}
    for row, cost in costs:
        if cost is not None:
            by_size.setdefault(row.batch_size, []).append(cost)
    if all(len(set(some)) == len(some) for some in by_size.values()):
        return 0.0
    apart = [b - a for some in by_size.values() for a, b in pairwise(sorted(set(some)))]
    return min(apart, default=0.0)


def _at_best_rates(
    costs: Sequence[tuple[RunRow, float | None]],
    *,
    unit: Unit,
    resolution: float,
    each: float | None,
    of_steps: bool = False,
) -> ToTarget:
    """`each`: examples of a unit; the cost of a run that did not get there is None."""
    by_size: dict[int, dict[float, list[float]]] = {}
    numbers: dict[tuple[int, float], list[int]] = {}
    for row, cost in costs:
        rates = by_size.setdefault(row.batch_size, {})
        rates.setdefault(row.learning_rate, []).append(NOT_REACHED if cost is None else cost)
        numbers.setdefault((row.batch_size, row.learning_rate), []).append(row.number)
    best = {size: min(rates, key=lambda r: _rank(rates[r])) for size, rates in by_size.items()}
    sizes = [
        SizeRuns(
            batch_size=size,
            learning_rate=rate,
            to_target=tuple(by_size[size][rate]),
            trials=tuple(numbers[size, rate]),
        )
        for size, rate in sorted(best.items())
    ]
    return ToTarget(
        sizes=sizes,
        unit=unit,
        resolution=resolution,
        of_steps=of_steps,
        examples_per_unit=each,
        n_rates=max(len(rates) for rates in by_size.values()),
        at_edge=[runs.batch_size for runs in sizes if _is_at_edge(runs, by_size[runs.batch_size])],
    )


def _is_at_edge(runs: SizeRuns, rates: Collection[float]) -> bool:
    """Whether the best of several rates is an outermost one; an infeasible size has no best."""
    several = len(rates) >= MIN_RATES and not runs.is_infeasible
    return several and runs.learning_rate in (min(rates), max(rates))


def _rank(costs: Sequence[float]) -> tuple[int, float]:
    """Most seeds that reach the target first, then the least median cost."""
    return -sum(cost < NOT_REACHED for cost in costs), median(costs)


def _n_train(rows: Iterable[RunRow]) -> int | None:
    """Examples of an epoch; None where the runs do not agree, or do not tell it well enough."""
    found = epoch_examples(rows)
    if found is None or found.low < (1 - N_TRAIN_SHARE) * found.high:
        return None
    return found.likely
