"""A study that is looked at: its answer, its front and its page."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from batchfront.study.trials.yardstick import Objectives

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

    from batchfront.study.answer.choice import Answer, Preference
    from batchfront.study.answer.known import Known


class LookedAt(NamedTuple):
    """A study, read once."""

    study: Study
    names: Objectives
    trials: list[FrozenTrial]  # that are ours
    foreign: str | None  # how many are not


def look_at(url: str, name: str | None) -> LookedAt:
    """The study of that name, or the only one of the storage.

    Raises:
        StudyError: there is none, or several and no name.
    """
    # Before NumPy is loaded: of matrices as small as those of findings, threads of OpenBLAS wait
    # for one another longer than they compute.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from batchfront.study.opening.open import the_study
    from batchfront.study.trials.sound import SoundTrials

    study, sound = the_study(url, name), SoundTrials()
    return LookedAt(study, Objectives.of(study), sound.of(study), sound.foreign_line(study))


def answers(
    looked: LookedAt, *, prefer: Preference, within: float | None, target: float | None = None
) -> dict[str, tuple[Answer, Known]]:
    """What to train with, by hardware, whose title is "" where there is only one.

    `target`: a value of the metric, in place of the study's own.

    Raises:
        StudyError: a target that the metric cannot have.
    """
    from batchfront.study.answer.choice import answer_of
    from batchfront.study.answer.known import known_of
    from batchfront.study.trials.yardstick import check_target

    found = {}
    for title, known in known_of(looked.study, looked.trials).items():
        if target is not None:
            check_target(target, known.yardstick.metric)
            known = replace(known, target=target)
        found[title] = answer_of(known, prefer=prefer, within=within), known
    return found


def answer_text(found: Mapping[str, tuple[Answer, Known]]) -> list[str]:
    """The answers in sentences, of each hardware in its turn."""
    from batchfront.study.answer.show import sentences

    lines: list[str] = []
    for title, (answer, known) in found.items():
        lines += [f"on {title}:"] if title else []
        lines += sentences(answer, known)
    return lines


def size_rows(found: Mapping[str, tuple[Answer, Known]]) -> list[dict[str, Any]]:
    """One row a batch size, marked where it is recommended; searched parameters are columns."""
    from batchfront.study.answer.show import answer_json

    rows = []
    for title, (answer, known) in found.items():
        said = answer_json(answer, known)
        chosen = said["recommended"]
        for size in said["sizes"]:
            is_chosen = chosen is not None and size["batch_size"] == chosen["batch_size"]
            own = size.pop("params")
            hardware = {"hardware": title} if title else {}
            rows.append({"recommended": is_chosen, **hardware, **size, **own})
    return rows


def page_of(looked: LookedAt, other: LookedAt | None = None) -> str:
    """The self-contained HTML page of a study; `other` is shown beside it."""
    from batchfront.study.findings.overview.board_pages import stored_note
    from batchfront.study.findings.overview.report import report_html
    from batchfront.study.findings.page.beside import side_of

    note = stored_note(looked.study)
    side = None if other is None else side_of(other.study, other.trials)
    return report_html(looked.study, looked.trials, foreign=looked.foreign, note=note, other=side)
