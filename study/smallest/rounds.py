"""Tuning in whole rounds, where runs of a size are trained together: ten cost little more than one.

What comes one after the other elsewhere is asked for at once, so a round covers all that may be.
"""

from __future__ import annotations

from collections.abc import Sequence

WIDTH = 10  # rates of a round: as many as seeds of a size, so that one traced step serves both
STEP = 1.6  # factor between neighbouring rates
MOST = 4 * WIDTH  # runs of a size


def first_round(best: float, frozen: float | None) -> tuple[float, ...]:
    """Rates around a guess; the baseline's takes the place of the nearest, or of the outermost."""
    rates = around(best)
    if frozen is None:
        return rates
    if frozen < rates[0] / STEP:
        return (frozen, *rates[:-1])
    if frozen > rates[-1] * STEP:
        return (*rates[1:], frozen)
    near = min(rates, key=lambda rate: max(rate / frozen, frozen / rate))
    return tuple(sorted(frozen if rate == near else rate for rate in rates))


def next_round(missing: float, tried: Sequence[float]) -> tuple[float, ...]:
    """Rates on from the edge of those that were tried where one lies beyond, else around it.

    `tried`: ascending.
    """
    if missing < tried[0]:
        return tuple(tried[0] / STEP**n for n in range(WIDTH, 0, -1))
    if missing > tried[-1]:
        return tuple(tried[-1] * STEP**n for n in range(1, WIDTH + 1))
    return around(missing)


def around(best: float) -> tuple[float, ...]:
    """A round of rates with `best` in the middle."""
    return tuple(best * STEP ** (n - (WIDTH - 1) / 2) for n in range(WIDTH))
