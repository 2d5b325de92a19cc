"""A function `objective(trial)` as a training loop: timed and metered, its trials ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from batchfront.objectives.measurement import (
    NOT_SUGGESTED,
    ObjectiveError,
    Stopped,
    TrialParams,
)
from batchfront.objectives.metric import COMMON, WORDS, AskedMetric, Direction, Metric, as_metric
from batchfront.objectives.objective import CustomLoop
from batchfront.objectives.parameter import Value
from batchfront.objectives.run import Run
from batchfront.objectives.scripts.discover import (
    BATCH_SIZE,
    LEARNING_RATE,
    Discovered,
    direction_in,
    discover,
    safe,
    values_of,
)
from batchfront.objectives.scripts.trial import ScriptTrial
from batchfront.objectives.scripts.watch import watched
from batchfront.objectives.source import text_around

SCRIPT = "script"  # in the fingerprint: what one run of it showed
VALUE = "value"  # the metric, where nobody names it; value_1 and so on are the others


@dataclass(frozen=True, kw_only=True)
class ScriptLoop(CustomLoop):
    """The loop that runs the function once, watched, with a trial that says what to train with."""

    function: Callable[..., Any]
    found: Discovered
    chosen: int = 0  # which of the values is the metric
    notes: tuple[str, ...] = field(default=())

    @property
    def recorded_sizes(self) -> tuple[int, ...]:
        """The batch sizes that the script suggests: powers of two of a range."""
        sizes = self.found.suggested[self.found.names[BATCH_SIZE]]
        if sizes.choices:
            return tuple(sorted(int(size) for size in sizes.choices))
        low, high = int(sizes.low or 1), int(sizes.high or 1)
        powers = [2**k for k in range(high.bit_length()) if low <= 2**k <= high]
        return tuple(powers or sorted({low, high}))

    @property
    def usual_rates(self) -> tuple[float, float]:
        """The range of learning rates that the script suggests."""
        rates = self.found.suggested[self.found.names[LEARNING_RATE]]
        ends = [float(rate) for rate in rates.choices or (rates.low or 0.0, rates.high or 0.0)]
        return min(ends), max(ends)

    def __call__(self, params: TrialParams, run: Run) -> None:
        from batchfront.objectives.device.randomness import seed_everything

        seed_everything(params.seed)
        watch = _Watch(run, total_steps=self.found.steps_at(params.batch_size))
        trial = ScriptTrial(self._values(params), watch.report, number=params.seed)
        if not self.found.steps:
            watch.begin()
        with watched(begin=watch.begin, step=run.step, evaluates=watch.evaluate):
            returned = self.function(trial)
        self._note_branch(trial, run)  # of a run that was stopped nobody knows what was to come
        watch.evaluate(False)
        self._close(returned, run, watch)

    def _note_branch(self, trial: ScriptTrial, run: Run) -> None:
        """Say which searched parameters belong to a branch that this run did not take."""
        asked = {safe(name) for name in trial.suggested}
        unasked = [name for name in self.found.search if name not in asked]
        if unasked:
            run.trained_with(**{NOT_SUGGESTED: unasked})

    def _values(self, params: TrialParams) -> dict[str, Value]:
        """A run's parameters by the script's own names."""
        names, suggested = self.found.names, self.found.suggested
        own = {n: params.extra[safe(n)] for n in suggested if safe(n) in params.extra}
        return {
            **self.found.fixed,
            **own,
            names[BATCH_SIZE]: params.batch_size,
            names[LEARNING_RATE]: params.learning_rate,
        }

    def _close(self, returned: Any, run: Run, watch: _Watch) -> None:
        """Take the values that the function returned, as its last report."""
        watch.begin()
        if not self.found.steps:
            run.step(0.0)
        values = values_of(returned, self.name)
        metric = values.pop(min(self.chosen, len(values) - 1))
        others = [n for n in range(len(values) + 1) if n != self.chosen]
        if values or watch.last is None or metric != watch.last:
            run.report(metric, **{f"{VALUE}_{n}": v for n, v in zip(others, values, strict=True)})


class _Watch:
    """Tells a run what it sees of a function."""

    def __init__(self, run: Run, *, total_steps: int) -> None:
        self._run = run
        self._total_steps = total_steps
        self._begun = False
        self._evaluating: AbstractContextManager[None] | None = None
        self.last: float | None = None  # that was reported

    def begin(self) -> None:
        """Start the clock, once."""
        if not self._begun:
            self._begun = True
            self._run.begin(self._total_steps)

    def evaluate(self, is_so: bool) -> None:
        """The clock stands still while the function evaluates."""
        if is_so and self._begun and self._evaluating is None:
            self._evaluating = self._run.validating()
            self._evaluating.__enter__()
        elif not is_so and self._evaluating is not None:
            self._evaluating.__exit__(None, None, None)
            self._evaluating = None

    def report(self, value: float) -> bool:
        """Take a value; whether the function should stop."""
        self.begin()
        self.evaluate(False)
        self.last = value
        try:
            self._run.report(value)
        except Stopped:
            return True
        return False


def script_loop(
    function: Callable[[Any], Any],
    *,
    name: str,
    names: Mapping[str, str],
    asked: AskedMetric,
    known: str | None,
) -> ScriptLoop:
    """The loop of a function, which is run once to see what it suggests, unless that is `known`.

    Raises:
        ObjectiveError: it suggests no batch size or rate, or nobody says which way is better.
    """
    found = discover(function, names, name=name) if known is None else Discovered.from_text(known)
    for ours, theirs in names.items():
        if found.names[ours] != theirs:
            raise ObjectiveError(
                f"--param {ours}={theirs}, and the study was made with {ours}={found.names[ours]}"
            )
    metric, chosen = _metric(asked, direction_in(text_around(function)), found, name)
    said = (
        f"{name} was run once, at batch size {found.batch_size}, to see what it suggests"
        if known is None
        else ""
    )
    return ScriptLoop(
        function=function,
        found=found,
        chosen=chosen,
        metric=metric,
        default_epochs=found.points,
        search=found.search,
        notes=(said,) if said else (),
        fingerprint={SCRIPT: found.as_text()},
    )


def _metric(
    asked: AskedMetric, direction: Direction | None, found: Discovered, name: str
) -> tuple[Metric, int]:
    """The metric, and which of the returned values it is: the first, or the one named value_N."""
    chosen = 0
    wanted = asked.name or (asked.usual.name if asked.usual is not None else VALUE)
    number = wanted.removeprefix(f"{VALUE}_")
    if wanted != VALUE and number != wanted and number.isdigit():
        chosen = int(number)
        if chosen >= max(found.n_values, 1):
            said = ", ".join(f"{VALUE}_{n}" for n in range(found.n_values))
            raise ObjectiveError(f"{name} returns {said}: --metric {wanted} is none of them")
        direction = None if chosen else direction
    if asked.name is None and asked.usual is not None:
        return asked.usual, chosen
    way = asked.direction or direction
    if way is None and (wanted in WORDS or wanted in COMMON):
        return as_metric(wanted), chosen
    if way is None:
        raise ObjectiveError(
            f"which way is what {name} returns better? give --direction maximize or minimize"
        )
    usual = as_metric(wanted)
    return (usual if usual.direction == way else Metric(wanted, direction=way)), chosen
