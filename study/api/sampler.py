"""The default sampler, for an Optuna study of one's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import TYPE_CHECKING, Any

from batchfront.objectives.device.hardware import device_memory_bytes
from batchfront.study.errors import StudyError
from batchfront.study.plan.budgets import Budgets
from batchfront.study.plan.limits import Limits
from batchfront.study.plan.options import options
from batchfront.study.plan.space import SearchSpace
from batchfront.study.search.cost_aware import CostAwareSampler as Inner
from batchfront.study.search.forwarding import Forwarding
from batchfront.study.trials.attributes import BATCH_SIZE
from batchfront.study.trials.costs import Costs, SizeCost
from batchfront.study.trials.yardstick import metric_in

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial


class CostAwareSampler(Forwarding):
    """Draws `batch_size` and `learning_rate` of a study whose values are metric, seconds, bytes.

    The objective calls `trial.suggest_int("batch_size", low, high, log=True)` and
    `trial.suggest_float("learning_rate", low, high, log=True)`, with the ends that are given here.
    What else it suggests is drawn at random. Pruned trials say nothing, and failed ones neither.
    """

    def __init__(
        self,
        *,
        batch_sizes: str | Sequence[int] = "8:512",
        learning_rates: str | tuple[float, float] = "1e-4:3",
        costs: Mapping[int, tuple[float, float]] | None = None,
        seed: int = 0,
    ) -> None:
        """Say what is searched.

        Args:
            batch_sizes: "16:512" (powers of two), or a list of them.
            learning_rates: the lowest and the highest.
            costs: seconds and bytes of a whole run by batch size, where they are known, as
                `batchfront probe` measures them; other sizes are learned from trials.
            seed: of the draws, which depend on it, the trial's number and the study so far.
        """
        space = SearchSpace(
            batch_sizes=options()["batch_sizes"].valued(batch_sizes),
            learning_rates=options()["learning_rates"].valued(learning_rates),
        )
        self._costs = {size: _cost(size, *known) for size, known in (costs or {}).items()}
        super().__init__(Inner(space=space, seed=seed, hardware="", limits=self._limits))

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """The two that it draws.

        Raises:
            StudyError: the study has other values.
        """
        if len(study.directions) != 3 or {d.name for d in study.directions[1:]} != {"MINIMIZE"}:
            found = ", ".join(direction.name.lower() for direction in study.directions)
            raise StudyError(
                f"the study has the directions {found}, wanted those of a metric, of seconds and "
                "of bytes: [..., 'minimize', 'minimize']"
            )
        if metric_in(study).maximize != (study.directions[0].name == "MAXIMIZE"):
            raise StudyError(
                "the first value is minimized and has no name: call "
                "study.set_metric_names(['val_loss', 'train_seconds', 'peak_memory_bytes'])"
            )
        return self.inner.infer_relative_search_space(study, trial)

    def _limits(self, study: optuna.Study) -> Limits:
        return Limits(
            costs={**_learned(study), **self._costs},
            budgets=Budgets(),
            failed_size=None,
            device_bytes=device_memory_bytes("cpu"),
        )


def _learned(study: optuna.Study) -> Costs:
    """The medians of what the trials of each size took."""
    told: dict[int, list[Any]] = {}
    for trial in study.get_trials(deepcopy=False):
        if trial.state.name == "COMPLETE" and BATCH_SIZE in trial.params:
            told.setdefault(int(trial.params[BATCH_SIZE]), []).append(trial.values[1:])
    return {
        size: _cost(size, *(median(values) for values in zip(*some, strict=True)))
        for size, some in told.items()
    }


def _cost(size: int, seconds: float, peak_bytes: float) -> SizeCost:
    """A size whose whole run is one step."""
    return SizeCost(
        batch_size=size,
        step_seconds=seconds,
        peak_memory_bytes=int(peak_bytes),
        predicted_peak_memory_bytes=None,
        total_steps=1,
    )
