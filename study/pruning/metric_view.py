"""The metric of a multi-objective study as a single-objective one, for Optuna's pruners.

Optuna refuses `Trial.report` and `should_prune` when a study has several objectives. A pruner needs
neither: it looks at a study's trials and their intermediate values. This in-memory study has the
same name (Hyperband hashes it), the same trial numbers and, as intermediate values, the curves that
are stored as user attributes. It is kept up to date step by step, never rebuilt.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from batchfront.objectives.metric import ACCURACY, Metric
from batchfront.study.trials.attributes import CURVE, CURVE_STEPS, PRUNER_STATE
from batchfront.study.trials.paused import is_paused, superseded
from batchfront.study.trials.sound import SoundTrials

if TYPE_CHECKING:
    from optuna import Study
    from optuna.pruners import BasePruner
    from optuna.trial import FrozenTrial


class MetricView:
    """Follows one study. Steps are epochs, or points of the grid that long curves are kept on."""

    def __init__(
        self,
        study_name: str,
        metric: Metric = ACCURACY,
        *,
        value: int = 0,
        only_ours: bool = True,
    ) -> None:
        """`value`: the metric's place among the study's values; `only_ours`: other trials fail."""
        import optuna

        self._metric = metric
        self._value = value
        self._only_ours = only_ours
        self._storage = optuna.storages.InMemoryStorage()
        self._study = optuna.create_study(
            direction=metric.direction,
            study_name=study_name,
            storage=self._storage,
            sampler=optuna.samplers.RandomSampler(),
        )
        self._study_id = self._storage.get_study_id_from_name(study_name)
        self._sound = SoundTrials()
        self._n_seen = 0  # trials
        self._open: set[int] = set()  # numbers of trials that may still change
        self._known_state: dict[int, dict[str, Any]] = {}  # what pruners noted, by trial

    def follow(self, study: Study) -> None:
        """Take over what has happened in `study` since the last time."""
        trials = study.get_trials(deepcopy=False)
        for trial in trials[self._n_seen :]:
            self._add(trial)
        self._n_seen = len(trials)
        gone = superseded(trials[number] for number in self._open)
        for number in sorted(self._open):
            trial = trials[number]
            foreign = self._only_ours and self._sound.why_not(study, trial) is not None
            if foreign or number in gone:
                self._leave_out(trial)
                continue
            said = trial.user_attrs
            self.report(number, said.get(CURVE) or (), said.get(CURVE_STEPS))
            self._take_state(number, trial.user_attrs.get(PRUNER_STATE, {}))
            if trial.state.is_finished() and not is_paused(trial):  # that may be left out later
                self._finish(trial)
                self._open.discard(number)

    def report(self, number: int, curve: Any, steps: Sequence[int] | None = None) -> None:
        """Make `curve` the intermediate values of a trial; its first points stay as they are.

        `steps`: of its points; None: from 1 on.
        """
        trial_id = self._id(number)
        known = len(self._storage.get_trial(trial_id).intermediate_values)
        steps = range(1, len(curve) + 1) if steps is None else steps
        for step, value in list(zip(steps, curve, strict=False))[known:]:
            self._storage.set_trial_intermediate_value(trial_id, step, value)

    def should_prune(self, number: int, pruner: BasePruner) -> bool:
        """What `pruner` says of a running trial."""
        return pruner.prune(self._study, self._frozen(number))

    def new_state(self, number: int) -> dict[str, Any] | None:
        """All that pruners noted about a trial; None when that is nothing new.

        Successive halving and Hyperband note in system attributes which rungs a trial has reached,
        and compare it with the others that have.
        """
        state = dict(self._frozen(number).system_attrs)
        if state == self._known_state.get(number, {}):
            return None
        self._known_state[number] = state
        return state

    def best_value(self) -> float | None:
        """The best value of the completed trials; None where there is none."""
        import optuna

        completed = (optuna.trial.TrialState.COMPLETE,)
        values = [t.value for t in self._study.get_trials(deepcopy=False, states=completed)]
        return self._metric.best(v for v in values if v is not None)

    def _add(self, trial: FrozenTrial) -> None:
        import optuna

        self._study.add_trial(
            optuna.trial.create_trial(
                state=optuna.trial.TrialState.RUNNING,
                params=trial.params,
                distributions=trial.distributions,
            )
        )
        self._open.add(trial.number)

    def _leave_out(self, trial: FrozenTrial) -> None:
        """Keep the place of a trial that is none of ours, so that numbers agree."""
        import optuna

        if trial.state.is_finished():
            self._study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
            self._open.discard(trial.number)

    def _finish(self, trial: FrozenTrial) -> None:
        if trial.values is not None:
            self._study.tell(trial.number, trial.values[self._value])
        else:  # a pruned trial's value is its last intermediate one, as Optuna has it
            self._study.tell(trial.number, state=trial.state)

    def _take_state(self, number: int, state: dict[str, Any]) -> None:
        known = self._known_state.setdefault(number, {})
        for key, value in state.items():
            if key not in known:
                self._storage.set_trial_system_attr(self._id(number), key, value)
                known[key] = value

    def _id(self, number: int) -> int:
        return self._storage.get_trial_id_from_study_id_trial_number(self._study_id, number)

    def _frozen(self, number: int) -> FrozenTrial:
        return self._storage.get_trial(self._id(number))


def last_finite(curve: tuple[float, ...]) -> float | None:
    """The newest value that is a number."""
    return next((value for value in reversed(curve) if math.isfinite(value)), None)
