"""Which sizes are looked at in which order, and what the answer is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from batchfront.study.smallest.question import TUNE, Question, target_of
from batchfront.study.smallest.size import Asked, SizeState, recorded_state, state_of
from batchfront.study.smallest.stretches import trusted
from batchfront.study.smallest.tuning import tuned
from batchfront.study.trials.rows import RunRow

GO_ON = "run it again to go on"
DEAD_END = "search wider --learning-rates in another study, or choose another target"
Look = Callable[[int], SizeState]


@dataclass(frozen=True, kw_only=True)
class Walk:
    """`answer` is None where it is not shown; `missing` is then the size that is not decided."""

    target: float | None
    looked: tuple[SizeState, ...]  # in the order they were looked at, then what else is recorded
    answer: int | None = None
    at_most: int | None = None  # what the answer is not above, also where it is not shown
    missing: SizeState | None = None
    reason: str = ""  # why nothing is shown
    remedy: str = ""  # what to do then
    to_run: tuple[Asked, ...] = ()

    def state(self, size: int | None) -> SizeState | None:
        """What is known of a size; None where it was not looked at."""
        return next((state for state in self.looked if state.batch_size == size), None)

    @property
    def candidate(self) -> int | None:
        """The answer, or the bound on one that no more runs would find: it must stand."""
        if self.to_run or (self.missing is not None and self.missing.waits):
            return None
        return self.at_most


def walk(question: Question, rows: Sequence[RunRow]) -> Walk:
    """Walk as far as the recorded runs lead: down from the baseline, or up where that fails.

    The answer is the smallest size such that every size from where the walk found one that counts
    down to it counts; or one below that which counts by recorded seeds, if `trusted`.
    """
    target = target_of(question, rows)
    if target is None:
        return _no_target(question, rows)
    seen: dict[int, SizeState] = {}

    def look(size: int) -> SizeState:
        if size not in seen:
            first = seen.get(question.start)
            frozen = first.learning_rate if first is not None else None
            seen[size] = state_of(question, rows, size, target=target, frozen=frozen)
        return seen[size]

    found, missing = _walk(question, look)
    looked = (*seen.values(), *_unasked(question, rows, target, seen))
    known = [size for size in (found, trusted(looked)) if size is not None]
    at_most = min(known, default=None)
    answer = at_most if missing is None else None
    reason, remedy = ("", "") if answer is not None else _reason(question, target, missing)
    return Walk(
        target=target,
        looked=looked,
        answer=answer,
        at_most=at_most,
        missing=missing,
        reason=reason,
        remedy=remedy,
        to_run=missing.to_run if missing is not None else (),
    )


def _walk(question: Question, look: Look) -> tuple[int | None, SizeState | None]:
    """How far down sizes count; and the size that is not decided where the walk ends at one."""
    above = [size for size in question.sizes if size > question.start]
    below = [size for size in reversed(question.sizes) if size < question.start]
    found = None
    for size in [question.start, *above, *below]:
        state = look(size)
        if state.counts is None:
            return None, state
        if state.counts:
            found = size
            break
    if found is None or found > question.start:  # in between nothing counts
        return found, None
    for size in [size for size in below if size < found]:
        state = look(size)
        if state.counts is None:
            return found, state
        if not state.counts:
            break
        found = size
    return found, None


def _unasked(
    question: Question, rows: Sequence[RunRow], target: float, seen: Mapping[int, SizeState]
) -> list[SizeState]:
    """The sizes that the walk did not come to, as far as fresh seeds of them are recorded."""
    others = [size for size in reversed(question.sizes) if size not in seen]
    states = [recorded_state(question, rows, size, target=target) for size in others]
    return [state for state in states if state.outcomes]


def _no_target(question: Question, rows: Sequence[RunRow]) -> Walk:
    """Nothing is known that could be come within: the start is tuned first."""
    tuning = tuned(question, rows, question.start, frozen=None)
    asked = tuple(
        Asked(batch_size=question.start, learning_rate=rate, purpose=TUNE) for rate in tuning.to_run
    )
    reason = "no run has completed, so there is no metric to come within"
    waits = any(row.waits for row in rows)
    remedy = GO_ON if asked or waits else DEAD_END
    return Walk(target=None, looked=(), reason=reason, remedy=remedy, to_run=asked)


def _reason(question: Question, target: float, missing: SizeState | None) -> tuple[str, str]:
    """Why there is no answer, and what to do."""
    if missing is not None:
        remedy = GO_ON if missing.to_run or missing.waits else DEAD_END
        return f"batch size {missing.batch_size} is not decided: {missing.why}", remedy
    low, high = question.sizes[0], question.sizes[-1]
    wanted = f"{question.yardstick.own(target):.4g}"
    reason = f"no batch size from {low} to {high} reaches {wanted} with enough seeds"
    return reason, "choose an easier target, or longer runs in another study"
