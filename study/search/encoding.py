"""Trial parameters as rows of numbers, and rows to choose from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from batchfront.study.trials.attributes import BATCH_SIZE, has_batch_size, log2_batch_size_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from batchfront.objectives.parameter import Parameter
    from batchfront.study.plan.space import SearchSpace

    Array = NDArray[np.float64]

N_RATES = 48  # learning rates to choose from at every batch size
MORE_ROWS = 4  # times as many rows, where a task has parameters of its own
GOLDEN = (math.sqrt(5) - 1) / 2  # its multiples, modulo 1, fill an interval evenly
APART = math.sqrt(0.5)  # of a choice's column: any two choices are 1 apart
STEP = 0.1  # of a range, around parameters that did well


class Encoding:
    """Columns: log2 batch size, log2 learning rate, then each of the task's own parameters.

    A range is one column, 0..1; choices have a column each.
    """

    def __init__(self, space: SearchSpace) -> None:
        self._space = space
        self._names = {"learning_rate", *space.search}
        self.names = ("batch_size", "learning_rate", *space.search)
        low, high = space.learning_rates
        self._rates = math.log2(low), math.log2(high)

    @property
    def n_columns(self) -> int:
        """The number of columns of a row."""
        return 2 + sum(len(p.choices) or 1 for p in self._space.search.values())

    @property
    def costly(self) -> list[int]:
        """Columns of the task's own parameters that bear cost."""
        bearing: list[int] = []
        at = 2
        for parameter in self._space.search.values():
            width = len(parameter.choices) or 1
            bearing += range(at, at + width) if parameter.bears_cost else []
            at += width
        return bearing

    def knows(self, params: Mapping[str, Any]) -> bool:
        """Whether all parameters are there: a trial that is just being asked for has none."""
        return has_batch_size(params) and self._names <= set(params)

    def row(self, params: Mapping[str, Any]) -> list[float]:
        """One row of numbers."""
        row = [log2_batch_size_of(params), math.log2(params["learning_rate"])]
        for name, parameter in self._space.search.items():
            row += _columns(parameter, params[name])
        return row

    def probed_row(self) -> list[float]:
        """The task's own parameters as they were probed; the first two columns are 0."""
        probed = {name: parameter.probed for name, parameter in self._space.search.items()}
        return self.row({BATCH_SIZE: 1, "learning_rate": 1.0, **probed})

    def params(self, row: Sequence[float]) -> dict[str, Any]:
        """Back to what Optuna stores."""
        low, high = self._space.learning_rates
        rate = min(max(2.0 ** row[1], low), high)  # powers do not give the ends back exactly
        size = min(self._space.batch_sizes, key=lambda size: abs(math.log2(size) - row[0]))
        params: dict[str, Any] = {**self._space.size_param(size), "learning_rate": rate}
        at = 2
        for name, parameter in self._space.search.items():
            width = len(parameter.choices) or 1
            params[name] = _value(parameter, row[at : at + width])
            at += width
        return params

    def start(self, size: float, number: int, offset: float, draw: np.random.Generator) -> Array:
        """One row, (D,), of a start that fills the learning rates; `offset`: 0..1."""
        import numpy as np

        low, high = self._rates
        rate = low + (high - low) * ((offset + number * GOLDEN) % 1)
        return np.concatenate([[size, rate], self._own(1, draw)[0]])

    def candidates(self, sizes: Sequence[int], good: Array, draw: np.random.Generator) -> Array:
        """Rows to choose from, (M, D): every size with rates on a grid that is moved each time.

        The task's own parameters are drawn; half of them near those of a row of `good`, (F, D).
        """
        import numpy as np

        low, high = self._rates
        rates, step = np.linspace(low, high, N_RATES, retstep=True)
        rates = np.clip(rates + (draw.random() - 0.5) * step, low, high)
        logs = list(map(math.log2, sizes))  # to the bit those of trials
        rows = np.column_stack([np.repeat(logs, len(rates)), np.tile(rates, len(logs))])
        if not self._space.search:
            return rows
        rows = np.tile(rows, (MORE_ROWS, 1))
        own = self._own(len(rows), draw)
        near = draw.random(len(rows)) < 0.5
        own[near] = self._moved(good[draw.integers(len(good), size=near.sum()), 2:], draw)
        return np.column_stack([rows, own])

    def _own(self, n: int, draw: np.random.Generator) -> Array:
        """The task's own parameters at random, as they are stored: (n, D - 2)."""
        import numpy as np

        own = np.zeros((n, self.n_columns - 2))
        at = 0
        for parameter in self._space.search.values():
            width = len(parameter.choices) or 1
            if parameter.choices:
                own[np.arange(n), at + draw.integers(width, size=n)] = APART
            else:
                own[:, at] = _stored(parameter, draw.random(n))
            at += width
        return own

    def _moved(self, own: Array, draw: np.random.Generator) -> Array:
        """Ranges a little off; choices stay."""
        import numpy as np

        moved, at = own.copy(), 0
        for parameter in self._space.search.values():
            if not parameter.choices:
                near = np.clip(own[:, at] + STEP * draw.standard_normal(len(own)), 0, 1)
                moved[:, at] = _stored(parameter, near)
            at += len(parameter.choices) or 1
        return moved


def _columns(parameter: Parameter, value: Any) -> list[float]:
    if parameter.choices:
        return [APART * (choice == value) for choice in parameter.choices]
    return [parameter.share(value)]


def _value(parameter: Parameter, columns: Sequence[float]) -> Any:
    if parameter.choices:
        return parameter.choices[max(range(len(columns)), key=columns.__getitem__)]
    return parameter.value(columns[0])


def _stored(parameter: Parameter, shares: Array) -> Array:
    """Shares of a range at values that can be stored: whole numbers where it has them."""
    import numpy as np

    return np.array([parameter.share(parameter.value(float(share))) for share in shares])
