"""A metric with a name and a direction: the first objective of a study."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal

from batchfront.objectives.measurement import MetricError, ObjectiveError

Direction = Literal["maximize", "minimize"]
DIRECTIONS: tuple[Direction, ...] = ("maximize", "minimize")
TAKEN = ("train_seconds", "peak_memory_bytes")  # the other two objectives
LONGEST = 100  # letters of a name


def is_word(name: str) -> bool:
    """Whether a metric can have that name."""
    return len(name) <= LONGEST and re.fullmatch(r"[A-Za-z][\w.@-]*", name) is not None


@dataclass(frozen=True)
class Metric:
    """What a run is judged by on the validation split, after each epoch."""

    name: str
    """The study's first objective has it, in every table, figure and file."""
    function: Any = None
    """What computes it for our loop: a torchmetrics metric, a function of all outputs and targets,
    or `evaluate(model, loader) -> {name: value}`. None: your own loop reports it, or its name says
    how."""
    _: KW_ONLY
    direction: Direction | None = None
    """None: what the function's `higher_is_better` says, else to be maximized."""
    bound: float | None = None
    """The best value there can be: 1 for fractions, 100 for percent; None where nobody knows."""
    worst: float | None = None
    """The worst value there can be; one beyond it is refused, as beyond the bound."""
    chance: float | None = None
    """The value of a constant prediction; None: found out where our loop can."""

    def __post_init__(self) -> None:
        if self.direction is None:
            higher = getattr(self.function, "higher_is_better", None)
            object.__setattr__(self, "direction", DIRECTIONS[higher is False])

    def __str__(self) -> str:
        return self.name

    def check(self) -> None:
        """Raise ObjectiveError for what no study could be judged by."""
        if not isinstance(self.name, str) or not is_word(self.name):
            raise ObjectiveError(
                f"metric is named {self.name!r}, wanted a word like val_f1, of at most {LONGEST} "
                "letters"
            )
        if self.name in TAKEN:
            raise ObjectiveError(f"metric is named {self.name!r}, which is another objective")
        if self.direction not in DIRECTIONS:
            raise ObjectiveError(
                f"metric {self.name} has direction {self.direction!r}, wanted maximize or minimize"
            )
        for field in ("bound", "worst", "chance"):
            value = getattr(self, field)
            if value is not None and not _is_finite(value):
                raise ObjectiveError(f"metric {self.name} has {field} {value!r}, wanted a number")
        ends = (self.worst, self.chance, self.bound)
        known = [self.good(value) for value in ends if value is not None]
        if known != sorted(known) or len(set(known)) < len(known) - (self.worst == self.chance):
            raise ObjectiveError(
                f"metric {self.name} is to be {self.direction}d from worst {self.worst} over "
                f"chance {self.chance} to bound {self.bound}: wanted these in that order"
            )

    @property
    def of_training(self) -> str:
        """The name of the same on the training split."""
        return f"train_{self.name.removeprefix('val_')}"

    @property
    def maximize(self) -> bool:
        """Whether more is better."""
        return self.direction == "maximize"

    @property
    def is_fraction(self) -> bool:
        """Whether it is 1 at best, or that with the other sign."""
        return self.bound is not None and self.good(self.bound) == 1

    def good(self, value: float) -> float:
        """A number that is larger for what is better: the value, or its negative."""
        return value if self.maximize else -value

    def is_better(self, value: float, than: float) -> bool:
        """Whether one value is better than another."""
        return self.good(value) > self.good(than)

    def reaches(self, value: float, target: float) -> bool:
        """Whether a value is at least as good as a target."""
        return self.good(value) >= self.good(target)

    def best(self, values: Iterable[float]) -> float | None:
        """The best of some values; None of none."""
        return max(values, key=self.good, default=None)

    def shortfall(self, value: float, chance: float) -> float | None:
        """How far from perfect, in units of chance: 0 perfect, 1 at chance; None without bound."""
        if self.bound is None or self.bound == chance:
            return None
        return (self.bound - value) / (self.bound - chance)

    def check_value(self, value: float, where: str) -> None:
        """Raise MetricError for one that cannot be, such as a fraction in percent.

        NaN and infinity pass: they say that the run has failed.
        """
        for end, sign in ((self.bound, 1), (self.worst, -1)):
            if end is None or not math.isfinite(value):
                continue
            if sign * self.good(value) > sign * self.good(end) + 1e-6 * max(1.0, abs(end)):
                raise MetricError(f"{where} got {self.name}={value:g}, wanted {self.range}")

    def possible(self, value: float) -> float:
        """The value there can be that is nearest to one, as to the end of an interval."""
        ends = ((self.bound, min), (self.worst, max))
        good = self.good(value)
        for end, nearer in ends:
            good = good if end is None else nearer(good, self.good(end))
        return self.good(good)

    @property
    def range(self) -> str:
        """The values that there can be, in words."""
        low, high = (self.worst, self.bound) if self.maximize else (self.bound, self.worst)
        if (low, high) == (0, 1):
            return "a fraction between 0 and 1"
        if low is None:
            return "any number" if high is None else f"at most {high:g}"
        return f"at least {low:g}" if high is None else f"between {low:g} and {high:g}"


ACCURACY = Metric("val_accuracy", bound=1.0, worst=0.0)
R2 = Metric("val_r2", bound=1.0, chance=0.0)
LOSS = Metric("val_loss", direction="minimize")
OF_TORCHMETRICS = {  # computed by it, see training/named_scores.py
    "f1": Metric("val_f1", bound=1.0, worst=0.0),
    "auc": Metric("val_auc", bound=1.0, worst=0.0, chance=0.5),
    "map": Metric("val_map", bound=1.0, worst=0.0),
    "iou": Metric("val_iou", bound=1.0, worst=0.0),
    "mae": Metric("val_mae", direction="minimize", bound=0.0),
    "perplexity": Metric("val_perplexity", direction="minimize", bound=1.0),
}
WORDS = {"accuracy": ACCURACY, "r2": R2, "loss": LOSS, **OF_TORCHMETRICS}
OURS = {ACCURACY.name, R2.name, LOSS.name}  # computed without help
COMMON = {metric.name: metric for metric in WORDS.values()}


def as_metric(given: str | Metric | None) -> Metric:
    """The metric itself, or the one that a word or a usual name stands for; accuracy by default.

    Raises:
        ObjectiveError: it is none, or one that no study could be judged by.
    """
    if given is None:
        return ACCURACY
    if isinstance(given, str):
        return WORDS.get(given) or COMMON.get(given) or _named(given)
    if not isinstance(given, Metric):
        raise ObjectiveError(
            f"metric is {type(given).__name__}, wanted {', '.join(WORDS)} or a Metric"
        )
    given.check()
    return given


def _named(name: str) -> Metric:
    metric = Metric(name)
    metric.check()
    return metric


@dataclass(frozen=True, kw_only=True)
class AskedMetric:
    """Name and direction that somebody has asked for, in place of what a task declares."""

    name: str | None = None
    direction: Direction | None = None
    usual: Metric | None = None
    """Of the study so far: for loops that declare none."""

    def of(self, declared: str | Metric | None) -> str | Metric | None:
        """The metric that is to be used; None where nobody says.

        Raises:
            ObjectiveError: the metric is none.
        """
        found = self.usual if declared is None else declared
        if self.name is not None and (found is None or as_metric(found).name != self.name):
            found = self.name
            as_metric(found)
            if self.direction is None and found not in WORDS and found not in COMMON:
                raise ObjectiveError(
                    f"which way is {found} better? give --direction maximize or minimize too"
                )
        if self.direction is None or found is None:
            return found
        metric = as_metric(found)
        if metric.direction == self.direction:
            return metric
        return Metric(metric.name, metric.function, direction=self.direction)


AS_DECLARED = AskedMetric()


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
