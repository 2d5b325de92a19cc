"""Batch sizes for Optuna's samplers: places in a list, evenly apart and in their order."""

from __future__ import annotations

import copy
import math
from collections.abc import Container, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from batchfront.study.search.forwarding import Forwarding
from batchfront.study.trials.attributes import BATCH_SIZE
from batchfront.study.trials.paused import is_paused, superseded


class PlacedSampler(Forwarding):
    """Shows a sampler the place of each batch size, 0 for the smallest, and turns places back.

    A study's sizes may lie anywhere between its smallest and its largest: a sampler that drew from
    all whole numbers between them would propose others, and large ones nearly always.
    """

    def __init__(self, inner: BaseSampler, sizes: Sequence[int]) -> None:
        """`sizes`: all batch sizes, ascending."""
        super().__init__(inner)
        self._sizes = sizes
        self._shown: dict[int, FrozenTrial] = {}  # finished trials, by id

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        super().before_trial(self._view(study), trial)

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        found = super().infer_relative_search_space(self._view(study), trial)
        stored = IntDistribution(self._sizes[0], self._sizes[-1], log=True)
        return {name: stored if name == BATCH_SIZE else one for name, one in found.items()}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        drawn = super().sample_relative(self._view(study), trial, self._placed(search_space))
        return {name: self._size(v) if name == BATCH_SIZE else v for name, v in drawn.items()}

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        seen = self._placed({param_name: param_distribution})[param_name]
        drawn = super().sample_independent(self._view(study), trial, param_name, seen)
        return self._size(drawn) if param_name == BATCH_SIZE else drawn

    def after_trial(self, study: optuna.Study, *ended: Any) -> None:
        super().after_trial(self._view(study), *ended)

    def _size(self, place: int) -> int:
        return self._sizes[int(place)]

    def _placed(self, space: dict[str, BaseDistribution]) -> dict[str, BaseDistribution]:
        places = IntDistribution(0, len(self._sizes) - 1)
        return {name: places if name == BATCH_SIZE else one for name, one in space.items()}

    def _view(self, study: optuna.Study) -> optuna.Study:
        """The same study, read with places for sizes; what is written goes to the study itself."""
        view = copy.copy(study)  # with an empty cache of trials
        view._storage = _Placed(study._storage, self)  # type: ignore[assignment]
        return view

    def shown(self, trial: FrozenTrial) -> FrozenTrial:
        """The trial with a place for its batch size."""
        if BATCH_SIZE not in trial.params:
            return trial
        known = self._shown.get(trial._trial_id)
        if known is not None:
            return known
        size = trial.params[BATCH_SIZE]
        near = min(self._sizes, key=lambda one: abs(math.log(one / size)))
        seen = copy.copy(trial)
        seen.params = {**trial.params, BATCH_SIZE: self._sizes.index(near)}
        seen.distributions = self._placed(trial.distributions)
        if trial.state.is_finished():
            self._shown[trial._trial_id] = seen
        return seen


class _Placed:
    """A storage whose trials have places for sizes."""

    def __init__(self, storage: Any, sampler: PlacedSampler) -> None:
        self._inner = storage
        self._sampler = sampler

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        found = self._inner.get_all_trials(study_id, deepcopy=deepcopy, states=states)
        gone = set[int]()
        if any(map(is_paused, found)):
            gone = superseded(self._inner.get_all_trials(study_id, deepcopy=False))
        if gone and states is not None:
            found = [trial for trial in found if trial.number not in gone]
        shown = [self._sampler.shown(trial) for trial in found]
        return [_failed(trial) if trial.number in gone else trial for trial in shown]


def _failed(trial: FrozenTrial) -> FrozenTrial:
    """What stands in the place of a trial whose run was taken up: it says nothing."""
    seen = copy.copy(trial)
    seen.state = TrialState.FAIL
    return seen
