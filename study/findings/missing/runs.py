"""The runs that a finding lacks, computed anew from the study before every trial.

As with the protocol of `smallest`, nothing but the trials is remembered: several workers can fill
the same gaps, and a later call goes on where an earlier one ended.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from batchfront.study.answer.known import Known, known_of
from batchfront.study.answer.model import MIN_COMPLETED, SizeEstimate, estimates_of, learned_of
from batchfront.study.errors import StudyError
from batchfront.study.findings.missing import seeds
from batchfront.study.findings.missing.rates import missing_rates
from batchfront.study.findings.rates.best import MIN_RATES, best_rate, rate_runs
from batchfront.study.plan.space import SearchSpace
from batchfront.study.show import counted
from batchfront.study.trials.attributes import PURPOSE, is_finished
from batchfront.study.trials.hardware import hardware_title
from batchfront.study.trials.rows import RunRow, runs_of
from batchfront.study.trials.yardstick import Objectives, Yardstick, standard

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

Verb = Literal["rates", "claims", "critical-batch"]
MISSING = "missing"  # purpose of such trials
MOST_ASKED = 12  # of a size: what they do not show, a few more would not
KINDS = {
    "rates": "at new learning rates",
    "edge": "beyond the edge of the tried ones",
    "seeds": "with fresh seeds",
}


@dataclass(frozen=True, kw_only=True)
class Gap:
    """What one batch size lacks."""

    batch_size: int
    kind: str  # of KINDS
    rates: tuple[float, ...]  # to run next, one for each run
    n_later: int  # at least so many runs more, once these have ended
    params: Mapping[str, Any]  # the task's own
    train_seconds: float | None  # of a run

    @property
    def n_runs(self) -> int:
        """The least number of runs that are missing."""
        return len(self.rates) + self.n_later


@dataclass(frozen=True, kw_only=True)
class Missing:
    """An agenda of the runs that a verb lacks; it travels to worker processes."""

    verb: Verb
    target: float | None  # in the metric's units
    names: Objectives
    space: SearchSpace
    hardware: str | None = None  # whose costs count, by its id; None: the first
    limit: int | None = None  # of the study's trials with this purpose

    def gaps(self, study: Study, trials: Sequence[FrozenTrial]) -> list[Gap]:
        """What each size lacks, the cheapest first; sizes that are under way are not among them.

        Raises:
            StudyError: too few runs completed for a guess where to look.
        """
        known = self._known(study, trials)
        if known.n_completed < MIN_COMPLETED:
            runs = counted(known.n_completed, "run")
            raise StudyError(f"{runs} completed, wanted at least {MIN_COMPLETED}: search first")
        rows = runs_of(standard(trials, known.yardstick), self.names)
        rows = [row for row in rows if row.finished or row.waits]
        guesses = cache(lambda: estimates_of(known, learned_of(known)))  # half a second, if at all
        found = [self._gap(rows, known, size, guesses) for size in known.costs]
        gaps = [gap for gap in found if gap is not None]
        return sorted(gaps, key=lambda gap: (gap.train_seconds or 0.0, -gap.batch_size))

    def _known(self, study: Study, trials: Sequence[FrozenTrial]) -> Known:
        found = known_of(study, trials)
        title = hardware_title(study, self.hardware or "")
        return found.get(title) or next(iter(found.values()))

    def _gap(
        self,
        rows: Sequence[RunRow],
        known: Known,
        size: int,
        guesses: Callable[[], Mapping[int, SizeEstimate]],
    ) -> Gap | None:
        mine = [row for row in rows if row.batch_size == size]
        n_asked = sum(row.purpose == MISSING for row in mine)
        if n_asked >= MOST_ASKED or any(row.waits for row in mine):
            return None
        found = best_rate(*rate_runs(mine, size))
        rates = missing_rates(mine, found, lambda: guesses()[size].learning_rate)
        kind, n_later = "edge" if len(rates) == 1 and len(mine) >= MIN_RATES else "rates", 0
        if rates:
            n_later = max(0, self._n_seeds - 1)
        else:
            rate, n = self._seeds(known.yardstick)(mine, found) or (0.0, 0)
            kind, rates = "seeds", [rate] * n
        if not rates:
            return None
        return Gap(
            batch_size=size,
            kind=kind,
            rates=tuple(rates),
            n_later=n_later,
            params=guesses()[size].params,
            train_seconds=known.costs[size].train_seconds,
        )

    @property
    def _n_seeds(self) -> int:
        """Runs at the best rate of each size that the verb wants."""
        wanted = {"claims": seeds.SEEDS_OF_TRENDS, "critical-batch": seeds.SEEDS_OF_MEDIANS}
        return wanted.get(self.verb, 1)

    def _seeds(self, by: Yardstick) -> seeds.Rule:
        if self.verb == "critical-batch":
            return seeds.seeds_of_medians(self.target, by)
        return seeds.seeds_of_trends if self.verb == "claims" else seeds.none

    def queue(self, study: Study, trials: Sequence[FrozenTrial]) -> int:
        """Queue what is due, under the claim lock; returns how many trials that were."""
        room = None if self.limit is None else self.limit - n_asked(trials)
        if room is not None and room <= 0:
            return 0
        due = [(gap, rate) for gap in self.gaps(study, trials) for rate in gap.rates][:room]
        for gap, rate in due:
            study.enqueue_trial(
                {**self.space.asked(gap.batch_size, rate), **gap.params},
                user_attrs={PURPOSE: MISSING, **self.space.scaled(rate)},
            )
        return len(due)


def n_asked(trials: Sequence[FrozenTrial]) -> int:
    """Trials that were made for a finding, or will be; those that were lost do not count."""
    own = [trial for trial in trials if trial.user_attrs.get(PURPOSE) == MISSING]
    return sum(is_finished(trial) or not trial.state.is_finished() for trial in own)
