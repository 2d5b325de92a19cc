"""Worlds for `smallest`: error over learning rate and batch size, and how seeds scatter.

In each, a share of the seeds at the best rate of a size reaches the target: `good` from the truth
on, `bad` below it. What differs is the shape of the surface, or the noise.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING

from batchfront.study.smallest.question import Question

if TYPE_CHECKING:
    import numpy as np

SIZES = tuple(2**k for k in range(10))
RATES = (1e-4, 3.0)
TARGET = 0.95
NORMAL = math.inf  # degrees of freedom of the noise
BLOCK = 5  # neighbouring runs that share a drift


def question(**changes: object) -> Question:
    """The question that is put to every world, but for `changes`."""
    asked: dict[str, object] = {"target": TARGET, "sizes": SIZES, "learning_rates": RATES}
    return Question(**{**asked, **changes})  # type: ignore[arg-type]


@dataclass(frozen=True, kw_only=True)
class Ladder:
    """Log error is a parabola in log2 of the rate, with a cliff, plus noise between seeds."""

    success: Callable[[int], float]  # by batch size: share of seeds at the best rate that reach it
    noise: float = 0.15  # deviation of log error
    bottom: float = -4.0  # log2 of the best rate at 64
    tilt: float = 0.5
    bend: float = 0.05
    cliff: float = 3.0  # doublings above the best rate at which runs diverge
    kink: float = 0.0  # deviations of the noise that a doubling off the best rate costs
    flat: float = 0.0  # doublings on either side of the best rate that cost nothing
    off_law: Mapping[int, float] = field(default_factory=dict)  # doublings, by batch size
    freedom: float = NORMAL
    drift: float = 0.0  # share of the noise's variance that neighbouring runs have in common
    lost: float = 0.0  # share of the runs that diverge for no reason

    def run(self, size: int, rate: float, number: int, draw: np.random.Generator) -> float | None:
        """The metric of one run, the study's `number`-th; None where it diverges."""
        off = math.log2(rate) - self.bottom - self.tilt * (math.log2(size) - 6)
        off -= self.off_law.get(size, 0.0)
        if off > self.cliff or draw.random() < self.lost:
            return None
        far = max(0.0, abs(off) - self.flat)
        level = math.log(1 - TARGET) - self.noise * quantile(self.success(size), self.freedom)
        level += self.bend * far**2 + self.kink * self.noise * far
        return max(0.0, 1 - math.exp(level + self.noise * self._scatter(number, draw)))

    def _scatter(self, number: int, draw: np.random.Generator) -> float:
        if math.isfinite(self.freedom):
            return float(draw.standard_t(self.freedom))
        shared = _of_block(number // BLOCK, draw) if self.drift else 0.0
        own = float(draw.standard_normal())
        return math.sqrt(self.drift) * shared + math.sqrt(1 - self.drift) * own


def _of_block(block: int, draw: np.random.Generator) -> float:
    """The drift of a block of runs: the same for all of a study's runs in it."""
    import numpy as np

    seed = draw.bit_generator.seed_seq.entropy  # type: ignore[attr-defined]
    return float(np.random.default_rng([seed, block]).standard_normal())


@cache
def quantile(share: float, freedom: float) -> float:
    """What a share of the noise lies below."""
    from scipy.stats import norm, t

    return float(norm.ppf(share) if math.isinf(freedom) else t.ppf(share, freedom))


@dataclass(frozen=True, kw_only=True)
class Case:
    """One study to be simulated, and its truth."""

    world: Ladder
    asked: Question
    truth: int | None  # None: no size reaches the target
    also: frozenset[int] = frozenset()  # sizes that reach it beyond some that do not
    bad: float = 0.0  # share of seeds that reach it below the truth


def plain(draw: random.Random) -> Case:
    """Parabolas as the protocol's own model has them, of all widths and tilts."""
    truth = draw.choice([*SIZES[:8], None])
    good, bad = draw.choice([0.98, 0.99, 0.999]), draw.choice([0.8, 0.7, 0.5, 0.1])
    first = math.inf if truth is None else truth
    world = Ladder(
        success=lambda size: good if size >= first else bad,
        noise=draw.choice([0.05, 0.15, 0.3]),
        bottom=draw.uniform(-8, 0),
        tilt=draw.choice([0.0, 0.3, 0.5, 1.0]),
        bend=draw.choice([0.02, 0.05, 0.1, 0.2]),
        cliff=draw.choice([1.5, 2.5, 4.0]),
    )
    return Case(world=world, asked=question(), truth=truth, bad=bad)


def heavy_tails(draw: random.Random) -> Case:
    """Noise between seeds like Student's t of 2.5 degrees of freedom."""
    return _changed(plain(draw), freedom=2.5)


def drift(draw: random.Random) -> Case:
    """Five runs after each other share half of the variance."""
    return _changed(plain(draw), drift=0.5)


def kinks(draw: random.Random) -> Case:
    """A sharp kink at the best rate: a doubling off it costs half to two deviations of seeds."""
    return _changed(plain(draw), kink=draw.choice([0.5, 1.0, 2.0]), bend=0.02)


def off_the_law(draw: random.Random) -> Case:
    """The best rate of each size lies up to two doublings off the law, or exactly two."""
    shifts = {size: draw.choice([-2.0, 0.0, 2.0, draw.uniform(-2, 2)]) for size in SIZES}
    return _changed(plain(draw), off_law=shifts)


def divergence(draw: random.Random) -> Case:
    """One run in twenty diverges at any rate, so that good sizes have shares of 0.93 to 0.95."""
    return _changed(plain(draw), lost=0.05)


def plateaus(draw: random.Random) -> Case:
    """Rates within one or two doublings of the best are as good."""
    return _changed(plain(draw), flat=draw.choice([1.0, 2.0]))


def dips(draw: random.Random) -> Case:
    """One size below the truth fails half of the time, smaller ones reach the target again."""
    case = plain(draw)
    truth = draw.choice(SIZES[3:7])
    dip, good = truth // 2, case.world.success(SIZES[-1]) if case.truth else 0.98
    world = replace(case.world, success=lambda size: 0.5 if size == dip else good)
    also = frozenset(size for size in SIZES if size < dip)
    return replace(case, world=world, truth=truth, also=also, bad=0.5)


def outside(draw: random.Random) -> Case:
    """The searched rates end one to three doublings short of the best at 64."""
    case = plain(draw)
    best, short = case.world.bottom, draw.uniform(1, 3)
    if draw.random() < 0.5:
        rates = (2 ** (best - 8), 2 ** (best - short))
    else:
        rates = (2 ** (best + min(short, case.world.cliff - 0.5)), 2 ** (best + 8))
    return replace(case, asked=question(learning_rates=rates))


def _changed(case: Case, **changes: object) -> Case:
    return replace(case, world=replace(case.world, **changes))  # type: ignore[arg-type]


LADDERS: dict[str, Callable[[random.Random], Case]] = {
    "plain": plain,
    "heavy tails": heavy_tails,
    "drift of neighbours": drift,
    "kinks": kinks,
    "off the law": off_the_law,
    "5% diverge": divergence,
    "dips": dips,
    "plateaus": plateaus,
    "optimum outside": outside,
}
