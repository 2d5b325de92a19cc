"""What is known of one batch size: its learning rate, its seeds, whether it counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from objectives.measurement import Verdict
from study.findings.runs import RunRow
from study.smallest.model import error_of, says_something
from study.smallest.question import (
    FIRST_SEEDS,
    SEEDS,
    SENSITIVITY,
    TUNE,
    Question,
    reaches,
    share_interval,
)
from study.smallest.tuning import SAME, is_bracketed, tuned

IMPOSSIBLE = {Verdict.OUT_OF_MEMORY.value, Verdict.OVER_BUDGET.value}


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A trial to be queued."""

    batch_size: int
    learning_rate: float
    purpose: str
    score_test: bool = False  # at its end, on the test split
    schedule: str | None = None  # of the batch size, in place of the study's


@dataclass(frozen=True, kw_only=True)
class SizeState:
    """Of one batch size. `counts` is None while that is not decided, and `why` says what lacks."""

    batch_size: int
    learning_rate: float | None = None  # the tuned one
    bracketed: bool = False  # worse rates were tried on both sides
    fresh: tuple[RunRow, ...] = ()  # finished runs that had no part in choosing the rate
    outcomes: tuple[bool, ...] = ()  # of these: whether each reached the target
    counts: bool | None = None
    why: str = ""
    to_run: tuple[Asked, ...] = ()

    @property
    def interval(self) -> tuple[float, float] | None:
        """Of the share of seeds that reach the target."""
        n = len(self.outcomes)
        return share_interval(sum(self.outcomes), n) if n else None


def state_of(
    question: Question,
    rows: Sequence[RunRow],
    size: int,
    *,
    target: float,
    frozen: float | None = None,
) -> SizeState:
    """What the recorded runs say of `size`, and what to run where they do not say enough.

    `frozen`: the learning rate of the baseline, which is tried at every size.
    """
    mine = [row for row in rows if row.batch_size == size]
    seeds = [row for row in mine if row.purpose == SEEDS and (row.finished or row.waits)]
    if seeds:
        return _seeded(question, rows, seeds, target)
    recorded = _recorded(question, mine, target)
    if recorded is not None and recorded.counts is not None:
        return recorded
    refused = next((row for row in mine if row.verdict in IMPOSSIBLE and row.metric is None), None)
    if refused is not None and not any(says_something(row) for row in mine):
        why = f"it cannot run: {str(refused.verdict).replace('_', ' ')}"
        return SizeState(batch_size=size, counts=False, why=why)
    tuning = tuned(question, rows, size, frozen=frozen)
    state = recorded or SizeState(batch_size=size)
    if tuning.rate is None:
        asked = _asked(size, tuning.to_run, TUNE)
        return replace(state, why=state.why or "its learning rate is not tuned", to_run=asked)
    first = min(FIRST_SEEDS, question.n_seeds)
    return replace(
        state,
        learning_rate=state.learning_rate or tuning.rate,
        bracketed=tuning.bracketed,
        why=state.why or f"no fresh seeds were run, {question.n_seeds} are wanted",
        to_run=_asked(size, first * [tuning.rate], SEEDS),
    )


def _asked(size: int, rates: Sequence[float], purpose: str) -> tuple[Asked, ...]:
    return tuple(Asked(batch_size=size, learning_rate=rate, purpose=purpose) for rate in rates)


def _seeded(
    question: Question, rows: Sequence[RunRow], seeds: Sequence[RunRow], target: float
) -> SizeState:
    """Of runs that were asked for as fresh seeds: those at the rate that was tuned last."""
    size, rate = seeds[0].batch_size, seeds[-1].learning_rate
    mine = [row for row in rows if row.batch_size == size]
    group = [row for row in seeds if row.learning_rate == rate]
    done = [row for row in group if row.finished]
    state = _judged(question, done, target, _at(size, rate, mine))
    if _decided(question, state.outcomes) is False:
        return _second_attempt(question, rows, seeds, state)
    if state.counts or len(done) < len(group):
        return state
    n_missing = FIRST_SEEDS - len(group)
    if n_missing <= 0:  # no more than could decide it
        n_missing = question.needed - sum(state.outcomes)
    n_missing = min(n_missing, question.n_seeds - len(group))
    return replace(state, to_run=_asked(size, n_missing * [rate], SEEDS))


def _second_attempt(
    question: Question, rows: Sequence[RunRow], seeds: Sequence[RunRow], state: SizeState
) -> SizeState:
    """The failed seeds say something about the rate too: once, they may move it."""
    size, rate = state.batch_size, seeds[-1].learning_rate
    if any(row.learning_rate != rate for row in seeds):
        return state
    tuning = tuned(question, rows, size, frozen=None)
    if tuning.rate is None:
        why = "its learning rate is tuned again"
        return replace(state, counts=None, why=why, to_run=_asked(size, tuning.to_run, TUNE))
    if max(tuning.rate / rate, rate / tuning.rate) <= SAME:
        return state
    first = min(FIRST_SEEDS, question.n_seeds)
    why = f"its learning rate was tuned again, to {tuning.rate:g}"
    return replace(state, counts=None, why=why, to_run=_asked(size, first * [tuning.rate], SEEDS))


def _recorded(question: Question, mine: Sequence[RunRow], target: float) -> SizeState | None:
    """Of repeated runs that nobody asked for: each is judged at the rate that the others choose.

    A rate that is chosen by the runs it is judged by looks better than it is.
    """
    groups: dict[float, list[RunRow]] = {}
    for row in mine:
        if row.purpose != SENSITIVITY and says_something(row):
            groups.setdefault(row.learning_rate, []).append(row)
    repeated = {rate: group for rate, group in groups.items() if len(group) > 1}
    if not repeated:
        return None
    fresh = []
    for index in range(max(map(len, repeated.values()))):
        there = {rate: group for rate, group in repeated.items() if len(group) > index}
        chosen = min(there, key=lambda rate: _mean_error(there[rate], without=index))
        fresh.append(there[chosen][index])
    rate = min(repeated, key=lambda rate: _mean_error(repeated[rate]))
    return _judged(question, fresh, target, _at(fresh[0].batch_size, rate, mine))


def _mean_error(group: Sequence[RunRow], without: int | None = None) -> float:
    errors = [error_of(row) for index, row in enumerate(group) if index != without]
    return sum(errors) / len(errors)


def _at(size: int, rate: float, mine: Sequence[RunRow]) -> SizeState:
    tried = [row.learning_rate for row in mine if says_something(row)]
    return SizeState(batch_size=size, learning_rate=rate, bracketed=is_bracketed(rate, tried))


def _decided(question: Question, outcomes: Sequence[bool]) -> bool | None:
    """Whether the target is reached by enough seeds, whatever those that are missing would do."""
    n, k = len(outcomes), sum(outcomes)
    if k >= question.needed:
        return True
    return False if n - k > question.n_seeds - question.needed else None


def _judged(
    question: Question, fresh: Sequence[RunRow], target: float, state: SizeState
) -> SizeState:
    """Whether the size counts, by its first `n_seeds` fresh runs."""
    outcomes = tuple(reaches(row, target) for row in fresh[: question.n_seeds])
    counts, why = _decided(question, outcomes), ""
    if counts is None:
        n, k = len(outcomes), sum(outcomes)
        why = f"{k} of {n} seeds reach it so far, of {question.n_seeds} asked for"
    if counts is False and not state.bracketed:
        counts, why = None, "its best learning rate lies on the edge of those that were tried"
    fresh = tuple(fresh[: question.n_seeds])
    return replace(state, fresh=fresh, outcomes=outcomes, counts=counts, why=why)
