"""Sizes that count below one that does not: recorded sizes cost nothing, so all are judged."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from batchfront.study.smallest.question import CONFIDENCE
from batchfront.study.smallest.size import SizeState

UNLIKELY = 0.8  # a share that the seeds of a stretch must rule out, where no walk led to it


def trusted(states: Sequence[SizeState]) -> int | None:
    """The smallest size of the stretches of neighbours that count and can be trusted.

    Sizes that succeed too rarely pass now and then, and the more of them are judged, the likelier
    one does: all seeds of a stretch together must rule out a share of 0.8 (14 of 14 seeds do).
    """
    ordered = sorted(states, key=lambda state: state.batch_size)
    for counts, group in groupby(ordered, key=lambda state: state.counts):
        stretch = list(group)
        outcomes = [outcome for state in stretch for outcome in state.outcomes]
        if counts and _low(sum(outcomes), len(outcomes)) > UNLIKELY:
            return stretch[0].batch_size
    return None


def _low(k: int, n: int) -> float:
    """What the share of which k of n were seen lies above, by Clopper and Pearson."""
    from scipy.stats import beta

    return 0.0 if k == 0 else float(beta.ppf(1 - CONFIDENCE, k, n - k + 1))
