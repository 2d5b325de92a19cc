"""Does the beginning of a run say how it ends?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from batchfront.study.findings.claims.claim import (
    AGREE,
    CONFIDENCE,
    DISAGREE,
    Claim,
    Runs,
    metric_at,
    not_shown,
)
from batchfront.study.findings.statistics.trends import rank_correlation, within_correlation

EARLY_EPOCHS, EARLY_SHARE = 2, 0.1
PREDICTS = 0.5  # rank correlation from which on the early regime predicts the end
MIN_RUNS = 20


def early_predicts(name: str, evidence: Runs) -> Claim:
    """Rank correlation of the metric early (after 2 epochs, or a tenth of what is none of epochs)
    and at the end, over all completed runs and within sizes. Agree: both intervals lie above 0.5.
    Disagree: one lies below.

    Beside them, among the best quarter of each size: to tell bad runs from good ones is easier.
    """
    pairs: dict[int, list[tuple[float, float]]] = {}
    soon = EARLY_EPOCHS
    if evidence.point != "epoch":
        name = "a tenth of a run predicts the end"
        soon = max(1, round(EARLY_SHARE * max(row.points or 0 for row in evidence.rows)))
    for row in evidence.finished:
        early = metric_at(row, soon)
        if early is not None and row.metric is not None and (row.points or 0) > 2 * soon:
            pairs.setdefault(row.batch_size, []).append((early, row.metric))
    n = sum(map(len, pairs.values()))
    if n < MIN_RUNS:
        return not_shown(
            name, f"{n} completed runs of over {2 * soon} {evidence.point}s with a curve, "
            f"wanted {MIN_RUNS}"
        )  # fmt: skip
    overall = rank_correlation(list(pairs.values()), CONFIDENCE, seed=evidence.seed)
    within = within_correlation(list(pairs.values()), CONFIDENCE, seed=evidence.seed)
    if within is None:
        return not_shown(name, "no size has enough runs")
    best = within_correlation(_best_quarters(pairs), CONFIDENCE, seed=evidence.seed)
    figures = {
        "overall": list(overall),
        "within_sizes": list(within),
        "among_best_quarter": None if best is None else list(best),
        "n_runs": n,
    }
    text = (
        f"rank correlation {overall[0]:.2f} ({overall[1]:.2f} to {overall[2]:.2f}), within sizes "
        f"{within[0]:.2f} ({within[1]:.2f} to {within[2]:.2f}), {n} runs"
    )
    if best is not None:
        text += f"; among the best quarter of each size {best[0]:.2f}"
    if min(overall[1], within[1]) > PREDICTS:
        return Claim(name=name, verdict=AGREE, figures=figures, text=text)
    if min(overall[2], within[2]) < PREDICTS:
        return Claim(name=name, verdict=DISAGREE, figures=figures, text=text)
    return not_shown(name, f"{text}: not clearly on one side of {PREDICTS}", figures)


def _best_quarters(
    pairs: Mapping[int, Sequence[tuple[float, float]]],
) -> list[list[tuple[float, float]]]:
    """The best quarter of each size's pairs, by the metric at the end (the second number)."""
    ordered = (sorted(some, key=lambda pair: -pair[1]) for some in pairs.values())
    return [some[: max(1, len(some) // 4)] for some in ordered]
