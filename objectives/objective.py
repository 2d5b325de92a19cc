"""Anything that trains: what a study needs to know of it, and your own loop as one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from batchfront.objectives.measurement import TrialParams
from batchfront.objectives.meters.early_stopping import EarlyStopping
from batchfront.objectives.parameter import Parameter
from batchfront.objectives.run import Run
from batchfront.objectives.task import DEFAULT_EPOCHS


class Objective(Protocol):
    """Anything that trains once per call and reports to the run."""

    @property
    def name(self) -> str:
        """The name that is stored with the study."""

    @property
    def metric(self) -> str:
        """val_accuracy or val_r2."""

    @property
    def default_epochs(self) -> int:
        """Used when nobody asks for another number."""

    @property
    def max_epochs(self) -> int | None:
        """The most epochs that it can train for; None without a limit."""

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

    def predict_peak_bytes(self, batch_size: int) -> int | None:
        """Peak memory without running it; None where no prediction can be trusted."""

    def __call__(self, params: TrialParams, run: Run) -> None: ...


@dataclass(frozen=True, kw_only=True)
class CustomLoop:
    """Your own training loop, with what a bare function cannot say about itself."""

    function: Callable[[TrialParams, Run], None]
    metric: str = "val_accuracy"  # or "val_r2"
    default_epochs: int = DEFAULT_EPOCHS
    n_train: int | None = None
    max_epochs: int | None = field(default=None, init=False)
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
        self.function(params, run)

    def predict_peak_bytes(self, batch_size: int) -> None:
        """A loop of your own cannot be predicted, only probed."""
