"""Ends a run that gets no better; what it has reached is its result."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from batchfront.objectives.measurement import ObjectiveError
from batchfront.objectives.metric import Metric
from batchfront.objectives.number import WHOLE, shown

WATCHED = ("metric", "loss")
REPORTS = ("last", "best")
VAL_LOSS = "val_loss"


@dataclass(frozen=True, kw_only=True)
class EarlyStopping:
    """The rule that ends a run, completed, after `patience` epochs without a better value."""

    patience: int
    on: str = "metric"
    """Of WATCHED: the metric that is reported, or the loss on the validation split."""
    min_delta: float = 0.0
    """A value is better when it is so by more than this."""

    def check(self) -> None:
        """Raise ObjectiveError for what no run could follow."""
        if self.on not in WATCHED:
            raise ObjectiveError(f"early_stopping is on {self.on!r}, wanted {' or '.join(WATCHED)}")
        if not isinstance(self.patience, int) or not WHOLE.holds(self.patience):
            raise ObjectiveError(
                f"early_stopping has patience {shown(self.patience)}, wanted epochs, at least 1"
            )
        if not 0 <= self.min_delta < float("inf"):
            raise ObjectiveError(
                f"early_stopping has min_delta {self.min_delta:g}, wanted at least 0"
            )

    def __str__(self) -> str:
        return self.words("epoch")

    def words(self, point: str) -> str:
        """The rule, where a metric comes with each `point`: an epoch, or another evaluation."""
        epochs = f"1 {point}" if self.patience == 1 else f"{self.patience} {point}s"
        delta = f" by more than {self.min_delta:g}" if self.min_delta else ""
        return f"validation {self.on} no better{delta} for {epochs}"

    def as_dict(self) -> dict[str, Any]:
        """What is stored of it with a study."""
        return asdict(self)

    @staticmethod
    def from_dict(stored: Mapping[str, Any] | None) -> EarlyStopping | None:
        """What `as_dict` returned."""
        return None if stored is None else EarlyStopping(**stored)

    @staticmethod
    def parse(text: str) -> EarlyStopping | None:
        """`3`, `metric:3`, `loss:3`, `loss:3:1e-4`; `none` for none.

        Raises:
            ObjectiveError: none of these.
        """
        if text == "none":
            return None
        found = re.fullmatch(r"(?:(metric|loss):)?(\d{1,9})(?::([\d.]+(?:e-?\d+)?))?", text)
        try:
            on, patience, delta = found.groups() if found else ("", "", "")
            epochs, min_delta = int(patience), float(delta or 0.0)
        except ValueError:
            raise ObjectiveError(
                f"early_stopping is {text!r}, wanted epochs like 5 or loss:5, or none"
            ) from None
        rule = EarlyStopping(patience=epochs, on=on or WATCHED[0], min_delta=min_delta)
        rule.check()
        return rule

    def ends(self, values: Sequence[float], *, maximize: bool) -> bool:
        """Whether a run ends after the epochs that had these values."""
        sign = 1.0 if maximize else -1.0
        best, since = -float("inf"), 0
        for value in values:
            if sign * value > best + self.min_delta:
                best, since = sign * value, 0
            else:
                since += 1
        return since >= self.patience


@dataclass(frozen=True, kw_only=True)
class Ending:
    """The rule by which a run ends before its last epoch, and which of its epochs is told."""

    early_stopping: EarlyStopping | None = None
    report: str = REPORTS[0]

    def check(self) -> None:
        """Raise ObjectiveError for what no run could follow."""
        if self.early_stopping is not None:
            self.early_stopping.check()
        if self.report not in REPORTS:
            raise ObjectiveError(f"report is {self.report!r}, wanted {' or '.join(REPORTS)}")

    @property
    def tells_best(self) -> bool:
        """Whether the best epoch is told, and not the last."""
        return self.report == "best"


LAST_EPOCH = Ending()  # ends there, and tells of it


def ending_of(objective: Any) -> Ending:
    """The ending that a task or an objective has of its own; those of tables have none."""
    return Ending(
        early_stopping=getattr(objective, "early_stopping", None),
        report=getattr(objective, "report", REPORTS[0]),
    )


class Epochs:
    """What the epochs of one run were worth, and which of them is told."""

    def __init__(self, ending: Ending, *, metric: Metric, target: float | None) -> None:
        self._metric = metric
        self.curve: list[float] = []  # the metric after each epoch
        self.also: dict[str, list[float | None]] = {}  # other metrics, None where not reported
        self.train_metric: float | None = None  # of the epoch that is told
        self._told_at = 0  # its index
        self._losses: list[float] = []  # on the validation split
        self._rule = ending.early_stopping
        self._tells_best = ending.tells_best
        self._target = target

    @property
    def wants_loss(self) -> bool:
        """Whether the loss on the validation split decides when it ends."""
        is_other = self._metric.name != VAL_LOSS
        return self._rule is not None and self._rule.on == "loss" and is_other

    def end_after(self, metric: float, loss: float | None) -> bool:
        """Whether an epoch is the last one because of its metric or its validation loss.

        Raises:
            ObjectiveError: the loss is wanted, and not given.
        """
        if self._rule is None:
            return False
        if not self.wants_loss:
            return self._rule.ends([*self.curve, metric], maximize=self._metric.maximize)
        if loss is None:
            raise ObjectiveError(
                "early stopping watches the validation loss: give it to "
                "run.report(metric, val_loss=...), or let it watch the metric"
            )
        return self._rule.ends([*self._losses, loss], maximize=False)

    def tell_of(self, metric: float, *, last: bool) -> bool:
        """Whether an epoch may be the one that is told."""
        if not self._tells_best:
            return last
        best = self._metric.best(self.curve)
        return best is None or self._metric.is_better(metric, best)

    def add(self, metric: float, *, train_metric: float | None, also: Mapping[str, float]) -> None:
        """Close an epoch; `also`: what else was reported of it, by name."""
        if not self._tells_best or self.tell_of(metric, last=False):
            self.train_metric = train_metric
            self._told_at = len(self.curve)
        for name, value in also.items():
            self.also.setdefault(name, [None] * len(self.curve)).append(value)
        self.curve.append(metric)
        for values in self.also.values():
            values.extend([None] * (len(self.curve) - len(values)))
        if VAL_LOSS in also:
            self._losses.append(also[VAL_LOSS])

    @property
    def told(self) -> float | None:
        """The metric of the epoch that is told."""
        if not self.curve:
            return None
        return self._metric.best(self.curve) if self._tells_best else self.curve[-1]

    @property
    def told_also(self) -> dict[str, float]:
        """What else was reported of the epoch that is told, by name."""
        found = {name: values[self._told_at] for name, values in self.also.items() if values}
        return {name: v for name, v in found.items() if v is not None and math.isfinite(v)}

    @property
    def gap(self) -> float | None:
        """The amount by which the metric is better on the training split, where that is known."""
        if self.train_metric is None or self.told is None:
            return None
        return self._metric.good(self.train_metric) - self._metric.good(self.told)

    @property
    def to_target(self) -> int | None:
        """The first epoch that reached the target."""
        if self._target is None:
            return None
        target, reaches = self._target, self._metric.reaches
        return next((n for n, value in enumerate(self.curve, 1) if reaches(value, target)), None)

    def state(self) -> dict[str, Any]:
        """All that changes from epoch to epoch, to go on from in another process."""
        return {
            "curve": list(self.curve),
            "train_metric": self.train_metric,
            "val_losses": list(self._losses),
            "also": {name: list(values) for name, values in self.also.items()},
            "told_at": self._told_at,
        }

    def go_on_from(self, state: Mapping[str, Any]) -> None:
        """Take what `state` of an earlier process returned."""
        self.curve[:] = state["curve"]
        self.train_metric = state["train_metric"]
        self._losses[:] = state.get("val_losses", [])  # older versions knew none
        self.also.update({name: list(values) for name, values in state.get("also", {}).items()})
        self._told_at = state.get("told_at", max(0, len(self.curve) - 1))
