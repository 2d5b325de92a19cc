"""What a storm did."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Damage:
    """What happened."""

    faults: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    wrong: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)  # last words of workers that were not killed
