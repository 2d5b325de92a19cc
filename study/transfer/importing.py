"""Makes a study of runs that were recorded elsewhere, so that all findings work on them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchfront.objectives.curves.columns import METRICS, value_as_written
from batchfront.objectives.curves.loose import Recording, Recordings, read_recordings
from batchfront.objectives.measurement import TO_TARGET, Verdict
from batchfront.objectives.metric import ACCURACY, Metric
from batchfront.storage.names import redacted
from batchfront.storage.open import open_storage, readable_errors
from batchfront.study.commands import command
from batchfront.study.errors import StudyError
from batchfront.study.plan.agreement import AGREEMENT, FORMAT, IMPORTED, KEPT
from batchfront.study.plan.parsers import check_study_name
from batchfront.study.plan.sizes import MOST_SIZES
from batchfront.study.plan.space import SearchSpace
from batchfront.study.quiet import quiet_optuna
from batchfront.study.show import counted
from batchfront.study.transfer.writing import add_missing, check_whole, is_start, new_or_found
from batchfront.study.trials.attributes import (
    ATTRIBUTES,
    CONSTRAINT,
    CURVE,
    FAIL_REASON,
    OWNER,
    PRUNER_STATE,
    REASON,
    RUN_LENGTH,
    SO_FAR,
    VERDICT,
)
from batchfront.study.trials.outcome import grade_of, on_grid
from batchfront.study.trials.yardstick import Objectives, is_minimized, stored_metric

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

    from batchfront.storage.shared import SharedStorage

PREFIX = "file_"  # of a column whose name means something else in our studies
TAKEN = {
    *ATTRIBUTES, FAIL_REASON, OWNER, PRUNER_STATE, SO_FAR, "number", "state", "log2_batch_size",
}  # fmt: skip
READ = ("seed", "epochs", "total_steps", "n_spikes", "generalization_gap", *TO_TARGET)
Say = Callable[[str], None]


def import_table(
    path: Path, url: str, study_name: str | None, say: Say, metric: Metric | None = None
) -> None:
    """Read all of the table, then write all of the study.

    `metric`: the one in a column of that name; None: the usual ones are looked for.

    Raises:
        ObjectiveError: the table is malformed.
        StudyError: the storage has another study of that name.
        StorageError: the storage cannot be used.
    """
    table = read_recordings(path, metric)
    _check_attributes(table)
    name = study_name or path.name.removesuffix(".gz").removesuffix(".csv")
    check_study_name(name)
    trials = _trials(table)
    with readable_errors(url), quiet_optuna():
        storage = open_storage(url, mode="worker")
        is_new = _write(storage, name, table, trials)
    report = command("report", {"study_name": name})
    if not is_new:
        say(f"{table.file} is there already, as study {name!r}: nothing to do; look: {report}")
        return
    for line in _summary(table, name, trials, redacted(url)):
        say(line)
    say(f"next: {command('front', {'study_name': name})}, or {report}")


def _write(
    storage: SharedStorage, name: str, table: Recordings, trials: Sequence[FrozenTrial]
) -> bool:
    """Whether there was anything to do; the record comes last, so half a study never counts."""
    from optuna.study import StudyDirection

    from batchfront.study.findings.overview.board import note_of_imported, publish

    names, record = _names(table), _record(table)
    aims = StudyDirection
    directions = [aims.MINIMIZE if is_minimized(n, names) else aims.MAXIMIZE for n in names]
    study = new_or_found(storage, name, directions)
    there = study.get_trials(deepcopy=False)
    stored = study.user_attrs.get(AGREEMENT)
    if stored is not None and stored.get(IMPORTED, {}).get("digest") == table.digest:
        return False
    if stored is not None or study.directions != directions or not is_start(there, trials):
        raise StudyError(
            f"the storage has another study {name!r}, of {counted(len(there), 'trial')}: choose "
            "another --study-name"
        )
    add_missing(storage, study, trials, doing="importing runs")
    check_whole(study, trials)
    study.set_metric_names(list(names))
    study.set_user_attr(AGREEMENT, record)
    publish(study, note_of_imported(record, names), names)
    return True


def _names(table: Recordings) -> Objectives:
    """The names of the objectives, of which the metric's is the one that studies use."""
    own = str(table.metric)
    names = Objectives(own if name == table.column else name for name in table.objectives)
    names.metric = table.metric
    return names


def _record(table: Recordings) -> dict[str, Any]:
    sizes = sorted({int(run.last.numbers["batch_size"]) for run in table.runs})
    shown = sizes if len(sizes) <= MOST_SIZES else [sizes[0], sizes[-1]]
    space = SearchSpace(batch_sizes=tuple(shown), learning_rates=_range(table, "learning_rate"))
    own = [_attribute(name) for name in table.others]
    used = [n for n in READ if any(n in run.last.numbers for run in table.runs)]
    return {
        "format": FORMAT,
        "task": table.task,
        "objectives": list(_names(table)),
        **({} if table.metric is None else stored_metric(table.metric)),
        "space": space.as_dict(),
        **({"epochs": table.epochs} if table.length is None else table.length.as_record()),
        "optimizer": table.optimizer,
        IMPORTED: {
            "file": table.file,
            "format": "curves" if table.curves else "runs",
            "digest": table.digest,
            "runs": len(table.runs),
        },
        KEPT: [*(name for name in used if name not in ATTRIBUTES), *own],
    }


def _range(table: Recordings, column: str) -> tuple[float, float]:
    values = [run.last.numbers[column] for run in table.runs]
    return min(values), max(values)


def _trials(table: Recordings) -> list[FrozenTrial]:
    """One a run, as it is to stand in the study."""
    from optuna.distributions import FloatDistribution, IntDistribution

    sizes = _range(table, "batch_size")
    space: dict[str, BaseDistribution] = {  # any whole size, not only powers of two
        "batch_size": IntDistribution(int(sizes[0]), int(sizes[1]), log=True),
        "learning_rate": FloatDistribution(*_range(table, "learning_rate"), log=True),
    }
    trials = [_trial(table, run, space) for run in table.runs]
    for number, trial in enumerate(trials):
        trial.number = number
    return trials


def _trial(table: Recordings, run: Recording, space: dict[str, BaseDistribution]) -> FrozenTrial:
    import optuna
    from optuna.trial import TrialState

    completed = run.verdict is Verdict.COMPLETED
    grade = 0.0 if completed else grade_of(run.verdict)
    numbers, outcomes = run.last.numbers, map(run.outcome, table.objectives)
    return optuna.create_trial(
        state=TrialState.COMPLETE if completed else TrialState.PRUNED,
        values=[v for v in outcomes if v is not None] if completed else None,  # it has them all
        params={
            "batch_size": int(numbers["batch_size"]),
            "learning_rate": numbers["learning_rate"],
        },
        distributions=space,
        user_attrs={k: v for k, v in _attributes(table, run).items() if v is not None},
        system_attrs={f"constraints:{CONSTRAINT}": grade},
    )


def _attributes(table: Recordings, run: Recording) -> dict[str, Any]:
    """A run's attributes, by the names of study/trials/attributes.py; None is not stored."""
    curve = _curve(table, run)
    read = {name: _plain(run.outcome(name)) for name in READ}
    epochs = table.epochs or read["epochs"]
    seconds, planned = run.outcome("train_seconds"), _planned_seconds(table, run)
    so_far = {name: run.outcome(name) for name in table.objectives}
    if planned is not None:
        so_far["train_seconds"] = planned
    return {
        **read,
        **_kept(table, run),
        VERDICT: run.verdict.value,
        REASON: run.reason or None,
        "best_metric": table.metric and table.metric.best(curve),
        "train_loss": run.outcome("train_loss"),
        "epochs": epochs if table.length is None else None,
        RUN_LENGTH: None if table.length is None else table.length.as_dict(),
        "measured_seconds": seconds,
        "planned_train_seconds": planned,
        CURVE: _stored_curve(table, curve),
        SO_FAR: None if run.verdict is Verdict.COMPLETED else list(so_far.values()),
    }


def _kept(table: Recordings, run: Recording) -> dict[str, float | str | None]:
    """What columns say that mean nothing to us."""
    return {
        _attribute(name): value_as_written(text) if name in table.numeric else text
        for name, text in run.last.others.items()
    }


def _curve(table: Recordings, run: Recording) -> list[float]:
    """The metric after each epoch, as far as it is a number."""
    values = [row.numbers.get(table.column or METRICS[0], math.nan) for row in run.rows]
    return list(takewhile(math.isfinite, values))


def _stored_curve(table: Recordings, curve: list[float]) -> list[float] | None:
    if not (curve and table.curves):
        return None
    return on_grid(curve, table.epochs or 1, table.metric or ACCURACY)


def _planned_seconds(table: Recordings, run: Recording) -> float | None:
    """The whole run's seconds at the pace of its recorded epochs; None where unknown."""
    seconds = run.outcome("train_seconds")
    if run.verdict is Verdict.COMPLETED or seconds is None:
        return seconds
    return seconds / len(run.rows) * table.epochs if table.curves and table.epochs else None


def _attribute(column: str) -> str:
    return PREFIX + column if column in TAKEN else column


def _check_attributes(table: Recordings) -> None:
    names = [_attribute(name) for name in table.others]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise StudyError(
            f"{table.file}: {twice[0].removeprefix(PREFIX)} would be kept as {twice[0]}, which is "
            "there too: rename one of the columns"
        )


def _plain(value: float | None) -> float | None:
    return int(value) if value is not None and value == int(value) else value


def _summary(table: Recordings, name: str, trials: Sequence[FrozenTrial], where: str) -> list[str]:
    verdicts = Counter(run.verdict.value for run in table.runs)
    runs = counted(len(trials), "run")
    n_sizes = len({trial.params["batch_size"] for trial in trials})
    said = ", ".join(f"{n} {verdict}" for verdict, n in verdicts.most_common())
    lines = [
        f"imported {runs} of {table.file} as study {name!r} into {where}: {said}",
        f"{counted(n_sizes, 'batch size')}; objectives {', '.join(_names(table))}",
    ]
    if table.others:
        kept = [n if _attribute(n) == n else f"{n} (as {_attribute(n)})" for n in table.others]
        lines.append(f"kept as attributes: {', '.join(kept)}")
    lines += [f"column {a!r}: if it is {b}, rename it and import again" for a, b in table.nearly]
    return lines
