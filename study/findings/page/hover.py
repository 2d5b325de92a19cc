"""What hovering over a point shows."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from batchfront.study.answer.choice import SizeAdvice
from batchfront.study.answer.known import Known
from batchfront.study.answer.show import answer_form, best_rates, metric_of
from batchfront.study.findings.page.side import Side
from batchfront.study.findings.page.units import words_of
from batchfront.study.show import human_bytes, human_seconds, metric_form
from batchfront.study.trials.rows import RunRow

MOST_NUMBERS = 12  # of trials that hovering names


def run_text(row: RunRow, known: Known) -> str:
    """What hovering over a run shows."""
    name = escape(words_of(known.yardstick.metric.name))
    form = metric_form(row.metric)
    return (
        f"trial {row.number}<br>batch size {row.batch_size}<br>"
        f"learning rate {row.learning_rate:.3g}<br>{name} {row.metric:{form}}"
    )


def size_text(size: SizeAdvice, side: Side) -> str:
    """What hovering over a batch size shows."""
    known = side.known
    lines = [f"batch size {size.batch_size}"]
    if size.estimate is not None:
        found, (mean, low, high) = size.estimate, metric_of(size.estimate, known)
        form = answer_form(side.answer, known)
        name = escape(words_of(known.yardstick.metric.name))
        lines += [
            f"learning rate {found.learning_rate:.2g} ({best_rates(found)})",
            f"expected {name} {mean:{form}} ({low:{form}} to {high:{form}})",
        ]
    if size.train_seconds is not None:
        lines.append(human_seconds(size.train_seconds))
    if size.peak_memory_bytes:
        lines.append(human_bytes(size.peak_memory_bytes))
    return "<br>".join([*lines, f"rests on {size.evidence}", _numbers(size.trials)])


def _numbers(trials: Sequence[int]) -> str:
    if not trials:
        return "no trial at this size"
    shown = ", ".join(map(str, trials[:MOST_NUMBERS]))
    more = len(trials) - MOST_NUMBERS
    return f"trials {shown}" + (f" and {more} more" if more > 0 else "")
