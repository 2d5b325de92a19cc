"""`Datasets`: the splits of a task as torch's datasets, and how their examples become batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from batchfront.objectives.measurement import ObjectiveError

if TYPE_CHECKING:
    from torch.utils.data import Dataset

SPLITS = ("train", "val", "test")


@dataclass(frozen=True, kw_only=True)
class Datasets:
    """Fixed splits. Training sees `train`, the search sees `val`, a final score alone `test`.

    Our loop makes the loaders. Random numbers that an example or a batch draws from the global
    generators of torch, NumPy and Python follow from seed, epoch and index, whoever loads it.
    """

    train: Dataset[Any]
    val: Dataset[Any]
    test: Dataset[Any] | None = None
    collate_fn: Callable[[list[Any]], Any] | None = None
    """A list of examples -> a batch; None: torch's `default_collate`."""
    train_collate_fn: Callable[[list[Any]], Any] | None = None
    """The same in training alone, in its place: for mixup, say."""
    num_workers: int = 0
    """Processes that load; an IterableDataset is read by one at most."""
    pin_memory: bool | None = None
    """None: where the device is a GPU."""
    n_train: int | None = None
    """Examples of an epoch, where `train` is an IterableDataset."""
    n_val: int | None = None
    n_test: int | None = None

    def of(self, split: str) -> Any:
        """The dataset of a split; None where there is none."""
        return getattr(self, split)

    def collate(self, split: str, examples: Sequence[Any], *, training: bool) -> Any:
        """A batch of these examples."""
        from torch.utils.data import default_collate

        own = (training and self.train_collate_fn) or self.collate_fn
        return own(list(examples)) if own is not None else default_collate(list(examples))


def is_stream(dataset: Any) -> bool:
    """Whether its examples come one after the other and have no index."""
    from torch.utils.data import IterableDataset

    return isinstance(dataset, IterableDataset)


def lengths_of(datasets: Datasets) -> dict[str, int]:
    """Examples of every split that there is.

    Raises:
        ObjectiveError: a split is no dataset, is empty, or is an IterableDataset of unknown length.
    """
    return {s: _length(datasets, s) for s in SPLITS if s != "test" or datasets.test is not None}


def _length(datasets: Datasets, split: str) -> int:
    dataset, n = datasets.of(split), getattr(datasets, f"n_{split}")
    if is_stream(dataset):
        if not isinstance(n, int) or n < 1:
            raise ObjectiveError(
                f"{split} is an IterableDataset and n_{split} is {n!r}: give its number of "
                "examples an epoch"
            )
        return n
    if n is not None:
        raise ObjectiveError(f"n_{split} is for an IterableDataset, and {split} has a length")
    if not (hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")):
        raise ObjectiveError(
            f"{split} is {type(dataset).__name__}, wanted a dataset with a length and an index, "
            "or an IterableDataset"
        )
    if len(dataset) == 0:
        raise ObjectiveError(f"{split} has no examples")
    return len(dataset)


def check_settings(datasets: Datasets) -> None:
    """Raise ObjectiveError for settings that no loader takes."""
    if not isinstance(datasets.num_workers, int) or datasets.num_workers < 0:
        raise ObjectiveError(f"num_workers is {datasets.num_workers!r}, wanted 0 or more")
    for name in ("collate_fn", "train_collate_fn"):
        given = getattr(datasets, name)
        if given is not None and not callable(given):
            raise ObjectiveError(f"{name} is {type(given).__name__}, wanted a function")
