"""What must not change within a study, and what is said when it would."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from batchfront.objectives.length import UNITS, Length
from batchfront.objectives.meters.early_stopping import REPORTS, EarlyStopping, Ending
from batchfront.study.errors import StudyError
from batchfront.study.plan.budgets import Budgets
from batchfront.study.plan.space import SearchSpace
from batchfront.study.trials.attributes import AGREEMENT as AGREEMENT
from batchfront.study.trials.attributes import IMPORTED as IMPORTED
from batchfront.study.trials.attributes import STORED_METRIC
from batchfront.study.trials.yardstick import metric_of_record, stored_metric

if TYPE_CHECKING:
    from optuna import Study

    from batchfront.objectives.objective import Objective
    from batchfront.study.plan.plan import Plan

DEFAULTS = "batchfront_defaults"  # study attribute: what a resume uses unless told otherwise
KEPT = "kept"  # in the same: attributes of its trials that no other study has
FORMAT = 5
"""1 did not record architecture, loss and source, 2 not how the code behaves; up to 3 trials held
the logarithm of the batch size, up to 4 a budget on memory was one on the model's peak."""
BEHAVIOUR = "behaviour"  # in the record: compared by its numbers, see study/plan/behaviour.py
SHOWN = 230  # letters of all values that differ
CODE = ("data", "table", "model", "architecture", "loss", "optimizer", "scheduler", "source")
"""What a record says of what trains: study/plan/behaviour.py compares it."""


def agreement_of(plan: Plan, objective: Objective) -> dict[str, Any]:
    budgets = plan.budgets.as_dict()
    return {
        "format": FORMAT,
        "task": plan.task,
        "objectives": list(plan.metric_names),
        **stored_metric(plan.metric),
        "space": plan.space.as_dict(),
        **plan.length.as_record(),
        **({"budgets": budgets} if budgets else {}),
        **stored_ending(plan.ending),
        **objective.fingerprint,
        BEHAVIOUR: dict(objective.behaviour),
    }


def budgets_in(stored: Mapping[str, Any], asked: Budgets) -> Budgets:
    """The budgets in a study's record, or those asked for, held against what its own are."""
    limits: dict[str, Any] = {**stored.get("budgets", {}), **asked.as_dict()}
    return Budgets(**limits, of_device=stored.get("format", 1) >= 5)


def check_record(study: Study) -> None:
    """Raise StudyError for a record that no version of ours has written: all else relies on it."""
    record = study.user_attrs[AGREEMENT]
    try:
        sizes = SearchSpace.from_dict(record["space"]).batch_sizes
        ending_in(record)
        length = Length.from_record(record)
        sound = all(
            (
                {type(one) for one in (*sizes, record.get("format", 1))} == {int},
                len(sizes) > 0,
                isinstance(record["task"], str),
                isinstance(record["objectives"], list),
                isinstance(record["epochs"], int | None),
                length is None or _is_whole(length),
            )
        )
    except (AttributeError, KeyError, TypeError, ValueError):
        sound = False
    if not sound:
        raise StudyError(
            f"the record of study {study.study_name!r} is damaged: restore a copy of its storage, "
            "or choose another --study-name"
        )


def _is_whole(length: Length) -> bool:
    known = length.amount, length.points, length.tokens_per_example or 1
    return all(type(number) is int and number > 0 for number in known)


def stored_ending(ending: Ending) -> dict[str, Any]:
    """What differs from a run to its last epoch, which is told: as in every older study."""
    rule = ending.early_stopping
    return {
        **({} if rule is None else {"early_stopping": rule.as_dict()}),
        **({} if ending.report == REPORTS[0] else {"report": ending.report}),
    }


def ending_in(stored: Mapping[str, Any]) -> Ending:
    """The ending in a study's record."""
    return Ending(
        early_stopping=EarlyStopping.from_dict(stored.get("early_stopping")),
        report=stored.get("report", REPORTS[0]),
    )


def compare(study: Study, asked: dict[str, Any], directions: Sequence[str]) -> None:
    """Raise StudyError where settings differ: Optuna ignores those of an existing study."""
    stored = study.user_attrs[AGREEMENT]
    found = [direction.name.lower() for direction in study.directions]
    differences: dict[str, tuple[str, str]] = {}
    if found != list(directions):
        differences["directions"] = ", ".join(found), ", ".join(directions)
    ending = {key: asked[key] for key in ("early_stopping", "report") if key in asked}
    length = {key: asked[key] for key in (*UNITS, "evaluations") if key in asked}
    known = {**stored, **length, **(ending if stored.get("format", 1) < 2 else asked)}
    for key in known:
        if key in ("format", BEHAVIOUR, *CODE):
            continue
        if stored.get(key) != asked.get(key):
            differences[key] = _short(stored.get(key)), _short(asked.get(key))
    if STORED_METRIC in differences:  # which says it all
        differences[STORED_METRIC] = _metric_in(stored), _metric_in(asked)
        differences = {
            k: v for k, v in differences.items() if k not in ("directions", "objectives")
        }
    if differences:
        each = SHOWN // (2 * len(differences))  # all are named, however long they are
        said = [
            f"{key} ({cut(before, each)}, now {cut(now, each)})"
            for key, (before, now) in differences.items()
        ]
        raise StudyError(
            f"study {study.study_name!r} was made with other {'; '.join(said)}: "
            "results would not be comparable, choose another --study-name"
        )


def _metric_in(record: Mapping[str, Any]) -> str:
    metric = metric_of_record(record)
    if metric is None:
        return str(record["objectives"][0])
    bound = "" if metric.bound is None else f" to {metric.bound:g} at best"
    return f"{metric} {metric.direction}d{bound}"


def _short(value: Any) -> str:
    if isinstance(value, dict) and "learning_rates" in value:
        return str(SearchSpace.from_dict(value))
    if value is None:
        return "none"
    return value if isinstance(value, str) else json.dumps(value)


def cut(text: str, letters: int) -> str:
    """A text of at most so many letters."""
    return text if len(text) <= letters else f"{text[: max(letters - 1, 1)]}…"


def refuse_other_recipe(study: Study, objective: Objective) -> None:
    """Raise StudyError where the objective trains otherwise: its costs are not the study's."""

    stored = study.user_attrs[AGREEMENT].get("recipe")
    asked = objective.fingerprint.get("recipe")
    if stored != asked:
        raise StudyError(
            f"study {study.study_name!r} was made with another recipe ({stored or 'none'}, now "
            f"{asked or 'none'}): its runs cost something else, choose another --study-name"
        )
