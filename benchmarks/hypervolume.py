"""How much of what could be had a set of runs has: volume dominated, all objectives minimized."""

from __future__ import annotations

from collections.abc import Sequence

Point = Sequence[float]


def hypervolume(points: Sequence[Point], reference: Point) -> float:
    """Volume between `points`, (N, 3), and `reference`, (3,): slices along the last objective."""
    inside = sorted(
        (p for p in points if all(a < b for a, b in zip(p, reference, strict=True))),
        key=lambda p: p[2],
    )
    volume = 0.0
    for n, point in enumerate(inside, 1):
        end = inside[n][2] if n < len(inside) else reference[2]
        if end > point[2]:
            volume += (end - point[2]) * _area(inside[:n], reference)
    return volume


def _area(points: Sequence[Point], reference: Point) -> float:
    """The area that the first two objectives dominate."""
    area, lowest = 0.0, reference[1]
    for first, second, *_ in sorted(points):
        if second < lowest:
            area += (reference[0] - first) * (lowest - second)
            lowest = second
    return area
