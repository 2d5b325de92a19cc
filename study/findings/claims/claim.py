"""One belief about batch size: the runs it is judged by, and its verdict."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from batchfront.objectives.length import Length
from batchfront.objectives.measurement import FAILED
from batchfront.study.findings.rates.best import NotShown, RateEstimate, best_rate
from batchfront.study.findings.rates.law import rate_estimates
from batchfront.study.trials.rows import RunRow
from batchfront.study.trials.yardstick import AS_IT_IS, Yardstick

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

CONFIDENCE = 0.99
"""Of each claim. A table of thirteen is thirteen looks: at 95% each, half of all studies of which
no belief holds or fails would show some verdict; at 99%, one in eight."""
AGREE, DISAGREE, NOT_SHOWN = "agree", "disagree", "not_shown"


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One belief and what the study says of it."""

    name: str
    verdict: str  # agree, disagree or not_shown
    figures: Mapping[str, Any]  # the numbers behind it, by name
    text: str  # the same in words
    why_not: str = ""  # for not_shown: the reason
    left_out: Mapping[int, str] = field(default_factory=dict)  # why, by batch size
    chance: float = 1 - CONFIDENCE
    """That some verdict is shown though the belief neither holds nor fails."""
    trials: tuple[int, ...] = ()  # numbers of the runs that it was judged by


@dataclass(frozen=True, kw_only=True)
class Runs:
    """The runs that claims look at, and what several of them need."""

    rows: Sequence[RunRow]  # their metrics are standard values
    target: float | None = None  # in the metric's units
    by: Yardstick = AS_IT_IS
    seed: int = 0
    steady: bool = True
    """Rate and batch size stay as they are: the first half of a run is a run of half the epochs."""

    @cached_property
    def standard_target(self) -> float | None:
        """The target, as the rows' metrics are."""
        return None if self.target is None else self.by.standard(self.target)

    @cached_property
    def finished(self) -> list[RunRow]:
        """Completed runs with a metric."""
        return [row for row in self.rows if row.finished and row.metric is not None]

    @cached_property
    def sizes(self) -> list[int]:
        """The batch sizes that the claim is about, ascending."""
        return sorted({row.batch_size for row in self.rows})

    @cached_property
    def _estimates(self) -> dict[int, RateEstimate | NotShown]:
        return rate_estimates(self.rows, seed=self.seed)

    @cached_property
    def untuned(self) -> dict[int, str]:
        """Why the best rate of a size is not known, of the other sizes."""
        return {
            size: e.reason if isinstance(e, NotShown) else "the best rate is an edge of those tried"
            for size, e in self._estimates.items()
            if size not in self.tuned
        }

    def left_out(self, known: Collection[int], why: str = "") -> dict[int, str]:
        """The reason for each size that is not known; `why`: of those whose best rate is."""
        return {size: self.untuned.get(size, why) for size in self.sizes if size not in known}

    @cached_property
    def tuned(self) -> dict[int, RateEstimate]:
        """Best rates, of the sizes where they are bracketed."""
        return {
            size: e
            for size, e in self._estimates.items()
            if isinstance(e, RateEstimate) and not e.at_edge
        }

    @cached_property
    def tuned_rows(self) -> list[RunRow]:
        """Completed runs at a usable rate of their size."""
        return [row for row in self.finished if self._is_usable(row)]

    def _is_usable(self, row: RunRow) -> bool:
        found = self.tuned.get(row.batch_size)
        return found is not None and is_usable(row.learning_rate, found)

    @cached_property
    def _length(self) -> Length:
        """What the runs were given; epochs, where nobody says."""
        known = (row.length for row in self.rows if row.length is not None)
        return next(known, Length(amount=1))

    @property
    def counts_steps(self) -> bool:
        """Whether runs were given equal steps, and not equal examples."""
        return self._length.counts_steps

    @property
    def point(self) -> str:
        """What the points of their curves are: epochs, or other evaluations."""
        return self._length.point

    def tuned_at(self, size: int, point: int) -> RateEstimate | None:
        """The best rate of a size for runs as long as up to that point of their curves, as a rule
        an epoch; None where unknown.

        A run that failed counts as failed; one without a point there is left out.
        """
        seen = []
        for row in self.rows:
            if row.batch_size != size or not row.finished:
                continue
            value = metric_at(row, point)
            if value is not None:
                seen.append((row.learning_rate, 1 - value))
            elif row.metric is None and row.verdict in FAILED:
                seen.append((row.learning_rate, math.inf))
        found = best_rate([r for r, _ in seen], [e for _, e in seen], seed=self.seed)
        return found if isinstance(found, RateEstimate) and not found.at_edge else None


Rule = Callable[[str, Runs], Claim]


def is_usable(rate: float, found: RateEstimate) -> bool:
    """Whether a learning rate lies in the usable range."""
    slack = 1 + 1e-9
    return found.usable[0] / slack <= rate <= found.usable[1] * slack


def metric_at(row: RunRow, point: int) -> float | None:
    """The recorded metric after so many epochs, or other points, of a run that completed."""
    if row.metric is None:
        return None
    if point == row.points:
        return row.metric
    index, between = divmod(point, row.stride)
    return None if between or not 0 < index <= len(row.curve) else row.curve[index - 1]


def not_shown(
    name: str,
    why: str,
    figures: Mapping[str, Any] | None = None,
    left_out: Mapping[int, str] | None = None,
) -> Claim:
    """A claim that the runs do not decide."""
    return Claim(
        name=name,
        verdict=NOT_SHOWN,
        figures=figures or {},
        text="",
        why_not=why,
        left_out=left_out or {},
    )


def decided(
    name: str,
    low: float,
    high: float,
    text: str,
    figures: Mapping[str, Any],
    left_out: Mapping[int, str] | None = None,
) -> Claim:
    """The claim on a belief that holds where an effect is positive, by the effect's interval."""
    left = left_out or {}
    if low > 0 or high < 0:
        verdict = AGREE if low > 0 else DISAGREE
        return Claim(name=name, verdict=verdict, figures=figures, text=text, left_out=left)
    return not_shown(name, f"{text}: no clear effect", figures, left)
