"""Batches from torch's datasets: exact, seeded, and the same whoever loads them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any

from batchfront.objectives.loading.datasets import (
    Datasets,
    check_settings,
    is_stream,
    lengths_of,
)
from batchfront.objectives.loading.fetch import Key
from batchfront.objectives.loading.loader import Loader
from batchfront.objectives.loading.part import Part
from batchfront.objectives.measurement import ObjectiveError
from batchfront.objectives.training.batches import EXACT, Order, order_memory
from batchfront.objectives.training.feed import Batches
from batchfront.objectives.training.sampled import (
    FEWEST,
    Sampled,
    digest_of,
    examples_to_hash,
    sample_of,
)
from batchfront.objectives.training.streams import NoIndex, OwnLoader, Streamed, StreamOrder

if TYPE_CHECKING:
    from torch import Tensor

    from batchfront.objectives.loading.examples import Examples, Pair
    from batchfront.objectives.task import Task
    from batchfront.objectives.training.recipe import Recipe
    from batchfront.objectives.training.source import AnyOrder, Cut

LOOK_SEED = 0  # of random numbers outside of runs: validation, and looks at examples


class Passes:
    """An `Order` that tells how often each of its examples has come up before."""

    def __init__(self, memory: Tensor, *, seed: int) -> None:
        self.seed, self._order, self._passes = seed, Order(memory, seed=seed), 0

    rule = EXACT

    @property
    def n_left(self) -> int:
        """Examples left for the next epoch."""
        return self._order.n_left

    def epoch(self, batch_size: int) -> Iterator[tuple[tuple[int, int], ...]]:
        """(pass, index) of the examples of each batch of the next epoch."""
        n_before = self.n_left  # of the pass before
        yield from self._batches(self._order.epoch(batch_size), batch_size, n_before)

    def take(self, batch_size: int, n_steps: int) -> Iterator[tuple[tuple[int, int], ...]]:
        """The same of the next steps, which another epoch is begun for where this one is over."""
        parts, n_before = self._order.take(batch_size, n_steps), self.n_left
        for examples in parts:
            yield from self._batches(examples, batch_size, n_before)
            n_before = self.n_left

    def _batches(
        self, examples: Tensor, batch_size: int, n_before: int
    ) -> Iterator[tuple[tuple[int, int], ...]]:
        """`n_before`: examples that were left before these were taken."""
        passes: Iterator[int] = repeat(self._passes)
        if self.n_left + len(examples) > n_before:  # another pass has begun
            self._passes += 1
            passes = chain(repeat(self._passes - 1, n_before), repeat(self._passes))
        for some in examples.split(batch_size):
            indices = some.tolist()
            yield tuple((next(passes), index) for index in indices)

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"order": self._order.state(), "passes": self._passes}

    def go_on_from(self, state: Any) -> None:
        """Go on from what `state` gave."""
        self._order.go_on_from(state["order"])
        self._passes = int(state["passes"])


class FromDatasets(Sampled):
    """Map-style datasets, or iterable ones with a known number of examples an epoch."""

    def __init__(self, task: Task, *, name: str, device: str) -> None:
        self._datasets = datasets = _made(task, name)
        check_settings(datasets)
        self._n, self._device = lengths_of(datasets), device
        self.n_train = self._n["train"]
        self._loader = Loader(datasets, device=device)
        self._streams = is_stream(datasets.train)
        self._memory = None if self._streams else order_memory(self.n_train)
        self._cut: Cut | None = None
        self.draws = not self._streams
        self.starts_processes = datasets.num_workers > 0
        sample = sample_of(task, datasets, self._n)
        self.form, self.look, self.scored = sample.form, sample.look, sample.scored
        self.part, self.shapes_vary = sample.part, sample.shapes_vary
        self.notes = _notes(datasets)
        self.val = self._split("val")
        self.test = self._split("test") if "test" in self._n else None
        self.few = self._split("val", min(FEWEST, self._n["val"]), here=True)
        few = min(self.n_train, self._n["val"])
        self.train = None if self._streams else self._split("train", few)
        self.drawn: Examples = NoIndex("train is an IterableDataset")
        if not self._streams:
            self.drawn = self._split("train", training=True, here=True)

    def order(self, seed: int, rule: str) -> AnyOrder:
        """Uses the memory of the run before."""
        self._check_lengths()
        if self._memory is None:
            return StreamOrder(self.n_train, seed=seed)
        return Passes(self._memory, seed=seed)

    def epoch(self, order: Any, batch_size: int) -> Batches:
        """The batches of the order's next epoch."""
        if self._memory is None:
            found = order.epoch(self._datasets, batch_size, device=self._device)
            return self._streamed(found, batch_size)
        return self._loaded(order, order.epoch(batch_size))

    def take(self, order: Any, batch_size: int, n_steps: int) -> Batches:
        """The batches of the order's next steps."""
        if self._memory is None:
            found = order.take(self._datasets, batch_size, n_steps, device=self._device)
            return self._streamed(found, batch_size)
        return self._loaded(order, order.take(batch_size, n_steps))

    def _streamed(self, batches: Iterable[Any], batch_size: int) -> Batches:
        n = min(batch_size, self.n_train)
        return (self.form.pair(batch, n) for batch in batches)

    def _loaded(self, order: Any, taken: Iterable[tuple[tuple[int, int], ...]]) -> Batches:
        """`taken`: (pass, index) of the examples of each batch."""
        cuts: deque[tuple[int, int, float]] = deque()
        keys = (self._key(some, order.seed, cuts) for some in taken)
        for batch in self._loader.batches(keys):
            n_own, n, share = cuts.popleft()
            x, y = self.form.pair(batch, n_own)
            yield (x if self._cut is None else Part(x, n, share)), y

    def _key(
        self,
        examples: tuple[tuple[int, int], ...],
        seed: int,
        cuts: deque[tuple[int, int, float]],
    ) -> Key:
        """The key of a batch, or of a rank's part of it; notes what was cut, as keys run ahead."""
        n, share = len(examples), 1.0
        if self._cut is not None:
            part, share = self._cut(n)
            examples = examples[part]
        cuts.append((len(examples), n, share))
        return Key(split="train", training=True, seed=seed, examples=examples)

    def share(self, cut: Cut) -> None:
        """Load from now on only a rank's part of each batch."""
        if self._streams:
            return  # each rank reads the stream, and cuts batches itself
        self._cut = cut

    def fingerprint(self) -> str:
        """The hash of a few examples of each split, and of how many there are."""
        return digest_of(lambda: examples_to_hash(self._datasets, self._n))

    def check_recipe(self, recipe: Recipe) -> None:
        """Raise ObjectiveError for what a stream cannot do."""
        if self._streams and recipe.schedule == "noise-scale":
            raise ObjectiveError(
                "--schedule noise-scale draws examples, and train is an IterableDataset without "
                "an index: leave it out"
            )

    def _split(
        self, split: str, n: int | None = None, *, training: bool = False, here: bool = False
    ) -> Examples:
        if is_stream(self._datasets.of(split)):
            return Streamed(self._datasets, split, n or self._n[split], self._device, self.form)
        return Indexed(self, split, self._n[split], n, training=training, here=here)

    def load(
        self, split: str, indices: Iterable[list[int]], *, training: bool, here: bool
    ) -> Iterator[Any]:
        """The batches of these indices; `here`: few, for which no worker needs to be started."""
        keys = (
            Key(
                split=split,
                training=training,
                seed=LOOK_SEED,
                examples=tuple((0, index) for index in some),
            )
            for some in indices
        )
        return self._loader.batches(keys, workers=not here)

    def dataset(self, split: str) -> Any:
        """The user's own."""
        return self._datasets.of(split)

    def _check_lengths(self) -> None:
        for split, n in self._n.items():
            dataset = self._datasets.of(split)
            if not is_stream(dataset) and len(dataset) != n:
                raise ObjectiveError(
                    f"{split} had {n} examples when the task was loaded and has {len(dataset)} "
                    "now: its length must not change"
                )


class Indexed:
    """The examples of a map-style split, or some of them at equal distances."""

    def __init__(
        self,
        source: FromDatasets,
        split: str,
        n_all: int,
        n: int | None,
        *,
        training: bool,
        here: bool,
    ) -> None:
        self._source, self._split, self._training, self._here = source, split, training, here
        self._n_all, self._n = n_all, n or n_all

    def __len__(self) -> int:
        return self._n

    def at(self, indices: Tensor) -> Pair:
        """The examples of these indices, (n,) int64, loaded here."""
        (batch,) = self._load([indices.tolist()])
        return self._source.form.pair(batch, len(indices))

    def parts(self, size: int) -> Iterator[Pair]:
        """All of them in their order, at most `size` at a time."""
        for n, batch in zip(self._sizes(size), self.raw(size), strict=True):
            yield self._source.form.pair(batch, n)

    def loader(self, size: int, *, device: str) -> OwnLoader:
        """The same on a device, as the collate function gave them."""
        return OwnLoader(self, size)

    @property
    def dataset(self) -> Any:
        """The user's own."""
        return self._source.dataset(self._split)

    def raw(self, size: int) -> Iterator[Any]:
        import torch

        picked = torch.arange(self._n) * self._n_all // self._n
        indices = (some.tolist() for some in picked.split(size))
        return self._load(indices)

    def _load(self, indices: Iterable[list[int]]) -> Iterator[Any]:
        return self._source.load(self._split, indices, training=self._training, here=self._here)

    def _sizes(self, size: int) -> list[int]:
        whole, rest = divmod(self._n, size)
        return [size] * whole + [rest] * (rest > 0)


def _made(task: Task, name: str) -> Datasets:
    found = task.datasets() if callable(task.datasets) else task.datasets
    if not isinstance(found, Datasets):
        raise ObjectiveError(
            f"task {name!r}: datasets is {type(found).__name__}, wanted Datasets(train=..., "
            "val=...) or a function that returns one"
        )
    return found


def _notes(datasets: Datasets) -> tuple[str, ...]:
    if is_stream(datasets.train) and datasets.num_workers > 1:
        return (
            f"an IterableDataset is read by one worker, not {datasets.num_workers}, since each "
            "would read all of it; loaders= takes a loader of your own",
        )
    return ()
