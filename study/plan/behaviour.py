"""Whether the training code still does what it did: compared by what it does, not by its text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from batchfront.study.errors import StudyError
from batchfront.study.plan.agreement import AGREEMENT, BEHAVIOUR

if TYPE_CHECKING:
    from optuna import Study

    from batchfront.objectives.objective import Objective

ACCEPTED = "batchfront_accepted_changes"  # study attribute: a list, the latest last
TOLERANCE = 1e-3  # relative: sums in another order differ by less, edits by more


def check_behaviour(study: Study, objective: Objective, *, accept: bool) -> None:
    """Raise StudyError where a study's code was changed; where that is wanted, record it.

    Studies of older formats did not store how their code behaves, and are not asked.
    """
    stored, now = _stored(study), objective.behaviour
    changed = changes(stored, now) if stored is not None and not _differing(stored, now) else []
    if not changed:
        return
    if not accept:
        raise StudyError(
            f"study {study.study_name!r} was made with other training code "
            f"({'; '.join(changed)}): results would not be comparable, choose another "
            "--study-name, or go on with --accept-change"
        )
    n_trials = len(study.get_trials(deepcopy=False))
    earlier = study.user_attrs.get(ACCEPTED, [])
    entry = {"from_trial": n_trials, "what": changed, BEHAVIOUR: dict(now)}
    study.set_user_attr(ACCEPTED, [*earlier, entry])


def behaviour_notes(study: Study, objective: Objective) -> list[str]:
    """What a person should know: changes that were accepted, or that cannot be told from others."""
    notes = [
        f"trials from {entry['from_trial']} on ran with changed code ({'; '.join(entry['what'])})"
        for entry in study.user_attrs.get(ACCEPTED, [])
    ]
    stored, now = _stored(study), objective.behaviour
    if stored is not None and _differing(stored, now) and changes(stored, now):
        versions = ", ".join(
            f"{key} {stored[key]}, here {now[key]}" for key in _differing(stored, now)
        )
        notes.append(f"the training code gives other numbers, maybe by its version ({versions})")
    return notes


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """What differs between two behaviours, in words."""
    found = []
    if not _near(before.get("loss"), after.get("loss")):
        found.append(f"the loss of a fixed batch was {before.get('loss')}, now {after.get('loss')}")
    norms = list(before.get("gradient_norms", [])), list(after.get("gradient_norms", []))
    n_off = sum(not _near(a, b) for a, b in zip(*norms, strict=False))
    if n_off or len(norms[0]) != len(norms[1]):
        found.append(f"{n_off or len(norms[1])} of {len(norms[1])} gradients differ")
    rates = [[r for step in one.get("learning_rates", []) for r in step] for one in (before, after)]
    if len(rates[0]) != len(rates[1]) or not all(map(_near, *rates)):
        found.append("the scheduler of the learning rate differs")
    files = before.get("files", {}), after.get("files", {})
    for name in sorted({*files[0], *files[1]}):
        if files[0].get(name) != files[1].get(name):
            how = "new" if name not in files[0] else "gone" if name not in files[1] else "changed"
            found.append(f"{name} is {how}")
    return found


def _stored(study: Study) -> Mapping[str, Any] | None:
    accepted = study.user_attrs.get(ACCEPTED)
    record: Mapping[str, Any] = accepted[-1] if accepted else study.user_attrs[AGREEMENT]
    return record.get(BEHAVIOUR)


def _differing(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """The versions that differ, which may be why numbers or syntax trees do."""
    both = [key for key in ("torch", "python") if key in before and key in after]
    return [key for key in both if before[key] != after[key]]


def _near(before: float | None, after: float | None) -> bool:
    if before is None or after is None:
        return before is after
    return abs(before - after) <= TOLERANCE * max(abs(before), abs(after), 1e-6)
