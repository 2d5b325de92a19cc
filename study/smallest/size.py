"""What is known of one batch size: its learning rate, its seeds, whether it counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from batchfront.objectives.measurement import Verdict
from batchfront.study.smallest.confirm import stands
from batchfront.study.smallest.question import (
    FIRST_SEEDS,
    SEEDS,
    SENSITIVITY,
    TUNE,
    Question,
    reaches,
    share_interval,
)
from batchfront.study.smallest.rate_model import is_crash, says_something
from batchfront.study.smallest.repeated import left_out
from batchfront.study.smallest.tuning import SAME, around, edge, is_bracketed, seen_better, tuned
from batchfront.study.trials.rows import RunRow

IMPOSSIBLE = {Verdict.OUT_OF_MEMORY.value, Verdict.OVER_BUDGET.value}
ATTEMPTS = 3  # rates of a size at which seeds are run
NEARLY = 0.4  # of the seeds at a rate: then rates beside it may do
CRASHES = 3  # of a size that never ran to an end: then it cannot run


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
    """What is known of one batch size; `counts` is None while that is not decided."""

    batch_size: int
    learning_rate: float | None = None  # the tuned one
    bracketed: bool = False  # worse rates were tried on both sides
    fresh: tuple[RunRow, ...] = ()  # finished runs that had no part in choosing the rate
    outcomes: tuple[bool, ...] = ()  # of these: whether each reached the target
    counts: bool | None = None
    confirmed: bool | None = None  # by seeds that came later; None: too few of them to tell
    n_later: int = 0  # of the fresh runs, those that came after it counted
    why: str = ""  # what lacks, or why it does not count
    waits: bool = False  # for runs that are queued or under way
    to_run: tuple[Asked, ...] = ()

    @property
    def interval(self) -> tuple[float, float] | None:
        """The interval of the share of seeds that reach the target; None where no seed has run."""
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
    all_mine = [row for row in rows if row.batch_size == size]
    cannot = _cannot_run(question, all_mine)
    if cannot:
        return SizeState(batch_size=size, counts=False, why=cannot)
    rows = [row for row in rows if not is_crash(row)]  # says nothing of training: run again
    mine = [row for row in rows if row.batch_size == size]
    waits = any(row.waits for row in mine)
    seeds = [row for row in mine if row.purpose == SEEDS]
    if seeds:
        return replace(_seeded(question, rows, seeds, target), waits=waits)
    state = _with_later(question, mine, _recorded(question, mine, size, target), target)
    if state.counts is not None:
        return state
    return replace(_tuned(question, rows, state, frozen), waits=waits)


def recorded_state(
    question: Question, rows: Sequence[RunRow], size: int, *, target: float
) -> SizeState:
    """What the fresh seeds of `size` say that are recorded, with no wish for more."""
    mine = [row for row in rows if row.batch_size == size and not is_crash(row)]
    seeds = [row for row in mine if row.purpose == SEEDS]
    if not seeds:
        return _with_later(question, mine, _recorded(question, mine, size, target), target)
    rate = _last_rate(seeds)
    done = [row for row in seeds if row.finished and row.learning_rate == rate]
    state = _judged(question, done, target, _at(size, rate, rows))
    return _with_later(question, mine, state, target)


def _with_later(
    question: Question, mine: Sequence[RunRow], state: SizeState, target: float
) -> SizeState:
    """A size that counts, with the seeds that came since; they confirm it, or take it back."""
    if not state.counts:
        return state
    later = [row for row in mine if row.purpose == SENSITIVITY and row.finished]
    later = [row for row in later if row.learning_rate == state.learning_rate]
    came = tuple(reaches(row, target) for row in later)
    outcomes = state.outcomes + came
    found = stands(outcomes, len(question.sizes))
    why = f"only {sum(came)} of {len(came)} seeds that came later reach the target"
    return replace(
        state,
        fresh=(*state.fresh, *later),
        outcomes=outcomes,
        counts=found is not False,
        confirmed=found,
        n_later=len(later),
        why=why if found is False else "",
    )


def _cannot_run(question: Question, mine: Sequence[RunRow]) -> str:
    """Why, where no run of the size came to an end; else ""."""
    if any(says_something(row) or row.waits for row in mine):
        return ""
    for row in mine:
        if row.verdict in IMPOSSIBLE and question.hardware in (None, row.hardware):
            return f"it cannot run: {str(row.verdict).replace('_', ' ')}"
    crashed = [row for row in mine if is_crash(row)]
    if len(crashed) < CRASHES:
        return ""
    return f"its runs fail: {(crashed[-1].reason or 'their workers died').splitlines()[0][:100]}"


def _tuned(
    question: Question, rows: Sequence[RunRow], state: SizeState, frozen: float | None
) -> SizeState:
    """A size without seeds of its own: its rate is tuned, then the first seeds run."""
    size = state.batch_size
    tuning = tuned(question, rows, size, frozen=frozen)
    if tuning.rate is None:
        asked = _asked(size, tuning.to_run, TUNE)
        return replace(state, why=state.why or "its learning rate is not tuned", to_run=asked)
    return replace(
        state,
        learning_rate=state.learning_rate or tuning.rate,
        bracketed=tuning.bracketed,
        why=state.why or f"no fresh seeds were run, {question.n_seeds} are wanted",
        to_run=_first_seeds(question, size, tuning.rate),
    )


def _asked(size: int, rates: Sequence[float], purpose: str) -> tuple[Asked, ...]:
    return tuple(Asked(batch_size=size, learning_rate=rate, purpose=purpose) for rate in rates)


def _first_seeds(question: Question, size: int, rate: float) -> tuple[Asked, ...]:
    return _asked(size, _n_first(question, size) * [rate], SEEDS)


def _n_first(question: Question, size: int) -> int:
    """Seeds that are run before anybody looks whether it is decided: all, if together."""
    return question.n_seeds if question.in_rounds(size) else min(FIRST_SEEDS, question.n_seeds)


def _seeded(
    question: Question, rows: Sequence[RunRow], seeds: Sequence[RunRow], target: float
) -> SizeState:
    """The size's state by runs that were asked for as fresh seeds, at the rate tuned last."""
    size, rate = seeds[0].batch_size, _last_rate(seeds)
    group = [row for row in seeds if row.learning_rate == rate]
    done = [row for row in group if row.finished]
    mine = [row for row in rows if row.batch_size == size]
    state = _judged(question, done, target, _at(size, rate, rows))
    state = _with_later(question, mine, state, target)
    if state.counts or len(done) < len(group):
        return state
    if state.n_later or _decided(question, state.outcomes) is False:
        beyond = () if state.bracketed or question.is_recorded else edge(mine, rate)
        if beyond:
            return replace(state, to_run=_asked(size, beyond, TUNE))
        tried = {row.learning_rate for row in seeds}
        return state if len(tried) >= ATTEMPTS else _another(question, rows, state, tried, target)
    n_missing = _n_first(question, size) - len(group)
    if n_missing <= 0:  # no more than could decide it
        n_missing = question.needed - sum(state.outcomes)
    n_missing = min(n_missing, question.n_seeds - len(group))
    return replace(state, to_run=_asked(size, n_missing * [rate], SEEDS))


def _last_rate(seeds: Sequence[RunRow]) -> float:
    """The rate whose first run came last."""
    first = {row.learning_rate: row.number for row in reversed(seeds)}
    return max(first, key=lambda rate: first[rate])


def _another(
    question: Question, rows: Sequence[RunRow], state: SizeState, tried: set[float], target: float
) -> SizeState:
    """Failed seeds say something about the rate too, and may move it; or another one did better.

    `tried`: the rates that seeds were run at.
    """
    size, rate = state.batch_size, state.learning_rate or 0.0
    tuning = tuned(question, rows, size, frozen=None)
    if tuning.rate is None:
        why = "its learning rate is tuned again"
        return replace(state, counts=None, why=why, to_run=_asked(size, tuning.to_run, TUNE))
    moved = max(tuning.rate / rate, rate / tuning.rate) > SAME and tuning.rate not in tried
    mine = [row for row in rows if row.batch_size == size]
    if question.is_recorded and not moved:
        return state
    is_near = sum(state.outcomes) >= NEARLY * len(state.outcomes)
    beside = around(mine, rate) if is_near and not moved else ()
    if beside:
        why = "rates beside its learning rate are tried"
        return replace(state, counts=None, why=why, to_run=_asked(size, beside, TUNE))
    other = tuning.rate if moved else seen_better(mine, target, tried)
    if other is None or any(row.waits for row in mine):
        return state
    why = f"its learning rate was tuned again, to {other:g}"
    return replace(state, counts=None, why=why, to_run=_first_seeds(question, size, other))


def _recorded(question: Question, mine: Sequence[RunRow], size: int, target: float) -> SizeState:
    """The size's state by repeated runs nobody asked for; an empty state where there are none."""
    rate, fresh = left_out(mine)
    if rate is None:
        return SizeState(batch_size=size)
    return _judged(question, fresh, target, _at(size, rate, mine))


def _at(size: int, rate: float, rows: Sequence[RunRow]) -> SizeState:
    tried = [r.learning_rate for r in rows if r.batch_size == size and says_something(r)]
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
    fresh = tuple(fresh[: question.n_seeds])
    outcomes = tuple(reaches(row, target) for row in fresh)
    counts, why = _decided(question, outcomes), ""
    if counts is None:
        n, k = len(outcomes), sum(outcomes)
        why = f"{k} of {n} seeds reach it so far, of {question.n_seeds} asked for"
    elif counts is False and not state.bracketed:
        counts, why = None, "its best learning rate lies on the edge of those that were tried"
    elif counts is False:
        over = sum(row.metric is not None and not row.feasible for row in fresh)
        why = f"{over} over a budget" if over else ""
    return replace(state, fresh=fresh, outcomes=outcomes, counts=counts, why=why)
