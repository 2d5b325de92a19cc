"""Anything that trains: what a study needs to know of it, and your own loop as one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from batchfront.objectives.length import Length
from batchfront.objectives.measurement import TrialParams
from batchfront.objectives.meters.early_stopping import EarlyStopping
from batchfront.objectives.metric import Metric
from batchfront.objectives.parameter import Parameter, Value
from batchfront.objectives.run import Run
from batchfront.objectives.task import DEFAULT_EPOCHS


class Objective(Protocol):
    """Anything that trains once per call and reports to the run."""

    @property
    def name(self) -> str:
        """The name that is stored with the study."""

    @property
    def metric(self) -> Metric | str | None:
        """What its runs report, or the name of a usual one; None: accuracy."""

    @property
    def default_epochs(self) -> int:
        """Used when nobody asks for another number."""

    @property
    def n_train(self) -> int | None:
        """Training examples, those of an epoch; None where it does not say."""

    @property
    def tokens_per_example(self) -> int | None:
        """What an example counts in tokens; None where that was not declared."""

    @property
    def max_epochs(self) -> int | None:
        """The most epochs that it can train for; None without a limit."""

    @property
    def recorded(self) -> Length | None:
        """The only length that it can be asked for, where that is none of epochs; None: any."""

    @property
    def whole_epochs(self) -> bool:
        """Whether its data come in whole epochs alone."""

    @property
    def batch_sizes(self) -> tuple[int, int | None]:
        """The smallest and the largest it can train with; None when the latter is unknown."""

    @property
    def search(self) -> Mapping[str, Parameter]:
        """What it lets the search vary besides batch size and learning rate."""

    @property
    def compiled(self) -> bool:
        """Whether its training steps are compiled graphs."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know before the search."""

    @property
    def fingerprint(self) -> dict[str, str]:
        """What must not change within a study."""

    @property
    def behaviour(self) -> Mapping[str, Any]:
        """What tells changed training code from code that only looks different."""

    def predict_peak_bytes(
        self, batch_size: int, values: Mapping[str, Value] | None = None
    ) -> int | None:
        """Peak memory without running it; None where no prediction can be trusted.

        `values`: of what it lets the search vary; None: the usual ones.
        """

    def __call__(self, params: TrialParams, run: Run) -> None: ...


@dataclass(frozen=True, kw_only=True)
class CustomLoop:
    """Your own training loop, with what a bare function cannot say about itself."""

    function: Callable[[TrialParams, Run], None]
    metric: Metric | str | None = None
    """What `run.report` is given: a `Metric`, or the name of a usual one such as val_r2. None: what
    --metric names, else val_accuracy."""
    default_epochs: int = DEFAULT_EPOCHS
    n_train: int | None = None
    tokens_per_example: int | None = None
    max_epochs: int | None = field(default=None, init=False)
    recorded: None = field(default=None, init=False)
    whole_epochs: bool = field(default=False, init=False)  # our options reach the loop as they are
    starts_processes: bool = field(default=True, init=False)  # for all that is known
    early_stopping: EarlyStopping | None = None  # run.report ends a run that gets no better
    report: str = "last"  # or "best": the epoch whose metric is told
    search: Mapping[str, Parameter] = field(default_factory=dict)  # found in params.extra
    name: str = ""  # given by the loader
    fingerprint: dict[str, str] = field(default_factory=dict)
    compiled: bool = field(default=False, init=False)  # by us
    notes: tuple[str, ...] = field(default=(), init=False)
    behaviour: Mapping[str, Any] = field(default_factory=dict)  # given by the loader

    @property
    def batch_sizes(self) -> tuple[int, int | None]:
        """The least and the largest batch size: all training examples, where they are known."""
        return 1, self.n_train

    def __call__(self, params: TrialParams, run: Run) -> None:
        from batchfront.objectives.device.randomness import seed_everything

        seed_everything(params.seed)
        if not params.planned.is_plain:
            run.wants_steps = _steps_of(params, self.n_train)
        self.function(params, run)

    def predict_peak_bytes(
        self, batch_size: int, values: Mapping[str, Value] | None = None
    ) -> None:
        """A loop of your own cannot be predicted, only probed."""


def _steps_of(params: TrialParams, n_train: int | None) -> int | None:
    """The steps that a loop has to announce; None where the loop alone knows its examples."""
    known = n_train is not None or params.planned.unit != "epochs"
    return params.total_steps(n_train) if known else None
