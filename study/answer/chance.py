"""Whether anything was learned at all: against a constant prediction, where its metric is known."""

from __future__ import annotations

from batchfront.study.answer.choice import Answer
from batchfront.study.answer.known import Known


def nothing_learned(answer: Answer, known: Known) -> bool:
    """Whether the best size is not expected to beat a constant prediction by more than a seed does.

    Of many runs at chance the luckiest is above it: what counts is the surface beneath them.
    """
    if answer.best is None or known.constant is None:
        return False
    found = answer.best.shown
    ahead = (1 - found.error) - float(known.yardstick.standard(known.constant))
    return ahead <= found.between_seeds


def chance_line(known: Known, form: str) -> str:
    """What to think of an answer then; `form`: the format of the metric's values."""
    return (
        "As far as these runs show, nothing was learned at any batch size: none is expected to be "
        f"clearly better than a constant prediction ({known.yardstick.metric.name} "
        f"{known.constant:{form}}), so what follows is chance. Look at labels, data and model, or "
        "train longer."
    )
