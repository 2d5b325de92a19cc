"""Every trial is of one kind, and every kind has its rules: `KINDS` is the whole list.

A new kind of trial is a new line there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from optuna.trial import FrozenTrial

from batchfront.objectives.measurement import Measurement, Verdict
from batchfront.study.plan.parsers import OFF
from batchfront.study.trials.attributes import (
    CONSTRAINT,
    CROWDED,
    CURVE,
    DEATHS,
    DOUBLE,
    ERROR,
    FAIL_REASON,
    INTERRUPTED,
    MAX_RETRIES,
    OWNER,
    PAUSED,
    PREDICTED,
    PURPOSE,
    ROOT,
    SURPLUS,
    UNUSABLE,
    VERDICT,
)
from batchfront.study.trials.outcome import on_grid
from batchfront.study.workers.retry import HISTORY, LOST
from tests.faults.scene import LOST_RUN, TAKEN, Said, Scene, Violation
from tests.faults.undisturbed import first_of

OfOne = Callable[[FrozenTrial, Scene], Said]


# Kinds: each trial is of exactly one.


def _failed(reason: str | None) -> Callable[[FrozenTrial], bool]:
    return lambda t: t.state.name == "FAIL" and t.user_attrs.get(FAIL_REASON) == reason


def _stopped(*verdicts: Verdict) -> Callable[[FrozenTrial], bool]:
    said = {verdict.value for verdict in verdicts}
    return lambda t: (
        t.state.name == "PRUNED"
        and not t.user_attrs.get(PREDICTED)
        and not is_paused(t)
        and t.user_attrs.get(VERDICT) in said
    )


def is_paused(trial: FrozenTrial) -> bool:
    return trial.state.name == "PRUNED" and PAUSED in trial.user_attrs


def _lost_its_worker(trial: FrozenTrial) -> bool:
    ours = OWNER in trial.user_attrs or LOST in trial.system_attrs
    return _failed(None)(trial) and ours


is_double = _failed(DOUBLE)


def goes_on_from(trial: FrozenTrial) -> int | None:
    """Number of the trial whose run it takes up; None: it has one of its own."""
    history = trial.system_attrs.get(HISTORY)
    return history[-1] if history else None


def successors(trial: FrozenTrial, scene: Scene) -> list[FrozenTrial]:
    """The trials that take its run up, but for those queued twice that were dropped."""
    later = [other for other in scene.trials if goes_on_from(other) == trial.number]
    return [other for other in later if not is_double(other)]


# Rules of one trial.


def has_its_own_seed(trial: FrozenTrial, scene: Scene) -> Said:
    wanted = scene.undisturbed.seed_of(trial)
    return None if trial.user_attrs.get("seed") == wanted else f"its seed is not {wanted}"


def is_within_the_space(trial: FrozenTrial, scene: Scene) -> Said:
    space, params = scene.undisturbed.plan.space, trial.params
    low, high = space.learning_rates
    # A worker may die before it has drawn them all.
    sized = params.get("batch_size", space.batch_sizes[0]) in space.batch_sizes
    inside = sized and low <= params.get("learning_rate", low) <= high
    return None if inside else f"its parameters {params} are not of this study"


def measured_what_it_should(trial: FrozenTrial, scene: Scene) -> Said:
    """Metric, curve, loss and steps are those of an undisturbed run, to the last bit."""
    measured = scene.undisturbed.run_of(trial)
    if isinstance(measured, Exception):
        return f"undisturbed, its objective raises {measured!r}"
    curve = on_grid(measured.metric_curve, scene.undisturbed.plan.length.points)
    wanted = {
        VERDICT: measured.verdict.value,
        CURVE: curve or None,
        "steps": measured.steps,
        "best_metric": measured.best_metric,
    }
    if measured.verdict is Verdict.COMPLETED:
        wanted["train_loss"] = measured.train_loss
    found = {key: trial.user_attrs.get(key) for key in wanted}
    if trial.user_attrs.get(CURVE) == []:
        found[CURVE] = None
    return None if found == wanted else f"it has {found}, undisturbed {wanted}"


def is_told_what_it_measured(trial: FrozenTrial, scene: Scene) -> Said:
    measured = scene.undisturbed.run_of(trial)
    assert isinstance(measured, Measurement)
    metric, seconds, peak = trial.values
    if metric != measured.metric:
        return f"its metric is {metric}, undisturbed {measured.metric}"
    cost = scene.undisturbed.cost_of(trial, measured)
    if cost is None or cost.step_seconds is None:
        return None if seconds > 0 and peak >= 0 else f"it is told {trial.values}"
    known = cost.step_seconds * measured.steps, float(cost.peak_memory_bytes or 0)
    # A probe that was disturbed is corrected later on; where costs are recorded, none is.
    corrected = measured.train_seconds != known[0] and seconds > known[0]
    if (seconds, peak) == known or (corrected and peak == known[1]):
        return None
    return f"its time and memory are {seconds}, {peak}, of its size {known}"


def was_trained_with_others(trial: FrozenTrial, scene: Scene) -> Said:
    """Where a question has asked for it, and the study trains such trials together."""
    alone = scene.undisturbed.plan.fuse == OFF or PURPOSE not in trial.user_attrs
    return None if alone or trial.user_attrs.get("fused") else "it was trained by itself"


def began_as_it_should(trial: FrozenTrial, scene: Scene) -> Said:
    """A run that a rule has stopped is the start of the undisturbed one."""
    measured = scene.undisturbed.run_of(trial)
    if isinstance(measured, Exception):
        return f"undisturbed, its objective raises {measured!r}"
    whole = on_grid(measured.metric_curve, scene.undisturbed.plan.length.points)
    curve = trial.user_attrs.get(CURVE, [])
    return None if curve == whole[: len(curve)] else f"its curve is {curve}, undisturbed {whole}"


def has_its_constraint(trial: FrozenTrial, scene: Scene) -> Said:
    grade = trial.constraints.get(CONSTRAINT)
    fits = grade is not None and (grade > 0 or trial.state.name == "COMPLETE")
    return None if fits else f"its constraint is {grade}"


def raises_undisturbed(trial: FrozenTrial, scene: Scene) -> Said:
    measured = scene.undisturbed.run_of(trial)
    return None if isinstance(measured, Exception) else "it failed, and undisturbed it does not"


def ends_its_run(trial: FrozenTrial, scene: Scene) -> Said:
    after = [other.number for other in successors(trial, scene)]
    return f"it ended, and its run goes on in {after}" if after else None


def goes_on_once(trial: FrozenTrial, scene: Scene) -> Said:
    """Its run waits, runs or has ended under exactly one other number, with the same parameters."""
    after = successors(trial, scene)
    if not after:
        return Violation(LOST_RUN, "it is to run again, and nobody has queued it")
    if len(after) > 1:
        return f"its run goes on in {[other.number for other in after]}"
    died = trial.user_attrs.get(DEATHS, 0) + (FAIL_REASON not in trial.user_attrs)
    (next_,) = after
    drawn = {name: next_.params.get(name) for name in trial.params}  # it may have died before more
    found = (drawn, next_.user_attrs.get(ROOT), next_.user_attrs.get(DEATHS))
    wanted = (trial.params, first_of(trial), died)
    return None if found == wanted else f"it goes on with {found}, wanted {wanted}"


def goes_on_once_at_most(trial: FrozenTrial, scene: Scene) -> Said:
    """A paused run waits to go on, or does so under one other number; nobody has died at it."""
    after = successors(trial, scene)
    if not after:
        return None
    died = [other.user_attrs.get(DEATHS) for other in after]
    wanted = [trial.user_attrs.get(DEATHS, 0)]
    return None if died == wanted else f"it goes on with deaths {died}, wanted {wanted}"


def was_given_up_in_the_end(trial: FrozenTrial, scene: Scene) -> Said:
    after = [other.number for other in successors(trial, scene)]
    return f"it was given up, and goes on in {after}" if after else None


def an_earlier_one_goes_on(trial: FrozenTrial, scene: Scene) -> Said:
    before = scene.trials[goes_on_from(trial) or 0]
    if not any(other.number < trial.number for other in successors(before, scene)):
        return Violation(LOST_RUN, "it was dropped as queued twice, and no other goes on")
    return "it was run, though queued twice" if CURVE in trial.user_attrs else None


def was_never_run(trial: FrozenTrial, scene: Scene) -> Said:
    return "it was run, though it had no slot" if CURVE in trial.user_attrs else None


def goes_on_if_it_was_a_retry(trial: FrozenTrial, scene: Scene) -> Said:
    return goes_on_once(trial, scene) if ROOT in trial.user_attrs else None


def was_taken_from_the_dead_or_silent(trial: FrozenTrial, scene: Scene) -> Said:
    """Its owner had died by then, or had shown no sign of life for the grace period."""
    assert trial.datetime_complete is not None
    at = trial.datetime_complete.timestamp()
    if trial.datetime_complete.microsecond == 0:  # MySQL keeps whole seconds
        at += 1.0
    owner = trial.user_attrs.get(OWNER)
    pids = None if owner is None else {owner["pid"]}
    for one in scene.owners:
        if pids is not None and one.pid not in pids:
            continue
        gone = one.died_at is not None and one.died_at <= at
        silent = any(min(end, at) - start >= scene.grace_seconds for start, end in one.silences)
        if gone or silent:
            return None
    who = "somebody" if owner is None else owner["pid"]
    return Violation(TAKEN, f"it was taken from {who}, who was alive and not silent")


def was_asked_to_end(trial: FrozenTrial, scene: Scene) -> Said:
    asked = any(one.signum is not None for one in (*scene.exits, *scene.owners))
    return None if asked else "it was handed back, and no process got a signal"


def nobody_left_it(trial: FrozenTrial, scene: Scene) -> Said:
    return Violation(LOST_RUN, f"it is still running for {trial.user_attrs.get(OWNER)}")


@dataclass(frozen=True)
class Kind:
    """A kind of trial, and its rules."""

    name: str
    holds: Callable[[FrozenTrial], bool]
    counts: bool  # towards the total
    rules: tuple[OfOne, ...]


RAN = (has_its_own_seed, is_within_the_space, has_its_constraint, ends_its_run)
BY_A_RULE = (Verdict.DOMINATED, Verdict.PRUNED)
BY_ITSELF = (Verdict.NON_FINITE, Verdict.DIVERGED, Verdict.STALLED)
BY_LIMITS = (Verdict.OUT_OF_MEMORY, Verdict.OVER_BUDGET)
KINDS = (
    Kind("completed", lambda t: t.state.name == "COMPLETE", True,
         (*RAN, measured_what_it_should, is_told_what_it_measured, was_trained_with_others)),
    Kind("stopped by a rule", _stopped(*BY_A_RULE), True, (*RAN, began_as_it_should)),
    Kind("paused", is_paused, True, (*RAN[:-1], began_as_it_should, goes_on_once_at_most)),
    Kind("stopped by itself", _stopped(*BY_ITSELF), True, (*RAN, measured_what_it_should)),
    Kind("stopped at a limit", _stopped(*BY_LIMITS), True, RAN),
    Kind("told without running", lambda t: t.state.name == "PRUNED" and bool(
         t.user_attrs.get(PREDICTED)), False, (is_within_the_space, ends_its_run)),
    Kind("raised", _failed(ERROR), True, (has_its_own_seed, raises_undisturbed, ends_its_run)),
    Kind("lost its worker", lambda t: _lost_its_worker(t) and t.user_attrs.get(DEATHS, 0)
         < MAX_RETRIES, False, (is_within_the_space, goes_on_once,
                                was_taken_from_the_dead_or_silent)),
    Kind("given up", lambda t: _lost_its_worker(t) and t.user_attrs.get(DEATHS, 0)
         >= MAX_RETRIES, True, (was_given_up_in_the_end, was_taken_from_the_dead_or_silent)),
    Kind("handed back", _failed(INTERRUPTED), False, (goes_on_once, was_asked_to_end)),
    Kind("found no memory", _failed(CROWDED), False, (goes_on_once,)),
    Kind("queued twice", is_double, False, (an_earlier_one_goes_on,)),
    Kind("found no slot", _failed(SURPLUS), False, (was_never_run, goes_on_if_it_was_a_retry)),
    Kind("nothing to train with", _failed(UNUSABLE), False, ()),
    Kind("waiting", lambda t: t.state.name == "WAITING", False, ()),
    Kind("running", lambda t: t.state.name == "RUNNING", False, (nobody_left_it,)),
)  # fmt: skip


def kinds_of(trial: FrozenTrial) -> list[Kind]:
    """The kinds that a trial is of: one, if all is well."""
    return [kind for kind in KINDS if kind.holds(trial)]


def counts(trial: FrozenTrial) -> bool:
    """Whether it counts towards the total; a paused one only while its run has not gone on."""
    return any(kind.counts for kind in kinds_of(trial))


def counted(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """The trials that count towards the total, among all of a study."""
    taken_up = {goes_on_from(trial) for trial in trials if not is_double(trial)}
    return [t for t in trials if counts(t) and not (is_paused(t) and t.number in taken_up)]
