"""Lightning: `Report` in a Trainer of your own, or `objective(Module, Data, ...)`."""

from __future__ import annotations

import logging
import signal
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from batchfront.objectives.adapters.common import (
    RATES,
    Pause,
    logged,
    loop_of,
    made,
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

pl = needed("lightning.pytorch", "pytorch_lightning", extra="lightning")

QUIET: dict[str, Any] = {
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}
FILE = "lightning.ckpt"


Callback: Any = pl.Callback


class Report(Callback):  # type: ignore[misc]  # Lightning may be missing
    """Reports what a Trainer does to a `Run`: steps with their losses, and each validation.

    A run that another process has begun goes on where it was kept:
    `trainer.fit(..., ckpt_path=report.ckpt_path)`.
    """

    def __init__(self, run: Run, metric: str) -> None:
        """`metric`: the name under which the module logs what the study is about."""
        self._run = run
        self._metric = metric
        self.pause = Pause(run)
        self._steps = 0
        self._loss = 0.0
        self._folder = TemporaryDirectory(prefix="batchfront-")
        self._on_sigterm = signal.getsignal(signal.SIGTERM)

    @property
    def ckpt_path(self) -> str | None:
        """Lightning's own checkpoint that the run goes on from; None where it begins."""
        if self._run.restored is None:
            return None
        unpack(self._run.restored["files"], Path(self._folder.name))
        return str(Path(self._folder.name, FILE))

    def on_sanity_check_start(self, trainer: Any, pl_module: Any) -> None:
        """What Lightning tries out is no training."""
        self._keep_sigterm()
        self.pause.evaluating()

    def on_sanity_check_end(self, trainer: Any, pl_module: Any) -> None:
        """Training follows."""
        self.pause.end()

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Announce the steps.

        Raises:
            MetricError: nothing is validated.
            ObjectiveError: nobody knows how many steps there are.
        """
        self.pause.end()
        self._keep_sigterm()
        if not trainer.enable_validation or sum(map(float, trainer.num_val_batches)) == 0:
            raise MetricError(
                "the trainer validates nothing, and a study needs its metric: give the module a "
                "validation_step, val_dataloaders, and limit_val_batches above 0"
            )
        steps = trainer.estimated_stepping_batches
        if steps == float("inf") or steps < 1:
            raise ObjectiveError("the trainer has no end: give it max_epochs or max_steps")
        self._steps = trainer.global_step
        self._run.begin(int(steps))

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Report an optimizer step, with the sum of what its batches lost: their shares of it."""
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        if loss is not None:
            self._loss = self._loss + loss.detach()
        n = trainer.global_step - self._steps
        if n:
            loss, self._loss, self._steps = self._loss, 0.0, trainer.global_step
            self._run.step(loss, n=n)

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        """The clock stands still."""
        self.pause.evaluating()

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """Report the metric, and keep Lightning's own checkpoint."""
        if trainer.sanity_checking:
            return
        self.pause.end()
        value, others = logged(self._metric, trainer.callback_metrics, where="the module")
        self._run.report(value, **others)
        self._run.save_made(lambda: {"files": self._files(trainer)})

    def _files(self, trainer: Any) -> Any:
        trainer.save_checkpoint(Path(self._folder.name, FILE), weights_only=False)
        return packed(Path(self._folder.name))

    def _keep_sigterm(self) -> None:
        """Leave SIGTERM to whoever has begun the run: Lightning would end it within the epoch."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._on_sigterm)

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Nothing is left in the folder of temporary files."""
        self.pause.end()
        self._folder.cleanup()


def objective(
    module: Callable[..., Any],
    data: Callable[..., Any],
    *,
    metric: str | Metric,
    trainer: Mapping[str, Any] | None = None,
    epochs: int = DEFAULT_EPOCHS,
    search: Mapping[str, Parameter] | None = None,
    n_train: int | None = None,
) -> CustomLoop:
    """A training loop that makes module, data and Trainer anew for each run.

    Args:
        module: a LightningModule's class, or a function that makes one; takes `lr` or
            `learning_rate`.
        data: a LightningDataModule's class, or a function that makes one; takes `batch_size`.
        metric: what the module logs in validation.
        trainer: arguments of the Trainer, beside those that the study says.
        epochs: of a run, unless the study says otherwise.
        search: what else is searched; module and data get the values that they take by name, and
            of `precision` and `micro_batch_size` the Trainer: it accumulates gradients over
            micro-batches until there is a batch.
        n_train: examples of an epoch.
    """
    name = metric.name if isinstance(metric, Metric) else metric

    def function(params: TrialParams, run: Run) -> None:
        report = Report(run, name)
        own, how = _shares(params)
        rates = dict.fromkeys(RATES, params.learning_rate)
        with _quiet():
            model = made(module, {**rates, **params.extra}, required=RATES, what="module")
            batches = made(
                data,
                {"batch_size": own, **params.extra},
                required=["batch_size"],
                what="data module",
            )
            given = {**QUIET, **_place(params.device), **how, **(trainer or {})}
            callbacks = [*given.pop("callbacks", []), report]
            whole_epochs(params, "a Trainer of Lightning")
            fitter = _library(model).Trainer(max_epochs=params.epochs, callbacks=callbacks, **given)
            report.pause.loading()  # Lightning makes the data
            fitter.fit(model, datamodule=batches, ckpt_path=report.ckpt_path)

    return loop_of(
        function, like=module, metric=metric, epochs=epochs, search=search, n_train=n_train
    )


def _shares(params: TrialParams) -> tuple[int, dict[str, Any]]:
    """Examples of a batch of the data module, and what the Trainer makes of them."""
    how: dict[str, Any] = {}
    if "precision" in params.extra:
        how["precision"] = params.extra["precision"]
    micro = min(int(params.extra.get("micro_batch_size", params.batch_size)), params.batch_size)
    if params.batch_size % micro:
        raise ObjectiveError(
            f"batch size {params.batch_size} is no multiple of micro_batch_size {micro}, and "
            "Lightning accumulates whole batches: choose powers of two"
        )
    if micro < params.batch_size:
        how["accumulate_grad_batches"] = params.batch_size // micro
    return micro, how


def _place(device: str) -> dict[str, Any]:
    """A device of torch's, as a Trainer names it."""
    kind, _, number = device.partition(":")
    accelerator = {"cuda": "gpu"}.get(kind, kind)
    return {"accelerator": accelerator, "devices": [int(number)] if number else 1}


def _library(module: Any) -> Any:
    """The Lightning that a module is of: there are two packages of it."""
    for kind in type(module).__mro__:
        if kind.__module__.startswith("pytorch_lightning."):
            import pytorch_lightning

            return pytorch_lightning
    return pl


@contextmanager
def _quiet() -> Iterator[None]:
    """No banners and advice of Lightning's, at every run of a study."""
    loggers = [
        logging.getLogger(f"{name}.{part}")
        for name in ("lightning.pytorch", "pytorch_lightning")
        for part in ("utilities.rank_zero", "accelerators.cuda")
    ]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            for module in ("lightning", "pytorch_lightning"):
                warnings.filterwarnings("ignore", module=module)
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
