"""Common beliefs about batch size, each held against the runs of one study.

Every belief is one function of the runs, with a rule for agree and for disagree that is stated in
docs/learning-rates.md. What the runs do not decide is not shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from batchfront.study.findings.claims.claim import Claim, Rule, Runs
from batchfront.study.trials.rows import RunRow
from batchfront.study.trials.yardstick import AS_IT_IS, Yardstick


def rules() -> dict[str, Rule]:
    """All rules by the name of the belief, in the order of the table."""
    from batchfront.study.findings.claims.cost import COST_CLAIMS
    from batchfront.study.findings.claims.learning import LEARNING_CLAIMS
    from batchfront.study.findings.claims.rates import RATE_CLAIMS

    return {**COST_CLAIMS, **LEARNING_CLAIMS, **RATE_CLAIMS}


def all_claims(
    rows: Sequence[RunRow],
    *,
    target: float | None = None,
    seed: int = 0,
    steady: bool = True,
    by: Yardstick = AS_IT_IS,
) -> list[Claim]:
    """Every belief about these runs, whose metrics are standard values; the rest as in `Runs`."""
    evidence = Runs(rows=rows, target=target, seed=seed, steady=steady, by=by)
    claims = [rule(name, evidence) for name, rule in rules().items()]
    return [replace(claim, trials=_trials(claim, evidence)) for claim in claims]


def _trials(claim: Claim, evidence: Runs) -> tuple[int, ...]:
    """The numbers of the runs behind a claim: of known cost, tuned, or of the sizes compared."""
    from batchfront.study.findings.claims.cost import COST_CLAIMS
    from batchfront.study.findings.claims.learning import OVER_ALL_RUNS, OVER_TUNED_RUNS

    if claim.name in COST_CLAIMS:
        here = claim.figures.get("hardware", "")
        rows = [r for r in evidence.rows if r.finished and here in ("", r.hardware or "")]
        rows = [r for r in rows if r.epoch_seconds is not None or r.peak_memory_bytes]
    elif claim.name in OVER_TUNED_RUNS:
        rows = evidence.tuned_rows
    elif claim.name in OVER_ALL_RUNS:
        rows = [row for row in evidence.finished if row.curve]
    else:
        rows = [r for r in evidence.rows if r.finished and r.batch_size in evidence.tuned]
    return tuple(row.number for row in rows)
