"""All that a study's trials say about one hardware, as the answer needs it."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING

from batchfront.objectives.parameter import Parameter
from batchfront.study.answer.branches import Branch, branches_of
from batchfront.study.errors import StudyError
from batchfront.study.plan.agreement import DEFAULTS
from batchfront.study.plan.space import SearchSpace
from batchfront.study.search.encoding import Encoding
from batchfront.study.search.evidence import Evidence
from batchfront.study.search.observations import Observations
from batchfront.study.trials.attributes import (
    AGREEMENT,
    BATCH_SIZE,
    CONSTANT_METRIC,
    PURPOSE,
    SCHEDULE,
    SIZE_NAMES,
    batch_size_of,
    has_batch_size,
    is_feasible,
    is_finished,
    rate_of,
)
from batchfront.study.trials.costs import Costs
from batchfront.study.trials.hardware import by_hardware_id, hardware_title, stored_costs
from batchfront.study.trials.rows import RunRow, runs_of
from batchfront.study.trials.yardstick import Objectives, Yardstick

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial


CONFIRM = "confirm"  # purpose of the fresh runs of what was recommended: no evidence for it


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a whole run takes at one batch size; None where nobody knows."""

    train_seconds: float | None
    peak_memory_bytes: float | None


@dataclass(frozen=True, kw_only=True)
class Known:
    """What is known of one study on one hardware."""

    names: Objectives
    yardstick: Yardstick
    seen: Observations  # in standard values
    encoding: Encoding
    rates: tuple[float, float]  # the lowest and the highest that were tried
    costs: Mapping[int, Cost]  # by batch size, ascending: of all that may run
    broken: frozenset[int]  # sizes whose completed runs all broke a budget
    rows: Sequence[RunRow]  # of this hardware, in the metric's own values
    constant: float | None  # the metric of a constant prediction; None where nobody knows it
    target: float | None  # a value of the metric that runs should reach
    branches: Sequence[Branch]  # of a script's runs, on any hardware
    fresh: Sequence[FrozenTrial]  # of this hardware: they show what a promise was worth

    @property
    def n_completed(self) -> int:
        """How many runs have told a metric, on any hardware."""
        import numpy as np

        return int((~np.isnan(self.seen.metric)).sum())


def known_of(study: Study, trials: Sequence[FrozenTrial]) -> dict[str, Known]:
    """What is known, by hardware, whose title is "" where there is only one.

    Raises:
        StudyError: no metric was recorded.
    """
    names = Objectives.of(study)
    if names.metric is None:
        raise StudyError(
            f"study {study.study_name!r} holds no metric, only {', '.join(names)}: what to train "
            "with depends on one; import it with --metric"
        )
    yardstick = names.yardstick(trial for trial in trials if not _is_fresh(trial))
    search = _searched(study)
    known = [trial for trial in trials if _is_usable(trial, search)]
    usable = [trial for trial in known if not _is_fresh(trial)]
    fresh = by_hardware_id(study, filter(_is_fresh, known))
    groups = by_hardware_id(study, usable)
    return {
        hardware_title(study, id_) if len(groups) > 1 else "": replace(
            _on(usable, some, stored_costs(study, id_), names, yardstick, search),
            fresh=fresh.get(id_, []),
            target=study.user_attrs.get(DEFAULTS, {}).get("target"),
        )
        for id_, some in groups.items()
    }


def _is_fresh(trial: FrozenTrial) -> bool:
    return trial.user_attrs.get(PURPOSE) == CONFIRM


def _searched(study: Study) -> dict[str, Parameter]:
    record = study.user_attrs.get(AGREEMENT, {}).get("space") or {}
    return {name: Parameter.from_dict(p) for name, p in record.get("search", {}).items()}


def _is_usable(trial: FrozenTrial, search: Mapping[str, Parameter]) -> bool:
    """Whether it has ended and was trained as one of what is searched."""
    known = has_batch_size(trial.params) and {"learning_rate", *search} <= set(trial.params)
    return known and is_finished(trial) and SCHEDULE not in trial.user_attrs


def _on(
    everywhere: Sequence[FrozenTrial],
    here: Sequence[FrozenTrial],
    costs: Costs,
    names: Objectives,
    yardstick: Yardstick,
    search: Mapping[str, Parameter],
) -> Known:
    """What is known on one hardware: the metric does not depend on it, time and memory do."""
    numbers = {trial.number for trial in here}
    rates = [rate_of(trial) for trial in everywhere] or [1.0]
    sizes = sorted({batch_size_of(trial.params) for trial in everywhere} | set(costs)) or [1]
    space = SearchSpace(
        batch_sizes=tuple(sizes), learning_rates=(min(rates), max(rates)), search=search
    )
    encoding = Encoding(space)
    seen = Evidence(
        map(_as_trained, everywhere),
        encoding=encoding,
        costs={},
        is_here=lambda trial: trial.number in numbers,
        metric=yardstick.metric,
    ).observations()
    return Known(
        names=names,
        yardstick=yardstick,
        seen=seen if yardstick.knows_useless else replace(seen, worst=math.inf),
        encoding=encoding,
        rates=space.learning_rates,
        costs={size: _cost_of(size, here, costs, names) for size in sizes if _fits(size, costs)},
        broken=frozenset(size for size in sizes if _breaks_a_budget(size, here)),
        rows=runs_of(here, names),
        constant=_constant(everywhere),
        target=None,
        branches=branches_of(map(_as_trained, everywhere), encoding),
        fresh=[],
    )


def _constant(trials: Sequence[FrozenTrial]) -> float | None:
    told = [t.user_attrs[CONSTANT_METRIC] for t in trials if CONSTANT_METRIC in t.user_attrs]
    return median(told) if told else None


def _as_trained(trial: FrozenTrial) -> FrozenTrial:
    """The trial with the batch size and the rate that it was trained with, and its metric."""
    found = copy.copy(trial)
    found.params = {
        **{name: value for name, value in trial.params.items() if name not in SIZE_NAMES},
        BATCH_SIZE: batch_size_of(trial.params),
        "learning_rate": rate_of(trial),
    }
    if trial.values is not None:  # imported runs may have the metric alone
        found.values = [trial.values[0], 0.0, 0.0]
    return found


def _fits(size: int, costs: Costs) -> bool:
    return size not in costs or not costs[size].cannot_fit


def _breaks_a_budget(size: int, trials: Sequence[FrozenTrial]) -> bool:
    own = [t for t in trials if t.values and batch_size_of(t.params) == size]
    return bool(own) and not any(map(is_feasible, own))


def _cost_of(size: int, trials: Sequence[FrozenTrial], costs: Costs, names: Objectives) -> Cost:
    """What its completed runs took, in the median, else what its probe says."""
    own = [t.values for t in trials if t.values and batch_size_of(t.params) == size]
    probed = costs.get(size)
    known: dict[str, float | None] = {"train_seconds": None, "peak_memory_bytes": None}
    if probed is not None:
        known = {"train_seconds": probed.train_seconds, "peak_memory_bytes": probed.memory}
    for name in known:
        if name in names and own:
            known[name] = float(median(values[names.index(name)] for values in own))
    return Cost(**known)
