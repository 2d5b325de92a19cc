"""Runs of earlier studies, as a study keeps them that starts warm: evidence of the metric alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from batchfront.study.trials.yardstick import Yardstick

if TYPE_CHECKING:
    from batchfront.objectives.metric import Metric

PAST = "batchfront_past:"  # study attribute: + place among those that were named
WARM_START = "warm_start"  # in what a resume uses: their names
DIGITS = 4  # of what is stored


@dataclass(frozen=True, kw_only=True)
class PastRun:
    """One run. Its time and memory are left behind: they are of another machine, or another day."""

    params: Mapping[str, Any]  # by the names of the new study's
    log_error: float  # as `Observations.part` has it
    noise: float  # variance of that, beyond the one between seeds
    failed: bool


@dataclass(frozen=True, kw_only=True)
class PastRuns:
    """What is kept of one earlier study."""

    source: str  # as it was named, without a password
    runs: tuple[PastRun, ...]
    factor: float  # of the yardstick that the errors are measured with
    offset: float
    tilt: float  # of the shape of its surface
    theta: tuple[float, ...]
    usual_error: float  # median of those that completed

    def yardstick(self, metric: Metric) -> Yardstick:
        """The yardstick that its errors are measured with, to measure others by the same."""
        return Yardstick(metric=metric, factor=self.factor, offset=self.offset)

    def as_dict(self) -> dict[str, Any]:
        """The runs as a study stores them."""
        rows = [
            [dict(r.params), round(r.log_error, DIGITS), round(r.noise, DIGITS), int(r.failed)]
            for r in self.runs
        ]
        return {
            "source": self.source,
            "yardstick": [self.factor, self.offset],
            "shape": [self.tilt, *self.theta],
            "usual_error": self.usual_error,
            "runs": rows,
        }

    @staticmethod
    def from_dict(stored: Mapping[str, Any]) -> PastRuns:
        """The runs that `as_dict` returned."""
        factor, offset = stored["yardstick"]
        tilt, *theta = stored["shape"]
        return PastRuns(
            source=stored["source"],
            runs=tuple(
                PastRun(params=params, log_error=error, noise=noise, failed=bool(failed))
                for params, error, noise, failed in stored["runs"]
            ),
            factor=factor,
            offset=offset,
            tilt=tilt,
            theta=tuple(theta),
            usual_error=stored["usual_error"],
        )
