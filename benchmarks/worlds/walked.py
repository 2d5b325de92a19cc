"""`smallest` in a planted world: all runs it asks for, without any training."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Protocol

from batchfront.study.smallest.agenda import next_runs
from batchfront.study.smallest.ladder import Walk, walk
from batchfront.study.smallest.question import TUNE, Question
from batchfront.study.smallest.size import Asked
from batchfront.study.trials.rows import RunRow

if TYPE_CHECKING:
    import numpy as np

    from benchmarks.worlds.ladders import Case

BLANK: dict[str, Any] = {field.name: None for field in fields(RunRow)} | {
    "waits": False, "finished": True, "stride": 1, "curve": (), "epochs": 20,
    "score_test": False, "phases": (),
}  # fmt: skip

VERDICTS = ("right", "weaker", "not shown", "too large", "too small")


class World(Protocol):
    """Anything that says how a run ends."""

    def run(self, size: int, rate: float, number: int, draw: np.random.Generator) -> float | None:
        """The metric of one run, the study's `number`-th; None where it diverges."""
        ...


def run_row(number: int, size: int, rate: float, metric: float | None, **changes: Any) -> RunRow:
    """A finished run; without a metric it diverged."""
    known = {
        "number": number,
        "batch_size": size,
        "learning_rate": rate,
        "metric": metric,
        "feasible": metric is not None,
        "verdict": "diverged" if metric is None else "completed",
        "seed": number,
    }
    return RunRow(**{**BLANK, **known, **changes})


@dataclass(frozen=True, kw_only=True)
class Errors:
    """False verdicts on seeds, as if their runs had been ended early on a bound that errs."""

    probability: float = 0.0  # of a run
    shared: bool = False  # by all seeds of a size: one bound was learned for all of them

    def told(
        self, one: Asked, metric: float | None, target: float, draw: np.random.Generator
    ) -> float | None:
        """What is told of a run that ends with `metric`."""
        if one.purpose == TUNE or not self.probability or not self._errs(one.batch_size, draw):
            return metric
        reaches = metric is not None and metric >= target
        return math.nextafter(target, -math.inf) if reaches else target

    def _errs(self, size: int, draw: np.random.Generator) -> bool:
        import numpy as np

        if self.shared:
            study = draw.bit_generator.seed_seq.entropy  # type: ignore[attr-defined]
            draw = np.random.default_rng([study, size])
        return bool(draw.random() < self.probability)


NO_ERRORS = Errors()


def simulate(
    world: World, asked: Question, seed: int, errors: Errors = NO_ERRORS
) -> tuple[Walk, list[RunRow]]:
    """Run all that is asked for; returns where that led, and the runs."""
    import numpy as np

    draw = np.random.default_rng(seed)
    rows: list[RunRow] = []
    while due := next_runs(asked, rows):
        for one in due:
            metric = world.run(one.batch_size, one.learning_rate, len(rows), draw)
            if asked.target is not None:
                metric = errors.told(one, metric, asked.target, draw)
            how = {"purpose": one.purpose, "score_test": one.score_test}
            rows.append(run_row(len(rows), one.batch_size, one.learning_rate, metric, **how))
    return walk(asked, rows), rows


def verdict(case: Case, found: Walk) -> str:
    """right, weaker, not shown, too large or too small.

    Weaker: not shown, but a true bound is given. A false bound is as bad as a false answer.
    """
    truth, answer = case.truth, found.answer
    if answer is not None:
        if answer == truth or answer in case.also:
            return "right"
        return "too small" if truth is None or answer < truth else "too large"
    if truth is None:
        return "right" if found.at_most is None else "too small"
    if found.at_most is None:
        return "not shown"
    is_true = found.at_most >= truth or found.at_most in case.also
    return "weaker" if is_true else "too small"
