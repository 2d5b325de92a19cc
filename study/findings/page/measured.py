"""What was measured, on what, and the command that does it again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from batchfront.objectives.length import Length
from batchfront.objectives.training.recipe import PLAIN
from batchfront.study.commands import command
from batchfront.study.plan.agreement import AGREEMENT, DEFAULTS, IMPORTED
from batchfront.study.plan.recipe import recipe_in
from batchfront.study.plan.sizes import is_powers
from batchfront.study.plan.space import SearchSpace
from batchfront.study.show import counted
from batchfront.study.trials.attributes import PURPOSE
from batchfront.study.trials.hardware import hardware_name, known_hardware, stored_costs

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

SEARCH = ("sampler", "pruner", "seed")


def measured_rows(study: Study, trials: Sequence[FrozenTrial]) -> list[tuple[str, str]]:
    """Pairs of what and how; of recorded runs only what their study holds."""
    record = study.user_attrs[AGREEMENT]
    if IMPORTED in record:
        return []
    found = [("Hardware", _hardware(study, id_)) for id_ in known_hardware(study)]
    trained = [record[name] for name in ("optimizer", "loss") if record.get(name)]
    if trained:
        found.append(("Training", ", ".join(map(str, trained))))
    defaults = study.user_attrs.get(DEFAULTS, {})
    names = [name for name in SEARCH if name in defaults]
    if names:
        found.append(("Search", ", ".join(f"{name} {defaults[name]}" for name in names)))
    if recipe_in(record) == PLAIN and len(names) == len(SEARCH) and "scale" not in record["space"]:
        n_searched = sum(PURPOSE not in trial.user_attrs for trial in trials)
        found.append(("The same again", _again(study.study_name, record, defaults, n_searched)))
    return found


def _hardware(study: Study, id_: str) -> str:
    """`AMD EPYC, 1 thread, torch 2.13.0, 10 batch sizes probed`."""
    fingerprint = known_hardware(study)[id_]
    parts = [hardware_name(fingerprint)]
    if "threads" in fingerprint:
        parts.append(counted(int(fingerprint["threads"]), "thread"))
    if "torch" in fingerprint:
        parts.append(f"torch {fingerprint['torch']}")
    parts.append(f"{counted(len(stored_costs(study, id_)), 'batch size')} probed")
    return ", ".join(parts)


def _again(name: str, record: Mapping[str, Any], defaults: Mapping[str, Any], n: int) -> str:
    space = SearchSpace.from_dict(record["space"])
    sizes = space.batch_sizes
    is_range = is_powers(sizes) and len(sizes) > 1
    asked = f"{sizes[0]}:{sizes[-1]}" if is_range else ",".join(map(str, sizes))
    length = Length.from_record(record)
    low, high = space.learning_rates
    options: dict[str, object] = {
        "task": record["task"],
        "study_name": f"{name}-again",
        "n_trials": n,
        "batch_sizes": asked,
        "learning_rates": f"{low!r}:{high!r}",
        **{name: defaults[name] for name in SEARCH},
    }
    if length is not None:
        options[length.unit] = length.amount
    return command("run", options)
