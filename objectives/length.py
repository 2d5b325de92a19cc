"""How long every run of a study trains, and how often it is evaluated on the way.

Runs of different batch sizes are given the same epochs, examples or tokens, or the same steps. The
points of a curve lie at equal shares of that, whatever the size: point k of n of one run is
compared with point k of n of another.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

UNITS = ("epochs", "examples", "steps", "tokens")
USUAL_EVALUATIONS = 20  # where the length is no whole number of epochs


@dataclass(frozen=True, kw_only=True)
class Length:
    """The length of each run; by default so many epochs, evaluated after each of them."""

    unit: str = UNITS[0]
    amount: int  # of the unit
    evaluations: int | None = None  # points of the curve; None: as many as epochs
    tokens_per_example: int | None = None
    n_train: int | None = None  # examples of an epoch, where they are known

    def __str__(self) -> str:
        words = f"{self.amount} {self.unit if self.amount > 1 else self.unit[:-1]}"
        if self.evaluations is None:
            return words
        return f"{words}, {self.points} evaluation{'s' if self.points > 1 else ''}"

    @property
    def points(self) -> int:
        """The points of the curve of a whole run; the last one is its end."""
        return self.evaluations or self.amount

    @property
    def is_plain(self) -> bool:
        """Whether these are epochs, each of them a point of the curve."""
        return self.unit == UNITS[0] and self.evaluations is None

    @property
    def point(self) -> str:
        """What a point of the curve is called."""
        return "epoch" if self.is_plain else "evaluation"

    @property
    def counts_steps(self) -> bool:
        """Whether runs take equal steps, so that small batches see fewer examples."""
        return self.unit == "steps"

    @property
    def examples(self) -> int | None:
        """The examples that a run of any batch size is given; None: equal steps, or not known."""
        if self.unit == "examples":
            return self.amount
        if self.unit == "tokens" and self.tokens_per_example:
            return self.amount // self.tokens_per_example
        known = self.unit == UNITS[0] and self.n_train is not None
        return self.amount * (self.n_train or 0) if known else None

    def examples_of(self, batch_size: int) -> int | None:
        """The examples that a run of this batch size is given; None where that is not known."""
        return self.amount * batch_size if self.counts_steps else self.examples

    def epochs_of(self, batch_size: int) -> float | None:
        """The passes over the training data of such a run; None where they are not known."""
        if self.unit == UNITS[0]:
            return self.amount
        examples = self.examples_of(batch_size)
        return examples / self.n_train if examples is not None and self.n_train else None

    def epochs_begun(self, batch_size: int) -> int:
        """How often such a run begins to go through the training data; 1 where nobody knows."""
        return max(1, math.ceil(self.epochs_of(batch_size) or 1))

    @property
    def room(self) -> int | None:
        """The largest batch of which every point of the curve brings another step; None: any."""
        return None if self.examples is None else self.examples // self.points

    def batch(self, size: int) -> int:
        """The examples of a step at a batch size: no more than there are."""
        return min(size, self.n_train or size)

    def steps(self, batch_sizes: Sequence[int]) -> list[int]:
        """Optimizer steps up to each point from the one before, from the batch size of each.

        Batches are exact: what is too little for one counts towards the next point. `batch_sizes`
        may be those of the first points alone.

        Raises:
            ValueError: the examples of an epoch are not known.
        """
        total = self.amount if self.counts_steps else self.examples
        if total is None:
            raise ValueError("the examples of an epoch are not known")
        steps, taken = [], 0  # in steps or in examples
        for point, size in enumerate(batch_sizes, 1):
            each = 1 if self.counts_steps else self.batch(size)
            steps.append((total * point // self.points - taken) // each)
            taken += steps[-1] * each
        return steps

    def as_record(self) -> dict[str, Any]:
        """What is stored of it with a study: of plain epochs as in every older one."""
        epochs = self.amount if self.unit == UNITS[0] else None
        more = {} if epochs is not None else {self.unit: self.amount}
        for name in ("evaluations", "tokens_per_example"):
            value = getattr(self, name)
            more |= {} if value is None else {name: value}
        return {"epochs": epochs, **more}

    @staticmethod
    def from_record(record: Mapping[str, Any], n_train: int | None = None) -> Length | None:
        """The length in a study's record; None where runs were recorded elsewhere, of any."""
        unit = next((unit for unit in UNITS if record.get(unit) is not None), None)
        if unit is None:
            return None
        return Length(
            unit=unit,
            amount=record[unit],
            evaluations=record.get("evaluations"),
            tokens_per_example=record.get("tokens_per_example"),
            n_train=n_train,
        )

    def as_dict(self) -> dict[str, Any]:
        """What is stored of it with a trial."""
        return {name: value for name, value in asdict(self).items() if value is not None}
