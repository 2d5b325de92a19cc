"""What the workers of a study agree on when they open it, and look at again at every claim."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from batchfront.storage.fence import IDENTITY, Fence
from batchfront.study.errors import StudyError
from batchfront.study.plan.agreement import DEFAULTS
from batchfront.study.plan.plan import DEFAULT_GRACE_SECONDS

if TYPE_CHECKING:
    from optuna import Study

    from batchfront.storage.shared import SharedStorage
    from batchfront.study.plan.plan import Plan


def new_identity() -> str:
    """An identity that no other study has, nor a copy of this one."""
    return uuid.uuid4().hex


def stored_identity(study: Study) -> str:
    """The identity of a study; "" where a version that had none made it."""
    attributes = study.user_attrs
    # Versions from 0.6.0 on named checkpoints by one, which copies had too.
    before = attributes.get(DEFAULTS, {}).get("study_id", "")
    return str(attributes.get(IDENTITY, before))


def given_identity(study: Study) -> str:
    """The identity of a study; one of a version that had none gets it now, under the claim lock."""
    if IDENTITY not in study.user_attrs:
        study.set_user_attr(IDENTITY, stored_identity(study) or new_identity())
    return str(study.user_attrs[IDENTITY])


def guard(storage: SharedStorage, study: Study, identity: str) -> None:
    """Let this process write to this very study from now on, or not at all.

    Raises:
        StudyGone: it is another one already.
    """
    fence = Fence(study_name=study.study_name, study_id=study._study_id, identity=identity)
    fence.check_study(_attributes(study).get(IDENTITY))
    storage.fence = fence


def agree_on_grace(study: Study, grace_seconds: int) -> None:
    """Make it the study's, under the claim lock.

    A worker with a shorter grace period would take trials from those that beat less often.

    Raises:
        StudyError: workers run with another one.
    """
    from optuna.trial import TrialState

    defaults = study.user_attrs.get(DEFAULTS, {})
    stored = stored_grace(study.user_attrs)
    if grace_seconds == stored:
        return
    if study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        raise StudyError(
            f"study {study.study_name!r} has running trials with a grace period of {stored} s, now "
            f"{grace_seconds}: all its workers need the same, so leave --grace out or wait for them"
        )
    study.set_user_attr(DEFAULTS, {**defaults, "grace_seconds": grace_seconds})


def stored_grace(attributes: Mapping[str, Any]) -> int:
    """The grace period that a study's attributes tell, in seconds."""
    found: int = attributes.get(DEFAULTS, {}).get("grace_seconds", DEFAULT_GRACE_SECONDS)
    return found


def attributes_now(storage: SharedStorage, study: Study, plan: Plan) -> dict[str, Any]:
    """The study's attributes, at a claim.

    Raises:
        StudyGone: the study was deleted.
        StudyError: another grace period was agreed on since, while nobody ran a trial.
    """
    found = _attributes(study)
    if storage.fence is not None:
        storage.fence.check_study(found.get(IDENTITY))
    grace_seconds = stored_grace(found)
    if grace_seconds != plan.grace_seconds:
        raise StudyError(
            f"study {study.study_name!r} has got a grace period of {grace_seconds} s from another "
            f"worker, and this one had {plan.grace_seconds}: start it again without --grace"
        )
    return found


def is_gone(storage: SharedStorage, study: Study) -> bool:
    """Whether the study was deleted since the process has been guarded."""
    fence = storage.fence
    return fence is not None and _attributes(study).get(IDENTITY) != fence.identity


def _attributes(study: Study) -> dict[str, Any]:
    """The attributes of the study that has its id; none where no study has it any more."""
    try:
        return study.user_attrs
    except KeyError:
        return {}
