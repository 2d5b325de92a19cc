"""Which trials of a study are ours, with nothing in them that we could not use.

Anybody can add trials to a study and edit them through Optuna. Whoever reads trials reads them from
here, so that all agree on which ones there are; the others are foreign, and set aside.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from batchfront.objectives.length import UNITS, Length
from batchfront.objectives.measurement import TO_TARGET
from batchfront.objectives.parameter import Parameter
from batchfront.study.trials.attributes import (
    AGREEMENT,
    BATCH_SIZE,
    CURVE,
    DEATHS,
    DIAGNOSED,
    FAIL_REASON,
    HARDWARE,
    IMPORTED,
    LOG2_BATCH_SIZE,
    MEMORY_OFF,
    OWNER,
    PAUSED,
    PHASES,
    PREDICTED,
    PRUNER_STATE,
    PURPOSE,
    REASON,
    ROOT,
    RUN_LENGTH,
    SCALED,
    SCHEDULE,
    SIZE_NAMES,
    SO_FAR,
    SPARED,
    THAW,
    VERDICT,
    has_batch_size,
    id_of,
)
from batchfront.study.trials.kept import HOW
from batchfront.study.trials.paused import superseded

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

    Check = Callable[[Any], bool]

NUMBERS = {int, float}  # nearly all are just that, and the type alone is quickly looked up
MOST_EXAMPLES = 2**40  # of a batch; more is a slip of whoever wrote it


def _is_number(value: Any) -> bool:
    if type(value) in NUMBERS:
        return True
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_positive(value: Any) -> bool:
    return (type(value) in NUMBERS or _is_number(value)) and 0 < value < math.inf


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_dict(value: Any) -> bool:
    return isinstance(value, dict)


def _are_numbers(value: Any) -> bool:
    if not isinstance(value, list):
        return False
    return set(map(type, value)) <= NUMBERS or all(map(_is_number, value))


def _are_known(value: Any) -> bool:
    return isinstance(value, list) and all(one is None or _is_number(one) for one in value)


def _are_phases(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(one, list) and len(one) == 3 and all(map(_is_positive, one)) for one in value
    )


def _is_owner(value: Any) -> bool:
    return _is_dict(value) and _is_count(value.get("pid"))


def _is_length(value: Any) -> bool:
    try:
        length = Length(**value)
    except TypeError:
        return False
    known = length.amount, length.points, length.n_train or 1, length.tokens_per_example or 1
    return length.unit in UNITS and all(type(one) is int and one > 0 for one in known)


CHECKS: Mapping[str, Check] = {
    **dict.fromkeys((VERDICT, REASON, FAIL_REASON, SCHEDULE, PURPOSE, HARDWARE), _is_text),
    **dict.fromkeys((ROOT, DEATHS, PAUSED, THAW), _is_count),
    **dict.fromkeys((SCALED, "epochs", "total_steps"), _is_positive),
    **dict.fromkeys((SPARED, PRUNER_STATE), _is_dict),
    **dict.fromkeys(
        (
            "steps", "measured_seconds", "process_seconds", "planned_train_seconds", "time_off",
            MEMORY_OFF,
            "train_loss", "best_metric", "test_metric", "generalization_gap", "n_spikes",
            *DIAGNOSED, *TO_TARGET,
        ),
        _is_number,
    ),
    RUN_LENGTH: _is_length, CURVE: _are_numbers, SO_FAR: _are_known, PHASES: _are_phases,
    OWNER: _is_owner,
}  # fmt: skip
"""What the attributes are made of that somebody computes with. NaN is a number: of a loss, say."""
DECISIVE = {
    ROOT, SO_FAR, PAUSED, THAW, FAIL_REASON, DEATHS, PREDICTED, *HOW, "fixed_params", "constraints",
}  # fmt: skip
"""What counting trials and their checkpoints asks for, and judging them besides a check of each."""
RECORDED = {CURVE, SO_FAR, "epochs", "total_steps", *TO_TARGET}  # of these, in imported runs


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What the trials of one study look like."""

    n_objectives: int
    batch_sizes: tuple[int, ...] | None  # as trials hold them; None: recorded runs, of any size
    size_name: str  # of the parameter that holds them
    search: Mapping[str, Parameter]  # the task's own parameters

    @staticmethod
    def of(study: Study) -> Rules:
        """The rules that a study's record sets."""
        record = study.user_attrs.get(AGREEMENT, {})
        space = None if IMPORTED in record else record.get("space")
        search = {} if space is None else space.get("search", {})
        batch_sizes, size_name = None, BATCH_SIZE
        if space is not None and "sizes" in space:
            batch_sizes = tuple(space["sizes"])
        elif space is not None:  # of format 3 or before
            low, high = (size.bit_length() - 1 for size in space["batch_sizes"])
            batch_sizes, size_name = tuple(range(low, high + 1)), LOG2_BATCH_SIZE
        return Rules(
            n_objectives=len(study.directions),
            batch_sizes=batch_sizes,
            size_name=size_name,
            search={name: Parameter.from_dict(value) for name, value in search.items()},
        )

    def settled(self, name: str, values: Collection[Any]) -> bool:
        """Whether no trial is foreign, or counts otherwise, for its value of an attribute.

        Such an attribute need not be looked at again, trial by trial.
        """
        if name in DECISIVE:
            return False
        constrains = name.startswith("constraints:")
        check = _is_number if constrains else self._checks_of_attributes.get(name)
        return check is None or all(map(check, values))

    def why_not(self, trial: FrozenTrial) -> str | None:
        """Why a trial is none of ours; None where it is."""
        asked = trial.params or trial.system_attrs.get("fixed_params", {})
        if not isinstance(asked, dict):
            return "fixed_params is no dict"
        return (
            self._wrong_with_params(trial, asked)
            or self._wrong_with_values(trial)
            or self._wrong_with_attributes(trial)
        )

    def _wrong_with_params(self, trial: FrozenTrial, asked: Mapping[str, Any]) -> str | None:
        checks, drawn = self._checks_of_params, trial.distributions
        for name, value in asked.items():
            if name not in checks:
                continue
            if not checks[name](value):
                return f"{name} is {value!r}"
            if name in drawn and self._is_of_other_kind(name, drawn[name]):
                return f"{name} is drawn in another way"
        if trial.state.name not in ("COMPLETE", "PRUNED"):
            return None  # it may have been lost before it had them, or has none yet
        missing = self._wanted - trial.params.keys()
        if self.batch_sizes is None and not missing and not has_batch_size(trial.params):
            missing = {BATCH_SIZE}
        return f"{min(missing)} is missing" if missing else None

    @cached_property
    def _wanted(self) -> set[str]:
        """Names of the parameters that a trial with a result has."""
        sizes = set() if self.batch_sizes is None else {self.size_name}
        return {"learning_rate", *self.search, *sizes}

    @cached_property
    def _checks_of_params(self) -> dict[str, Check]:
        own = {name: _within(parameter) for name, parameter in self.search.items()}
        sizes: dict[str, Check] = {
            BATCH_SIZE: lambda size: _is_positive(size) and size == int(size) <= MOST_EXAMPLES
        }
        if self.batch_sizes is not None:  # the other name is of another format
            known = set(self.batch_sizes)
            sizes = dict.fromkeys(SIZE_NAMES, lambda size: False)
            sizes[self.size_name] = lambda size: _is_number(size) and size in known
        return {**sizes, "learning_rate": _is_positive, **own}

    def _is_of_other_kind(self, name: str, found: BaseDistribution) -> bool:
        """Whether Optuna would refuse to go on with it: it compares kinds, and choices."""
        if self.batch_sizes is None:
            return False
        if isinstance(found, tuple):  # read at a glance: it is nothing else
            return found != self._kinds[name]
        choices = tuple(getattr(found, "choices", ()))
        kind = type(found).__name__, getattr(found, "log", False), choices
        return kind != self._kinds[name]

    @cached_property
    def _kinds(self) -> dict[str, tuple[str, bool, tuple[Any, ...]]]:
        return {name: self._kind_of(name) for name in (*SIZE_NAMES, "learning_rate", *self.search)}

    def _kind_of(self, name: str) -> tuple[str, bool, tuple[Any, ...]]:
        if name not in self.search:
            if name == LOG2_BATCH_SIZE:
                return "IntDistribution", False, ()
            return "IntDistribution" if name == BATCH_SIZE else "FloatDistribution", True, ()
        parameter = self.search[name]
        if parameter.choices:
            return "CategoricalDistribution", False, parameter.choices
        return f"{'Int' if parameter.is_whole else 'Float'}Distribution", parameter.log, ()

    def _wrong_with_values(self, trial: FrozenTrial) -> str | None:
        values = trial.values
        if values is None:
            return None
        if len(values) != self.n_objectives or not all(map(math.isfinite, values)):
            return f"its values are {values}"
        if self.batch_sizes is not None and min(values[1:], default=0.0) < 0:
            return f"its time or memory is negative: {values[1:]}"
        return None

    @cached_property
    def _checks_of_attributes(self) -> Mapping[str, Check]:
        if self.batch_sizes is not None:
            return CHECKS
        return {name: check for name, check in CHECKS.items() if name in RECORDED}

    def _wrong_with_attributes(self, trial: FrozenTrial) -> str | None:
        checks = self._checks_of_attributes
        for name, value in trial.user_attrs.items():
            if value is not None and name in checks and not checks[name](value):
                return f"{name} is {value!r:.60}"
        if trial.user_attrs.get(ROOT, 0) > trial.number:
            return f"{ROOT} is {trial.user_attrs[ROOT]}, a later trial"
        if len(trial.user_attrs.get(SO_FAR) or range(self.n_objectives)) != self.n_objectives:
            return f"{SO_FAR} is {trial.user_attrs[SO_FAR]}"
        if not all(map(_is_number, trial.constraints.values())):
            return f"its constraints are {trial.constraints}"
        return None


def _within(parameter: Parameter) -> Check:
    """A check of one of the task's own parameters."""
    if parameter.choices:
        kinds = {(type(choice), choice) for choice in parameter.choices}
        return lambda value: isinstance(value, str | int | float) and (type(value), value) in kinds
    low, high = parameter.low or 0.0, parameter.high or 0.0
    return lambda value: (
        _is_number(value)
        and low <= value <= high
        and (not parameter.is_whole or value == int(value))
    )


class SoundTrials:
    """Judges the trials of one study, those that are finished only once."""

    def __init__(self) -> None:
        self._rules: Rules | None = None
        self._judged: dict[int, str | None] = {}  # by id

    def of(self, study: Study) -> list[FrozenTrial]:
        """The trials of the study that are ours; of a run that was paused and taken up the last."""
        trials = study.get_trials(deepcopy=False)
        ours = [trial for trial in trials if self.why_not(study, trial) is None]
        gone = superseded(ours)
        return [trial for trial in ours if trial.number not in gone] if gone else ours

    def foreign_line(self, study: Study) -> str | None:
        """How many trials are set aside, and the most frequent reason; None where all are ours."""
        reasons = [self.why_not(study, trial) for trial in study.get_trials(deepcopy=False)]
        counted = Counter(why for why in reasons if why is not None)
        if not counted:
            return None
        n, (why, _) = counted.total(), counted.most_common(1)[0]
        those = "1 trial was set aside: it is" if n == 1 else f"{n} trials were set aside: they are"
        return f"{those} not as batchfront writes them ({why})"

    def why_not(self, study: Study, trial: FrozenTrial) -> str | None:
        """Why a trial of the study is foreign; None where it is ours."""
        known = id_of(trial)
        if known in self._judged:
            return self._judged[known]
        if self._rules is None:
            self._rules = Rules.of(study)
        why = self._rules.why_not(trial)
        if trial.state.is_finished():
            self._judged[known] = why
        return why


def sound_trials(study: Study) -> list[FrozenTrial]:
    """The trials of a study that are ours."""
    return SoundTrials().of(study)


def foreign_line(study: Study) -> str | None:
    """How many trials of a study are set aside, as `SoundTrials` says it."""
    return SoundTrials().foreign_line(study)
