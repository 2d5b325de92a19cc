"""What runs of an Optuna study of one's own cost: given, measured by a probe, or learned."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from statistics import median
from typing import TYPE_CHECKING, Any

from batchfront.study.errors import StudyError
from batchfront.study.trials.attributes import batch_size_of, has_batch_size
from batchfront.study.trials.costs import Costs, SizeCost
from batchfront.study.trials.yardstick import metric_in

if TYPE_CHECKING:
    import optuna

Pair = tuple[float, float]  # seconds and bytes of a whole run
Given = Mapping[int, Pair] | Callable[[int], Pair] | None


class RunCosts:
    """Seconds and bytes of whole runs by batch size."""

    def __init__(self, given: Given) -> None:
        """`given`: a table, or a probe, which is called once for each size; None: neither.

        Raises:
            StudyError: no table of pairs.
        """
        self._probe = given if callable(given) else None
        table = {} if given is None or callable(given) else given
        self._given = {size: _cost(size, known) for size, known in table.items()}

    def of(self, study: optuna.Study, sizes: Iterable[int] = ()) -> Costs:
        """What was given counts; what other sizes have told, in the median, is learned.

        `sizes`: that a probe is asked about.
        """
        self._probed(sizes)
        return {**learned(study), **self._given}

    def at(self, study: optuna.Study, size: int) -> SizeCost | None:
        """What the trials of a size have told, in the median; else what was given; else None.

        A run is held against trials as they were told, so that is what it is told with, too.
        """
        told = learned(study).get(size)
        if told is None:
            self._probed([size])
        return told or self._given.get(size)

    def _probed(self, sizes: Iterable[int]) -> None:
        if self._probe is not None:
            for size in sizes:
                if size not in self._given:
                    self._given[size] = _cost(size, self._probe(size))


def learned(study: optuna.Study) -> Costs:
    """The medians of what the trials of each size took."""
    told: dict[int, list[list[float]]] = {}
    for trial in study.get_trials(deepcopy=False):
        if trial.state.name == "COMPLETE" and has_batch_size(trial.params):
            told.setdefault(batch_size_of(trial.params), []).append(trial.values[1:])
    return {
        size: _cost(size, [median(values) for values in zip(*some, strict=True)])
        for size, some in told.items()
    }


def check_values(study: optuna.Study) -> None:
    """Raise StudyError unless the values of a study are a metric, seconds and bytes."""
    if len(study.directions) != 3 or {d.name for d in study.directions[1:]} != {"MINIMIZE"}:
        found = ", ".join(direction.name.lower() for direction in study.directions)
        raise StudyError(
            f"the study has the directions {found}, wanted those of a metric, of seconds and "
            "of bytes: [..., 'minimize', 'minimize']"
        )
    if metric_in(study).maximize != (study.directions[0].name == "MAXIMIZE"):
        raise StudyError(
            "the first value is minimized and has no name: call "
            "study.set_metric_names(['val_loss', 'train_seconds', 'peak_memory_bytes'])"
        )


def _cost(size: int, known: Any) -> SizeCost:
    """A size whose whole run is one step."""
    try:
        seconds, peak_bytes = map(float, known)
        if not (0 <= seconds < math.inf and 0 <= peak_bytes < math.inf):
            raise ValueError
    except (TypeError, ValueError):
        raise StudyError(
            f"the cost of batch size {size} is {known!r:.60}, wanted seconds and bytes of a whole "
            "run, as in {64: (12.5, 2e9)}"
        ) from None
    return SizeCost(
        batch_size=size,
        step_seconds=seconds,
        peak_memory_bytes=int(peak_bytes),
        predicted_peak_memory_bytes=None,
        total_steps=1,
    )
