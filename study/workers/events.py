"""What a worker tells whoever watches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

QUEUED_AGAIN = "queued again"  # verdict of a trial that could not be run at the time


@dataclass(frozen=True, kw_only=True)
class Event:
    """An event of one trial ("started", "epoch" or "ended"), or of none ("waiting" for others')."""

    kind: str
    number: int = -1
    batch_size: int = 0
    learning_rate: float = 0.0
    goes_on: bool = False  # with a run that was paused, and was counted then
    is_beside: bool = False  # a search runs what another question asked for: it does not count
    worker: int = 0
    n_finished: int = 0  # trials of the study, whoever ran them, when the worker last looked
    n_running: int = 0  # of a "waiting" worker: trials it waits for
    epoch: int = 0
    metric: float | None = None
    values: tuple[float, float, float] | None = None  # of a completed trial
    verdict: str = ""  # of an ended trial; "failed", "interrupted", "taken over" too
    reason: str = ""  # of a failed trial, or what there is to say of another


Emit = Callable[[Event], None]
