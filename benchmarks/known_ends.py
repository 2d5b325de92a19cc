"""How a recorded run will end, by all that its table tells but its own noise.

Two guesses after each epoch, each with a spread. `by_means`: from the mean curve of its grid point,
and from how much of a distance to it is still there at the end. `by_curves`: what `--pruner front`
learns from completed curves, from all those of the table.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from batchfront.objectives.curves.table import Key, Table
from batchfront.study.pruning.bound import FIRST_EPOCH, LOWEST, Bound, History
from benchmarks.playback import final_metric
from benchmarks.seed_means import LEAST_ERROR

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

SIZE_SCALE, ERROR_SCALE = 1.0, 0.5  # equally alike: a doubling, and so much of a log error
SMOOTHED = 3  # epochs of the distance that is the second regressor
RIDGE = 0.01  # of the mean square of the regressors
FLOOR = 0.001  # of every spread


@dataclass(frozen=True, kw_only=True)
class Guesses:
    """What is known of the N runs of a table that have an end, after each of E epochs."""

    rows: dict[Key, int]  # of the arrays
    mean: Array  # (N, E) of the end; the last column is the end
    spread: Array  # (N, E)


def by_means(table: Table, *, own: bool) -> Guesses:
    """Ends as the mean curves tell them, with a run's `own` among them or not.

    How distances go on is a regression on the runs of all other grid points, those most alike in
    batch size and error counting most.
    """
    import numpy as np

    keys = [key for key, run in sorted(table.runs.items()) if final_metric(table, run) > -math.inf]
    curves = np.maximum([table.runs[key].val_accuracy for key in keys], LOWEST)
    usual = _mean_curves(keys, curves, own=own)
    sizes = np.log2([float(size) for size, _, _ in keys])
    scale = np.maximum(1 - usual[:, -1], 0) + LEAST_ERROR
    far = (sizes[:, None] - sizes) / SIZE_SCALE
    off = np.log(scale[:, None] / scale) / ERROR_SCALE
    alike = np.exp(-(far**2 + off**2) / 2) + 1e-9
    alike *= [[one[:2] != other[:2] for other in keys] for one in keys]
    distance = (curves - usual) / scale[:, None]
    mean, spread = curves.copy(), np.full(curves.shape, FLOOR)
    for epoch in range(1, table.epochs):
        known = distance[:, epoch - 1], distance[:, :epoch][:, -SMOOTHED:].mean(axis=1)
        said, residual = _regressed(np.stack(known, axis=1), distance[:, -1], alike)
        mean[:, epoch - 1] = usual[:, -1] + said * scale
        spread[:, epoch - 1] = np.hypot(residual * scale, FLOOR)
    return Guesses(rows={key: n for n, key in enumerate(keys)}, mean=mean, spread=spread)


def _mean_curves(keys: Sequence[Key], curves: Array, *, own: bool) -> Array:
    """Mean curve of each run's grid point, (N, E); where it is alone, of the nearest other."""
    import numpy as np

    usual = []
    for n, (size, rate, _) in enumerate(keys):
        others = [m for m in range(len(keys)) if (own or m != n) and keys[m][0] == size]
        far = [abs(math.log(keys[m][1] / rate)) for m in others]
        usual.append(curves[[m for m, d in zip(others, far, strict=True) if d == min(far)]].mean(0))
    return np.array(usual)


def _regressed(known: Array, end: Array, alike: Array) -> tuple[Array, Array]:
    """What N runs' regressors, (N, K), tell of their ends, (N,), and the spread around it; (N,).

    `alike`: (N, N), what the runs weigh for each; nothing where they are of its own grid point.
    """
    import numpy as np

    square = np.einsum("ij,jk,jl->ikl", alike, known, known, optimize=True)
    with_end = np.einsum("ij,jk,j->ik", alike, known, end, optimize=True)
    ridge = RIDGE * np.trace(square, axis1=1, axis2=2) / known.shape[1] + 1e-12
    square += ridge[:, None, None] * np.eye(known.shape[1])
    said: Array = (np.linalg.solve(square, with_end[..., None])[..., 0] * known).sum(axis=1)
    return said, np.sqrt(alike @ (end - said) ** 2 / alike.sum(axis=1))


def by_curves(table: Table, means: Guesses) -> Guesses:
    """Ends as the completed curves tell them; after the first epoch, which has no trend, `means`.

    Of all curves of the table a run's own is left out.
    """
    import numpy as np

    keys, none = list(means.rows), np.zeros(len(means.rows))
    curves = np.maximum([table.runs[key].val_accuracy for key in keys], LOWEST)
    history = History(
        curves=curves,
        final=curves[:, -1],
        log2_batch_size=np.log2([float(size) for size, _, _ in keys]),
        log2_learning_rate=none,
        train_seconds=none,  # which no guess needs
        peak_memory_bytes=none,
        weight=none + 1,
    )
    bound, mean, spread = Bound(history), means.mean.copy(), means.spread.copy()
    for epoch in range(FIRST_EPOCH, table.epochs):
        mean[:, epoch - 1], spread[:, epoch - 1] = bound.expected(
            curves[:, :epoch], history.log2_batch_size, np.arange(len(keys))
        )
    return replace(means, mean=mean, spread=spread)
