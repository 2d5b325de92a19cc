"""A few examples of a task's datasets, loaded once, for all that is looked at before a run."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from batchfront.objectives.loading.datasets import Datasets, is_stream
from batchfront.objectives.loading.fetch import COLLATE, failed, kept_apart, seed_globals
from batchfront.objectives.loading.tree import Nested, cut, joined, leaves, tensors
from batchfront.objectives.loss import looked_at_in_parts
from batchfront.objectives.measurement import ObjectiveError
from batchfront.objectives.raised import Halted
from batchfront.objectives.task import Data, Task
from batchfront.objectives.training.baseline import baseline, loss_of
from batchfront.objectives.training.evaluation import EVALUATED_INPUTS, EVALUATED_TARGETS
from batchfront.objectives.training.forms import Form, form_of, outputs_of
from batchfront.objectives.training.source import Source

if TYPE_CHECKING:
    from torch import nn

    from batchfront.objectives.loss import Loss
    from batchfront.objectives.training.source import Judged

FEWEST, MOST = 16, 256  # examples that are looked at: fewer where they are large
HASHED = 8
EACH_CLASS = 8  # examples on average, or too little is known of the classes' shares
CHUNK = 4  # examples of each of the batches whose shapes are compared


class Sampled(Source):
    """The part of a source that knows its data by a few examples alone."""

    waits = True
    scored: Data  # examples as a validation has them

    def judged(self, given: Task, model: nn.Module) -> Judged | None:
        """What the model says of a few examples, and their targets."""
        from torch import nn

        if not self.form.whole:
            return given, model, self.scored
        found = self._answers(model, self.scored)
        return None if found is None or self.form.step else (given, nn.Identity(), found)

    def loss(self, given: Task, task: Task, model: nn.Module, rule: str) -> Loss:
        """The task's own, looked at by a few examples."""
        from torch import nn

        if not self.form.whole:
            return loss_of(task, model, self.look, rule)
        found = None if self.form.step else self._answers(model, self.look)
        if found is None:
            return looked_at_in_parts(task.loss, model, self.look.x_train)
        return replace(loss_of(given, nn.Identity(), found, rule), of=task.loss)

    def baseline(self, judged: Judged | None, loss: Loss) -> tuple[float | None, float | None]:
        """What a few examples say of it; nothing where they are too few for their classes."""
        if judged is None:
            return None, None
        task, model, data = judged
        y = data.y_train
        if not y.is_floating_point() and len(y.unique()) * EACH_CLASS > y.numel():
            return None, None
        return baseline(task, model, data, replace(loss, of=task.loss))

    def _answers(self, model: nn.Module, data: Data) -> Data | None:
        """Output and target of each example; None where they are no tensors."""
        found = {}
        for split in ("train", "val", "test"):
            answer = self._answer(model, getattr(data, f"x_{split}"))
            if answer is None:
                return None
            found[f"x_{split}"], found[f"y_{split}"] = answer
        return Data(**found)

    def _answer(self, model: nn.Module, batch: Any) -> tuple[Any, Any] | None:
        import torch

        forward = self.form.forward
        if forward is None:
            return None
        with torch.inference_mode():
            found = [outputs_of(model.eval(), forward, some) for some in batch.split(self.part)]
        try:
            output, target = (joined(halves) for halves in zip(*found, strict=True))
        except (ValueError, RuntimeError, KeyError, TypeError):  # of several shapes
            return None
        both = isinstance(output, torch.Tensor) and isinstance(target, torch.Tensor)
        return (output, target) if both and target.ndim > 0 else None


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A few examples of datasets."""

    form: Form
    look: Data
    scored: Data
    part: int
    shapes_vary: bool


def sample_of(task: Task, datasets: Datasets, lengths: dict[str, int]) -> Sample:
    """Load it.

    Raises:
        ObjectiveError: the datasets or their collate functions raised, or nobody says what to do
            with a batch.
    """
    splits = {split: split if split in lengths else "val" for split in ("train", "val", "test")}
    first = {s: examples_of(datasets, s, min(2, n), n) for s, n in lengths.items()}
    as_trained = collated(datasets, "train", first["train"], training=True)
    forms = [form_of(task, as_trained)]
    forms += [form_of(task, collated(datasets, s, some)) for s, some in first.items()]
    form = max(forms, key=lambda form: form.whole)
    part = _part(as_trained, len(first["train"]))
    n = max(FEWEST, min(MOST, part))
    examples = {s: examples_of(datasets, s, min(n, n_all), n_all) for s, n_all in lengths.items()}

    def look(training: bool) -> Data:
        found = {}
        for name, split in splits.items():
            trained = training and split == "train"
            pair = _pair(form, datasets, split, examples[split], training=trained)
            found[f"x_{name}"], found[f"y_{name}"] = pair
        return Data(**found)

    return Sample(
        form=form,
        look=look(training=True),
        scored=look(training=False),
        part=part,
        shapes_vary=_vary(datasets, examples["train"]),
    )


def examples_of(datasets: Datasets, split: str, n: int, n_all: int) -> list[Any]:
    """So many examples at equal distances, or the first ones of a stream."""
    dataset, found, where = datasets.of(split), [], split
    with kept_apart():
        try:
            if is_stream(dataset):
                seed_globals(0, 0)
                return list(islice(iter(dataset), n))
            for index in (k * n_all // n for k in range(n)):
                where = f"{split}[{index}]"
                seed_globals(0, 0, index)
                found.append(dataset[index])
        except Halted:
            raise
        except Exception as error:  # user code may raise anything
            raise ObjectiveError(failed(where, error).said) from error
    return found


def collated(
    datasets: Datasets, split: str, examples: Sequence[Any], *, training: bool = False
) -> Any:
    """A batch of examples that are there already.

    Raises:
        ObjectiveError: there are none, or the collate function raised.
    """
    if not examples:
        raise ObjectiveError(f"{split} gives no examples")
    with kept_apart():
        seed_globals(0, 0, COLLATE)
        try:
            return datasets.collate(split, examples, training=training)
        except Halted:
            raise
        except Exception as error:  # user code may raise anything
            raise ObjectiveError(failed("collating examples", error).said) from error


def _pair(
    form: Form, datasets: Datasets, split: str, examples: list[Any], *, training: bool
) -> tuple[Any, Any]:
    batch, n = collated(datasets, split, examples, training=training), len(examples)
    if not form.whole:
        x, y = batch
        return x, y

    def again(batch: Any, start: int, stop: int) -> Any:
        """Some of them: cut, or where that cannot be collated anew."""
        try:
            return form.split(batch, start, stop) if form.split else cut(batch, start, stop, n)
        except ObjectiveError:
            return collated(datasets, split, examples[start:stop], training=training)

    x = Nested(batch, n, again)
    return x, x


def _part(batch: Any, n: int) -> int:
    """Examples of a forward pass where nothing is learned, as `evaluation_batch` has it."""
    found = tensors(batch)
    inputs = sum(tensor.numel() for tensor in found) // n
    targets = max((t.numel() // n for t in found if not t.is_floating_point()), default=1)
    most = min(EVALUATED_TARGETS // max(1, targets), EVALUATED_INPUTS // max(1, inputs))
    return int(max(1, most))


def _vary(datasets: Datasets, examples: list[Any]) -> bool:
    """Whether batches of as many examples have tensors of several shapes."""
    n = min(CHUNK, max(1, len(examples) // 2))
    chunks = [examples[start : start + n] for start in range(0, len(examples) - n + 1, n)]
    batches = (collated(datasets, "train", some, training=True) for some in chunks)
    shapes = [[tuple(t.shape) for t in tensors(batch)] for batch in batches]
    return any(other != shapes[0] for other in shapes)


def digest_of(look: Callable[[], Iterable[Any]]) -> str:
    """The hash of what `look` finds; of shapes alone where no seed reaches its values."""
    first, second = (_described(look(), with_values=True) for _ in range(2))
    found = first if first == second else _described(look(), with_values=False)
    return hashlib.sha256(b"".join(found)).hexdigest()[:16]


def _described(found: Iterable[Any], *, with_values: bool) -> list[bytes]:
    import torch

    said = []
    for leaf in (leaf for batch in found for leaf in leaves(batch)):
        if not isinstance(leaf, torch.Tensor):
            known = isinstance(leaf, str | int | float | bool) and with_values
            said.append(repr(leaf if known else type(leaf).__name__).encode())
            continue
        said.append(f"{tuple(leaf.shape)} {leaf.dtype}".encode())
        if with_values:
            flat = leaf.detach().cpu().contiguous().reshape(-1)
            said.append(flat.view(torch.uint8).numpy().tobytes())
    return said


def examples_to_hash(datasets: Datasets, lengths: dict[str, int]) -> Iterator[Any]:
    """The number of examples of every split, and some of them."""
    for split, n in lengths.items():
        yield split, n
        for example in examples_of(datasets, split, min(HASHED, n), n):
            yield collated(datasets, split, [example])
