"""A second study beside the one that the page is about: two models, or two machines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchfront.study.answer.choice import answer_of
from batchfront.study.answer.known import known_of
from batchfront.study.answer.show import metric_of, sentences
from batchfront.study.errors import StudyError
from batchfront.study.findings.page.side import Side
from batchfront.study.show import counted, metric_form, times_the

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial


@dataclass(frozen=True, kw_only=True)
class Beside:
    """What the page says of the second study."""

    name: str
    sentences: Sequence[str]


def side_of(study: Study, trials: Sequence[FrozenTrial]) -> Side:
    """A study as one of two sides, from its sound trials.

    Raises:
        StudyError: it holds no metric, or ran on several kinds of hardware.
    """
    found = known_of(study, trials)
    if len(found) != 1:
        kinds = counted(len(found), "kind")
        raise StudyError(
            f"study {study.study_name!r} ran on {kinds} of hardware, and --compare takes studies "
            "of one each: its own report shows them one below the other"
        )
    (known,) = found.values()
    return Side(label=study.study_name, answer=answer_of(known), known=known)


def check_comparable(here: Side, other: Side) -> None:
    """Raise StudyError for two sides whose values do not compare."""
    ours, theirs = here.known.yardstick.metric, other.known.yardstick.metric
    if (ours.name, ours.direction) != (theirs.name, theirs.direction):
        raise StudyError(
            f"study {other.label!r} is about {theirs} ({theirs.direction}), {here.label!r} about "
            f"{ours} ({ours.direction}): --compare takes two studies of one metric"
        )


def beside_of(here: Side, other: Side) -> Beside:
    """The answer of the other side, and what it is against this one's."""
    said = sentences(other.answer, other.known)
    return Beside(name=other.label, sentences=[*said[:1], *_against(here, other), *said[1:]])


def _against(here: Side, other: Side) -> list[str]:
    """`Against digits: val_accuracy 0.004 lower, 0.5 times the time, 2 times the memory.`"""
    ours, theirs = here.answer.recommended, other.answer.recommended
    if ours is None or theirs is None:
        return []
    name = here.known.yardstick.metric.name
    off = metric_of(theirs.shown, other.known)[0] - metric_of(ours.shown, here.known)[0]
    text = f"Against {here.label}: {name} {abs(off):{metric_form(off, digits=3)}} "
    parts = [text + ("higher" if off > 0 else "lower")]
    if ours.train_seconds and theirs.train_seconds:
        parts.append(times_the("time", theirs.train_seconds, ours.train_seconds))
    if ours.peak_memory_bytes and theirs.peak_memory_bytes:
        parts.append(times_the("memory", theirs.peak_memory_bytes, ours.peak_memory_bytes))
    return [", ".join(parts) + "."]


def drawn(sides: Sequence[Side]) -> list[Side]:
    """Those that have an answer: of the others there is nothing to draw."""
    return [side for side in sides if side.answer.recommended is not None]
