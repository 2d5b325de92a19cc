"""Claims as people and machines read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from batchfront.study.findings.claims.claim import NOT_SHOWN, Claim
from batchfront.study.show import plain_table

if TYPE_CHECKING:
    from rich.table import Table


def claims_table(claims: Sequence[Claim]) -> Table:
    """One belief a line."""
    table = plain_table("", [("belief", "left"), ("this study", "left"), ("figures", "left")])
    for claim in claims:
        words = claim.verdict.replace("_", " ")
        table.add_row(claim.name, words, claim.why_not or claim.text)
    table.columns[1].no_wrap = True
    return table


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
