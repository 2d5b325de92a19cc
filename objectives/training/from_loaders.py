"""Batches from loaders of the user's own: a sampler, buckets, or whatever makes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from batchfront.objectives.loading.loader import in_words
from batchfront.objectives.loading.tree import described, moved, tensors
from batchfront.objectives.measurement import ObjectiveError
from batchfront.objectives.task import Data, Task
from batchfront.objectives.training.batches import EXACT
from batchfront.objectives.training.feed import Batches
from batchfront.objectives.training.forms import Form, form_of
from batchfront.objectives.training.sampled import Sampled, digest_of
from batchfront.objectives.training.streams import NoIndex, OwnLoader

if TYPE_CHECKING:
    import torch

    from batchfront.objectives.loading.examples import Examples, Pair
    from batchfront.objectives.training.recipe import Recipe
    from batchfront.objectives.training.source import Cut

LOOK = 16  # examples of a batch that is looked at
GENERATORS = ("", "sampler", "batch_sampler")  # where a loader may keep one


class LoaderOrder:
    """One run's way through loaders of the user's own."""

    rule, n_left = EXACT, 0

    def __init__(self, made: Callable[[int], Any], wanted: Callable[[int], int]) -> None:
        """`made`: the loader of a batch size; `wanted`: how many batches it has."""
        self._made, self._wanted = made, wanted
        self._loader: Any = None
        self._batch_size = self._epochs = 0
        self._generators: list[Any] = []  # their states, to go on from

    def epoch(self, batch_size: int) -> Iterator[Any]:
        """The batches of the next epoch."""
        if self._batch_size != batch_size:
            self._loader, self._batch_size = self._made(batch_size), batch_size
            for generator, state in zip(_generators(self._loader), self._generators, strict=False):
                generator.set_state(state)
        self._epochs += 1
        for part in (self._loader, *(getattr(self._loader, name, None) for name in GENERATORS[1:])):
            if hasattr(part, "set_epoch"):
                part.set_epoch(self._epochs)
        wanted, n = self._wanted(batch_size), 0
        for batch in in_words(self._loader):
            n += 1
            yield batch
        if n != wanted:
            raise ObjectiveError(
                f"the train loader of batch size {batch_size} gave {n} batches where its length "
                f"was {wanted}: it must give as many in every epoch"
            )

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        states = [generator.get_state() for generator in _generators(self._loader)]
        return {"epochs": self._epochs, "generators": states}

    def go_on_from(self, state: Any) -> None:
        """Go on from what `state` gave."""
        self._epochs, self._generators = state["epochs"], state["generators"]


class FromLoaders(Sampled):
    """Loaders that a function makes for each batch size."""

    draws = False
    starts_processes = True  # for all that is known

    def __init__(self, task: Task, *, name: str, device: str) -> None:
        self._make: Any = task.loaders
        self._name, self._device = name, device
        self._lengths: dict[int, int] = {}  # batches of an epoch, by batch size
        train, val, test = self._loaders(LOOK)
        self.n_train = _n(train, LOOK)
        first, second = _first(train, "train", 2)
        (checked,) = _first(val, "val", 1)
        form = max((form_of(task, some) for some in (first, checked)), key=lambda f: f.whole)
        pairs = [_cuttable(form, batch) for batch in (first, checked)]
        self.form, self.part, self.notes = form, LOOK, ()
        self.look, self.scored = _data(*pairs), _data(pairs[1], pairs[1])
        self.shapes_vary = _shapes(first) != _shapes(second)
        self._digest = digest_of(lambda: _first(self._loaders(LOOK)[1], "val", 1))
        self.train: Examples | None = None
        self.val: Examples = Loaded(val, form, device)
        self.few: Examples = Loaded(val, form, device, most=1)
        self.test: Examples | None = None if test is None else Loaded(test, form, device)
        self.drawn: Examples = NoIndex("loaders of your own draw their batches themselves")
        self.steps = self._steps

    def _steps(self, batch_size: int) -> int:
        """Optimizer steps of an epoch."""
        if batch_size not in self._lengths:
            self._lengths[batch_size] = len(self._loaders(batch_size)[0])
        return self._lengths[batch_size]

    def take(self, order: Any, batch_size: int, n_steps: int) -> Batches:
        """They give whole epochs; studies of another length are refused before."""
        raise ObjectiveError("loaders of your own give whole epochs: choose --epochs")

    def check_recipe(self, recipe: Recipe) -> None:
        """Raise ObjectiveError for what only our loaders can do."""
        asked = {
            "--data-parallel": recipe.data_parallel > 1,
            "--schedule noise-scale": recipe.schedule == "noise-scale",
        }
        for option in (option for option, is_asked in asked.items() if is_asked):
            raise ObjectiveError(
                f"task {self._name!r} has loaders of its own, and {option} needs to choose the "
                "examples of a batch: give datasets, or leave it out"
            )

    def order(self, seed: int, rule: str) -> LoaderOrder:
        """The loaders are made anew for every run, after its seed has been set."""
        return LoaderOrder(lambda batch_size: self._loaders(batch_size)[0], self._steps)

    def epoch(self, order: LoaderOrder, batch_size: int) -> Batches:
        """The batches of the order's next epoch."""
        for batch in order.epoch(batch_size):
            yield self.form.pair(moved(batch, self._device))

    def share(self, cut: Cut) -> None:
        """There are no ranks."""

    def fingerprint(self) -> str:
        """The hash of the first batch of the validation split."""
        return self._digest

    def _loaders(self, batch_size: int) -> tuple[Any, Any, Any]:
        """The loaders of train, val and test, the last of which may be None."""
        found = self._make(batch_size)
        if not isinstance(found, list | tuple) or len(found) not in (2, 3):
            raise ObjectiveError(
                f"task {self._name!r}: loaders({batch_size}) returns {described(found)}, wanted "
                "the loaders of train and val, and perhaps of test"
            )
        for split, loader in zip(("train", "val", "test"), found, strict=False):
            if not (hasattr(loader, "__iter__") and hasattr(loader, "__len__")):
                raise ObjectiveError(
                    f"task {self._name!r}: the {split} loader is {type(loader).__name__}, wanted "
                    "one with a length that can be gone through again and again"
                )
            if len(loader) == 0:
                raise ObjectiveError(
                    f"task {self._name!r}: the {split} loader of batch size {batch_size} gives no "
                    "batches: choose smaller ones, or drop_last=False"
                )
        return tuple([*found, None][:3])


class Loaded:
    """The examples of a loader of the user's own, in its own batches."""

    def __init__(self, loader: Any, form: Form, device: str, *, most: int | None = None) -> None:
        """`most`: batches."""
        self._loader, self._form, self._device, self._most = loader, form, device, most
        self.dataset = getattr(loader, "dataset", None)

    def __len__(self) -> int:
        return len(self._loader) if self._most is None else self._most

    def at(self, indices: torch.Tensor) -> Pair:
        """They have no index."""
        raise ObjectiveError("a loader of your own has no examples by their index")

    def parts(self, size: int) -> Iterator[Pair]:
        """All of its batches, whatever their size."""
        return (self._form.pair(batch) for batch in self.raw(size))

    def raw(self, size: int) -> Iterator[Any]:
        """The same as it gives them, on the device."""
        for batch in islice(in_words(self._loader), self._most):
            yield moved(batch, self._device)

    def loader(self, size: int, *, device: str) -> OwnLoader:
        """The same, to be gone through again and again."""
        return OwnLoader(self, 1)


def _first(loader: Any, split: str, n: int) -> list[Any]:
    """The first batches, of which the last one may stand for those that are missing."""
    found = list(islice(in_words(loader), n))
    if not found:
        raise ObjectiveError(f"the {split} loader gives no batches, and its length says otherwise")
    return (found * n)[:n]


def _cuttable(form: Form, batch: Any) -> tuple[Any, Any]:
    return form.pair(moved(batch, "cpu"))


def _data(train: tuple[Any, Any], val: tuple[Any, Any]) -> Data:
    (x, y), (x_val, y_val) = train, val
    return Data(x_train=x, y_train=y, x_val=x_val, y_val=y_val, x_test=x_val, y_test=y_val)


def _n(loader: Any, batch_size: int) -> int:
    """The examples of an epoch."""
    try:
        return len(loader.dataset)
    except (AttributeError, TypeError):
        return len(loader) * batch_size


def _shapes(batch: Any) -> list[tuple[int, ...]]:
    return [tuple(tensor.shape[1:]) for tensor in tensors(batch)]


def _generators(loader: Any) -> list[Any]:
    """The generators of a loader's own, which no seed of ours reaches."""
    import torch

    parts = (loader if not name else getattr(loader, name, None) for name in GENERATORS)
    found = (getattr(part, "generator", None) for part in parts)
    unique = {id(one): one for one in found if isinstance(one, torch.Generator)}
    return list(unique.values())
