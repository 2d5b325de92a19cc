"""When a search has found what there is to find: more trials are expected to gain little."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from batchfront.study.search.encoding import Encoding
from batchfront.study.search.feasible import Feasible
from batchfront.study.search.learner import Learner
from batchfront.study.search.outlook import SMOOTH, Outlook, bought, outlook_of
from batchfront.study.search.worth import worst_error
from batchfront.study.trials.attributes import derive_seed

if TYPE_CHECKING:
    import numpy as np
    import optuna
    from numpy.typing import NDArray

    from batchfront.study.plan.limits import Limits
    from batchfront.study.plan.space import SearchSpace
    from batchfront.study.search.evidence import Evidence
    from batchfront.study.search.observations import Observations
    from batchfront.study.search.prices import Prices
    from batchfront.study.trials.yardstick import Yardstick

    Array = NDArray[np.float64]

LITTLE = 0.005  # of the hypervolume
SURE = 0.9  # probability that what is said of an end is true, in searches played from tables
BY_MODEL = 0.92  # probability that the surface gives it then (python -m benchmarks.auto)
CLEAR = 0.1  # of the tolerance
FAILURES = 3  # of a batch size that has never run well: then it is given up


@dataclass(frozen=True, kw_only=True)
class SizeOutlook:
    """What more trials may gain at one batch size; errors are 1 - standard value."""

    batch_size: int
    gain: float  # by which the error falls at most, with the probability `BY_MODEL`
    tolerance: float  # what repeating a run changes

    @property
    def is_open(self) -> bool:
        """Whether the gain may be more than what repeating a run changes."""
        return self.gain > self.tolerance


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What more trials of a study may gain."""

    volume: float  # share of the hypervolume at most, with the probability `BY_MODEL`
    sizes: Sequence[SizeOutlook]  # ascending: all that may run
    yardstick: Yardstick  # of the errors
    held: bool = True  # it was no more without the last run

    @property
    def open_sizes(self) -> list[SizeOutlook]:
        """Batch sizes that may gain more than what repeating a run changes."""
        return [size for size in self.sizes if size.is_open]

    @property
    def is_enough(self) -> bool:
        """Whether more trials are not worth their time."""
        return self.volume < LITTLE and not self.open_sizes and self.held


@dataclass(frozen=True, kw_only=True)
class Bought:
    """What more training is expected to buy at one batch size."""

    batch_size: int
    gain: float  # of the metric, in its own values
    is_clear: bool  # it is no trifle beside what repeating a run changes
    has_run: bool  # before


class Enough:
    """Follows one study on one hardware."""

    def __init__(self, *, space: SearchSpace, seed: int, hardware: str) -> None:
        self._space = space
        self._seed = seed
        self._encoding = Encoding(space)
        self._learner = Learner(encoding=self._encoding, hardware=hardware, believed=SMOOTH)
        self._known: tuple[Evidence | None, int] = (None, 0)  # with so many trials
        self._said: Expected | None = None  # by these

    def look(self, study: optuna.Study, limits: Limits) -> Expected | None:
        """What more trials may gain; None while nothing has completed, or nothing may run.

        It is found anew when any trial has ended, whoever asked for it, or sizes were probed again.
        """
        evidence, _ = self._learner.follow(study, limits.costs)
        known = evidence, len(evidence.trials)
        if self._known != known:
            self._known, self._said = known, self._found(evidence, limits)
        return self._said

    def _found(self, evidence: Evidence, limits: Limits) -> Expected | None:
        outlook = self._outlook(evidence, limits)
        if outlook is None:
            return None
        expected = _expected(outlook, evidence.yardstick)
        return (
            replace(expected, held=self._held(evidence, limits)) if expected.is_enough else expected
        )

    def bought(self, study: optuna.Study, limits: Limits, seconds: float) -> list[Bought]:
        """What so much more training is expected to buy at each batch size, ascending."""
        import numpy as np

        evidence, _ = self._learner.follow(study, limits.costs)
        outlook = self._outlook(evidence, limits)
        if outlook is None:
            return []
        gains = bought(outlook, seconds)
        own = np.abs(evidence.yardstick.own_difference(gains))
        return [
            Bought(
                batch_size=round(2 ** float(size)),
                gain=float(own[at]),
                is_clear=bool(gains[at] > CLEAR * outlook.tolerance[at]),
                has_run=bool((outlook.found[:, at] < outlook.worst).any()),
            )
            for at, size in enumerate(outlook.sizes)
        ]

    def _held(self, evidence: Evidence, limits: Limits) -> bool:
        """Whether what is enough now would be so without the last run: one may be lucky."""
        last_but_one = int(evidence.observations().numbers[-2])
        before = evidence.at(evidence.costs, up_to=last_but_one)
        outlook = self._outlook(before, limits)
        return outlook is not None and _expected(outlook, before.yardstick).is_enough

    def _outlook(self, evidence: Evidence, limits: Limits) -> Outlook | None:
        import numpy as np

        seen = evidence.observations()
        if not seen.counts.any():
            return None
        prices = self._learner.prices(limits, seen)
        feasible = Feasible(
            encoding=self._encoding, limits=limits, prices=prices,
            out_of_memory=evidence.out_of_memory,
        )  # fmt: skip
        draw = np.random.default_rng(derive_seed(self._seed, len(seen), purpose="outlook"))
        rows = self._encoding.candidates(self._space.batch_sizes, seen.x[seen.counts], draw)
        rows = rows[(feasible.share(rows) > 0) & feasible.affordable(rows)]
        rows = rows[~np.isin(rows[:, 0], _given_up(seen))]
        if not len(rows):
            return None
        least = limits.budgets.least_metric
        return outlook_of(
            seen=seen,
            shape=self._learner.shape(seen, evidence),
            candidates=rows,
            costs=self._costs(rows, prices),
            worst=worst_error(seen, None if least is None else evidence.yardstick.standard(least)),
            seed=derive_seed(self._seed, len(seen), purpose="draws"),
        )

    def _costs(self, rows: Array, prices: Prices) -> Array:
        """Seconds and bytes of each size, (S, 2), ascending, with other parameters as probed."""
        import numpy as np

        probed = np.array(self._encoding.probed_row())
        sizes = np.unique(rows[:, 0])
        some = np.tile(probed, (len(sizes), 1))
        some[:, 0] = sizes
        return prices.of(some)


def _expected(outlook: Outlook, yardstick: Yardstick) -> Expected:
    import numpy as np

    gains = np.quantile(outlook.gains, BY_MODEL, axis=0)
    sizes = [
        SizeOutlook(batch_size=round(2 ** float(size)), gain=float(gain), tolerance=float(off))
        for size, gain, off in zip(outlook.sizes, gains, outlook.tolerance, strict=True)
    ]
    volume = float(np.quantile(outlook.volume_gains, BY_MODEL))
    return Expected(volume=volume, sizes=sizes, yardstick=yardstick)


def _given_up(seen: Observations) -> Array:
    """Sizes, log2, of which several runs have failed and none went well."""
    import numpy as np

    sizes, which = np.unique(seen.x[:, 0], return_inverse=True)
    n_failed = np.bincount(which.ravel(), weights=seen.failed)
    given_up: Array = sizes[(n_failed >= FAILURES) & (n_failed == np.bincount(which.ravel()))]
    return given_up
