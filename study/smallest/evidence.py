"""The figures behind an answer: one row a batch size."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from batchfront.study.findings.rates.best import RateEstimate, best_rate, rate_runs
from batchfront.study.smallest.ladder import Walk
from batchfront.study.smallest.question import CONFIDENCE, reaches
from batchfront.study.smallest.size import SizeState
from batchfront.study.trials.epoch_examples import epoch_examples
from batchfront.study.trials.rows import RunRow
from batchfront.study.trials.yardstick import AS_IT_IS, Yardstick

TIE = 0.005  # of standard values: what is closer than this is a few validation examples


@dataclass(frozen=True, kw_only=True)
class SizeRuns:
    """What fresh seeds of one size at the tuned rate show; None: nothing recorded says it."""

    batch_size: int
    counts: bool | None
    why: str
    learning_rate: float | None
    learning_rate_low: float | None  # 95% interval of the best rate
    learning_rate_high: float | None
    n_runs: int  # at this size, whatever for
    n_seeds: int
    n_reached: int
    n_at_rate: int  # seeds at `learning_rate`: of recorded runs others chose another one
    n_later: int  # seeds that came after it counted, to confirm it
    confirmed: bool | None
    trials: tuple[int, ...]  # numbers of the seeds
    trials_that_reach: tuple[int, ...]
    reached_low: float | None  # Clopper-Pearson interval of the share of seeds
    reached_high: float | None
    metric: float | None  # mean of the completed ones, in its own units as all here
    metric_low: float | None  # 95% interval of that mean, by Student's t
    metric_high: float | None
    generalization_gap: float | None
    epochs_to_target: float | None  # medians of the seeds that reached it
    steps_to_target: float | None
    examples_to_target: float | None
    tokens_to_target: float | None  # where the length of runs is one of tokens
    seconds_to_target: float | None
    train_seconds: float | None  # of a whole run
    n_spikes: float | None  # mean of a run
    n_stopped: int  # seeds that did not come to their end
    peak_memory_bytes: int | None
    tied: bool | None  # its metric cannot be told from that of the answer


def evidence(
    rows: Sequence[RunRow],
    found: Walk,
    hardware: str | None = None,
    by: Yardstick = AS_IT_IS,
) -> list[SizeRuns]:
    """The runs of each size looked at, largest first; times and memory of one hardware."""
    states = sorted(found.looked, key=lambda state: -state.batch_size)
    answer = next((s for s in states if s.batch_size == found.answer), None)
    target = math.inf if found.target is None else found.target
    return [_evidence(rows, state, answer, target, hardware, by) for state in states]


def also_reach(table: Sequence[SizeRuns], found: Walk) -> list[SizeRuns]:
    """Sizes below what is sure that pass too, but on too few seeds to trust beyond a gap."""
    least = math.inf if found.at_most is None else found.at_most
    return [size for size in table if size.counts and size.batch_size < least]


def _evidence(
    rows: Sequence[RunRow],
    state: SizeState,
    answer: SizeState | None,
    target: float,
    hardware: str | None,
    by: Yardstick,
) -> SizeRuns:
    size, fresh = state.batch_size, state.fresh
    here = [run for run in fresh if hardware in (None, run.hardware)]
    rate = best_rate(*rate_runs(rows, size))
    known = rate if isinstance(rate, RateEstimate) and state.learning_rate else None
    whole = _known(run.metric for run in fresh)
    usual = mean(whole)
    low, high = by.possible_ends(*mean_interval(whole))
    good = [run for run in fresh if reaches(run, target)]
    epochs = _median(good, lambda run: run.epochs_to(target))
    examples = _median(good, lambda run: run.examples_to(target))
    if examples is None and epochs is not None:
        examples = _examples(rows, epochs)
    return SizeRuns(
        batch_size=size,
        counts=state.counts,
        why=state.why,
        learning_rate=state.learning_rate,
        learning_rate_low=None if known is None else min(known.low, state.learning_rate or 0.0),
        learning_rate_high=None if known is None else max(known.high, state.learning_rate or 0.0),
        n_runs=sum(run.batch_size == size and run.finished for run in rows),
        n_seeds=len(fresh),
        n_reached=sum(state.outcomes),
        n_at_rate=sum(run.learning_rate == state.learning_rate for run in fresh),
        n_later=state.n_later,
        confirmed=state.confirmed,
        trials=tuple(run.number for run in fresh),
        trials_that_reach=tuple(run.number for run in good),
        reached_low=state.interval[0] if state.interval else None,
        reached_high=state.interval[1] if state.interval else None,
        metric=None if usual is None else by.own(usual),
        metric_low=low,
        metric_high=high,
        generalization_gap=mean(_known(run.generalization_gap for run in fresh)),
        epochs_to_target=epochs,
        steps_to_target=_median(good, lambda run: steps_to(run, target)),
        examples_to_target=examples,
        tokens_to_target=_median(good, lambda run: run.tokens_to(target)),
        seconds_to_target=_median(
            [run for run in good if run in here], lambda run: seconds_to(run, target)
        ),
        train_seconds=_median(here, lambda run: run.train_seconds),
        n_spikes=mean(_known(run.n_spikes for run in fresh)),
        n_stopped=sum(run.metric is None for run in fresh),
        peak_memory_bytes=_largest(run.peak_memory_bytes for run in here),
        tied=None if answer is None else _tied(state, answer),
    )


def _known(values: Iterable[int | float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _largest(values: Iterable[int | None]) -> int | None:
    return max((value for value in values if value), default=None)


def mean(values: Sequence[float]) -> float | None:
    """The mean of the values; None where there are none."""
    return statistics.fmean(values) if values else None


def mean_interval(values: Sequence[float]) -> tuple[float, float] | tuple[None, None]:
    """Student's interval of the values' mean; (None, None) for fewer than two values."""
    from scipy.stats import t

    if len(values) < 2:
        return None, None
    middle, n = statistics.fmean(values), len(values)
    half = float(t.ppf((1 + CONFIDENCE) / 2, n - 1)) * statistics.stdev(values) / math.sqrt(n)
    return middle - half, middle + half


def steps_to(run: RunRow, target: float) -> float | None:
    """Optimizer steps until an epoch ended at the target."""
    return run.steps_until(run.points_to(target))


def seconds_to(run: RunRow, target: float) -> float | None:
    """Training seconds until then."""
    return _times(run.points_to(target), run.point_seconds)


def _times(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a * b


def _median(runs: Sequence[RunRow], value: Callable[[RunRow], float | None]) -> float | None:
    values = _known(value(run) for run in runs)
    return statistics.median(values) if values else None


def _examples(rows: Sequence[RunRow], epochs: float) -> float | None:
    """Epochs times the training examples."""
    found = epoch_examples(rows)
    return None if found is None else epochs * found.likely


def _tied(state: SizeState, answer: SizeState) -> bool | None:
    """Whether mean metrics are within TIE, or Welch's test at 5% cannot tell them apart.

    Of sizes that count only: the mean of the seeds that did not fail says little.
    """
    from scipy.stats import t

    ours, its = (_known(run.metric for run in one.fresh) for one in (state, answer))
    if not state.counts or len(ours) < 2 or len(its) < 2:
        return None
    apart = abs(statistics.fmean(ours) - statistics.fmean(its))
    parts = [statistics.variance(some) / len(some) for some in (ours, its)]
    if apart <= TIE or sum(parts) == 0.0:
        return apart <= TIE
    free = sum(parts) ** 2 / sum(
        part**2 / (len(some) - 1) for part, some in zip(parts, (ours, its), strict=True)
    )
    return bool(2 * t.sf(apart / math.sqrt(sum(parts)), free) > 1 - CONFIDENCE)
