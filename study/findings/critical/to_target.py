"""What the runs of a study took to reach a target, at the best learning rate of each batch size."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from batchfront.objectives.measurement import Verdict
from batchfront.study.errors import StudyError
from batchfront.study.findings.critical.fit import SizeRuns
from batchfront.study.trials.epoch_examples import epoch_examples
from batchfront.study.trials.rows import RunRow

Unit = Literal["epochs", "examples"]
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
    n_train: int | None  # examples of an epoch, where the runs tell
    n_rates: int  # the most that were tried at a size
    at_edge: list[int]  # batch sizes whose best rate is the smallest or the largest tried


def to_target(rows: Sequence[RunRow], target: float | None) -> ToTarget:
    """The costs of runs up to a target, from their curves or from figures recorded for one.

    Raises:
        StudyError: a target is missing or out of place; no run says anything.
    """
    curves = [row for row in rows if row.curve or row.verdict in NEVER]
    recorded = [row for row in rows if row.finished and not row.curve]
    if any(row.curve for row in curves):
        if target is None:
            best = max(max(row.curve) for row in curves if row.curve)
            raise StudyError(f"which target? give --target; the best run reached {best:.4g}")
        costs = [(row, float(row.epochs_to(target) or NOT_REACHED)) for row in curves]
        stride = float(max(row.stride for row in curves))
        return _at_best_rates(costs, unit="epochs", resolution=stride, n_train=_n_train(curves))
    if not any(_recorded(row) for row in recorded):
        raise StudyError("the study has no finished runs with an accuracy curve: run it first")
    if target is not None:
        raise StudyError(
            "these runs record what they took to a target of their own, and no curves: leave out "
            "--target"
        )
    return _as_recorded(recorded)


def _recorded(row: RunRow) -> dict[str, float]:
    """Examples or epochs, by the column that says them."""
    costs = {
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
    costs = [(row, cost.get(column, NOT_REACHED)) for row, cost in zip(rows, seen, strict=True)]
    if column != "epochs_to_target":
        return _at_best_rates(costs, unit="examples", resolution=0.0, n_train=None)
    whole = all(cost.is_integer() for _, cost in costs if cost != NOT_REACHED)
    return _at_best_rates(costs, unit="epochs", resolution=float(whole), n_train=None)


def _at_best_rates(
    costs: Sequence[tuple[RunRow, float]], *, unit: Unit, resolution: float, n_train: int | None
) -> ToTarget:
    by_size: dict[int, dict[float, list[float]]] = {}
    for row, cost in costs:
        rates = by_size.setdefault(row.batch_size, {})
        rates.setdefault(row.learning_rate, []).append(cost)
    best = {size: min(rates, key=lambda r: _rank(rates[r])) for size, rates in by_size.items()}
    edges = [
        size
        for size, rates in sorted(by_size.items())
        if len(rates) >= MIN_RATES and best[size] in (min(rates), max(rates))
    ]
    return ToTarget(
        sizes=[
            SizeRuns(batch_size=size, learning_rate=rate, to_target=tuple(by_size[size][rate]))
            for size, rate in sorted(best.items())
        ],
        unit=unit,
        resolution=resolution,
        n_train=n_train,
        n_rates=max(len(rates) for rates in by_size.values()),
        at_edge=edges,
    )


def _rank(costs: Sequence[float]) -> tuple[int, float]:
    """Most seeds that reach the target first, then the least median cost."""
    return -sum(cost < NOT_REACHED for cost in costs), median(costs)


def _n_train(rows: Iterable[RunRow]) -> int | None:
    """Examples of an epoch; None where the runs do not agree, or do not tell it well enough."""
    found = epoch_examples(rows)
    if found is None or found.low < (1 - N_TRAIN_SHARE) * found.high:
        return None
    return found.likely
