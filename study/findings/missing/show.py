"""What is missing, and what it takes, in a line."""

from __future__ import annotations

from collections.abc import Sequence

from batchfront.study.findings.missing.runs import KINDS, Gap
from batchfront.study.show import counted, human_seconds


def missing_line(gaps: Sequence[Gap]) -> str:
    """`missing: 4 runs at new learning rates (batch size 16, 64), about 1.2 s of training`."""
    parts = []
    for kind, words in KINDS.items():
        some = sorted((gap for gap in gaps if gap.kind == kind), key=lambda gap: gap.batch_size)
        if some:
            runs = counted(sum(len(gap.rates) for gap in some), "run")
            parts.append(
                f"{runs} {words} (batch size {', '.join(str(g.batch_size) for g in some)})"
            )
    later = sum(gap.n_later for gap in gaps)
    if later:
        parts.append(f"then at least {counted(later, 'fresh seed')}")
    return f"missing: {', '.join(parts)}{_price(gaps)}"


def n_missing(gaps: Sequence[Gap]) -> int:
    """The least number of runs that all gaps lack."""
    return sum(gap.n_runs for gap in gaps)


def _price(gaps: Sequence[Gap]) -> str:
    known = [gap.n_runs * gap.train_seconds for gap in gaps if gap.train_seconds is not None]
    return f"; about {human_seconds(sum(known))} of training" if len(known) == len(gaps) else ""
