"""What every storage of ours can do beyond Optuna's interface."""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from batchfront.storage.fence import Fence, fence_of_this_call, fenced

CLAIM_PATIENCE_SECONDS = 30.0
NOTHING: Mapping[str, Any] = MappingProxyType({})


class SharedStorage(BaseStorage):
    """A storage of Optuna opened by `batchfront.storage.open.open_storage`."""

    fence: Fence | None = None
    """What writes must find: of the study that this process works at; None before it has one."""

    @property
    def fence_now(self) -> Fence | None:
        """The fence of a call made now."""
        return fence_of_this_call() or self.fence

    def owned(self, trial_id: int, owner: Mapping[str, Any]) -> AbstractContextManager[None]:
        """Writes inside are refused where the trial is another worker's by now."""
        fence = self.fence
        return fenced(fence and replace(fence, trial_id=trial_id, owner=owner))

    @abstractmethod
    def claim_lock(
        self, study_name: str, patience_seconds: float = CLAIM_PATIENCE_SECONDS
    ) -> AbstractContextManager[bool]:
        """Held by one worker at a time while it counts the trials and claims the next one.

        Freed when its holder dies. Yields False, and excludes nobody, where the backend has no
        such lock, or where a holder that stands still (paused) kept it for `patience_seconds`.
        """

    def set_trial_attrs(
        self, trial_id: int, user: Mapping[str, Any], system: Mapping[str, Any] = NOTHING
    ) -> None:
        """Write attributes of a running trial; in one transaction where the backend can.

        Raises:
            UpdateFinishedTrialError: the trial is finished; nothing is written.
        """
        for key, value in user.items():
            self.set_trial_user_attr(trial_id, key, value)
        for key, value in system.items():
            self.set_trial_system_attr(trial_id, key, value)

    def add_trials(self, study_id: int, trials: Sequence[FrozenTrial]) -> None:
        """Add trials to a study as `create_new_trial` does; all or none where the backend can."""
        for trial in trials:
            self.create_new_trial(study_id, template_trial=trial)

    def count_trials(self, study_id: int) -> Counter[TrialState]:
        """How many trials of a study are in each state; no trial is read where that can be."""
        return Counter(trial.state for trial in self.get_all_trials(study_id, deepcopy=False))

    def get_heartbeats(self, study_id: int) -> Mapping[int, Any]:
        """The last sign of life of running trials, by id; none where the backend keeps none."""
        return {}
