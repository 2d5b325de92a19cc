"""How a run trains besides its batch size and learning rate; the defaults change nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from batchfront.objectives.measurement import ObjectiveError
from batchfront.objectives.number import EXACT, SIZE, Number, check_numbers, is_power
from batchfront.objectives.parameter import Parameter

PRECISIONS = ("float32", "bfloat16", "float16")
SCHEDULES = ("constant", "doubling", "noise-scale")  # of the batch size
RATE_SCHEDULES = ("constant", "cosine")
SHARDS = ("striped", "block")
MICRO = "log2_micro_batch_size"  # names of searched parameters
LISTED_MICRO = "micro_batch"
PRECISION = "precision"


def technique(
    words: str,
    *,
    default: Any = None,
    kind: str | None = None,
    option: str | None = None,
    number: Number | None = None,
) -> Any:
    """A field that people name: by its own name, unless `option` is another.

    `words` are its help; `kind` is how its text is read, where it is no plain type; `number` is
    which ones it may be.
    """
    said = {"words": words, "kind": kind, "option": option, "number": number}
    return field(default=default, metadata={k: v for k, v in said.items() if v is not None})


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How our own loop trains. What is searched takes its value from a trial's params: see `at`."""

    micro_batch_sizes: tuple[int, ...] | None = technique(
        "examples of a pass; LOW:HIGH or 24,48 to search; default: the batch",
        kind="micro-batch sizes",
    )
    """Twice the same fixes it. Two powers of two are searched with all between them, any others as
    a list. Gradients accumulate to the batch size. None: whole batches."""
    precisions: tuple[str, ...] = technique(
        "float32, bfloat16 or float16; several, with commas, are searched",
        default=("float32",),
        kind="words",
        option="precision",
    )
    schedule: str = technique(
        "of the batch size: constant, doubling or noise-scale", default="constant"
    )
    rate_schedule: str = technique("of the learning rate: constant or cosine", default="constant")
    warmup_examples: int = technique(
        "over which the learning rate rises; default: 0",
        default=0,
        number=Number(low=0, high=EXACT, whole=True),
    )
    beta2_half_life: float | None = technique(
        "of Adam's second moment, in examples; default: the task's beta2",
        number=Number(low=1e-9, high=1e15),
    )
    clip_grad_norm: float | None = technique(
        "the largest norm of a step's gradient; default: any",
        number=Number(low=1e-9, high=1e15),
    )
    ghost_batch_size: int | None = technique(
        "examples that share batch-norm statistics; default: the batch", number=SIZE
    )
    checkpoint_activations: bool = technique(
        "compute activations again in the backward pass: less memory, more time", default=False
    )
    data_parallel: int = technique(
        "ranks that train one trial together; default: 1",
        default=1,
        number=Number(low=1, high=4096, whole=True),
    )
    shards: str = technique(
        "what each rank gets of a batch: striped or block; default: striped", default="striped"
    )

    @property
    def search(self) -> dict[str, Parameter]:
        """What of it is searched; all of that bears cost."""
        found = {}
        sizes = self.micro_batch_sizes or ()
        if len(set(sizes)) > 1 and len(sizes) == 2 and all(map(is_power, sizes)):
            low, high = (size.bit_length() - 1 for size in sizes)
            found[MICRO] = Parameter(low=low, high=high)
        elif len(set(sizes)) > 1:
            found[LISTED_MICRO] = Parameter(choices=sizes, usual=sizes[len(sizes) // 2])
        if len(self.precisions) > 1:
            found[PRECISION] = Parameter(choices=self.precisions)
        return found

    def at(self, values: Mapping[str, Any]) -> Recipe:
        """Nothing is left to be searched: with a trial's own values."""
        found = {name: values[name] for name in self.search}
        micro = self.micro_batch_sizes
        if MICRO in found:
            micro = (2 ** int(found[MICRO]),) * 2
        elif LISTED_MICRO in found:
            micro = (int(found[LISTED_MICRO]),) * 2
        precisions = (found[PRECISION],) if PRECISION in found else self.precisions
        return replace(self, micro_batch_sizes=micro, precisions=precisions)

    def micro_batch_size(self, batch_size: int) -> int:
        """The examples of one pass in a recipe that `at` gave: at most the batch."""
        return min(batch_size, self.micro_batch_sizes[0]) if self.micro_batch_sizes else batch_size

    def of_rank(self, batch_size: int) -> int:
        """The most examples of a batch that one rank trains on."""
        return -(-batch_size // self.data_parallel)

    @property
    def precision(self) -> str:
        """The one precision of a recipe that `at` gave."""
        return self.precisions[0]

    @property
    def stored(self) -> str:
        """What differs from the defaults, as text; "" where nothing does."""
        plain = asdict(PLAIN)
        changed = {key: value for key, value in asdict(self).items() if value != plain[key]}
        return json.dumps(changed, sort_keys=True) if changed else ""

    @staticmethod
    def from_stored(text: str) -> Recipe:
        """The recipe that `stored` made text of."""
        found: dict[str, Any] = json.loads(text) if text else {}
        for key, value in found.items():
            found[key] = tuple(value) if isinstance(value, list) else value
        return Recipe(**found)

    def check(self) -> None:
        """Raise ObjectiveError for what no run could do."""
        for name, value, choices in (
            ("schedule", self.schedule, SCHEDULES),
            ("rate_schedule", self.rate_schedule, RATE_SCHEDULES),
            ("shards", self.shards, SHARDS),
            *(("precision", precision, PRECISIONS) for precision in self.precisions),
        ):
            if value not in choices:
                raise ObjectiveError(f"{name} is {value!r}, wanted {', '.join(choices)}")
        if len(set(self.precisions)) < max(1, len(self.precisions)):
            raise ObjectiveError(f"precision is {','.join(self.precisions)}, which repeats itself")
        try:
            check_numbers(self)
        except ValueError as error:
            raise ObjectiveError(str(error)) from None


PLAIN = Recipe()


def n_ranks(objective: Any) -> int:
    """The number of ranks that train one run of the objective together."""
    return int(getattr(objective, "recipe", PLAIN).data_parallel)


def only_plain(recipe: Recipe, what: str) -> None:
    """Raise ObjectiveError where `what` cannot follow a recipe."""
    if recipe != PLAIN:
        names = [one.name for one in fields(Recipe) if f'"{one.name}"' in recipe.stored]
        raise ObjectiveError(
            f"{', '.join(names)} is for tasks that our own loop trains, and {what}: "
            "leave it out, or bring a Task"
        )
