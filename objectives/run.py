"""`Run`: what any training loop reports to. It closes epochs, ends in time and sums up."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate, chain, repeat
from typing import Any

from batchfront.objectives.device.randomness import random_states, restore_random_states
from batchfront.objectives.latched import Latched
from batchfront.objectives.length import Length
from batchfront.objectives.measurement import (
    Measurement,
    ObjectiveError,
    Phase,
    Stopped,
    TrialParams,
    Verdict,
)
from batchfront.objectives.meters.course import GuardSettings
from batchfront.objectives.meters.divergence import DivergenceGuard
from batchfront.objectives.meters.early_stopping import LAST_EPOCH, VAL_LOSS, Ending, Epochs
from batchfront.objectives.meters.kept import check_kept
from batchfront.objectives.meters.limit import TimeLimit
from batchfront.objectives.meters.metered import Metered
from batchfront.objectives.metric import Metric
from batchfront.objectives.raised import Halted
from batchfront.objectives.remarks import OLD_TRAIN_NAME, Remarks
from batchfront.objectives.resumable import Resumable
from batchfront.objectives.stepping import Stepping

ShouldStop = Callable[[tuple[float, ...]], Stopped | None]


def _never(curve: tuple[float, ...]) -> None:
    return None


class Run(Stepping, Resumable, Remarks):
    """Handed to every objective; used as `with run: objective(params, run)` by whoever calls it.

    A training loop calls, in this order:

    - `begin(total_steps, ...)` once, when model and optimizer exist;
    - `step(loss)` after each optimizer step, or `step(mean, n=10)` after every tenth;
    - `report(val_accuracy=...)` after each epoch, with the validation itself inside `validating()`;
    - `save(state)` after that, where the loop can go on from what it saves: `restored` is then,
      in another process, what was saved last.

    `step` and `report` raise `Stopped` when the run should end. The verdict is latched: whatever
    the loop does afterwards, the run counts as stopped.

    Steps, costs, verdict, checkpoints and remarks are parts of their own. This one is about the
    epochs, and about what all of it comes to.
    """

    holds_batch_size = False  # a probe times one size: a schedule waits

    def __init__(
        self,
        *,
        device: str = "cpu",
        metric: str | Metric | None = None,
        target: float | None = None,
        should_stop: ShouldStop = _never,
        measure_memory: bool = True,
        compiled: bool = False,
        guard: GuardSettings = GuardSettings(),
        ending: Ending = LAST_EPOCH,
        limit: TimeLimit | None = None,
    ) -> None:
        Latched.__init__(self)
        Metered.__init__(self, device=device, measure_memory=measure_memory, compiled=compiled)
        Stepping.__init__(self, limit)
        Resumable.__init__(self)
        Remarks.__init__(self, metric)
        self._ended = False  # by early stopping
        self._ending = ending
        self._reported = Epochs(ending, metric=self.metric, target=target)
        self.curve = self._reported.curve  # the metric after each epoch
        self.length: Length | None = None
        """That the loop was asked for, where that is known."""
        self.wants_steps: int | None = None
        """That a loop of your own has to announce, where its length is none of plain epochs."""
        self.should_stop = should_stop
        self.leaving: BaseException | None = None
        """Raised when the loop goes on to another epoch: whoever watches wants it to end."""
        self._guard_settings = guard
        self._baseline_metric: float | None = None
        self._steps_before = 0  # this epoch
        self._phases: tuple[Phase, ...] = ()

    def begin(
        self,
        total_steps: int,
        baseline_loss: float | None = None,
        baseline_metric: float | None = None,
    ) -> None:
        """Announce the budget and what a constant predictor would reach; starts the clock.

        Args:
            total_steps: optimizer steps the run will take.
            baseline_loss: loss of the best constant predictor (class-prior entropy, target
                variance). Without it only explosions and non-finite losses are stopped.
            baseline_metric: its metric (share of the largest class; 0 for R2); by default the
                metric's own `chance`.
        """
        if total_steps < 1:
            raise ObjectiveError(f"run.begin got total_steps={total_steps}, wanted at least 1")
        self._check_length(total_steps)
        if baseline_metric is None:
            baseline_metric = self.metric.chance
        self._baseline_metric = baseline_metric
        self._guard = DivergenceGuard(
            total_steps=total_steps,
            baseline_loss=baseline_loss,
            baseline_metric=baseline_metric,
            settings=self._guard_settings,
            metric=self.metric,
        )
        if self._earlier is not None:
            self._go_on_from(self._earlier)
        self._clock.start()

    def _check_length(self, total_steps: int) -> None:
        """Raise ObjectiveError where a loop of your own trains for another length."""
        wanted, length = self.wants_steps, self.length
        # Each point may end with a smaller batch, as epochs do that drop nothing.
        if wanted and length and abs(total_steps - wanted) > length.points:
            raise ObjectiveError(
                f"the loop announced {total_steps} steps, and a run of {length} takes {wanted}: "
                "take params.total_steps(n_train), and report after the steps of "
                "params.evaluated_after(n_train)"
            )

    def points(self, first: int, last: int) -> Iterable[int]:
        """The points of its curve that a run goes to, from the `first` on.

        A probe goes on for as long as it takes to time a step: a run may have few of them.
        """
        points = range(first, last + 1)
        return chain.from_iterable(repeat(points)) if self.holds_batch_size else points

    def plan(self, phases: Sequence[Phase]) -> None:
        """Note all phases, as planned now, before each epoch of a run whose batch size grows.

        `begin` is then told the most steps that the run may take.
        """
        self._phases = tuple(phases)
        self._begun().total_steps = sum(phase.steps for phase in phases)
        if self.curve and len(self.curve) in accumulate(phase.epochs for phase in phases):
            self._meter.again()

    def _go_on_from(self, state: dict[str, Any]) -> None:
        check_kept(state, {k: v for k, v in self._state().items() if k != "random"})
        self._begun().go_on_from(state["guard"])
        self._steps = self._first_step = self._steps_before = state["steps"]
        self._test_metric = state.get("test_metric")
        self._reported.go_on_from(state)
        self._go_on_costing(state)
        restore_random_states(state["random"], self._device)

    def _state(self) -> dict[str, Any]:
        return {
            "guard": self._begun().state(),
            "steps": self._steps,
            "test_metric": self._test_metric,
            **self._reported.state(),
            **self._costs(),
            "random": random_states(self._device),
        }

    def report(self, value: float | None = None, /, **named: float | None) -> None:
        """Close an epoch with its validation metric: `report(0.93)` or `report(val_accuracy=0.93)`.

        Args:
            value: the metric that the study is about; here, or under its name.
            named: other metrics by their names, recorded with the trial: `train_...` for the gap
                between training and validation, `val_loss` for an early stopping that watches it.

        Raises:
            Stopped: the metric is non-finite, a stop rule says so, or the run gets no better.
            ObjectiveError: the metric is missing or out of range, say a fraction in percent.
        """
        self._raise_latched()
        guard = self._begun()
        with self._clock.standing_still():
            steps, self._steps_before = self._steps - self._steps_before, self._steps
            self._clock.lap(instrumented=self._meter.end_epoch(), steps=steps)
            value, said = self._told(value, named)
            verdict = guard.report(value)
            if verdict is not None:
                self._stop(*verdict)
            self._ended = self.ends_after(value, said.get(VAL_LOSS))
            train_metric = said.pop(self.metric.of_training, said.pop(OLD_TRAIN_NAME, None))
            self._reported.add(value, train_metric=train_metric, also=said)
            if self.length is not None and not self._phases:
                self._missing.look(
                    self._steps,
                    announced=guard.total_steps,
                    n_done=len(self.curve),
                    length=self.length,
                )
            stopped = self.should_stop(tuple(self.curve))
            if stopped is not None:
                self._stop(stopped.verdict, stopped.reason)
            rule, point = self._ending.early_stopping, self.length.point if self.length else "epoch"
            if self._ended and rule is not None:
                self._stop(Verdict.COMPLETED, f"early stopping: {rule.words(point)}")

    @property
    def wants_val_loss(self) -> bool:
        """Whether `report` needs the loss on the validation split."""
        return self._reported.wants_loss

    def ends_after(self, value: float, val_loss: float | None = None) -> bool:
        """Whether early stopping will end the run when `report` is given these values."""
        return self._reported.end_after(value, val_loss)

    def tells_of(self, value: float, *, last: bool) -> bool:
        """Whether the epoch about to be reported may be the one that is told.

        Then training and test split are worth scoring. `last`: it is the last one.
        """
        return self._reported.tell_of(value, last=last)

    def so_far(self) -> tuple[float, int]:
        """Training seconds and peak bytes up to now, free of warm-up: the whole run takes more."""
        seconds = min(self._clock.spent()[0], self._typical()[0])
        return seconds, self._meter.peak_bytes

    @property
    def share_done(self) -> float:
        """The share of the announced steps; 1 at the end, whatever a loop reports in between."""
        return 1.0 if self._ended else self._share()

    @property
    def tells_best(self) -> bool:
        """Whether its best epoch is told, and not the last."""
        return self._ending.tells_best

    def _share(self) -> float:
        """The share done by steps; by epochs where steps are not reported."""
        by_steps = self._steps / self._begun().total_steps
        points = self.length.points if self.length else 1
        return len(self.curve) / points if self._missing.said else by_steps

    def result(self) -> Measurement:
        """What the run showed, after the objective has returned or stopped.

        Raises:
            ObjectiveError: the objective returned without ever reporting a metric.
        """
        guard = self._begun()
        self._close(guard)
        stopped = None if self._completed else self.latched
        wall, process, peak_bytes = self._spent(stopped)
        return Measurement(
            verdict=stopped.verdict if stopped else Verdict.COMPLETED,
            reason=self.latched.reason if self.latched else "",
            metric=self._reported.told,
            best_metric=self.metric.best(self.curve),
            baseline_metric=self._baseline_metric,
            metric_curve=tuple(self.curve),
            length=self.length,
            train_seconds=wall,
            process_seconds=process,
            planned_train_seconds=wall / min(1.0, self._share() or 1 / guard.total_steps),
            peak_memory_bytes=peak_bytes,
            train_loss=guard.window_mean,
            also=self._reported.told_also,
            also_curves={name: tuple(one) for name, one in self._reported.also.items()},
            test_metric=self._test_metric,
            generalization_gap=self._reported.gap,
            to_target=self._reported.to_target,
            n_spikes=guard.spikes.recovered,
            steps=self._steps,
            total_steps=guard.total_steps,
            phases=self._phases if len(self._phases) > 1 else (),
            techniques={**self._techniques, **self._waiting()},
            evaluation_peak_bytes=self._meter.evaluation_peak_bytes,
            device_memory_bytes=self._meter.device_bytes,
            missing_steps=self._missing.said,
            **({} if stopped else self._diagnosed),
        )

    def _close(self, guard: DivergenceGuard) -> None:
        """Look at the steps since the last window, of a run that was not stopped."""
        if not self._completed:
            return
        last = guard.close_window()
        if last is not None and last[0] is Verdict.NON_FINITE:
            self.latched = Stopped(*last)
        elif not self.curve:
            raise ObjectiveError(
                f"the objective returned without run.report({self.metric}): "
                "report the validation metric after each epoch"
            )

    def _spent(self, stopped: Stopped | None) -> tuple[float, float, int]:
        """Seconds of the clock and of the process, and the peak in bytes."""
        wall, process = self._clock.spent() if stopped else self._typical()
        if self._recorded is None:
            return wall, process, self._meter.peak_bytes
        step_seconds, peak_bytes = self._recorded
        wall = process = step_seconds * self._steps
        return wall, process, peak_bytes

    def _typical(self) -> tuple[float, float]:
        return self._clock.typical([phase.epochs for phase in self._phases])

    def _raise_latched(self) -> None:
        super()._raise_latched()
        # One that has taken its last step has no other epoch to go on to, and completes.
        if self.leaving is not None and self._share() != 1:
            raise self.leaving


def carry_out(objective: Callable[[TrialParams, Run], None], params: TrialParams, run: Run) -> None:
    """Run an objective until it returns or is stopped.

    Raises:
        Exception: what the objective raised, unless it had been stopped: the verdict wins.
    """
    run.length = params.planned
    with run:
        try:
            objective(params, run)
        except Stopped as stopped:
            run.latched = run.latched or stopped  # an objective may stop itself
        except Halted:
            raise
        except BaseException:  # user code may raise anything, and a verdict wins over all of it
            if run.latched is None:
                raise
