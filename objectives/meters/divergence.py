"""Stops runs that diverge or never learn, from the training loss alone.

Waiting for NaN finds few failed runs: a network whose units died sits at the loss of the best
constant predictor for ever. So losses are averaged over windows of steps and compared with that
baseline. A single spike is not divergence: many runs recover, so three windows in a row must agree.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from statistics import median
from typing import Any

from batchfront.objectives.measurement import Verdict


@dataclass(frozen=True, kw_only=True)
class GuardSettings:
    """Constants of the rule; docs/pruning.md says what they were measured on."""

    n_windows: int = 200
    """The step budget is cut into at most this many windows ..."""
    min_window_steps: int = 10
    """... of at least so many steps, unless that leaves fewer than ..."""
    min_windows: int = 30
    """... so many windows: short runs at large batch sizes explode within a few steps."""
    patience: int = 3
    """Windows in a row that must be bad; to stall, of `min_window_steps` at least."""
    exploded_factor: float = 3.0
    """Exploded: window mean above this many baselines ..."""
    exploded_after: float = 0.02
    """... once this share of the budget is spent ..."""
    unseen_after: float = 0.15
    """... or this one, while a metric that could spare the run has yet to be reported."""
    stalled_after: float = 0.10
    """Stalled: window mean above the baseline once this share of the budget is spent."""
    skill: float = 0.2
    """A run whose metric has come this share of the way from chance to perfect is spared."""


STATE = (
    "steps", "window_mean", "_baseline", "_sum", "_count", "_exploded_streak", "_stalled_streak",
    "_learned", "_exploded", "_skilled", "_unseen",
)  # fmt: skip


class DivergenceGuard:
    """Watches one run's loss; `step` costs one addition and never waits for the device.

    Without a `baseline_loss` (the loss of the best constant predictor) the first window's mean
    stands in for it, and only explosions and non-finite losses are stopped.
    """

    def __init__(
        self,
        *,
        total_steps: int,
        baseline_loss: float | None = None,
        baseline_metric: float | None = None,
        settings: GuardSettings = GuardSettings(),
    ) -> None:
        self.settings = settings
        self.total_steps = total_steps
        self.window_steps = _window_steps(total_steps, settings)
        self.spikes = SpikeCounter()
        self.steps = 0
        self.window_mean: float | None = None  # of the last closed window
        self._baseline = baseline_loss
        self._knows_baseline = baseline_loss is not None
        self._chance = baseline_metric
        self._sum: Any = 0.0  # stays a device tensor when losses are tensors: no sync per step
        self._count = 0
        self._exploded_streak = 0
        self._stalled_streak = 0
        self._learned = False  # some window was clearly below the baseline
        self._exploded = False  # some window was far above it
        self._skilled = False
        self._unseen = baseline_metric is not None  # no metric reported yet

    def step(self, loss: Any) -> tuple[Verdict, str] | None:
        """Take one step's mean loss: a float, or a detached scalar tensor on any device."""
        self._sum += loss
        self._count += 1
        return self.close_window() if self._count >= self.window_steps else None

    def report(self, metric: float) -> tuple[Verdict, str] | None:
        """Take a validation metric: a run that predicts clearly better than chance is spared."""
        if not math.isfinite(metric):
            return Verdict.NON_FINITE, f"validation metric became {metric}"
        if self._chance is not None:
            self._unseen = False
            self._skilled = metric >= self._chance + self.settings.skill * (1 - self._chance)
        return None

    def close_window(self) -> tuple[Verdict, str] | None:
        """Judge the steps since the last window; the only place that waits for the device."""
        if self._count == 0:
            return None
        mean = float(self._sum) / self._count
        self.steps += self._count
        self._sum, self._count = 0.0, 0
        self.window_mean = mean
        if not math.isfinite(mean):
            return Verdict.NON_FINITE, f"training loss became {mean}"
        if self._baseline is None:
            self._baseline = mean
        self.spikes.add(mean, baseline=self._baseline)
        return self._judge(mean, self._baseline)

    def state(self) -> dict[str, Any]:
        """All that changes from step to step, to go on from in another process."""
        own = {name: getattr(self, name) for name in STATE}
        return {**own, "spikes": self.spikes.state()}

    def go_on_from(self, state: dict[str, Any]) -> None:
        """Take what `state` of an earlier process returned."""
        for name in STATE:
            setattr(self, name, state[name])
        self.spikes.go_on_from(state["spikes"])

    def _judge(self, mean: float, baseline: float) -> tuple[Verdict, str] | None:
        rule = self.settings
        spent = self.steps / self.total_steps
        # Distances are in units of |baseline|: likelihoods and similarities may be negative.
        exploded = mean > baseline + (rule.exploded_factor - 1) * abs(baseline)
        above = mean > baseline and self._knows_baseline
        self._exploded |= exploded
        self._learned |= mean < baseline - 0.1 * abs(baseline)
        late, later = spent > rule.exploded_after, spent > rule.stalled_after
        self._exploded_streak = self._exploded_streak + 1 if exploded and late else 0
        self._stalled_streak = self._stalled_streak + 1 if above and later else 0
        patient = -(-rule.patience * rule.min_window_steps // self.window_steps)
        bad = self._exploded_streak >= rule.patience or self._stalled_streak >= max(
            rule.patience, patient
        )
        waits = self._unseen and spent <= rule.unseen_after
        if not bad or waits or self._skilled:
            return None
        diverged = self._exploded or self._learned
        verdict = Verdict.DIVERGED if diverged else Verdict.STALLED
        said = (
            f"training loss {mean:.4g} against {baseline:.4g} for the best constant predictor"
            if self._knows_baseline
            else f"training loss {mean:.4g} against {baseline:.4g} in the first window"
        )
        streak = max(self._exploded_streak, self._stalled_streak)
        return verdict, said + f", {streak} windows of {self.window_steps} steps in a row"


def _window_steps(total_steps: int, rule: GuardSettings) -> int:
    enough = max(1, total_steps // rule.min_windows)
    return max(min(rule.min_window_steps, enough), total_steps // rule.n_windows)


class SpikeCounter:
    """Counts excursions of the loss that came back: more than twice the recent median and back."""

    def __init__(self) -> None:
        self.recovered = 0
        self._recent: deque[float] = deque(maxlen=8)
        self._level: float | None = None  # what a spike in progress must come back to

    def add(self, mean: float, *, baseline: float) -> None:
        """Take one window's mean loss; jumps under a tenth of `baseline` are noise, not spikes."""
        if self._level is not None:
            if mean > self._level:
                return
            self.recovered += 1
            self._level = None
        elif len(self._recent) >= 3:
            usual = median(self._recent)
            quiet = usual + 0.1 * abs(baseline)
            if mean > max(2 * usual, quiet):
                self._level = quiet
                return
        self._recent.append(mean)

    def state(self) -> dict[str, Any]:
        """All that changes from window to window."""
        return {"recovered": self.recovered, "recent": list(self._recent), "level": self._level}

    def go_on_from(self, state: dict[str, Any]) -> None:
        """Take what `state` returned."""
        self.recovered, self._level = state["recovered"], state["level"]
        self._recent.extend(state["recent"])
