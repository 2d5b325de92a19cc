"""Whether what trains is still what it was: code by what it does, not by its text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from batchfront.study.errors import StudyError
from batchfront.study.plan.agreement import AGREEMENT, BEHAVIOUR, CODE, cut

if TYPE_CHECKING:
    from optuna import Study

    from batchfront.objectives.objective import Objective

ACCEPTED = "batchfront_accepted_changes"  # study attribute: a list, the latest last
TOLERANCE = 1e-3  # relative: sums in another order differ by less, edits by more
BY_TEXT = ("architecture", "loss", "scheduler", "source")  # compared where there is no behaviour
WORDS = {  # of hashes, which say nothing
    "data": "data",
    "table": "table",
    "model": "model (its parameters)",
    "architecture": "model (its layers)",
    "source": "training loop (the text of its file)",
}
SHOWN = 50  # letters of a name
COSTLY = ("data", "model", "optimizer")  # with another of these a run costs something else


def check_code(study: Study, objective: Objective, *, accept: bool) -> None:
    """Raise StudyError where a study's code or data was changed; where that is wanted, record it.

    Studies of older formats did not store how their code behaves, and are asked for what they did.
    """
    stored, now = _stored(study), _record_of(objective)
    changed = _differences(stored, now)
    if not changed:
        return
    if not accept:
        raise StudyError(
            f"study {study.study_name!r} was made with other {'; '.join(changed)}: results would "
            "not be comparable, choose another --study-name, or go on with --accept-change, which "
            "records it"
        )
    n_trials = len(study.get_trials(deepcopy=False))
    earlier = study.user_attrs.get(ACCEPTED, [])
    entry = {"from_trial": n_trials, "what": changed, **now}
    study.set_user_attr(ACCEPTED, [*earlier, entry])


def code_notes(study: Study, objective: Objective) -> list[str]:
    """What a person should know: changes that were accepted, or that cannot be told from others."""
    accepted = study.user_attrs.get(ACCEPTED, [])
    notes = [
        f"trials from {entry['from_trial']} on ran with other {'; '.join(entry['what'])}"
        for entry in accepted
    ]
    if any(what.startswith(COSTLY) for entry in accepted for what in entry["what"]):
        notes.append("what runs cost was measured before that: probe --again measures it anew")
    stored, now = _stored(study).get(BEHAVIOUR) or {}, objective.behaviour
    if stored and _versions(stored, now) and changes(stored, now):
        versions = ", ".join(
            f"{key} {stored[key]}, here {now[key]}" for key in _versions(stored, now)
        )
        notes.append(f"the training code gives other numbers, maybe by its version ({versions})")
    return notes


def _differences(stored: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs between two records, in words.

    Code behaves as it does on some data and with some weights: where these are others, the names
    of its parts are all that can be compared.
    """
    known = now if stored.get("format", 1) >= 2 else stored
    parts = [key for key in CODE if key in (*stored, *known)]
    off = [key for key in parts if stored.get(key) != now.get(key)]
    behaves: Mapping[str, Any] = stored.get(BEHAVIOUR) or {}
    by_behaviour = behaves and not {"data", "model"} & {*off}
    if "model" in off:
        off = [key for key in off if key != "architecture"]  # follows from it
    said = [
        WORDS.get(key) or f"{key} ({_named(stored, key)}, now {_named(now, key)})"
        for key in off
        if not (by_behaviour and key in BY_TEXT)
    ]
    if by_behaviour and not _versions(behaves, now[BEHAVIOUR]):
        said += changes(behaves, now[BEHAVIOUR])
    return list(dict.fromkeys(said))


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """What differs between two behaviours, in words: the first part that does, and files."""
    found = []
    norms = list(before.get("gradient_norms", [])), list(after.get("gradient_norms", []))
    n_off = sum(not _near(a, b) for a, b in zip(*norms, strict=False))
    if before and not after:
        found.append("training code (it draws random numbers that no seed reaches)")
    elif not _alike("weights", before, after):
        found.append("model (its first weights)")
    elif not _alike("output", before, after):
        found.append("model (its outputs of a fixed batch)")
    elif not _near(before.get("loss"), after.get("loss")):
        found.append(f"loss (of a fixed batch {before.get('loss')}, now {after.get('loss')})")
    elif n_off or len(norms[0]) != len(norms[1]):
        found.append(f"gradients ({n_off or len(norms[1])} of {len(norms[1])})")
    rates = [[r for step in one.get("learning_rates", []) for r in step] for one in (before, after)]
    if len(rates[0]) != len(rates[1]) or not all(map(_near, *rates)):
        found.append("scheduler (its learning rates)")
    files = before.get("files", {}), after.get("files", {})
    named = [
        name for name in sorted({*files[0], *files[1]}) if files[0].get(name) != files[1].get(name)
    ]
    return [*found, *(f"code ({name} is {_fate(name, *files)})" for name in named)]


def _named(record: Mapping[str, Any], key: str) -> str:
    return cut(str(record.get(key, "none")), SHOWN)


def _fate(name: str, before: Mapping[str, str], after: Mapping[str, str]) -> str:
    return "new" if name not in before else "gone" if name not in after else "changed"


def _record_of(objective: Objective) -> dict[str, Any]:
    """What is compared, as a record has it."""
    parts = {key: value for key, value in objective.fingerprint.items() if key in CODE}
    return {**parts, BEHAVIOUR: dict(objective.behaviour)}


def _stored(study: Study) -> Mapping[str, Any]:
    """What was recorded, or accepted since."""
    record, accepted = study.user_attrs[AGREEMENT], study.user_attrs.get(ACCEPTED)
    return {**record, **(accepted[-1] if accepted else {})}


def _alike(key: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Whether a number is the same where both have it."""
    return key not in before or key not in after or _near(before[key], after[key])


def _versions(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """The versions that differ, which may be why numbers or syntax trees do."""
    both = [key for key in ("torch", "python") if key in before and key in after]
    return [key for key in both if before[key] != after[key]]


def _near(before: float | None, after: float | None) -> bool:
    if before is None or after is None:
        return before is after
    return abs(before - after) <= TOLERANCE * max(abs(before), abs(after), 1e-6)
