"""The course of one run's loss and metric, against its own start and the constant predictor."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from batchfront.objectives.meters.counting import skill_noise
from batchfront.objectives.meters.outlook import falls, outlook
from batchfront.objectives.metric import ACCURACY, Metric


@dataclass(frozen=True, kw_only=True)
class GuardSettings:
    """Constants of the divergence guard; docs/pruning.md says what they were measured on."""

    n_windows: int = 200
    """The step budget is cut into at most this many windows ..."""
    min_window_steps: int = 10
    """... of at least so many steps, unless that leaves fewer than ..."""
    min_windows: int = 30
    """... so many windows: short runs at large batch sizes explode within a few steps."""
    patience: int = 3
    """Windows in a row that must be bad; above the baseline, of `min_window_steps` at least, which
    need not all be there for a loss that is far above it from the start."""
    exploded_factor: float = 3.0
    """Exploded: window mean above this many times the start ..."""
    exploded_after: float = 0.02
    """... once this share of the budget is spent ..."""
    unseen_after: float = 0.15
    """... or this one, while a metric that could spare the run has yet to be reported ..."""
    lost_factor: float = 10.0
    """... unless it is on its way back, and never was above this many times the start, or was so
    within the first `patience` windows, where accuracy says that something is learned."""
    stalled_after: float = 0.10
    """Stalled: window mean above the baseline once this share of the budget is spent ..."""
    fallen_after: float = 0.20
    """... or this one, where it has `fallen` from far above, or is back from an explosion ..."""
    unmoved_after: float = 0.15
    """... or this one, where it has not, and nothing confirms the baseline ..."""
    clearly: float = 0.1
    """... and at its pace never comes this share of the baseline below it."""
    far: float = 0.5
    """Far above the baseline: by this share of it."""
    fallen: float = 0.5
    """A loss has fallen: by this share of its start."""
    skill: float = 0.2
    """A run whose metric has come this share of the way from chance to perfect is spared ..."""
    skilled_for: int = 2
    """... until so many metrics in a row say otherwise, where its loss began far away."""
    hint: float = 0.04
    """One that has come this far in one of the last ..."""
    hinted_for: int = 3
    """... so many metrics speaks against a baseline that nothing confirms. A run that began near
    the baseline waits for as many, where they come before `fallen_after`."""
    above_noise: float = 2.0
    """No run is stalled whose last `hinted_for` metrics lie by `hint` above chance in the mean, and
    by so many times their counting noise."""
    hopeful_until: float = 0.6
    """A loss that falls from far above is taken to go on at its pace until this share of the budget
    is spent; then it slows down as it did."""
    agreement: float = 3.0
    """Loss and metric confirm the baseline when, up to this factor, they say the same of it."""


STATE = ("first", "means", "exploded", "learned", "shortfalls", "reported_at")


class Course:
    """What a run has shown so far; a loss or metric of the constant predictor may be unknown."""

    def __init__(
        self,
        *,
        baseline: float | None,
        chance: float | None,
        settings: GuardSettings,
        metric: Metric = ACCURACY,
    ) -> None:
        """`chance`: of use where the metric has a bound that is not reached by it."""
        self.settings = settings
        self.baseline = baseline if baseline is not None and math.isfinite(baseline) else None
        known = chance is not None and metric.shortfall(chance, chance) is not None
        self.chance = chance if known else None
        self._metric = metric
        self.first: float | None = None  # loss
        self.means: list[float] = []  # loss of all windows
        self.exploded = False  # some window was far above the start
        self.learned = False  # some window was clearly below the baseline
        self.shortfalls: list[float] = []  # of each metric: 1 at chance, 0 perfect; R2 goes above 1
        self.reported_at = 0  # steps

    def add(self, mean: float) -> None:
        """Take one window's mean loss."""
        self.means.append(mean)
        self.exploded |= self.is_exploded
        self.learned |= self.baseline is not None and mean < self._goal

    def report(self, metric: float, *, steps: int) -> None:
        """Take a validation metric, after so many steps."""
        if self.chance is None:
            return
        shortfall = self._metric.shortfall(metric, self.chance)
        if shortfall is not None:
            self.shortfalls.append(shortfall)
            self.reported_at = steps

    def state(self) -> dict[str, Any]:
        """All that changes."""
        own = {name: getattr(self, name) for name in STATE}
        return {**own, "means": list(self.means), "shortfalls": list(self.shortfalls)}

    def go_on_from(self, state: dict[str, Any]) -> None:
        """Take what `state` returned."""
        for name in STATE:
            setattr(self, name, state[name])

    @property
    def start(self) -> float:
        """What an explosion is measured from.

        The first loss of all, for a large rate explodes within the next few steps. But a single
        example's may be next to nothing: where no metric and no baseline speaks for it, the first
        window counts as well.
        """
        first = self.means[0] if self.first is None else self.first
        if self.baseline is None:
            return max(first, self.means[0])
        near = abs(first - self.baseline) <= self.settings.far * abs(self.baseline)
        alone = self.chance is None and not near
        return max(first, self.baseline, self.means[0] if alone else first)

    @property
    def is_exploded(self) -> bool:
        """The last window is far above the start."""
        return self.means[-1] > self._times_start(self.settings.exploded_factor)

    @property
    def is_above(self) -> bool:
        """The last window is above the baseline, if that is known."""
        return self.baseline is not None and self.means[-1] > self.baseline

    @property
    def is_still_far(self) -> bool:
        """It is far above it, as the run was from the start."""
        return self._began_far and self._far_above(self.means[-1])

    @property
    def is_fallen(self) -> bool:
        """The loss has come down, without an explosion, from a start far above the baseline."""
        start = self.start
        far = self._far_above(start) and not self.exploded
        return far and self.means[-1] < start - self.settings.fallen * abs(start)

    @property
    def is_back(self) -> bool:
        """It exploded, and was clearly below the baseline since: what it does now may be noise.

        A metric must say that the explosion was at the start: an R2 that began far below zero.
        """
        if not (self.exploded and self.is_below_chance):
            return False
        peak = self.means.index(max(self.means))
        return min(self.means[peak:]) < self._goal

    @property
    def is_below_chance(self) -> bool:
        """The metric, an R2, began clearly below that of the constant predictor."""
        return bool(self.shortfalls) and self.shortfalls[0] > 1 + self.settings.clearly

    @property
    def is_unseen(self) -> bool:
        """A metric will come, but has not yet."""
        return self.chance is not None and not self.shortfalls

    @property
    def is_skilled(self) -> bool:
        """Clearly better than chance by its last metric.

        Where the loss began far above the baseline metrics jump about, and one before counts too.
        """
        rule = self.settings
        return self._best_of(rule.skilled_for if self._began_far else 1) >= rule.skill

    @property
    def hints_at_skill(self) -> bool:
        """The metric says that something is learned, where the loss is far from saying so.

        One that jumps about says it now and then. Where the loss has settled near the baseline,
        the last metric counts alone: a run that has lost its skill is lost.
        """
        rule, recent = self.settings, self.means[-max(1, len(self.means) // 4) :]
        far = self._far_above(max(recent))
        return self._best_of(rule.hinted_for if far else 1) >= rule.hint

    def may_be_learning(self, *, total_steps: int) -> bool:
        """Whether the metric says, or may yet say, that the loss is worse than what is learned.

        Dropout makes it so, and batch norm at small batches.
        """
        rule, n = self.settings, len(self.shortfalls)
        if self.chance is None or n == 0:
            return False
        soon = self.reported_at * (n + 1) / n <= rule.fallen_after * total_steps * (1 + 1e-9)
        if n < rule.hinted_for and soon and not self._began_far:
            return True
        if self.shortfalls[-1] < min([1.0, *self.shortfalls[:-1]]):
            return True
        recent = self.shortfalls[-rule.hinted_for :]
        skill = 1 - sum(recent) / len(recent)
        if skill < rule.hint:
            return False
        return skill >= rule.above_noise * skill_noise(self._metric, self.chance, self.shortfalls)

    def _best_of(self, n: int) -> float:
        """The best skill in the last `n` metrics: 0 at chance or where none is known, 1 perfect."""
        return 1 - min(self.shortfalls[-n:], default=1.0)

    def returns(self, left: float) -> bool:
        """Whether it was no explosion: it will be back at its start within `left` windows."""
        near = max(self.means) <= self._times_start(self.settings.lost_factor)
        hopeful = near or self.exploded_at_once
        return hopeful and outlook(self.means, left, damped=False) <= self.start

    @property
    def exploded_at_once(self) -> bool:
        """Whether the loss was at its highest in the first windows, falls, and there is skill.

        Adam's first steps are as long as the rate lets them be, however steep the loss is: what
        they threw up may come down from any height.
        """
        at_once = max(self.means) in self.means[: self.settings.patience]
        still_falls = min(self.means[-2:]) == min(self.means)
        hinted = self._best_of(len(self.shortfalls)) >= self.settings.hint
        return at_once and still_falls and hinted and not self.is_below_chance

    def may_arrive(self, left: float, *, total_steps: int) -> bool:
        """Clearly below the baseline within `left` windows, at the pace of loss or metric."""
        spent = len(self.means) / (len(self.means) + left)
        lost = self.exploded and not self.exploded_at_once
        hopeful = self._began_far and not lost and spent <= self.settings.hopeful_until
        if outlook(self.means, left, damped=not hopeful) <= self._goal:
            return True
        if len(self.shortfalls) < 3 or not self.is_below_chance:
            return False
        best, small = list(accumulate(self.shortfalls, min)), self.settings.clearly
        epochs = (total_steps - self.reported_at) * len(best) / self.reported_at
        if best[-1] > 1 + small:  # still below chance: that is where it has to arrive
            late = spent > self.settings.hopeful_until
            return outlook(best, epochs, damped=late, spreads=0.0) <= 1
        if self.is_fallen and best[-1] < 1:
            return True
        return hopeful and outlook(best, epochs, damped=False, spreads=0.0) <= 1 - small / 2

    def confirms_baseline(self, *, window_steps: int) -> bool:
        """The loss began near it, or the metric says the same as the loss."""
        if self.exploded or not self._began_far:
            return True
        if self.hints_at_skill or self.baseline is None or not self.is_below_chance:
            return False
        windows = round(self.reported_at / len(self.shortfalls) / window_steps)  # of an epoch
        mean = self.means[min(len(self.means), max(1, windows)) - 1]
        ratio = mean / self.baseline / self.shortfalls[0]
        return 1 / self.settings.agreement <= ratio <= self.settings.agreement

    def doubts_baseline(self, *, spent: float) -> bool:
        """One far below the start, that nothing confirms, may be mistyped or of another scale."""
        rule, start = self.settings, self._highest_start
        if self.hints_at_skill:
            return True
        mute = self.shortfalls and not self.is_below_chance  # at chance, whatever the loss does
        if falls(self.means) and not (mute and spent > rule.fallen_after):
            return True
        needed = rule.fallen if self.shortfalls else rule.clearly
        if self.means[-1] > start - needed * abs(start):
            return spent <= rule.unmoved_after
        return self.is_still_far or not self.shortfalls

    @property
    def _goal(self) -> float:
        b = self.baseline
        return -math.inf if b is None else b - self.settings.clearly * abs(b)

    @property
    def _highest_start(self) -> float:
        return max(self.start, self.means[0])

    @property
    def _began_far(self) -> bool:
        return self._far_above(self._highest_start)

    def _far_above(self, loss: float) -> bool:
        b = self.baseline
        return b is not None and loss > b + self.settings.far * abs(b)

    def _times_start(self, factor: float) -> float:
        # Distances are in units of |loss|: likelihoods and similarities may be negative.
        return self.start + (factor - 1) * abs(self.start)
