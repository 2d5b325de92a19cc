"""`Task`: a model, data, loss and metric, to be trained by our loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from batchfront.objectives.loading.datasets import Datasets
from batchfront.objectives.measurement import ObjectiveError
from batchfront.objectives.meters.early_stopping import EarlyStopping
from batchfront.objectives.metric import Metric
from batchfront.objectives.parameter import Parameter, Value, bound

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn
    from torch.optim.lr_scheduler import LRScheduler

DEFAULT_EPOCHS = 20


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
