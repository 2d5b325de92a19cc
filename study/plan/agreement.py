"""What must not change within a study, and what is said when it would."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from batchfront.objectives.meters.early_stopping import REPORTS, EarlyStopping, Ending
from batchfront.study.errors import StudyError
from batchfront.study.plan.space import SearchSpace
from batchfront.study.trials.attributes import AGREEMENT as AGREEMENT
from batchfront.study.trials.attributes import IMPORTED as IMPORTED

if TYPE_CHECKING:
    from optuna import Study

    from batchfront.objectives.objective import Objective
    from batchfront.study.plan.plan import Plan

DEFAULTS = "batchfront_defaults"  # study attribute: what a resume uses unless told otherwise
KEPT = "kept"  # in the same: attributes of its trials that no other study has
FORMAT = 3  # 1 did not record architecture, loss and source, 2 not how the code behaves
BEHAVIOUR = "behaviour"  # in the record: compared by its numbers, see study/plan/behaviour.py
BY_TEXT = ("architecture", "loss", "source")  # what was compared before there was a behaviour
DIRECTIONS: tuple[Literal["maximize", "minimize"], ...] = ("maximize", "minimize", "minimize")


def agreement_of(plan: Plan, objective: Objective) -> dict[str, Any]:
    budgets = plan.budgets.as_dict()
    return {
        "format": FORMAT,
        "task": plan.task,
        "objectives": list(plan.metric_names),
        "space": plan.space.as_dict(),
        "epochs": plan.epochs,
        **({"budgets": budgets} if budgets else {}),
        **stored_ending(plan.ending),
        **objective.fingerprint,
        BEHAVIOUR: dict(objective.behaviour),
    }


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


def compare(study: Study, asked: dict[str, Any]) -> None:
    """Optuna ignores directions and ranges of an existing study, so we compare them ourselves."""
    stored = study.user_attrs[AGREEMENT]
    found = [direction.name.lower() for direction in study.directions]
    differences = []
    if found != list(DIRECTIONS):
        differences.append(f"directions ({', '.join(found)}, now {', '.join(DIRECTIONS)})")
    ending = {key: asked[key] for key in ("early_stopping", "report") if key in asked}
    known = {**stored, **(ending if stored.get("format", 1) < 2 else asked)}
    told_by_behaviour = BY_TEXT if stored.get(BEHAVIOUR) else ()
    for key in known:
        if key in ("format", BEHAVIOUR, *told_by_behaviour):
            continue
        if stored.get(key) != asked.get(key):
            differences.append(f"{key} ({_short(stored.get(key))}, now {_short(asked.get(key))})")
    if differences:
        raise StudyError(
            f"study {study.study_name!r} was made with other {'; '.join(differences)}: "
            "results would not be comparable, choose another --study-name"
        )


def _short(value: Any) -> str:
    if isinstance(value, dict) and "learning_rates" in value:
        return str(SearchSpace.from_dict(value))
    if value is None:
        return "none"
    return value if isinstance(value, str) else json.dumps(value)


def refuse_other_recipe(study: Study, objective: Objective) -> None:
    """Raise StudyError where the objective trains otherwise: its costs are not the study's."""

    stored = study.user_attrs[AGREEMENT].get("recipe")
    asked = objective.fingerprint.get("recipe")
    if stored != asked:
        raise StudyError(
            f"study {study.study_name!r} was made with another recipe ({stored or 'none'}, now "
            f"{asked or 'none'}): its runs cost something else, choose another --study-name"
        )
