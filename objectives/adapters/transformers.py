"""Transformers: `Report` in a Trainer of your own, or `objective(make_trainer, ...)`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from batchfront.objectives.adapters.common import (
    Pause,
    logged,
    loop_of,
    needed,
    packed,
    unpack,
    whole_epochs,
)
from batchfront.objectives.measurement import MetricError, ObjectiveError, TrialParams
from batchfront.objectives.metric import Metric
from batchfront.objectives.objective import CustomLoop
from batchfront.objectives.parameter import Parameter
from batchfront.objectives.run import Run
from batchfront.objectives.task import DEFAULT_EPOCHS

hf = needed("transformers", extra="transformers")
needed("accelerate", extra="transformers")  # a Trainer is none without it
Callback: Any = hf.TrainerCallback
MICRO = "micro_batch_size"


class Report(Callback):  # type: ignore[misc]  # Transformers may be missing
    """Reports what a Trainer does to a `Run`: each step with its loss, and each evaluation.

    The Trainer logs every step then: its loss is the mean over all that the step accumulates.
    """

    def __init__(self, run: Run, metric: str) -> None:
        """`metric`: the name under which the Trainer evaluates what the study is about."""
        self._run = run
        self._metric = metric
        self.pause = Pause(run)
        self._steps = 0
        self._parts = 1  # batches that the step under way accumulates
        self._adds_up = True  # what these lose, to the loss of the step
        self._trains = False

    def on_train_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Announce the steps.

        Raises:
            MetricError: nothing is evaluated.
        """
        self.pause.end()
        if str(getattr(args.eval_strategy, "value", args.eval_strategy)) == "no":
            raise MetricError(
                "the trainer evaluates nothing, and a study needs its metric: give its arguments "
                "eval_strategy='epoch', and the trainer an eval_dataset"
            )
        args.logging_nan_inf_filter = False  # else a run that has failed would look sound
        if args.gradient_accumulation_steps > 1:
            self._adds_up = _adds_up(more.get("model"), more.get("train_dataloader"))
        self._steps, self._trains = state.global_step, True
        self._run.begin(state.max_steps)

    def on_step_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Training goes on."""
        self.pause.end()

    def on_substep_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Count a batch that is accumulated."""
        self._parts += 1

    def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> Any:
        """Have the loss of this step logged."""
        control.should_log = True
        return control

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **more: Any) -> None:
        """Report an optimizer step."""
        n = state.global_step - self._steps
        if n and self._trains and "loss" in (logs or {}):
            parts, self._parts = 1 if self._adds_up else self._parts, 1
            self._steps = state.global_step
            self._run.step(float(logs["loss"]) / parts, n=n)
            if control.should_evaluate:
                self.pause.evaluating()

    def on_epoch_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """The clock stands still while the Trainer evaluates."""
        if control.should_evaluate:
            self.pause.evaluating()

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: Any = None, **more: Any
    ) -> Any:
        """Report the metric; what follows until the next step is no training."""
        if not self._trains:
            return control
        self.pause.end()
        value, others = logged(self._metric, metrics or {}, where="the trainer")
        rates = ("_runtime", "_per_second")
        self._run.report(value, **{n: v for n, v in others.items() if not n.endswith(rates)})
        self.pause.evaluating()
        if self._run.keep is None:
            control.should_save = False
        return control

    def on_save(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Keep the Trainer's own checkpoint."""
        folder = Path(args.output_dir, f"checkpoint-{state.global_step}")
        if folder.is_dir() and self._trains and self._run.curve:
            self._run.save_made(lambda: {"name": folder.name, "files": packed(folder)})

    def on_train_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """What is evaluated later is none of the run."""
        self.pause.end()
        self._trains = False


def objective(
    make_trainer: Callable[..., Any],
    *,
    metric: str | Metric,
    epochs: int = DEFAULT_EPOCHS,
    arguments: Mapping[str, Any] | None = None,
    search: Mapping[str, Parameter] | None = None,
    n_train: int | None = None,
) -> CustomLoop:
    """A training loop that has a Trainer made anew for each run.

    Args:
        make_trainer: called with the `TrainingArguments` of a run, and with those searched values
            that it takes by name; returns a Trainer.
        metric: what the Trainer evaluates, such as eval_accuracy.
        epochs: of a run, unless the study says otherwise.
        arguments: more of the `TrainingArguments`.
        search: what else is searched: arguments of `make_trainer`, fields of `TrainingArguments`,
            or `micro_batch_size`, over which gradients are accumulated until there is a batch.
        n_train: examples of an epoch.
    """
    name = metric.name if isinstance(metric, Metric) else metric

    def function(params: TrialParams, run: Run) -> None:
        whole_epochs(params, "a Trainer of Transformers")
        report = Report(run, name)
        with _quiet(), TemporaryDirectory(prefix="batchfront-") as folder:
            given, own = _arguments(params, folder, {**(arguments or {})}, make_trainer)
            trainer = make_trainer(given, **own)
            for shown in (
                hf.trainer_callback.PrinterCallback,
                hf.trainer_callback.ProgressCallback,
            ):
                trainer.remove_callback(shown)
            trainer.add_callback(report)
            kept = None
            if run.restored is not None:
                kept = str(Path(folder, run.restored["name"]))
                unpack(run.restored["files"], Path(kept))
            trainer.train(resume_from_checkpoint=kept)

    return loop_of(
        function, like=make_trainer, metric=metric, epochs=epochs, search=search, n_train=n_train
    )


def _arguments(
    params: TrialParams, folder: str, more: dict[str, Any], make: Callable[..., Any]
) -> tuple[Any, dict[str, Any]]:
    """The `TrainingArguments` of a run, and what `make` takes besides.

    Raises:
        ObjectiveError: a searched value that nobody takes, or a batch that cannot be divided.
    """
    known = {field.name for field in fields(hf.TrainingArguments)}
    extra = {n: v for n, v in params.extra.items() if n != MICRO}
    own = {n: v for n, v in extra.items() if n in inspect.signature(make).parameters}
    for name in extra.keys() - own.keys() - known:
        raise ObjectiveError(
            f"nobody takes the searched {name!r}: it is no argument of "
            f"{getattr(make, '__name__', 'make_trainer')}, and no field of TrainingArguments"
        )
    micro = min(int(params.extra.get(MICRO, params.batch_size)), params.batch_size)
    given = {
        "output_dir": folder,
        "learning_rate": params.learning_rate,
        "num_train_epochs": params.epochs,
        "seed": params.seed,
        "use_cpu": params.device.startswith("cpu"),
        "eval_strategy": "epoch",
        "save_strategy": "epoch",
        "save_total_limit": 1,
        "report_to": "none",
        "disable_tqdm": True,
        **more,
        **{n: v for n, v in extra.items() if n not in own},
    }
    arguments = hf.TrainingArguments(**given)
    n_devices = max(1, arguments.n_gpu) * arguments.world_size
    if params.batch_size % micro or micro % n_devices:
        raise ObjectiveError(
            f"batch size {params.batch_size} cannot be divided into micro-batches of {micro} on "
            f"{n_devices} devices: choose powers of two"
        )
    arguments.per_device_train_batch_size = micro // n_devices
    arguments.gradient_accumulation_steps = params.batch_size // micro
    return arguments, own


def _adds_up(model: Any, batches: Any) -> bool:
    """Whether what batches lose that a step accumulates adds up to the loss of the step.

    A Trainer relies on it where a model takes `num_items_in_batch`, by which it is to divide. Many
    take it, as one of any others, and divide by their own batch: each then loses as much as the
    whole step. One batch, lost with and without that number, tells them apart.
    """
    import torch

    if model is None or batches is None:
        return True
    trained = model.training
    try:
        here = [model.device] if model.device.type == "cuda" else []  # not every GPU there is
        with torch.random.fork_rng(devices=here), torch.no_grad():
            batch = {n: one.to(model.device) for n, one in next(iter(batches)).items()}
            model.eval()
            divided = model(**batch, num_items_in_batch=1).loss
            return not torch.allclose(divided, model(**batch).loss)
    except (TypeError, AttributeError, StopIteration):  # then the Trainer divides itself
        return True
    finally:
        model.train(trained)


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress and no advice of Transformers', at every run of a study."""
    before = hf.utils.logging.get_verbosity()
    hf.utils.logging.set_verbosity_error()
    try:
        yield
    finally:
        hf.utils.logging.set_verbosity(before)
