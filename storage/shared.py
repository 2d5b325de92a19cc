"""What every storage of ours can do beyond Optuna's interface."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from optuna import Study
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial

CLAIM_PATIENCE_SECONDS = 30.0
NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, kw_only=True)
class Heartbeat:
    """How a worker shows that it lives, and what becomes of the trials of those who do not."""

    grace_seconds: int
    """A trial whose worker has not been heard of for so long is failed."""
    on_stale: Callable[[Study, FrozenTrial], None]
    """Called with a trial after it has been failed, by the one process that failed it."""

    @property
    def interval_seconds(self) -> int:
        """Four beats within the grace period, so that one may be late."""
        return max(1, self.grace_seconds // 4)


class SharedStorage(BaseStorage):
    """A storage of Optuna opened by `batchfront.storage.open.open_storage`."""

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
