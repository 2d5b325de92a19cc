"""The part of the metric's axis that matters."""

from __future__ import annotations

from collections.abc import Sequence

from batchfront.study.findings.page.side import Side

NEAR_BEST = 4.0  # times the usual distance from the best that the metric's axis shows
ROOM = 0.06  # of the axis, above and below


def good_part(sides: Sequence[Side]) -> list[float]:
    """The part of the metric's axis that matters: good sizes, with the intervals of fresh runs.

    A size that hardly learns would squeeze all others into a line, so it may lie outside. Of two
    sides the one whose good sizes differ less says what matters.
    """
    found = [side.expected() for side in sides]
    bests, reaches = zip(*map(_best_and_reach, sides, found), strict=True)
    reach = max(min(reaches), max(bests) - min(bests))
    ends = [_within(some, best, reach) for some, best in zip(found, bests, strict=True)]
    low, high = min(low for low, _ in ends), max(high for _, high in ends)
    room = ROOM * (high - low) or abs(high) * ROOM or ROOM
    return [low - room, high + room]


def _best_and_reach(side: Side, found: Sequence[tuple[float, float, float]]) -> tuple[float, float]:
    """The best expected metric, and how far from it sizes are still good."""
    good = side.known.yardstick.metric.good
    means = sorted((mean for mean, _, _ in found), key=good, reverse=True)
    usual = abs(means[0] - means[len(means) // 2])
    return means[0], NEAR_BEST * max(usual, _half_width(found))


def _within(
    found: Sequence[tuple[float, float, float]], best: float, reach: float
) -> tuple[float, float]:
    inside = [ends for ends in found if abs(ends[0] - best) <= reach]
    low = max(min(low for _, low, _ in inside), best - 1.5 * reach)
    return low, min(max(high for _, _, high in inside), best + 1.5 * reach)


def _half_width(found: Sequence[tuple[float, float, float]]) -> float:
    widths = sorted(high - low for _, low, high in found)
    return widths[len(widths) // 2] / 2
