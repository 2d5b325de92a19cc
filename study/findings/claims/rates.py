"""Beliefs about learning rates."""

from __future__ import annotations

from functools import partial

from batchfront.study.findings.claims.claim import (
    AGREE,
    CONFIDENCE,
    DISAGREE,
    Claim,
    Rule,
    Runs,
    decided,
    not_shown,
)
from batchfront.study.findings.rates.best import NotShown
from batchfront.study.findings.rates.law import MIN_SIZES, rate_law
from batchfront.study.findings.statistics.lines import fit_line

NEAR = 0.3  # of an exponent: linear and square-root scaling are 0.5 apart
FINEST = 0.05  # decades


def usable_range_shrinks(name: str, evidence: Runs) -> Claim:
    """Decades of usable rates over log2 of the size: agree where the slope is negative.

    Sizes whose usable range reaches an end of what was tried are left out.
    """
    import numpy as np

    whole = {b: e for b, e in evidence.tuned.items() if not e.is_cut}
    if len(whole) < MIN_SIZES:
        return not_shown(
            name,
            f"{len(whole)} batch sizes with a usable range inside the tried one, wanted "
            f"{MIN_SIZES}",
            left_out=evidence.left_out(whole, "its usable range reaches an end of the rates tried"),
        )
    x = np.log2(np.array(list(whole), dtype=float))
    draws = np.array([e.width_draws for e in whole.values()])
    line = fit_line(x, draws, finest=FINEST, seed=evidence.seed)
    low, high = line.interval(CONFIDENCE, strict=True)
    decades = {size: round(e.decades, 2) for size, e in whole.items()}
    figures = {"decades": decades, "decades_per_doubling": [line.slope, low, high]}
    text = f"{line.slope:+.2f} decades per doubling ({low:+.2f} to {high:+.2f})"
    return decided(name, -high, -low, text, figures)


def scaling(name: str, evidence: Runs, *, exponent: float) -> Claim:
    """Disagree: outside of the exponent's interval. Agree: inside, and the interval is near it."""
    law = rate_law(evidence.tuned, confidence=CONFIDENCE, seed=evidence.seed)
    if isinstance(law, NotShown):
        return not_shown(name, law.reason, left_out=evidence.left_out(evidence.tuned))
    text = f"exponent {law.exponent:.2f} ({law.low:.3f} to {law.high:.3f})"
    figures = {"exponent": law.exponent, "interval": [law.low, law.high]}
    if not law.low <= exponent <= law.high:
        return Claim(name=name, verdict=DISAGREE, figures=figures, text=text)
    if exponent - NEAR <= law.low and law.high <= exponent + NEAR:
        return Claim(name=name, verdict=AGREE, figures=figures, text=text)
    return not_shown(name, f"{text}: too wide to tell", figures)


RATE_CLAIMS: dict[str, Rule] = {
    "usable learning rates shrink with batch size": usable_range_shrinks,
    "best rate grows linearly with batch size": partial(scaling, exponent=1.0),
    "best rate grows with its square root": partial(scaling, exponent=0.5),
}
