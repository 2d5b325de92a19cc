"""A study's figures, each of one hardware, as plotly draws them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchfront.study.api.look import LookedAt, answers
from batchfront.study.errors import StudyError
from batchfront.study.trials.hardware import by_hardware

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from batchfront.study.answer.choice import Answer
    from batchfront.study.answer.known import Known


def batch_sizes_figure(looked: LookedAt) -> go.Figure:
    """What a batch size buys: metric, best rate, time and memory; of each hardware.

    Raises:
        StudyError: too little is known.
    """
    from batchfront.study.findings.page.panels import panels
    from batchfront.study.findings.page.side import Side
    from batchfront.study.findings.page.theme import SIDES

    found = {title: pair for title, pair in _answered(looked).items() if pair[0].recommended}
    sides = [Side(label=title, answer=one, known=known) for title, (one, known) in found.items()]
    return panels(sides[: len(SIDES)])


def front_figure(looked: LookedAt) -> go.Figure:
    """The front, projected on pairs of objectives; on the hardware of most trials."""
    from batchfront.study.findings.page.projections import projections

    groups = by_hardware(looked.study, looked.trials).values()
    return projections(max(groups, key=len), looked.names)


def surface_figure(looked: LookedAt) -> go.Figure:
    """What was learned of the metric over batch size and learning rate, with all runs.

    Raises:
        StudyError: too little is known.
    """
    from batchfront.study.findings.page.surface import search_map

    found = _answered(looked)
    answer, known = max(found.values(), key=lambda pair: len(pair[1].rows))
    return search_map(answer, known)


def _answered(looked: LookedAt) -> dict[str, tuple[Answer, Known]]:
    found = answers(looked, prefer="fast", within=None)
    if not any(answer.recommended for answer, _ in found.values()):
        reason = next((answer.reason for answer, _ in found.values()), "no run has ended")
        raise StudyError(f"nothing to draw yet: {reason}; study.run() goes on")
    return {title: pair for title, pair in found.items() if pair[0].recommended}
