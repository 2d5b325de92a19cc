"""Fresh runs of what was recommended: they show what the promise was worth, and choose nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from batchfront.study.answer.choice import SAME, SizeAdvice
from batchfront.study.answer.known import CONFIRM, Known
from batchfront.study.plan.space import SearchSpace
from batchfront.study.show import counted
from batchfront.study.trials.attributes import (
    PURPOSE,
    batch_size_of,
    has_batch_size,
    is_finished,
    rate_of,
)

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

    from batchfront.study.trials.yardstick import Yardstick

Z = 2.5758293035489  # both sides of 99%: a promise is not called broken for the noise of seeds
ASIDE = 1.0  # deviations of the mean: from here on it is said on which side of the promise it is
MOVED = 2**0.25 - 1  # relative: so far the recommended rate may have moved since the fresh runs


@dataclass(frozen=True, kw_only=True)
class Confirming:
    """An agenda of so many runs of one setting; it travels to worker processes."""

    batch_size: int
    learning_rate: float
    params: Mapping[str, Any]  # the task's own
    space: SearchSpace
    n_runs: int

    @staticmethod
    def of(recommended: SizeAdvice, space: SearchSpace, n_runs: int) -> Confirming:
        """So many runs of what is recommended."""
        found = recommended.shown
        return Confirming(
            batch_size=recommended.batch_size,
            learning_rate=found.learning_rate,
            params=found.params,
            space=space,
            n_runs=n_runs,
        )

    def queue(self, study: Study, trials: Sequence[FrozenTrial]) -> int:
        """Queue what is missing, under the claim lock; returns how many trials that were."""
        n_missing = self.n_missing(trials)
        for _ in range(n_missing):
            study.enqueue_trial(
                {**self.space.asked(self.batch_size, self.learning_rate), **self.params},
                user_attrs={PURPOSE: CONFIRM, **self.space.scaled(self.learning_rate)},
            )
        return n_missing

    def n_missing(self, trials: Sequence[FrozenTrial]) -> int:
        """How many runs are still to be made; those that run or wait are not."""
        own = [trial for trial in trials if _is_of(trial, self, SAME)]
        return max(0, self.n_runs - sum(is_finished(t) or not t.state.is_finished() for t in own))


def _is_of(trial: FrozenTrial, asked: Confirming, moved: float) -> bool:
    """Whether it is a fresh run of that setting, one that waits as well.

    `moved`: by how much its rate may differ, as a share of the larger.
    """
    if trial.user_attrs.get(PURPOSE) != CONFIRM:
        return False
    params = trial.params or trial.system_attrs.get("fixed_params", {})
    if not has_batch_size(params) or "learning_rate" not in params:  # its worker died before
        return False
    near = math.isclose(rate_of(trial, params), asked.learning_rate, rel_tol=moved)
    own = all(params.get(name) == value for name, value in asked.params.items())
    return near and own and batch_size_of(params) == asked.batch_size


@dataclass(frozen=True, kw_only=True)
class Confirmation:
    """What the fresh runs of the recommendation have shown."""

    reached: tuple[float, ...]  # metrics of those that completed
    n_stopped: int  # that diverged, stalled or broke a limit
    promised: tuple[float, float]  # where their mean was to lie, the lower end first
    expected: float  # their mean, before they were run
    verdict: str  # as promised, better, worse
    aside: str  # better or worse, where that is at least likely; else empty
    rates: tuple[float, ...]  # that they were run at, where the recommended one has moved since
    trials: tuple[int, ...]

    @property
    def n_runs(self) -> int:
        """All that have ended."""
        return len(self.trials)


def confirmation_of(recommended: SizeAdvice, known: Known) -> Confirmation | None:
    """What the fresh runs of the recommendation have shown; None where there are none.

    The mean of log errors of K runs is normal around the surface, with the variance of what is not
    known of it and the K-th part of that between seeds; where validation examples are counted, it
    lies up to the K-th part of half a one further off.
    """
    asked = Confirming.of(recommended, SearchSpace(), 0)
    fresh = [trial for trial in known.fresh if _is_of(trial, asked, MOVED) and is_finished(trial)]
    if not fresh:
        return None
    reached = [trial.values[0] for trial in fresh if trial.values]
    n_stopped = len(fresh) - len(reached)
    found, yardstick = recommended.shown, known.yardstick
    logs = [math.log(max(0.0, 1 - yardstick.standard(value)) + found.tie) for value in reached]
    error = math.exp(sum(logs) / len(logs)) - found.tie if logs else math.inf
    deviation = math.sqrt(found.deviation**2 + found.noise / max(1, len(reached)))
    rounding = found.step / 2 / max(1, len(reached))
    least, most = found.interval(Z * deviation, rounding)
    expected = float(yardstick.own(1 - found.error))
    aside = _side(error, found.interval(ASIDE * deviation, rounding))
    return Confirmation(
        reached=tuple(reached),
        n_stopped=n_stopped,
        promised=yardstick.possible_ends(1 - most, 1 - least),
        expected=expected,
        verdict="worse" if n_stopped else _side(error, (least, most)) or "as promised",
        aside=aside if _is_seen(aside, reached, expected, yardstick) else "",
        rates=tuple(sorted({rate_of(t) for t in fresh if not _is_of(t, asked, SAME)})),
        trials=tuple(trial.number for trial in fresh),
    )


def _is_seen(aside: str, reached: Sequence[float], expected: float, yardstick: Yardstick) -> bool:
    """Whether the mean that is printed lies on that side, too: what is judged is one of logs."""
    if not reached:
        return False
    off = yardstick.standard(_mean(reached)) - yardstick.standard(expected)
    return bool(off < 0 if aside == "worse" else off > 0)


def _side(error: float, between: tuple[float, float]) -> str:
    return "worse" if error > between[1] else "better" if error < between[0] else ""


def confirmation_line(found: Confirmation, form: str) -> str:
    """`5 fresh runs of it reached 0.961 to 0.972, 0.967 on average: as promised.`

    `form`: the format of the metric's values.
    """
    of = f"at {' and '.join(f'{rate:.2g}' for rate in found.rates)}" if found.rates else "of it"
    runs = f"{counted(found.n_runs, 'fresh run')} {of}"
    if not found.reached:
        return f"{runs} did not complete: not as promised."
    low, mean, high = min(found.reached), _mean(found.reached), max(found.reached)
    text = f"{runs} reached {low:{form}} to {high:{form}}, {mean:{form}} on average"
    if len(found.reached) == 1:
        text = f"{runs} reached {mean:{form}}"
    if found.n_stopped:
        return f"{text}, and {found.n_stopped} did not complete: not as promised."
    ends = " to ".join(f"{end:{form}}" for end in found.promised)
    if found.verdict != "as promised":
        return f"{text}: {found.verdict} than promised, which was {ends} for their mean."
    if not found.aside:
        return f"{text}: as promised."
    return (
        f"{text}: as promised, which was {ends} for their mean, though "
        f"{abs(mean - found.expected):{form}} {found.aside} than expected."
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def confirmation_json(found: Confirmation | None) -> dict[str, Any] | None:
    """The same for machines."""
    if found is None:
        return None
    reached = found.reached
    return {
        "n_runs": found.n_runs,
        "n_stopped": found.n_stopped,
        "reached": list(reached),
        "mean": _mean(reached) if reached else None,
        "expected": found.expected,
        "promised_low": float(found.promised[0]),
        "promised_high": float(found.promised[1]),
        "verdict": found.verdict,
        "trials": list(found.trials),
    }
