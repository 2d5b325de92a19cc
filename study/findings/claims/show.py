"""Claims as people and machines read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from batchfront.study.findings.claims.claim import NOT_SHOWN, Claim
from batchfront.study.show import plain_table, said_by_reason

if TYPE_CHECKING:
    from rich.table import Table


def claims_table(claims: Sequence[Claim]) -> Table:
    """One belief a line."""
    table = plain_table("", [("belief", "left"), ("this study", "left")])
    for claim in claims:
        table.add_row(claim.name, claim.verdict.replace("_", " "))
    return table


def figure_lines(claims: Sequence[Claim]) -> list[str]:
    """What each verdict rests on, and why others are not shown, beliefs of one reason together."""
    lines = [f"- {claim.name}: {claim.text}" for claim in claims if claim.verdict != NOT_SHOWN]
    reasons: dict[str, list[str]] = {}
    for claim in claims:
        if claim.verdict == NOT_SHOWN:
            reasons.setdefault(claim.why_not, []).append(claim.name)
    lines += [f"- not shown, {', '.join(names)}: {why}" for why, names in reasons.items()]
    left_out: dict[int, str] = {}
    for claim in claims:
        left_out = {**claim.left_out, **left_out}
    return lines + ([f"- left out: {said_by_reason(left_out)}"] if left_out else [])


def claim_row(claim: Claim) -> dict[str, Any]:
    """The claim as a JSON object for machines."""
    return asdict(claim)


def closing_line(claims: Sequence[Claim]) -> str:
    """How far the verdicts can be trusted together."""
    decided = sum(claim.verdict != NOT_SHOWN for claim in claims)
    chances = sorted({claim.chance for claim in claims})
    said = " or ".join(f"{chance:.0%}" for chance in chances)
    return (
        f"{decided} of {len(claims)} shown; a belief that neither holds nor fails gets a verdict "
        f"in at most {said} of studies, trends and shapes over sizes in the larger share: of "
        f"{len(claims)} looks about {sum(claim.chance for claim in claims):.1f} may err"
    )
