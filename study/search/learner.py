"""What a study's trials and probes have taught so far, kept from one question to the next."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchfront.study.search.evidence import Evidence
from batchfront.study.search.prices import Prices
from batchfront.study.search.surface import SEARCHED, Noise, Shape, fit_shape, usual_shape
from batchfront.study.trials.followed import Followed
from batchfront.study.trials.hardware import ran_on
from batchfront.study.trials.yardstick import metric_in

if TYPE_CHECKING:
    import numpy as np
    import optuna
    from numpy.typing import NDArray
    from optuna.trial import FrozenTrial

    from batchfront.study.plan.limits import Limits
    from batchfront.study.search.encoding import Encoding
    from batchfront.study.search.observations import Observations
    from batchfront.study.trials.costs import Costs

    Array = NDArray[np.float64]

FIRST_FIT, GROWTH, LAST_FIT = 8, 1.5, 128
"""Observations to fit the shape to: so many, then anew whenever there are that much more."""


class Learner:
    """Follows one study on one hardware; goes through each trial once."""

    def __init__(self, *, encoding: Encoding, hardware: str, believed: Noise = SEARCHED) -> None:
        """`believed`: of the noise, before there is data."""
        self._encoding = encoding
        self._hardware = hardware
        self._believed = believed
        self._followed = Followed()
        self._evidence: Evidence | None = None
        self._shapes: dict[int, Shape] = {0: usual_shape(encoding.n_columns, believed)}

    def follow(self, study: optuna.Study, costs: Costs) -> tuple[Evidence, list[FrozenTrial]]:
        """Take what has ended since the last time; all of that, and what has not ended."""
        look = self._followed.look(study)
        if self._evidence is None:
            self._evidence = Evidence(
                encoding=self._encoding, costs=costs,
                is_here=ran_on(study, self._hardware), metric=metric_in(study),
            )  # fmt: skip
        if costs != self._evidence.costs or look.superseded:  # sizes were probed again
            self._evidence = self._evidence.at(costs, without=look.superseded)
        self._evidence.add(look.finished)
        return self._evidence, look.unfinished

    def running(self, unfinished: list[FrozenTrial]) -> Array:
        """Rows, (R, D), of what is under way; not of the trial that is being asked for."""
        import numpy as np

        rows = [
            self._encoding.row(t.params)
            for t in unfinished
            if t.state.name == "RUNNING" and self._encoding.knows(t.params)
        ]
        return np.array(rows).reshape(len(rows), self._encoding.n_columns)

    def prices(self, limits: Limits, seen: Observations) -> Prices:
        """What runs cost, from the probes and what runs of other parameters took."""
        import numpy as np

        encoding = self._encoding
        prices = Prices(limits.runs, costly=encoding.costly, probed=encoding.probed_row())
        measured = ~np.isnan(seen.costs[:, 0])
        x, costs, share = (z[measured] for z in (seen.x, seen.costs, seen.share))
        prices.learn(x, costs / np.column_stack([share, np.ones(len(share))]))
        prices.learn_shares(x[:, 0], share)
        return prices

    def shape(self, seen: Observations, evidence: Evidence) -> Shape:
        """Fitted anew when the data has grown enough, to the oldest: a resume comes to the same."""
        import numpy as np

        n_seen = len(seen)
        n_fit = 0 if n_seen < FIRST_FIT else FIRST_FIT
        while 0 < n_fit * GROWTH <= min(n_seen, LAST_FIT):
            n_fit = int(n_fit * GROWTH)
        if n_fit not in self._shapes:
            known = evidence.at(evidence.costs, up_to=int(seen.numbers[n_fit - 1])).observations()
            some = known.part(np.arange(len(known)))
            self._shapes[n_fit] = fit_shape(some.x, some.log_error, some.noise, self._believed)
        return self._shapes[n_fit]
