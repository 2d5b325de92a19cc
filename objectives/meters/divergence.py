"""Stops runs that diverge or never learn, from the training loss and the metric of each epoch.

Waiting for NaN finds few failed runs: a network whose units died sits at the loss of the best
constant predictor for ever. So losses are averaged over windows of steps, and judged by where they
go: far above the run's own start, or not down to that baseline within the budget. A loss that
starts a thousand times above it and falls is a healthy one. A single spike is not divergence: many
runs recover, so three windows in a row must agree.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from statistics import median
from typing import Any

from batchfront.objectives.measurement import ObjectiveError, Verdict
from batchfront.objectives.meters.course import Course, GuardSettings
from batchfront.objectives.meters.outlook import outlook
from batchfront.objectives.metric import ACCURACY, Metric

METRIC_BECAME = "validation metric became"
"""How the reason of a run begins that its metric alone has ended: stored with trials."""
STATE = ("steps", "window_mean", "_sum", "_count", "_exploded_streak", "_above_streak")


class DivergenceGuard:
    """Watches one run's loss; `step` costs one addition and hardly ever waits for the device.

    Without a `baseline_loss` (the loss of the best constant predictor) only explosions and
    non-finite losses are stopped. Without a `baseline_metric` that could confirm it, a loss that
    starts far above the baseline is stopped only where it does not fall.
    """

    def __init__(
        self,
        *,
        total_steps: int,
        baseline_loss: float | None = None,
        baseline_metric: float | None = None,
        settings: GuardSettings = GuardSettings(),
        metric: Metric = ACCURACY,
    ) -> None:
        self.settings = settings
        self.total_steps = total_steps
        self.window_steps = _window_steps(total_steps, settings)
        self.spikes = SpikeCounter()
        self.steps = 0
        self.window_mean: float | None = None  # of the last closed window
        self._course = Course(
            baseline=baseline_loss, chance=baseline_metric, settings=settings, metric=metric
        )
        self._sum: Any = 0.0  # stays a device tensor when losses are tensors: no sync per step
        self._count = 0
        self._exploded_streak = 0
        self._above_streak = 0

    def step(self, loss: Any) -> tuple[Verdict, str] | None:
        """Take one step's mean loss: a float, or a detached scalar tensor on any device."""
        if self._course.first is None:
            self._course.first = _number(loss)  # the only step that waits for the device
        self._sum += _wide(loss)
        self._count += 1
        return self.close_window() if self._count >= self.window_steps else None

    @property
    def window_left(self) -> int:
        """Steps until it judges."""
        return self.window_steps - self._count

    def several(self, losses: Sequence[float]) -> tuple[Verdict, str] | None:
        """Take the losses of steps in a row, no more than `window_left`; else as `step`."""
        if self._course.first is None:
            self._course.first = losses[0]
        for loss in losses:  # not `sum`, which newer Pythons round otherwise
            self._sum += loss
        self._count += len(losses)
        return self.close_window() if self._count >= self.window_steps else None

    def report(self, metric: float) -> tuple[Verdict, str] | None:
        """Take a validation metric: a run that predicts clearly better than chance is spared."""
        if not math.isfinite(metric):
            return Verdict.NON_FINITE, self._undefined(metric)
        self._course.report(metric, steps=self.steps + self._count)
        return None

    def _undefined(self, metric: float) -> str:
        """Why a metric is not finite: the loss may have gone astray since the last window."""
        if self._count:
            self.window_mean = float(self._sum) / self._count
            self._course.add(self.window_mean)
        mean = self.window_mean
        if mean is None:
            return f"{METRIC_BECAME} {metric}"
        if not math.isfinite(mean):
            return f"training loss became {mean}, and the validation metric {metric}"
        if self._course.is_exploded:
            start = self._course.start
            return (
                f"training loss rose from {start:.4g} to {mean:.4g}, and the validation metric "
                f"became {metric}"
            )
        return f"{METRIC_BECAME} {metric}, at a training loss of {mean:.4g}"

    def close_window(self) -> tuple[Verdict, str] | None:
        """Judge the steps since the last window; this waits for the device."""
        if self._count == 0:
            return None
        mean = float(self._sum) / self._count
        self.steps += self._count
        self._sum, self._count = 0.0, 0
        self.window_mean = mean
        if not math.isfinite(mean):
            return Verdict.NON_FINITE, f"training loss became {mean}"
        course = self._course
        course.add(mean)
        self.spikes.add(mean, baseline=course.start if course.baseline is None else course.baseline)
        return self._judge()

    def state(self) -> dict[str, Any]:
        """All that changes from step to step, to go on from in another process."""
        own = {name: getattr(self, name) for name in STATE}
        return {**own, "course": self._course.state(), "spikes": self.spikes.state()}

    def go_on_from(self, state: dict[str, Any]) -> None:
        """Take what `state` of an earlier process returned."""
        self.spikes.go_on_from(state["spikes"])
        if "course" not in state:
            self._begin_anew(state)
            return
        for name in STATE:
            setattr(self, name, state[name])
        self._course.go_on_from(state["course"])

    def _begin_anew(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint of 0.7 or before, which kept no course but its start."""
        for name in ("steps", "window_mean", "_sum", "_count"):
            setattr(self, name, state[name])
        self._course.first = state["_baseline"]
        self._course.exploded, self._course.learned = state["_exploded"], state["_learned"]
        if state["_skilled"]:
            self._course.shortfalls.append((1 - self.settings.skill) / 2)
            self._course.reported_at = self.steps + self._count

    def _judge(self) -> tuple[Verdict, str] | None:
        rule, course, spent = self.settings, self._course, self.steps / self.total_steps
        explodes = course.is_exploded and spent > rule.exploded_after
        self._exploded_streak = self._exploded_streak + 1 if explodes else 0
        fallen = course.is_fallen and (course.is_below_chance or not course.shortfalls)
        fallen = fallen or course.is_back
        late = spent > (rule.fallen_after if fallen else rule.stalled_after)
        above = course.is_above and (late or course.is_still_far)
        self._above_streak = self._above_streak + 1 if above else 0
        waits = course.is_unseen and spent <= rule.unseen_after
        if waits or course.is_skilled:
            return None
        if self._exploded_streak >= rule.patience and not course.returns(self._left):
            said = f"training loss {self.window_mean:.4g} against {course.start:.4g} at the start"
            return Verdict.DIVERGED, said + self._in_a_row(self._exploded_streak)
        return self._lost(spent) if late and self._above_streak >= self._patience else None

    def _lost(self, spent: float) -> tuple[Verdict, str] | None:
        """The verdict on a loss above the baseline, without hope of getting clearly below it."""
        course = self._course
        if course.may_arrive(self._left, total_steps=self.total_steps):
            return None
        confirmed = course.confirms_baseline(window_steps=self.window_steps)
        if not confirmed and course.doubts_baseline(spent=spent):
            return None
        verdict = Verdict.DIVERGED if course.exploded or course.learned else Verdict.STALLED
        if verdict is Verdict.STALLED and course.may_be_learning(total_steps=self.total_steps):
            return None
        said = (
            f"training loss {self.window_mean:.4g} against {course.baseline:.4g} for the best "
            f"constant predictor, {outlook(course.means, self._left, damped=True):.4g} to be "
            "expected at the end"
        )
        return verdict, said + self._in_a_row(self._above_streak)

    @property
    def _left(self) -> float:
        """Windows until the end of the budget."""
        return (self.total_steps - self.steps) / self.window_steps

    @property
    def _patience(self) -> int:
        """Windows in a row above the baseline, of so many steps that three are no accident."""
        rule = self.settings
        steps = rule.min_window_steps * (1 if self._course.is_still_far else rule.patience)
        return max(rule.patience, -(-steps // self.window_steps))

    def _in_a_row(self, streak: int) -> str:
        return f", {streak} windows of {self.window_steps} steps in a row"


def _number(loss: Any) -> float:
    """A first loss; raises ObjectiveError for what is none."""
    try:
        if not isinstance(loss, str | bytes):
            return float(loss)
    except (TypeError, ValueError):
        pass
    shape = f" of shape {tuple(loss.shape)}" if hasattr(loss, "shape") else ""
    raise ObjectiveError(
        f"run.step got {type(loss).__name__}{shape}, wanted one number: the step's mean loss"
    )


def _wide(loss: Any) -> Any:
    """Sums of 16-bit losses are kept in 32: in bfloat16 256 + 1 is 256."""
    if getattr(loss, "itemsize", 4) >= 4:
        return loss
    return loss.float() if hasattr(loss, "float") else float(loss)


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
