"""What a worker tells whoever watches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Event:
    """Of one trial; kind is "started", "epoch" or "ended"."""

    kind: str
    number: int
    batch_size: int
    learning_rate: float
    epoch: int = 0
    metric: float | None = None
    values: tuple[float, float, float] | None = None  # of a completed trial
    verdict: str = ""  # of an ended trial; "failed" and "interrupted" too
    reason: str = ""  # of a failed trial


Emit = Callable[[Event], None]
