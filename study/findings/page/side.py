"""One study, or one hardware, of those that a page sets beside each other."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

from batchfront.study.answer.choice import Answer, SizeAdvice
from batchfront.study.answer.known import Known
from batchfront.study.answer.show import metric_of


@dataclass(frozen=True, kw_only=True)
class Side:
    """What one study, or one hardware, contributes."""

    label: str  # "" where there is one only
    answer: Answer
    known: Known

    @property
    def shown(self) -> list[SizeAdvice]:
        """The batch sizes of which something is known."""
        return [size for size in self.answer.sizes if size.estimate is not None]

    def named(self, what: str) -> str:
        """Something of this side, as the legend calls it."""
        return f"{escape(self.label)}: {what}" if self.label else what

    def expected(self) -> list[tuple[float, float, float]]:
        """The expected metric of each size that is shown, and its interval."""
        return [metric_of(size.shown, self.known) for size in self.shown]
