"""Fixed train / validation / test splits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchfront.objectives.task import Data

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

SPLIT_SEED = 0  # part of every task's definition: another value makes another data set


def split_60_20_20(x: Tensor, y: Tensor) -> Data:
    """Shuffle once with a fixed seed, then 60% train, 20% validation, 20% test."""
    import torch

    n_held_out = len(x) // 5
    order = torch.from_numpy(permutation(len(x)))
    train, val, test = order.split([len(x) - 2 * n_held_out, n_held_out, n_held_out])
    return Data(
        x_train=x[train],
        y_train=y[train],
        x_val=x[val],
        y_val=y[val],
        x_test=x[test],
        y_test=y[test],
    )


def permutation(n: int) -> np.ndarray:
    """A permutation of 0..n-1, the same for ever."""
    import numpy as np

    # RandomState's stream is frozen by NumPy's compatibility policy; Generator's is not.
    return np.random.RandomState(SPLIT_SEED).permutation(n)
