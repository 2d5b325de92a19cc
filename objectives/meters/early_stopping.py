"""Ends a run that gets no better; what it has reached is its result."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from batchfront.objectives.measurement import ObjectiveError

WATCHED = ("metric", "loss")
REPORTS = ("last", "best")


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
        if not isinstance(self.patience, int) or self.patience < 1:
            raise ObjectiveError(
                f"early_stopping has patience {self.patience!r}, wanted epochs, at least 1"
            )
        if not 0 <= self.min_delta < float("inf"):
            raise ObjectiveError(
                f"early_stopping has min_delta {self.min_delta:g}, wanted at least 0"
            )

    def __str__(self) -> str:
        delta = f" by more than {self.min_delta:g}" if self.min_delta else ""
        return f"validation {self.on} no better{delta} for {self.patience} epochs"

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
        found = re.fullmatch(r"(?:(metric|loss):)?(\d+)(?::([\d.]+(?:e-?\d+)?))?", text)
        if found is None:
            raise ObjectiveError(
                f"early_stopping is {text!r}, wanted epochs like 5 or loss:5, or none"
            )
        on, patience, delta = found.groups()
        rule = EarlyStopping(
            patience=int(patience), on=on or WATCHED[0], min_delta=float(delta or 0.0)
        )
        rule.check()
        return rule

    def ends(self, values: Sequence[float]) -> bool:
        """Whether a run ends after the epochs that had these values."""
        sign = 1.0 if self.on == "metric" else -1.0
        best, since = -float("inf"), 0
        for value in values:
            if sign * value > best + self.min_delta:
                best, since = sign * value, 0
            else:
                since += 1
        return since >= self.patience


@dataclass(frozen=True, kw_only=True)
class Ending:
    """When a run ends before its last epoch, and which of its epochs is told."""

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

    def __init__(self, ending: Ending, *, target: float | None) -> None:
        self.curve: list[float] = []  # the metric after each epoch
        self.train_metric: float | None = None  # of the epoch that is told
        self._losses: list[float] = []  # on the validation split
        self._rule = ending.early_stopping
        self._tells_best = ending.tells_best
        self._target = target

    @property
    def wants_loss(self) -> bool:
        """Whether the loss on the validation split decides when it ends."""
        return self._rule is not None and self._rule.on == "loss"

    def end_after(self, metric: float, loss: float | None) -> bool:
        """Whether an epoch is the last one because of its metric or its validation loss.

        Raises:
            ObjectiveError: the loss is wanted, and not given.
        """
        if self._rule is None:
            return False
        if not self.wants_loss:
            return self._rule.ends([*self.curve, metric])
        if loss is None:
            raise ObjectiveError(
                "early stopping watches the validation loss: give it to "
                "run.report(metric, val_loss=...), or let it watch the metric"
            )
        return self._rule.ends([*self._losses, loss])

    def tell_of(self, metric: float, *, last: bool) -> bool:
        """Whether an epoch may be the one that is told."""
        return metric > max(self.curve, default=-float("inf")) if self._tells_best else last

    def add(self, metric: float, *, train_metric: float | None, loss: float | None) -> None:
        """Close an epoch."""
        if not self._tells_best or self.tell_of(metric, last=False):
            self.train_metric = train_metric
        self.curve.append(metric)
        if loss is not None:
            self._losses.append(loss)

    @property
    def told(self) -> float | None:
        """The metric of the epoch that is told."""
        if not self.curve:
            return None
        return max(self.curve) if self._tells_best else self.curve[-1]

    @property
    def gap(self) -> float | None:
        """Training less validation metric, where the former is known."""
        if self.train_metric is None or self.told is None:
            return None
        return self.train_metric - self.told

    @property
    def to_target(self) -> int | None:
        """The first epoch that reached the target."""
        if self._target is None:
            return None
        reached = (n for n, value in enumerate(self.curve, 1) if value >= self._target)
        return next(reached, None)

    def state(self) -> dict[str, Any]:
        """All that changes from epoch to epoch, to go on from in another process."""
        return {
            "curve": list(self.curve),
            "train_metric": self.train_metric,
            "val_losses": list(self._losses),
        }

    def go_on_from(self, state: Mapping[str, Any]) -> None:
        """Take what `state` of an earlier process returned."""
        self.curve[:] = state["curve"]
        self.train_metric = state["train_metric"]
        self._losses[:] = state.get("val_losses", [])  # older versions knew none
