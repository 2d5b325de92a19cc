"""Keeps wall times comparable: which hardware a study has been timed on, and what sizes cost there.

Every hardware has study attributes of its own, so that two machines never overwrite each other's.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from batchfront.objectives.device.hardware import hardware
from batchfront.study.errors import StudyError
from batchfront.study.trials.attributes import (
    HARDWARE,
    OWN_CLOCK,
    UNPROBED,
    batch_size_of,
    phases_of,
    steps_taken,
)
from batchfront.study.trials.costs import Costs, from_stored, to_stored
from batchfront.study.trials.growing import cost_of, first_steps
from batchfront.study.trials.repeats import median_front
from batchfront.study.trials.yardstick import Objectives

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial


FINGERPRINT = "batchfront_hardware:"  # + id
COSTS = "batchfront_costs:"  # + id
PROBING = "batchfront_probing_seconds:"  # + id


def hardware_id(fingerprint: dict[str, str]) -> str:
    """Short and stable."""
    text = json.dumps(fingerprint, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def known_hardware(study: Study) -> dict[str, dict[str, str]]:
    """Fingerprints by id."""
    return {
        key.removeprefix(FINGERPRINT): value
        for key, value in study.user_attrs.items()
        if key.startswith(FINGERPRINT)
    }


def ran_on(study: Study, hardware: str) -> Callable[[FrozenTrial], bool]:
    """Whether a trial ran on that hardware.

    Versions that did not record it belong to the first that is known: theirs was the only one.
    """
    first = next(iter(known_hardware(study)), hardware)
    return lambda trial: bool(trial.user_attrs.get(HARDWARE, first) == hardware)


def check_hardware(study: Study, device: str, *, mixed: bool) -> None:
    """Raise StudyError when the study was timed on other hardware only, unless that is wanted."""
    here = hardware(device)
    known = known_hardware(study)
    if mixed or not known or hardware_id(here) in known:
        return
    there = next(iter(known.values()))
    differing = "; ".join(
        f"{key}: {there.get(key, 'none')}, here {here.get(key, 'none')}"
        for key in dict.fromkeys([*there, *here])
        if there.get(key) != here.get(key)
    )
    raise StudyError(
        f"study {study.study_name!r} was timed on other hardware ({differing}): wall times do not "
        "compare; --mixed-hardware keeps a front for each, or choose another --study-name"
    )


def stored_costs(study: Study, hardware: str) -> Costs:
    """What sizes cost on that hardware; empty when nobody has probed it."""
    return from_stored(study.user_attrs.get(COSTS + hardware, []))


def store_costs(study: Study, hardware: str, costs: Costs) -> None:
    """Replace what sizes cost on that hardware."""
    study.set_user_attr(COSTS + hardware, to_stored(costs))


def probing_seconds(study: Study, hardware: str) -> float | None:
    """What it took to probe the sizes there before the search; None where nobody wrote it down."""
    found: float | None = study.user_attrs.get(PROBING + hardware)
    return found


def all_probing_seconds(study: Study) -> float:
    """The seconds that all probes of a study took, on any hardware, as far as they are known."""
    known = (value for key, value in study.user_attrs.items() if key.startswith(PROBING))
    return float(sum(known))


def hardware_name(fingerprint: dict[str, str]) -> str:
    """The GPU's or the CPU's name."""
    return fingerprint.get("gpu") or fingerprint.get("cpu") or "unknown hardware"


def by_hardware(study: Study, trials: Iterable[FrozenTrial]) -> dict[str, list[FrozenTrial]]:
    """Trials grouped by what they ran on; titles are "" when that is one and the same.

    Completed ones come at what their size is known to cost today. Trials of versions that did not
    record their hardware belong to the first one recorded.
    """
    groups = by_hardware_id(study, trials)
    if len(groups) == 1:
        return {"": next(iter(groups.values()))}
    return {hardware_title(study, id_): some for id_, some in groups.items()}


def by_hardware_id(study: Study, trials: Iterable[FrozenTrial]) -> dict[str, list[FrozenTrial]]:
    """The trials grouped as `by_hardware` groups them, by the ids of their hardware."""
    known = known_hardware(study)
    first = next(iter(known), "")
    groups: dict[str, list[FrozenTrial]] = {id_: [] for id_ in known} or {"": []}
    costs = {id_: stored_costs(study, id_) for id_ in groups}
    for trial in trials:
        id_ = trial.user_attrs.get(HARDWARE, first)
        groups.setdefault(id_, []).append(at_known_cost(trial, costs.get(id_, {})))
    return groups


def at_known_costs(study: Study, trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
    """The trials in order, completed ones at what their size is known to cost today."""
    groups = by_hardware_id(study, trials).values()
    return sorted((trial for some in groups for trial in some), key=lambda trial: trial.number)


def hardware_title(study: Study, id_: str) -> str:
    """What a hardware is called where there are several."""
    return f"{hardware_name(known_hardware(study).get(id_, {}))} [{id_}]"


def at_known_cost(trial: FrozenTrial, costs: Costs) -> FrozenTrial:
    """A completed trial with the time and the memory that its steps are known to cost.

    What was told is final in Optuna. Where a size has been probed again since, its older trials
    would differ from its newer ones in time, and a worse one could stay on the front.
    """
    n_steps = steps_taken(trial)
    if trial.state.name != "COMPLETE" or UNPROBED in trial.user_attrs or n_steps is None:
        return trial
    phases = first_steps(phases_of(trial), n_steps)
    cost = cost_of(phases, costs) if phases else costs.get(batch_size_of(trial.params))
    if cost is None or cost.step_seconds is None or cost.peak_memory_bytes is None:
        return trial
    timed_itself = OWN_CLOCK in trial.user_attrs
    seconds = trial.values[1] if timed_itself else cost.step_seconds * n_steps
    known = copy.copy(trial)
    known.values = [trial.values[0], seconds, float(cost.peak_memory_bytes)]
    return known


def fronts_by_hardware(study: Study, trials: Iterable[FrozenTrial]) -> dict[str, list[FrozenTrial]]:
    """One Pareto front for each hardware, of the study's sound trials; of a setting that was
    repeated with several seeds the median stands on it."""
    groups = by_hardware(study, trials)
    names = Objectives.of(study)
    return {name: median_front(some, names) for name, some in groups.items()}
