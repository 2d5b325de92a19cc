"""What a batch size costs: seconds a step and peak memory, from a few real steps."""

from __future__ import annotations

import math
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any

from batchfront.objectives.measurement import ObjectiveError, TrialParams, Verdict
from batchfront.objectives.meters.clock import synchronizer
from batchfront.objectives.meters.memory import MEASURED_STEPS
from batchfront.objectives.metric import Metric
from batchfront.objectives.run import Run, carry_out

WARMUP_STEPS = MEASURED_STEPS + 1  # the metered ones, and one that finds warm caches
BLOCK_SECONDS = 0.02  # steps are timed in blocks at least this long
MIN_SAMPLES = 3  # epochs or blocks
PATIENCE = 5  # times the seconds asked for, validation included


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Known without noise for every later trial of the same batch size on this hardware."""

    step_seconds: float  # wall
    peak_memory_bytes: int
    total_steps: int  # optimizer steps of a whole run
    busy: float  # CPU seconds per wall second; below 1 on the CPU something else was running
    evaluation_peak_bytes: int | None = None  # of a validation; None: there was none
    data_wait_share: float | None = None  # of the step; None: its data was in memory
    device_memory_bytes: int | None = None  # that the device loses at the peak; None: a CPU
    whole_epochs: bool = True  # False: steps alone, without what lies between epochs
    undefined: str = ""  # what there is to say of a reported metric that is not finite


class ProbeRun(Run):
    """A `Run` that lets an objective train for a moment, then stops it.

    Where a few whole epochs fit into that moment they are what is timed, with their shuffle; else
    blocks of steps are.
    """

    holds_batch_size = True

    def __init__(
        self, *, seconds: float, device: str, to_report: bool = False, **options: Any
    ) -> None:
        """`to_report`: go on to the first one, if it comes soon: what is reported may be wrong."""
        super().__init__(device=device, **options)
        self._to_report = to_report
        self._seconds = seconds
        self._synchronize = synchronizer(device)
        self._begun_at: float | None = None  # of the first step: making a trainer may take long
        self._seen = 0  # steps
        self._since: tuple[float, float] | None = None  # wall and CPU time; None: not timing
        self._block_steps = 0
        self._epoch: list[tuple[float, int]] | None = None  # None: the epoch began before warm-up
        self._epochs: list[float] = []  # seconds a step, of whole epochs
        self._blocks: list[float] = []  # seconds a step
        self._wall = self._process = self._waited = 0.0  # timed in all
        self._block_waited = 0.0
        self._known: Cost | None = None
        self._loss: Callable[[], Any] = lambda: None  # of the newest step, where it is still there
        self._undefined = ""

    def step(self, loss: Any, n: int = 1) -> None:
        """Count one step, or several; what they lost plays no part in what they cost."""
        self._meter.step(n)
        self._seen += n
        if self._to_report:
            self._loss = _looked_at(loss)
        self._begun_at = self._begun_at or time.perf_counter()
        if self._since is not None:
            self._block_steps += n
            if time.perf_counter() - self._since[0] >= BLOCK_SECONDS:
                self._close_block()
                self._stop_when_known()
        elif self._seen >= WARMUP_STEPS:
            self._since = self._now()

    @contextmanager
    def validating(self) -> Iterator[None]:
        """Neither timed nor metered inside."""
        self._close_block()
        with super().validating():
            yield
        self._resume()

    def report(self, value: float | None = None, /, **named: float | None) -> None:
        """Close an epoch."""
        self._close_block()
        metric = self._told(value, named)[0]
        self.curve.append(metric)
        if not math.isfinite(metric) and not self._undefined:
            self._undefined = self._why_undefined(metric)
        n_steps = sum(n for _, n in self._epoch or ())
        if self._epoch and n_steps:
            self._epochs.append(sum(s for s, _ in self._epoch) / n_steps)
        self._epoch = [] if self._seen >= WARMUP_STEPS else None
        self._resume()
        self._stop_when_known()

    def told_cost(self, *, step_seconds: float, peak_memory_bytes: int) -> None:
        """A replay knows what it costs."""
        self._known = Cost(
            step_seconds=step_seconds,
            peak_memory_bytes=peak_memory_bytes,
            total_steps=self._begun().total_steps,
            busy=1.0,
        )
        self._stop(Verdict.COMPLETED, "recorded")

    def cost(self) -> Cost:
        """What the steps seen say.

        Raises:
            ObjectiveError: the objective ended before any step could be timed.
        """
        if self._known is not None:
            return self._known
        self._close_block()
        samples = self._epochs or self._blocks
        if not samples:
            raise ObjectiveError(
                f"the objective took {self._seen} training steps in all, too few to time one: "
                "train for more epochs"
                if self._seen
                else "the objective reported no training step: call run.step(loss) after each "
                "optimizer step, or run.step(mean_loss, n=10) after every tenth"
            )
        return Cost(
            step_seconds=median(samples),
            peak_memory_bytes=self._meter.peak_bytes,
            total_steps=self._begun().total_steps,
            busy=self._process / max(self._wall - self._waited, 1e-9),
            evaluation_peak_bytes=self._meter.evaluation_peak_bytes,
            data_wait_share=self._waited / self._wall if self._waits else None,
            device_memory_bytes=self._meter.device_bytes,
            whole_epochs=bool(self._epochs),
            undefined=self._undefined,
        )

    def _why_undefined(self, metric: float) -> str:
        """`val_accuracy is nan when it is first evaluated, at a training loss of 2.3: ...`."""
        loss = _number(self._loss())
        if loss is not None and not math.isfinite(loss):
            at, remedy = f", and the training loss is {loss}", "scale inputs and targets"
        else:
            at = "" if loss is None else f", at a training loss of {loss:.4g}"
            remedy = "look at how it is computed, and at what the model gives it"
        return f"{self.metric} is {metric} when it is first evaluated, in a probe{at}: {remedy}"

    def _note_wait(self, seconds: float) -> None:
        if self._since is not None:
            self._block_waited += seconds

    def _now(self) -> tuple[float, float]:
        self._synchronize()
        return time.perf_counter(), time.process_time()

    def _resume(self) -> None:
        self._block_waited = 0.0  # of what is not timed, such as a batch that no step followed
        if self._seen >= WARMUP_STEPS:
            self._since = self._now()

    def _close_block(self) -> None:
        if self._since is None:
            return
        wall, process = (now - then for now, then in zip(self._now(), self._since, strict=True))
        if self._epoch is not None:
            ending = 0.0 if self._block_steps else self._block_waited  # of a loader that ends
            self._epoch.append((wall - ending, self._block_steps))  # also what follows the last one
        if self._block_steps:
            self._wall += wall
            self._process += process
            self._waited += self._block_waited
            self._blocks.append(wall / self._block_steps)
            self._block_steps = 0
            self._block_waited = 0.0
        self._since = self._now()

    def _stop_when_known(self) -> None:
        blocks_do = len(self._blocks) >= MIN_SAMPLES and not (self.curve or self._to_report)
        known = blocks_do or len(self._epochs) >= MIN_SAMPLES
        waited = time.perf_counter() - (self._begun_at or math.inf)
        too_long = len(self._blocks) >= MIN_SAMPLES and waited > PATIENCE * self._seconds
        if too_long or (known and self._wall >= self._seconds):
            self._stop(Verdict.COMPLETED, "probed")


def probe(
    objective: Callable[[TrialParams, Run], None],
    params: TrialParams,
    *,
    metric: str | Metric | None,
    seconds: float,
    measure_memory: bool = True,
    compiled: bool = False,
    to_report: bool = False,
) -> Cost:
    """Train for about `seconds` and say what a step costs; `to_report` as in `ProbeRun`.

    Raises:
        ObjectiveError: too few steps to time.
    """
    run = ProbeRun(
        seconds=seconds,
        device=params.device,
        metric=metric,
        measure_memory=measure_memory,
        compiled=compiled,
        to_report=to_report,
    )
    carry_out(objective, params, run)
    return run.cost()


def _looked_at(loss: Any) -> Callable[[], Any]:
    """What gives the loss while the loop has it: kept alive, it would be part of the peak."""
    try:
        return weakref.ref(loss) if hasattr(loss, "detach") else lambda: loss
    except TypeError:  # an object that nothing can look at so
        return lambda: None


def _number(loss: Any) -> float | None:
    """The loss, where it is one number; what it is otherwise is for the run to say."""
    try:
        return float(loss.detach() if hasattr(loss, "detach") else loss)
    except (TypeError, ValueError, RuntimeError):
        return None
