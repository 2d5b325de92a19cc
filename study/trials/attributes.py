"""What our trials look like in Optuna: attribute names, states, counts, one row per trial."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from batchfront.objectives.length import Length
from batchfront.objectives.measurement import NOT_SUGGESTED as NOT_SUGGESTED
from batchfront.objectives.measurement import TECHNIQUE_FACTS, TO_TARGET, Phase
from batchfront.storage.fence import OWNER as OWNER  # the storage looks at it, too

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial, Trial

AGREEMENT = "batchfront"  # study attribute: what must not change within a study
BEGUN = "batchfront_begun"  # study system attribute: a copy or an import, perhaps cut off
FUSED = "fused"  # study attribute: batch size, as text -> whether its runs are trained together
IMPORTED = "imported"  # in the record of a study of recorded runs: the table they came from
BATCH_SIZE, LOG2_BATCH_SIZE = SIZE_NAMES = ("batch_size", "log2_batch_size")
"""The parameter; studies up to format 3 searched its logarithm."""
CONSTRAINT = "stopped"  # the one constraint key on every finished trial
VERDICT = "verdict"
REASON = "reason"
CURVE = "metric_curve"
CURVE_STEPS = "metric_steps"  # in an Optuna study of one's own: the steps that were reported
FAIL_REASON = "fail_reason"
HARDWARE = "hardware"  # id of what it ran on
UNPROBED = "cost_unprobed"  # a combination whose cost no probe knows: measured by the trial itself
OWN_CLOCK = "own_clock"  # steps were not reported: its time is its own, and no probe's
PREDICTED = "predicted"  # told without running: known not to fit, or to break a budget
SPARED = "spared"  # a stop that was not carried out: {"epoch", "reach", "rival"}
PRUNER_STATE = "pruner_state"  # what an Optuna pruner noted about a trial
PAUSED = "paused_after"  # points of the curve of a stopped run that is kept, and can go on
THAW = "goes_on_after"  # of a trial that goes on with a paused run: where that was paused
ROOT = "retry_of"  # number of the trial whose run this one goes on with
DEATHS = "worker_deaths"  # how many workers have died at it
PURPOSE = "purpose"  # of a trial that a protocol asked for; a pruner leaves it alone
SCORE_TEST = "score_test"  # of a trial that is scored on the test split, too
SCHEDULE = "schedule"  # of the batch size, where a protocol asked for another than the study's
RUN_LENGTH = "run_length"  # of a trial that is none of plain epochs, as `Length` stores it
PHASES = "phases"  # of a run whose batch size grew: [batch size, epochs, steps] of each
SCALED = "scaled_learning_rate"  # what a study trained with whose parameter is a base rate
BASE = "base_learning_rate"  # column of exports: that parameter
SO_FAR = "values_so_far"  # of a stopped trial: [metric or None, seconds of the full run, bytes]

OBJECTIVES = ("val_accuracy", "train_seconds", "peak_memory_bytes")  # or val_r2, for the first
MINIMIZED = ("train_seconds", "peak_memory_bytes", "train_loss", *TO_TARGET)
"""Objectives where less is better; studies of recorded runs have those that were recorded. Any
other is the metric."""

DIAGNOSED = ("weight_norm", "distance_from_init", "sharpness")  # where a run was asked for them

ALSO = "also"  # further metrics of the epoch that is told, by name
ALSO_CURVES = "also_curves"
STORED_METRIC = "metric"  # in a study's record: direction and bound of an unusual one
CONSTANT_METRIC = "baseline_metric"  # of a constant prediction, where the objective knows it
CROWDED = "crowded_out"  # fail reason: no memory at a size that is known to fit; queued again
DEVICE_MEMORY = "device_memory_bytes"  # that the accelerator loses, data and context included
MEMORY_OFF = "memory_off"  # the share by which a run's own peak differs from its probe's
UNUSABLE = "unusable"  # fail reason: it was queued with what nothing can be trained with
ERROR = "error"  # fail reason: the objective raised an exception
INTERRUPTED = "interrupted"  # fail reason: Ctrl-C or SIGTERM; none at all: its worker died
DOUBLE = "queued twice"  # fail reason: another trial goes on with the same run
SURPLUS = "no slot left"  # fail reason: others took the last ones while it was asked for
WAITS = "data_wait_share"  # of a trial's training seconds, where data had to be waited for
MAX_RETRIES = 3  # of a trial whose workers die; one that was handed back is always queued again

ATTRIBUTES = (  # of a measured trial, in the order of exports
    VERDICT, REASON, "best_metric", "train_loss", "test_metric", "generalization_gap",
    *TO_TARGET, "n_spikes", *DIAGNOSED, *TECHNIQUE_FACTS, "steps", "total_steps", OWN_CLOCK,
    "measured_seconds", "process_seconds", "time_off", MEMORY_OFF, "planned_train_seconds",
    SCHEDULE, PHASES,
    "evaluation_peak_bytes", DEVICE_MEMORY, UNPROBED, HARDWARE, PREDICTED, "seed", "epochs",
    RUN_LENGTH, "device", "torch_version", "compiled", BASE, PURPOSE, ROOT, DEATHS, PAUSED, THAW,
    SPARED, CURVE, ALSO_CURVES,
)  # fmt: skip


def is_finished(trial: FrozenTrial) -> bool:
    """Finished, and one of the runs that a study has.

    A failure counts when the objective raised it, or when so many workers died at the trial that
    it was given up. One that was interrupted, or lost its worker, does not: it is queued again.
    Neither does one that was told without running.
    """
    if trial.state.name == "FAIL":
        reason = trial.user_attrs.get(FAIL_REASON)
        return reason == ERROR or (reason is None and worker_deaths(trial) >= MAX_RETRIES)
    return trial.state.is_finished() and not trial.user_attrs.get(PREDICTED)


def is_searched(trial: FrozenTrial) -> bool:
    """Finished, and counted towards n_trials: a search asked for it, and no protocol."""
    return is_finished(trial) and PURPOSE not in trial.user_attrs


def worker_deaths(trial: Trial | FrozenTrial) -> int:
    """How many workers had died at this trial's run when it was queued."""
    return int(trial.user_attrs.get(DEATHS, 0))


def id_of(trial: Trial | FrozenTrial) -> int:
    """The id by which a storage knows a trial; Optuna has no public name for it."""
    return trial._trial_id


def fused_sizes(study: Study) -> dict[int, bool]:
    """The batch sizes of which a study knows whether their runs are trained together."""
    return {int(size): bool(known) for size, known in study.user_attrs.get(FUSED, {}).items()}


def length_of(attributes: Mapping[str, Any]) -> Length | None:
    """How long a trial was to train; None where runs were recorded elsewhere, of any length."""
    stored, epochs = attributes.get(RUN_LENGTH), attributes.get("epochs")
    if stored is not None:
        return Length(**stored)
    return Length(amount=int(epochs)) if epochs else None


def phases_of(trial: FrozenTrial) -> tuple[Phase, ...]:
    """The phases of a run whose batch size grew; none for another run."""
    return tuple(Phase(*phase) for phase in trial.user_attrs.get(PHASES, ()))


def steps_taken(trial: FrozenTrial) -> int | None:
    """Optimizer steps of a run that completed; None where that was not recorded.

    Those it announced, where it did not report all of them.
    """
    attributes = trial.user_attrs
    announced: int | None = attributes.get("total_steps")
    return announced if OWN_CLOCK in attributes else attributes.get("steps") or announced


def is_feasible(trial: FrozenTrial) -> bool:
    """Completed, no constraint violated, and trained as all runs of its study are."""
    kept = trial.state.name == "COMPLETE" and all(v <= 0 for v in trial.constraints.values())
    return kept and SCHEDULE not in trial.user_attrs


def trained_seconds(trial: FrozenTrial) -> float:
    """Seconds of training by the run's own clock, since it was begun; 0 where none are known."""
    return float(trial.user_attrs.get("measured_seconds", 0.0))


def rate_of(trial: FrozenTrial, params: Mapping[str, Any] | None = None) -> float:
    """The learning rate that it trains with; `params`: of one that waits."""
    known = trial.params if params is None else params
    return float(trial.user_attrs.get(SCALED, known["learning_rate"]))


def log2_rate_of(trial: Trial | FrozenTrial) -> float:
    """The logarithm of that rate, in doublings; 0 where the study has no parameter of that name."""
    rate = trial.user_attrs.get(SCALED, trial.params.get("learning_rate", 1.0))
    return math.log2(rate) if rate > 0 else 0.0


def own_params(trials: Iterable[FrozenTrial]) -> list[str]:
    """Names of what a task lets the search vary besides batch size and learning rate."""
    names = dict.fromkeys(name for trial in trials for name in trial.params)
    return [n for n in names if n not in (*SIZE_NAMES, "learning_rate")]


def suggested_params(trials: Iterable[FrozenTrial]) -> list[str]:
    """`own_params` without those that none of the trials asked for: a branch that was not taken."""
    trials = list(trials)
    asked = {name for t in trials for name in set(t.params) - not_suggested(t)}
    return [name for name in own_params(trials) if name in asked]


def not_suggested(trial: FrozenTrial) -> frozenset[str]:
    """The searched parameters that the run of a script did not ask for."""
    return frozenset(trial.user_attrs.get(NOT_SUGGESTED, ()))


def also_names(trials: Iterable[FrozenTrial]) -> list[str]:
    """Names of the further metrics that runs have reported."""
    return list(dict.fromkeys(name for t in trials for name in t.user_attrs.get(ALSO) or {}))


def values_by_name(trial: FrozenTrial, names: Sequence[str]) -> dict[str, Any]:
    """Objective values; None where a stopped trial has none."""
    if trial.values is None:
        return dict.fromkeys(names)
    values = dict(zip(names, trial.values, strict=True))
    if "peak_memory_bytes" in values:
        values["peak_memory_bytes"] = int(values["peak_memory_bytes"])  # Optuna stores floats
    return values


def measured_names(trials: Iterable[FrozenTrial], names: Sequence[str]) -> list[str]:
    """The objectives worth showing: not the memory where nothing has measured it, 0 everywhere."""
    told = [trial.values for trial in trials if trial.values is not None]
    unmeasured = {
        n
        for n, name in enumerate(names)
        if name == OBJECTIVES[2] and told and not any(values[n] for values in told)
    }
    return [name for n, name in enumerate(names) if n not in unmeasured]


def trial_row(trial: FrozenTrial, metric_names: Sequence[str]) -> dict[str, Any]:
    """Number, parameters and objective values; None where a stopped trial has none."""
    return {
        "number": trial.number,
        "batch_size": batch_size_of(trial.params) if has_batch_size(trial.params) else None,
        "learning_rate": rate_of(trial) if "learning_rate" in trial.params else None,
        **{name: trial.params[name] for name in own_params([trial])},
        **values_by_name(trial, metric_names),
    }


def asked_row(trial: FrozenTrial, metric_names: Sequence[str]) -> dict[str, Any]:
    """`trial_row` without the parameters that the run of a script did not ask for."""
    unasked = not_suggested(trial)
    row = trial_row(trial, metric_names)
    return {name: value for name, value in row.items() if name not in unasked}


def full_row(
    trial: FrozenTrial, metric_names: Sequence[str], kept: Iterable[str] = ()
) -> dict[str, Any]:
    """`trial_row` with state and attributes; a stopped trial shows the values it had.

    `kept`: attributes that only imported runs have.
    """
    row = {"state": trial.state.name, **trial_row(trial, metric_names)}
    attributes = trial.user_attrs
    row[BASE] = trial.params.get("learning_rate") if SCALED in attributes else None
    row.update({key: attributes.get(key) for key in (*ATTRIBUTES, *kept) if key not in row})
    row.update({key: v for key, v in (attributes.get(ALSO) or {}).items() if key not in row})
    if trial.values is None and SO_FAR in attributes:
        row.update(zip(metric_names, attributes[SO_FAR], strict=True))
    lost = "worker died" if trial.state.name == "FAIL" else None
    row[FAIL_REASON] = attributes.get(FAIL_REASON, lost)
    return row


def derive_seed(seed: int, number: int, *, purpose: str) -> int:
    """An independent seed, 0..2**31-1, for one trial of a study."""
    digest = hashlib.sha256(f"{purpose}:{seed}:{number}".encode()).digest()
    return int.from_bytes(digest[:4]) >> 1


def batch_size_of(params: Mapping[str, Any]) -> int:
    """Examples per step, from a trial's params; studies of older formats have its logarithm."""
    if BATCH_SIZE in params:
        return int(params[BATCH_SIZE])
    return int(2 ** params[LOG2_BATCH_SIZE])


def log2_batch_size_of(params: Mapping[str, Any]) -> float:
    """The logarithm of the batch size, in doublings, in which sizes are near or far."""
    return math.log2(batch_size_of(params))


def has_batch_size(params: Mapping[str, Any]) -> bool:
    """Whether a trial's params say it."""
    return any(name in params for name in SIZE_NAMES)
