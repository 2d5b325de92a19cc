"""What combinations of a task's own parameters take that no probe knows, before they run.

Batch sizes are probed at one value of each parameter. Elsewhere a step is predicted, as it is for
sizes, and the prediction corrected by what the probed sizes really took.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchfront.objectives.device.hardware import usable_memory_bytes
from batchfront.objectives.measurement import TrialParams, Verdict
from batchfront.objectives.training.predict import calibrated
from batchfront.study.plan.limits import Excuse, Limits
from batchfront.study.probes.prober import SAFE_SHARE
from batchfront.study.show import human_bytes
from batchfront.study.trials.outcome import OVER_BUDGET_GRADE

if TYPE_CHECKING:
    from batchfront.objectives.objective import Objective
    from batchfront.study.plan.plan import Plan
    from batchfront.study.trials.costs import Costs

THIS = 0  # in the place of a batch size: none is


class Foresight:
    """Refuses what is predicted not to fit; knows nothing of loops that are not our own."""

    def __init__(self, objective: Objective, plan: Plan) -> None:
        self._objective = objective
        self._plan = plan
        self._predicted: dict[tuple[object, ...], int | None] = {}  # by size and values

    def excuse(self, params: TrialParams, limits: Limits) -> Excuse | None:
        """Why a combination must not run; None when it may, or nobody knows."""
        peak = self.peak_bytes(params, limits.costs)
        if peak is None:
            return None
        usable = SAFE_SHARE * usable_memory_bytes(self._plan.device)
        if peak > usable:
            fits = f"{human_bytes(usable)} fit"
            return _excuse(Verdict.OUT_OF_MEMORY, peak, peak / max(usable, 1), fits, told=peak)
        most = limits.budgets.max_memory_bytes
        if most is None:
            return None
        held = peak + limits.budgets.beyond_peak(limits.costs, self._largest(params))
        # What may be a little too much is run: it says itself whether it is.
        if SAFE_SHARE * held <= most:
            return None
        allowed = f"max_memory allows {human_bytes(most)}"
        return _excuse(Verdict.OVER_BUDGET, peak, held / most, allowed, told=held)

    def peak_bytes(self, params: TrialParams, costs: Costs) -> int | None:
        """The peak that a combination is expected to have; None where nobody knows."""
        found = self._predict(self._largest(params), params)
        if found is None:
            return None
        probed = {b: c.predicted_peak_memory_bytes for b, c in costs.items()}
        peaks = {b: c.peak_memory_bytes for b, c in costs.items()}
        measured = {b: peak for b, peak in peaks.items() if peak is not None}
        return calibrated({**probed, THIS: found}, measured)[THIS]

    def _largest(self, params: TrialParams) -> int:
        """The largest batch size that a run is planned to come to."""
        size, growth = params.batch_size, self._plan.growth
        if growth is None or growth.schedule == "noise-scale":
            return size
        return max(growth.planned(size))

    def _predict(self, size: int, params: TrialParams) -> int | None:
        search = self._plan.space.search
        costly = tuple(params.extra[n] for n, parameter in search.items() if parameter.bears_cost)
        key = (size, *costly)
        if key not in self._predicted:
            self._predicted[key] = self._objective.predict_peak_bytes(size, params.extra)
        return self._predicted[key]


def _excuse(verdict: Verdict, peak: int, times: float, allowed: str, *, told: int) -> Excuse:
    return Excuse(
        verdict=verdict,
        grade=OVER_BUDGET_GRADE + times - 1,
        reason=f"predicted to take {human_bytes(told)}, and {allowed}",
        memory_bytes=peak,
    )
