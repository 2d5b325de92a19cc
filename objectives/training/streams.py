"""Epochs of an IterableDataset, whose examples have an order and no index."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from batchfront.objectives.loading.datasets import Datasets
from batchfront.objectives.measurement import ObjectiveError
from batchfront.objectives.training.batches import EXACT
from batchfront.objectives.training.forms import Form

if TYPE_CHECKING:
    from torch import Tensor

    from batchfront.objectives.loading.examples import Pair


class StreamOrder:
    """One run's way through a stream: every epoch reads it anew.

    What an epoch leaves over for the next one is kept; a resumed run reads it again.
    """

    rule = EXACT

    def __init__(self, n_train: int, *, seed: int) -> None:
        self._n_train, self._seed = n_train, seed
        self._passes = self.n_left = 0
        self._rest: tuple[Any, ...] | None = None  # None: to be read again

    def epoch(self, datasets: Datasets, batch_size: int, *, device: str) -> Iterator[Any]:
        """The batches of the next epoch."""
        from batchfront.objectives.loading.stream import Reading, Rest, read

        self._passes += 1
        passes: tuple[tuple[int, int, int], ...] = ((self._passes, 0, self._n_train),)
        n_left, rest = self.n_left, self._rest
        if n_left and rest is None:
            passes = ((self._passes - 1, self._n_train - n_left, n_left), *passes)
        size = min(batch_size, self._n_train)
        self.n_left = (n_left + self._n_train) % size
        reading = Reading(
            split="train", training=True, seed=self._seed, size=size, passes=passes, rest=rest or ()
        )
        for batch in read(datasets, reading, device=device):
            if isinstance(batch, Rest):
                self._rest = batch.examples
            else:
                yield batch

    def take(
        self, datasets: Datasets, batch_size: int, n_steps: int, *, device: str
    ) -> Iterator[Any]:
        """The batches of the next steps: a pass that was begun is read again up to where it was."""
        from batchfront.objectives.loading.stream import Reading, Rest, read

        size = min(batch_size, self._n_train)
        wanted, passes = n_steps * size, []
        while wanted:
            if not self.n_left:
                self._passes, self.n_left = self._passes + 1, self._n_train
            n = min(wanted, self.n_left)
            passes.append((self._passes, self._n_train - self.n_left, n))
            self.n_left, wanted = self.n_left - n, wanted - n
        self._rest = None
        reading = Reading(
            split="train", training=True, seed=self._seed, size=size, passes=tuple(passes), rest=()
        )
        for batch in read(datasets, reading, device=device):
            if not isinstance(batch, Rest):
                yield batch

    def state(self) -> dict[str, int]:
        """What a checkpoint keeps."""
        return {"passes": self._passes, "n_left": self.n_left}

    def go_on_from(self, state: Any) -> None:
        """Go on from what `state` gave."""
        self._passes, self.n_left, self._rest = state["passes"], state["n_left"], None


class NoIndex:
    """A training split that nobody can draw from."""

    def __init__(self, why: str) -> None:
        self._why = why

    def __len__(self) -> int:
        raise self._error

    def at(self, indices: Tensor) -> Pair:
        """There is nothing to draw."""
        raise self._error

    def parts(self, size: int) -> Iterator[Pair]:
        """There is nothing to go through."""
        raise self._error

    def loader(self, size: int, *, device: str) -> Any:
        """There is nothing to go through."""
        raise self._error

    @property
    def _error(self) -> ObjectiveError:
        return ObjectiveError(
            f"the noise scale and sharpness draw examples by their index, and {self._why}: give "
            "datasets with a length and an index"
        )


class Streamed:
    """The examples of a split that is an IterableDataset."""

    def __init__(self, datasets: Datasets, split: str, n: int, device: str, form: Form) -> None:
        self._datasets, self._split, self._n = datasets, split, n
        self._device, self._form = device, form
        self.dataset = datasets.of(split)

    def __len__(self) -> int:
        return self._n

    def at(self, indices: Tensor) -> Pair:
        """A stream has no examples by their index."""
        raise ObjectiveError(f"{self._split} is an IterableDataset, without an index")

    def parts(self, size: int) -> Iterator[Pair]:
        """All of them in their order, at most `size` at a time."""
        n_left = self._n
        for batch in self.raw(size):
            yield self._form.pair(batch, min(size, n_left))
            n_left -= size

    def raw(self, size: int) -> Iterator[Any]:
        """The same as the collate function gave them."""
        from batchfront.objectives.loading.stream import Reading, Rest, read

        reading = Reading(
            split=self._split, training=False, seed=0, size=size, passes=((0, 0, self._n),)
        )
        for batch in read(self._datasets, reading, device=self._device):
            if not isinstance(batch, Rest):
                yield batch

    def loader(self, size: int, *, device: str) -> Any:
        """The same on a device, to be gone through again and again."""
        return OwnLoader(self, size)


class OwnLoader:
    """What `evaluate(model, loader)` is given of a dataset; can be gone through again and again."""

    def __init__(self, examples: Any, size: int) -> None:
        """`examples`: with `raw`, a length and the `dataset` that they are of."""
        self._examples, self._size = examples, size
        self.dataset = examples.dataset

    def __iter__(self) -> Iterator[Any]:
        return iter(self._examples.raw(self._size))

    def __len__(self) -> int:
        return -(-len(self._examples) // self._size)
