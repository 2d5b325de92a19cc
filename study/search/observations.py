"""What a study's trials say about the error: completed ones, and those that were stopped."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchfront.objectives.measurement import FAILED, Verdict
from batchfront.study.pruning.bound import FIRST_EPOCH, Bound, learn_from
from batchfront.study.search.surface import TIE
from batchfront.study.trials.attributes import (
    CURVE,
    ERROR,
    FAIL_REASON,
    SCHEDULE,
    VERDICT,
    is_feasible,
)
from batchfront.study.trials.hardware import at_known_cost
from batchfront.study.trials.outcome import share_taken

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from optuna.trial import FrozenTrial

    from batchfront.study.search.encoding import Encoding
    from batchfront.study.trials.costs import Costs

    Array = NDArray[np.float64]

USELESS = 1.0  # error of a constant predictor of R2 0, and of one that is never right
OVERTAKEN = {Verdict.DOMINATED.value, Verdict.PRUNED.value}
CAP = 2.5
"""Of log error above the best: a failure is a cliff, and a smooth process would ring around it."""
FAILED_NOISE = 4.0
"""Variance of a failure's log error: it is taken for granted only next to where it happened. Taken
for a precise observation of a bad error, one early stop among good runs would make the process
believe that everything is noise."""
UNSURE = 0.25  # variance of the log error of a stopped run that no curve tells more about
MIN_CURVES = 3  # completed ones, to expect from


@dataclass(frozen=True, kw_only=True)
class Observations:
    """N trials, in the order of their numbers."""

    numbers: list[int]  # N, of the trials
    x: Array  # (N, D), encoded
    error: Array  # (N,) 1 - metric, 0..1; where a run was stopped what is expected
    noise: Array  # (N,) variance of log error beyond that between seeds
    failed: NDArray[np.bool_]  # (N,) diverged, stalled, or raised
    counts: NDArray[np.bool_]
    """(N,) completed on this hardware and feasible: it may be on the front. While none of them is
    feasible, all of them."""
    values: Array  # (N, 3) as told, at known cost; NaN where not completed on this hardware
    share: Array  # (N,) of its announced steps that it took; 1 unless it completed early

    def __len__(self) -> int:
        return len(self.error)

    @property
    def log_error(self) -> Array:
        """(N,) of log(error + TIE), capped."""
        import numpy as np

        logs: Array = np.log(self.error + TIE)
        best = logs[self.counts].min() if self.counts.any() else logs.min()
        capped: Array = np.minimum(logs, best + CAP)
        return capped


def observations_of(
    trials: Sequence[FrozenTrial],
    *,
    encoding: Encoding,
    costs: Costs,
    is_here: Callable[[FrozenTrial], bool],
) -> Observations:
    """What finished trials tell. Those that say nothing about the error are left out.

    Accuracy does not depend on the hardware, so trials of another one count as far as that goes.
    """
    import numpy as np

    whole = [t for t in trials if t.state.name == "COMPLETE"]
    overtaken = [t for t in trials if t.user_attrs.get(VERDICT) in OVERTAKEN]
    expected = _expected_metrics(overtaken, whole, costs)
    rows = []
    for trial in trials:
        seen = _error_of(trial, expected)
        other = SCHEDULE in trial.user_attrs  # not trained as what is searched
        if seen is None or other or not encoding.knows(trial.params):
            continue
        here = trial.values and is_here(trial)
        values = at_known_cost(trial, costs).values if here else [math.nan] * 3
        row = encoding.row(trial.params)
        flags = (_has_failed(trial), is_feasible(trial))
        rows.append((trial.number, row, *seen, *flags, values, share_taken(trial)))
    numbers, *columns = zip(*rows, strict=True) if rows else 8 * ((),)
    x, error, noise, failed, feasible, told, share = (np.array(c, dtype=float) for c in columns)
    told = told.reshape(len(rows), 3)
    completed = ~np.isnan(told[:, 0])
    counts = completed & feasible.astype(bool)
    return Observations(
        numbers=list(numbers),
        x=x.reshape(len(rows), encoding.n_columns),
        error=error,
        noise=noise,
        failed=failed.astype(bool),
        counts=counts if counts.any() else completed,
        values=told,
        share=share,
    )


def _error_of(
    trial: FrozenTrial, expected: dict[int, tuple[float, float]]
) -> tuple[float, float] | None:
    """Error, 0..1, and extra variance of its log; None where a trial says nothing about it."""
    if _has_failed(trial):
        return USELESS, FAILED_NOISE
    metric, deviation = expected.get(trial.number, (math.nan, 0.0))
    if trial.state.name == "COMPLETE":
        metric = trial.values[0]
    if not math.isfinite(metric):
        return None
    error = min(max(1 - metric, 0.0), USELESS)
    return error, _in_logs(deviation, error)


def _has_failed(trial: FrozenTrial) -> bool:
    """Diverged, stalled, or the objective raised: not where it ran out of memory or of budget."""
    if trial.state.name == "FAIL":
        return trial.user_attrs.get(FAIL_REASON) == ERROR
    return trial.user_attrs.get(VERDICT) in FAILED


def _in_logs(deviation: float, error: float) -> float:
    """Variance of log(error + TIE), by the first derivative; NaN stands for not knowing."""
    if math.isnan(deviation):
        return UNSURE
    return min((deviation / (error + TIE)) ** 2, UNSURE)


def _expected_metrics(
    stopped: Sequence[FrozenTrial], completed: Sequence[FrozenTrial], costs: Costs
) -> dict[int, tuple[float, float]]:
    """The final metrics that stopped runs would have had, with deviations, by trial number.

    Its level plus what the completed curves most like it gained from there. A curve that is too
    short, or the first of its kind, stands for itself; its deviation is NaN.
    """
    import numpy as np

    curves = {t.number: t.user_attrs[CURVE] for t in stopped if t.user_attrs.get(CURVE)}
    expected = {number: (float(curve[-1]), math.nan) for number, curve in curves.items()}
    history = learn_from([t for t in completed if t.user_attrs.get(CURVE)], costs)
    if history is None or len(history) < MIN_CURVES:
        return expected
    bound = Bound(history)
    size = {t.number: float(t.params["log2_batch_size"]) for t in stopped}
    for epoch in sorted({len(curve) for curve in curves.values()}):
        if not FIRST_EPOCH <= epoch < bound.n_epochs:
            continue
        same = [number for number, curve in curves.items() if len(curve) == epoch]
        metric, deviation = bound.expected(
            np.array([curves[number] for number in same]),
            np.array([size[number] for number in same]),
        )
        expected.update(
            zip(same, zip(metric.tolist(), deviation.tolist(), strict=True), strict=True)
        )
    return expected
