"""Pruners for an Optuna study of one's own that has several objectives."""

from __future__ import annotations

import math
import threading
from typing import TYPE_CHECKING, Any

from optuna.pruners import BasePruner

from batchfront.objectives.length import Length
from batchfront.objectives.measurement import Verdict
from batchfront.objectives.metric import Metric
from batchfront.study.api.costs import Given, RunCosts, check_values
from batchfront.study.errors import StudyError
from batchfront.study.plan.plan import RISKS
from batchfront.study.pruning.decision import RunSoFar
from batchfront.study.pruning.front import FrontPruner as Inner
from batchfront.study.pruning.metric_view import MetricView
from batchfront.study.trials.attributes import (
    CURVE,
    CURVE_STEPS,
    PRUNER_STATE,
    REASON,
    VERDICT,
    batch_size_of,
    has_batch_size,
)
from batchfront.study.trials.outcome import CURVE_POINTS

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial, Trial


class Pruner(BasePruner):
    """Judges what a `ReportingTrial` was told; the threads of a study share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: Any = None  # what was learned of one study
        self._seen_of = ""  # its name

    def prune(self, study: optuna.Study, trial: Trial | FrozenTrial) -> bool:
        """Whether the run should be stopped; of a `Trial` it stores why."""
        with self._lock:
            if self._seen is None or self._seen_of != study.study_name:
                self._seen, self._seen_of = self._made(study), study.study_name
            found = self._judged(study, trial)
        if found is not None:
            verdict, reason = found
            trial.set_user_attr(VERDICT, verdict.value)
            trial.set_user_attr(REASON, reason)
        return found is not None

    def _made(self, study: optuna.Study) -> Any:
        raise NotImplementedError

    def _judged(
        self, study: optuna.Study, trial: Trial | FrozenTrial
    ) -> tuple[Verdict, str] | None:
        raise NotImplementedError

    def __getstate__(self) -> dict[str, Any]:
        """Without what other processes learn for themselves."""
        left_out = ("_lock", "_seen", "_seen_of")
        return {name: value for name, value in vars(self).items() if name not in left_out}

    def __setstate__(self, state: dict[str, Any]) -> None:
        Pruner.__init__(self)
        vars(self).update(state)


class ProjectedPruner(Pruner):
    """Any pruner of Optuna's, asked about one of a study's values.

    It sees the study as one of that value alone, with the same trials and what they reported of
    it, and decides as it does there.
    """

    def __init__(self, pruner: BasePruner, *, value: int = 0) -> None:
        """`value`: the place of the one that is reported, among those that the objective returns.

        Raises:
            StudyError: no pruner.
        """
        if not isinstance(pruner, BasePruner):
            found = f"{pruner!r:.60}"
            raise StudyError(f"found {found}, wanted a pruner, as in MedianPruner()")
        super().__init__()
        self._pruner = pruner
        self._value = value

    def _made(self, study: optuna.Study) -> MetricView:
        if not 0 <= self._value < len(study.directions):
            n = len(study.directions)
            raise StudyError(f"value is {self._value}, and the study has {n}: 0 is the first")
        is_more = study.directions[self._value].name == "MAXIMIZE"
        metric = Metric("value", direction="maximize" if is_more else "minimize")
        return MetricView(study.study_name, metric, value=self._value, only_ours=False)

    def _judged(
        self, study: optuna.Study, trial: Trial | FrozenTrial
    ) -> tuple[Verdict, str] | None:
        view = self._seen
        view.follow(study)
        stops = view.should_prune(trial.number, self._pruner)
        state = view.new_state(trial.number)
        if state is not None:
            trial.set_user_attr(PRUNER_STATE, state)
        if not stops:
            return None
        step = (trial.user_attrs.get(CURVE_STEPS) or ["none"])[-1]
        return Verdict.PRUNED, f"{type(self._pruner).__name__} stopped it at step {step}"


class FrontPruner(Pruner):
    """Stops a run that can no longer belong to the Pareto front of metric, seconds and bytes.

    It is stopped when a trial that completed took no more seconds and no more bytes, and beats the
    best metric that this run can still reach, as the curves of completed trials have it; ten of
    them are needed. A metric that is no number any more stops a run at once.
    """

    def __init__(
        self, *, n_reports: int, costs: Given = None, risk: float = RISKS["front"], seed: int = 0
    ) -> None:
        """Say how often runs report, at equal shares of their training, and what they cost.

        Args:
            n_reports: of a whole run, as a rule its epochs; at most 100.
            costs: as of `CostAwareSampler`. A size is judged once it is known.
            risk: chance to stop a run of the final front.
            seed: of the choice of the runs that go on nevertheless, one of twenty: without them
                nothing could be learned of runs that are stopped.

        Raises:
            StudyError: numbers that cannot be.
        """
        if not 1 <= n_reports <= CURVE_POINTS:
            raise StudyError(
                f"n_reports is {n_reports}, wanted 1 to {CURVE_POINTS}: report at equal shares of "
                "a run"
            )
        if not 0 < risk < 1:
            raise StudyError(f"risk is {risk:g}, wanted between 0 and 1")
        super().__init__()
        self._n_reports = n_reports
        self._costs = RunCosts(costs)
        self._risk = risk
        self._seed = seed

    def _made(self, study: optuna.Study) -> Inner:
        check_values(study)
        length = Length(amount=self._n_reports)
        return Inner(risk=self._risk, seed=self._seed, hardware="", costs=dict, length=length)

    def _judged(
        self, study: optuna.Study, trial: Trial | FrozenTrial
    ) -> tuple[Verdict, str] | None:
        curve: list[float] = trial.user_attrs.get(CURVE) or []
        if not curve or not has_batch_size(trial.params):
            return None
        if not math.isfinite(curve[-1]):
            return Verdict.NON_FINITE, f"it reported {curve[-1]} after {len(curve)} reports"
        size = batch_size_of(trial.params)
        cost = self._costs.at(study, size)
        if cost is None or cost.train_seconds is None:
            return None
        decision = self._seen.judge(
            study,
            trial,
            RunSoFar(
                batch_size=size,
                curve=tuple(curve),
                train_seconds=cost.train_seconds,
                peak_memory_bytes=cost.peak_memory_bytes or 0,
                share_done=len(curve) / self._n_reports,
            ),
        )
        return None if decision is None else (decision.verdict, decision.reason)
