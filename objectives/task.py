"""`Task`: a model, data, loss and metric, to be trained by our loop; checked before it is used."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from batchfront.objectives.loading.datasets import Datasets
from batchfront.objectives.measurement import ObjectiveError
from batchfront.objectives.meters.early_stopping import EarlyStopping, ending_of
from batchfront.objectives.metric import ACCURACY, COMMON, R2, WORDS, Metric, as_metric
from batchfront.objectives.parameter import Parameter, Value, bound, check_search, names_taken

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn
    from torch.optim.lr_scheduler import LRScheduler

DEFAULT_EPOCHS = 20
EVALUATED_TARGETS = 4096  # per forward pass of a validation,
EVALUATED_INPUTS = 1 << 21  # and numbers that go in: 8 MB
LOOKED_AT = 1 << 21  # numbers at a time, for those that are not finite


@dataclass(frozen=True, kw_only=True)
class Data:
    """Fixed splits. x: (N, ...); y: int64 classes (N, ...), or (N,) / (N, K) float targets.

    Training sees `train`, the search sees `val`; nothing but a final score may see `test`. NumPy
    arrays become tensors of the same memory; one of `np.load(path, mmap_mode="r")` stays on disk.
    """

    x_train: Tensor
    y_train: Tensor
    x_val: Tensor
    y_val: Tensor
    x_test: Tensor
    y_test: Tensor


def no_data() -> Data:
    """Stands for tensors where a task has its data in another form."""
    raise ObjectiveError("the task has no data: give data, datasets or loaders")


def no_loss(output: Any, y: Any) -> Any:
    """Stands for a loss where a task has none."""
    raise ObjectiveError("the task has no loss: give loss(output, target) or step(model, batch)")


def as_tensors(data: Data) -> Data:
    """The same data, arrays as tensors that share their memory."""
    import numpy as np

    if not isinstance(data, Data):
        return data  # `check_data` says so
    arrays = {n: v for n, v in vars(data).items() if isinstance(v, np.ndarray)}
    return replace(data, **{name: _tensor_of(array) for name, array in arrays.items()})


def is_on_disk(data: Data) -> bool:
    """Whether what is trained on is read from a file as it is needed."""
    import numpy as np

    return any(isinstance(getattr(data, name, None), np.memmap) for name in ("x_train", "y_train"))


def _tensor_of(array: Any) -> Tensor:
    """A tensor that shares the memory of an array, which nobody writes to."""
    import warnings

    import torch

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(array)


@dataclass(frozen=True, kw_only=True)
class Task:
    """What to train. Every callable makes something new at each call and keeps no state."""

    name: str
    data: Callable[[], Data] = no_data
    """Tensors in memory; or one of the next two."""
    datasets: Callable[[], Datasets] | Datasets | None = None
    """torch's datasets, from which our loop makes the loaders."""
    loaders: Callable[[int], Sequence[Any]] | None = None
    """Batch size -> the loaders of train and val, perhaps of test: for a sampler of your own."""
    model: Callable[[], nn.Module]
    """Builds a model on the CPU; torch's global generator is seeded before the call."""
    loss: Callable[..., Any] = no_loss
    """(model output, targets) -> scalar, the mean over the batch; or, where examples do not weigh
    alike, the sum and what it is to be divided by, so that a batch can be split."""
    forward: Callable[[Any, Any], tuple[Any, Any]] | None = None
    """(model, batch) -> output and target, of batches that are no pairs (input, target)."""
    step: Callable[[Any, Any], Any] | None = None
    """(model, batch) -> loss, or sum and weight as `loss` has them, in place of `loss`."""
    split: Callable[[Any, int, int], Any] | None = None
    """(batch, start, stop) -> these of its examples, where tensors cannot be cut at their first
    dimension."""
    optimizer: Callable[..., torch.optim.Optimizer]
    """Called as optimizer(parameters, lr=learning_rate)."""
    scheduler: Callable[[torch.optim.Optimizer, int], LRScheduler] | None = None
    """Called as scheduler(optimizer, total_steps); what it returns is stepped once a step."""
    metric: str | Metric = "accuracy"
    """What the validation split is scored by: a word of `batchfront.objectives.metric.WORDS`, or a
    `Metric` of your own."""
    also: Sequence[str | Metric] = ()
    """Further metrics, recorded after each epoch."""
    epochs: int = DEFAULT_EPOCHS
    """Unless a study is asked for another length, in epochs, examples, steps or tokens."""
    tokens_per_example: int | None = None
    """What an example counts where a length or a cost is told in tokens."""
    early_stopping: EarlyStopping | None = None
    """When a run ends that gets no better; a study may be asked for another rule."""
    report: Literal["last", "best"] = "last"
    """The epoch whose metric is told: the last one, or the best."""
    search: Mapping[str, Parameter] = field(default_factory=dict)
    """More to search, by the names under which `model` and `optimizer` take the values."""

    @staticmethod
    def from_frame(
        frame: Any,
        *,
        target: str,
        drop: Sequence[str] = (),
        classes: bool | None = None,
        seed: int = 0,
        model: Callable[..., nn.Module] | None = None,
        **more: Any,
    ) -> Task:
        """A task on a table: a pandas DataFrame, or the path of a CSV file.

        Args:
            target: the column to be predicted.
            drop: columns that are not learned from.
            classes: whether the target holds classes; by default found from its values.
            seed: of the splits: 60% training, 20% validation, 20% test.
            model: called as model(n_inputs, n_outputs); by default a small network.
            **more: what else a `Task` takes, in place of the defaults.

        Raises:
            ObjectiveError: the table cannot be learned from.
        """
        import torch

        from batchfront.objectives.frames.models import in_units, perceptron, squared_deviations
        from batchfront.objectives.frames.table import prepared

        table = prepared(frame, target, drop=drop, classes=classes, seed=seed)
        n_outputs = len(table.classes) or 1
        build: Callable[..., nn.Module] = partial(model or perceptron, table.n_inputs, n_outputs)
        given: dict[str, Any] = {"name": target, "optimizer": torch.optim.Adam}
        if table.classes:
            given.update(loss=torch.nn.functional.cross_entropy, metric="accuracy")
        else:
            build = in_units(build, table.centre, table.spread)
            given.update(loss=partial(squared_deviations, table.spread), metric="r2")
        return Task(data=partial(Data, **table.splits), model=build, **{**given, **more})

    def at(self, values: Mapping[str, Value]) -> Task:
        """The task with the values of its searched parameters filled in."""
        model, optimizer = bound(self.model, values), bound(self.optimizer, values)
        return replace(self, model=model, optimizer=optimizer)


def sgd_momentum(parameters: Any, **kwargs: Any) -> torch.optim.Optimizer:
    """SGD with momentum 0.9; `**kwargs` as for torch.optim.SGD."""
    import torch

    return torch.optim.SGD(parameters, **{"momentum": 0.9, **kwargs})


def check_task(task: Task) -> None:
    """Raise ObjectiveError for settings no run could use."""
    metrics_of(task)
    _check_forms(task)
    if not isinstance(task.epochs, int) or task.epochs < 1:
        raise ObjectiveError(f"task {task.name!r}: epochs is {task.epochs!r}, wanted at least 1")
    check_tokens(task.tokens_per_example, f"task {task.name!r}")
    ending_of(task).check()
    check_search(task.search, task=task.name)
    taken = names_taken(task.model, task.search) | names_taken(task.optimizer, task.search)
    for name in set(task.search) - taken:
        raise ObjectiveError(
            f"task {task.name!r}: nobody takes the searched parameter {name!r}: give model or "
            "optimizer an argument of that name"
        )


def check_tokens(per_example: int | None, whose: str) -> None:
    """Raise ObjectiveError for what is no number of tokens."""
    if per_example is not None and (type(per_example) is not int or per_example < 1):
        raise ObjectiveError(
            f"{whose}: tokens_per_example is {per_example!r}, wanted a whole number of at least 1"
        )


def _check_forms(task: Task) -> None:
    """Raise ObjectiveError for data or a loss in two forms, or in none."""
    given = [name for name in ("data", "datasets", "loaders") if _is_given(task, name)]
    if len(given) != 1:
        found = " and ".join(given) or "no data"
        raise ObjectiveError(
            f"task {task.name!r} has {found}: give one of data, datasets and loaders"
        )
    if (task.loss is no_loss) == (task.step is None):
        raise ObjectiveError(
            f"task {task.name!r} has {'no' if task.step is None else 'both'} loss and step: give "
            "loss(output, target) or step(model, batch)"
        )
    for name in ("forward", "step", "split"):
        if given == ["data"] and getattr(task, name) is not None:
            raise ObjectiveError(
                f"task {task.name!r} has {name} and its data in tensors, which are pairs for "
                "model(x) and loss(output, y): give datasets, or leave it out"
            )


def _is_given(task: Task, name: str) -> bool:
    return getattr(task, name) not in (None, no_data)


def metrics_of(task: Task) -> tuple[Metric, ...]:
    """The metric of the task, and the others that are recorded.

    Raises:
        ObjectiveError: one that our loop cannot compute, or two of one name.
    """
    found = tuple(_known_to(task, one) for one in (task.metric, *task.also))
    names = [metric.name for metric in found]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise ObjectiveError(f"task {task.name!r} has two metrics named {twice.pop()}")
    return found


def _known_to(task: Task, given: str | Metric) -> Metric:
    try:
        metric = as_metric(given)
        if metric.function is None and metric.name not in COMMON:
            raise ObjectiveError(
                f"metric is {given if isinstance(given, str) else metric.name!r}, which our loop "
                f"cannot compute: wanted {', '.join(WORDS)}, or Metric(name, function)"
            )
    except ObjectiveError as error:
        raise ObjectiveError(f"task {task.name!r}: {error}") from None
    return metric


def has_classes(task: Task, output: Tensor, y: Tensor) -> bool:
    """Whether targets are classes of the outputs, (B, C) or (B, C, T), rather than values."""
    name = as_metric(task.metric).name
    if name in (ACCURACY.name, R2.name):
        return name == ACCURACY.name and not y.is_floating_point()  # else shares, as of mixup
    whole = not y.is_floating_point() and y.dtype.itemsize == 8
    return whole and output.ndim == y.ndim + 1 and output.shape[2:] == y.shape[1:]


def check_data(data: Data, *, task: str) -> None:
    """Raise ObjectiveError for unequal lengths, empty splits, NaN, or no tensors at all."""
    import torch

    if not isinstance(data, Data):
        raise ObjectiveError(f"task {task!r}: data() returned {type(data).__name__}, wanted Data")
    for one in fields(data):
        tensor = getattr(data, one.name)
        if not isinstance(tensor, torch.Tensor):
            raise ObjectiveError(
                f"task {task!r}: {one.name} is {type(tensor).__name__}, wanted a torch.Tensor"
            )
        n_bad = _n_not_finite(tensor)
        if n_bad:
            raise ObjectiveError(
                f"task {task!r}: {one.name} has {n_bad} NaN or infinite values: "
                "clean or impute them first"
            )
    for split in ("train", "val", "test"):
        x, y = getattr(data, f"x_{split}"), getattr(data, f"y_{split}")
        if x.ndim == 0 or y.ndim == 0 or len(x) != len(y) or len(x) == 0:
            raise ObjectiveError(
                f"task {task!r}: x_{split} has shape {tuple(x.shape)} and y_{split} "
                f"{tuple(y.shape)}: wanted the same number of examples, at least one"
            )


def _n_not_finite(tensor: Tensor) -> int:
    """How many numbers are NaN or infinite; in parts, since looking takes as much memory again."""
    import torch

    if not tensor.is_floating_point() or tensor.ndim == 0:
        return 0
    n_rows = max(1, LOOKED_AT // max(1, tensor[:1].numel()))
    return sum(int((~torch.isfinite(part)).sum()) for part in tensor.split(n_rows))


def check_forward(task: Task, model: nn.Module, data: Data) -> None:
    """Run two examples through model and loss, so that shape mistakes show before the search."""
    import torch

    n = min(2, len(data.x_train))
    x, y = data.x_train[:n], data.y_train[:n]
    model.eval()
    with torch.inference_mode():
        output = model(x)
        name = as_metric(task.metric).name
        if name == R2.name and output.shape != y.shape:
            raise ObjectiveError(
                f"task {task.name!r}: the model returns shape {tuple(output.shape)} for targets of "
                f"shape {tuple(y.shape)}: wanted the same shape"
            )
        if name == ACCURACY.name and (
            y.dtype != torch.int64
            or output.ndim != y.ndim + 1
            or (*output.shape[:1], *output.shape[2:]) != y.shape
        ):
            raise ObjectiveError(
                f"task {task.name!r}: accuracy wants outputs (B, classes) and int64 targets (B,), "
                "or outputs (B, classes, T) and targets (B, T), "
                f"found {tuple(output.shape)} and {y.dtype} {tuple(y.shape)}: give it another "
                f"metric, of {', '.join(WORDS)}, or one of its own"
            )
        loss = task.loss(output, y)
    given = loss if isinstance(loss, tuple) and len(loss) == 2 else (loss,)
    if not all(isinstance(one, torch.Tensor) and one.ndim == 0 for one in given):
        raise ObjectiveError(
            f"task {task.name!r}: loss must return a scalar tensor, or a sum and its weight, each "
            "a scalar tensor"
        )


def fingerprint(task: Task, model: nn.Module, data: str) -> dict[str, str]:
    """What must be the same for two runs to belong to one study: data, model and optimizer.

    `data`: its hash.
    """
    shapes = [(name, tuple(p.shape), str(p.dtype)) for name, p in model.named_parameters()]
    return {
        "data": data,
        "model": _short_hash(repr(shapes)),
        "architecture": _short_hash(repr(model)),
        "loss": function_name(task.loss if task.step is None else task.step),
        "optimizer": optimizer_name(task, model),
        **({} if task.scheduler is None else {"scheduler": function_name(task.scheduler)}),
    }


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def function_name(function: Any) -> str:
    """A name without memory addresses, which change from process to process."""
    if isinstance(function, partial):
        keywords = (f"{key}={function_name(value)}" for key, value in function.keywords.items())
        given = [*map(function_name, function.args), *keywords]
        return f"{function_name(function.func)}({', '.join(given)})"
    name = getattr(function, "__qualname__", None) or repr(function)
    return re.sub(" at 0x[0-9a-f]+", "", name)


def data_hash(data: Data) -> str:
    """Hash of all six tensors: shapes, types and bytes."""
    import numpy as np

    digest = hashlib.sha256()
    for split in fields(data):
        tensor = getattr(data, split.name)
        digest.update(f"{split.name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        array = np.ascontiguousarray(tensor.detach().cpu().numpy())
        digest.update(array.reshape(-1).view(np.uint8).data)  # without a copy
    return digest.hexdigest()[:16]


def optimizer_name(task: Task, model: nn.Module) -> str:
    """The optimizer with what differs from torch's defaults: `SGD(momentum=0.9)`."""
    import torch

    optimizer = task.optimizer(model.parameters(), lr=0.5)
    kind: Callable[..., torch.optim.Optimizer] = type(optimizer)
    try:
        plain = kind([torch.nn.Parameter(torch.zeros(1))], lr=0.5).defaults
    except TypeError:  # it has arguments without defaults, which the task gave
        plain = {}
    ignored = {"lr", "foreach", "fused", "capturable", "differentiable"}
    changed = {
        key: value
        for key, value in sorted(optimizer.defaults.items())
        if key not in ignored and plain.get(key) != value
    }
    return f"{type(optimizer).__name__}({', '.join(f'{k}={v}' for k, v in changed.items())})"


def evaluation_batch(data: Data) -> int:
    """Examples per forward pass where nothing is learned: what they need must fit beside a run."""
    n_inputs, n_targets = (max(1, z[0].numel()) for z in (data.x_train, data.y_train))
    return max(1, min(EVALUATED_TARGETS // n_targets, EVALUATED_INPUTS // n_inputs))
