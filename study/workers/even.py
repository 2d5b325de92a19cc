"""Things shared out evenly."""

from __future__ import annotations

import math


def even_share(n: int, most: int) -> int:
    """The size of the first of as few groups of `n` things as can be, each of at most so many."""
    return math.ceil(n / math.ceil(n / most))
