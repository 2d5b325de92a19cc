"""An objective that another process has loaded: all that a launcher must know of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, NoReturn

from batchfront.objectives.fused.together import Together
from batchfront.objectives.length import Length
from batchfront.objectives.metric import Metric
from batchfront.objectives.parameter import Parameter, Value
from batchfront.objectives.training.recipe import PLAIN, Recipe
from batchfront.study.plan.space import SearchSpace
from batchfront.study.trials.growing import can_adapt

if TYPE_CHECKING:
    from batchfront.objectives.measurement import TrialParams
    from batchfront.objectives.objective import Objective
    from batchfront.objectives.run import Run


@dataclass(frozen=True, kw_only=True)
class Elsewhere:
    """What an `Objective` says of itself, without model, data, or code of the user's."""

    name: str
    metric: Metric | str | None
    default_epochs: int
    n_train: int | None
    tokens_per_example: int | None
    max_epochs: int | None
    recorded: Length | None
    whole_epochs: bool
    batch_sizes: tuple[int, int | None]
    search: Mapping[str, Parameter]
    compiled: bool
    notes: tuple[str, ...]
    fingerprint: dict[str, str]
    behaviour: Mapping[str, Any]
    recipe: Recipe = PLAIN
    why_least: str = ""
    usual_rates: tuple[float, float] = SearchSpace.learning_rates
    recorded_sizes: tuple[int, ...] = ()
    can_adapt: bool
    can_fuse: bool

    @classmethod
    def of(cls, objective: Objective) -> Elsewhere:
        """What it says, ready to be sent to another process."""
        names = [one.name for one in fields(cls) if hasattr(objective, one.name)]
        said = {name: getattr(objective, name) for name in names}
        if isinstance(objective.metric, Metric):
            said["metric"] = replace(objective.metric, function=None)  # which may be the user's
        return cls(**said, can_adapt=can_adapt(objective), can_fuse=_can_fuse(objective))

    def predict_peak_bytes(
        self, batch_size: int, values: Mapping[str, Value] | None = None
    ) -> NoReturn:
        raise AssertionError(f"{self.name} is loaded in another process")

    def __call__(self, params: TrialParams, run: Run) -> NoReturn:
        raise AssertionError(f"{self.name} is loaded in another process")


def adapts(objective: Objective) -> bool:
    """Whether its runs can be given a schedule of batch sizes that adapts to the loss."""
    return objective.can_adapt if isinstance(objective, Elsewhere) else can_adapt(objective)


def fuses(objective: Objective) -> bool:
    """Whether its runs can be trained together, for all that is known yet."""
    return objective.can_fuse if isinstance(objective, Elsewhere) else _can_fuse(objective)


def _can_fuse(objective: Objective) -> bool:
    return Together(objective).is_possible
