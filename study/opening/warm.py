"""Finds the earlier studies that a new one starts warm from, and keeps what they say."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from batchfront.storage.names import redacted
from batchfront.storage.open import exists, open_storage, readable_errors
from batchfront.study.errors import StudyError
from batchfront.study.opening.open import foreign_studies, the_study
from batchfront.study.plan.agreement import DEFAULTS
from batchfront.study.plan.past import PAST, WARM_START, PastRuns
from batchfront.study.search.past import past_runs
from batchfront.study.trials.sound import sound_trials
from batchfront.study.trials.yardstick import Objectives

if TYPE_CHECKING:
    from optuna import Study

    from batchfront.objectives.metric import Metric
    from batchfront.study.plan.plan import Plan
    from batchfront.study.plan.settings import StudySettings


def with_past(plan: Plan, settings: StudySettings) -> Plan:
    """The plan of a new study with what the earlier ones say that the settings name.

    Raises:
        StudyError: one is not there, is of another metric, or tells nothing of it; or the sampler
            would not look at it.
    """
    names = settings.warm_start or ()
    if names and plan.sampler != "cost-aware":
        raise StudyError(f"warm_start is for the sampler cost-aware, not for {plan.sampler}")
    return replace(plan, past=tuple(_past_of(name, settings.storage, plan) for name in names))


def past_in(attributes: Mapping[str, Any]) -> tuple[PastRuns, ...]:
    """The earlier studies that a study's attributes hold, in the order in which they were named."""
    names = attributes.get(DEFAULTS, {}).get(WARM_START, ())
    return tuple(PastRuns.from_dict(attributes[f"{PAST}{n}"]) for n in range(len(names)))


def check_warm_start(name: str, past: Sequence[PastRuns], settings: StudySettings) -> None:
    """Raise StudyError where the settings name other earlier studies than the study began with."""
    if settings.warm_start is None:
        return
    stored, asked = [one.source for one in past], [_said(one) for one in settings.warm_start]
    if stored != asked:
        began = f"with warm_start {', '.join(stored)}" if stored else "without warm_start"
        raise StudyError(
            f"study {name!r} began {began}, now {', '.join(asked)}: leave it out to go on, or "
            "choose another --study-name"
        )


def _past_of(name: str, here: str, plan: Plan) -> PastRuns:
    url, study_name = _place(name, here)
    if not exists(url):
        raise StudyError(f"warm_start {_said(name)}: {redacted(url)} is no storage yet")
    study = _source(url, study_name)
    _check_metric(study, plan.metric, name)
    with readable_errors(url):
        trials = sound_trials(study)
    found = past_runs(_said(name), trials, space=plan.space, metric=plan.metric)
    if found is None:
        raise StudyError(
            f"warm_start {_said(name)} has no run that tells of {plan.metric}: leave it out"
        )
    return found


def _place(name: str, here: str) -> tuple[str, str | None]:
    """The URL of a storage, and the name of a study there; None: the only one."""
    if "://" not in name:
        return here, name
    url, _, study_name = name.partition("#")
    return url, study_name or None


def _said(name: str) -> str:
    """The name as it may be shown and stored, without a password."""
    url, hash_, study_name = name.partition("#")
    return redacted(url) + hash_ + study_name if "://" in url else name


def _source(url: str, name: str | None) -> Study:
    try:
        return the_study(url, name)
    except StudyError as error:
        with readable_errors(url):
            foreign = [s.study_name for s in foreign_studies(open_storage(url, mode="reader"))]
        named = [one for one in foreign if name in (None, one)]
        if not named:
            raise StudyError(f"warm_start: {error}") from None
        raise StudyError(
            f"warm_start: study {named[0]!r} was made by Optuna: batchfront import {redacted(url)} "
            f"--study-name {shlex.quote(named[0])} makes one of it that can be named"
        ) from None


def _check_metric(study: Study, metric: Metric, name: str) -> None:
    """Raise StudyError where the study's first value is another metric than that."""
    found = Objectives.of(study).metric
    if found is None or found.name != metric.name or found.direction != metric.direction:
        said = "none" if found is None else f"{found}, {found.direction}d"
        raise StudyError(
            f"warm_start {_said(name)} has the metric {said}, wanted {metric}, "
            f"{metric.direction}d: leave it out"
        )
