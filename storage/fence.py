"""Refuses writes of a worker whose study is gone, or whose trial is another worker's.

Ids do not tell: SQLite gives the id of a deleted row to the next one, and a server's database that
was made anew counts from 1 again. So a study has a random identity, which is looked at inside of
the write.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from batchfront.storage.errors import StorageError

IDENTITY = "batchfront_identity"  # study attribute: tells studies apart, also of one name and id
OWNER = "owner"  # trial attribute: the process that runs it


class StudyGone(StorageError):
    """The study that somebody works at was deleted, and perhaps made anew."""


@dataclass(frozen=True, kw_only=True)
class Fence:
    """What must still be so when somebody writes."""

    study_name: str
    study_id: int
    identity: str  # of the study
    trial_id: int | None = None
    owner: Mapping[str, Any] | None = None  # of that trial

    def check_study(self, found: str | None) -> None:
        """Raise StudyGone where the study of that id has another identity, or there is none."""
        if found != self.identity:
            raise self.gone(is_replaced=found is not None)

    def gone(self, *, is_replaced: bool) -> StudyGone:
        """The error for a study that was deleted."""
        what = "was deleted, and another one has its place," if is_replaced else "was deleted"
        return StudyGone(
            f"study {self.study_name!r} {what} while this worker ran: its trial ends here, and "
            "nothing of it is written; run the command again to join or create the study"
        )

    def check_owner(self, found: Any) -> None:
        """Raise UpdateFinishedTrialError, as for a finished trial, where it is another worker's."""
        from optuna.exceptions import UpdateFinishedTrialError  # the command line reads this file

        if found != self.owner:
            raise UpdateFinishedTrialError(f"trial with id {self.trial_id} is another worker's")

    def as_text(self) -> str:
        """The fence as it travels beside a call to another process; ASCII."""
        return json.dumps(vars(self))

    @classmethod
    def from_text(cls, text: str) -> Fence:
        """What `as_text` gave."""
        return cls(**json.loads(text))


_of_this_call: ContextVar[Fence | None] = ContextVar("fence", default=None)


@contextmanager
def fenced(fence: Fence | None) -> Iterator[None]:
    """Have writes inside, on this thread, find what the fence says; None adds nothing."""
    before = _of_this_call.set(fence)
    try:
        yield
    finally:
        _of_this_call.reset(before)


def fence_of_this_call() -> Fence | None:
    """The fence that the caller has put up."""
    return _of_this_call.get()
