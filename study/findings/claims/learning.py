"""Beliefs about the metric, spikes and curves, by their names."""

from __future__ import annotations

from functools import partial

from batchfront.study.findings.claims.claim import Rule
from batchfront.study.findings.claims.early import early_predicts
from batchfront.study.findings.claims.ends import (
    smaller_ends_higher,
    smaller_ends_higher_in_as_many_steps,
)
from batchfront.study.findings.claims.neighbours import neighbours_barely_differ
from batchfront.study.findings.claims.shapes import (
    gap_grows,
    larger_is_faster_to_target,
    small_batches_spike,
)

LEARNING_CLAIMS: dict[str, Rule] = {
    "larger is faster to the target": larger_is_faster_to_target,
    "smaller ends better, in as many epochs": smaller_ends_higher,
    "smaller ends better, in as many steps": smaller_ends_higher_in_as_many_steps,
    "the generalization gap grows with batch size": gap_grows,
    "small batches spike more, per epoch": partial(
        small_batches_spike, per=lambda row: row.epochs or row.examples, unit="per epoch"
    ),
    "small batches spike more, per step": partial(
        small_batches_spike, per=lambda row: row.steps, unit="per step"
    ),
    "adjacent sizes barely differ": neighbours_barely_differ,
    "2 epochs predict the end": early_predicts,
}
OVER_ALL_RUNS = {"2 epochs predict the end", "a tenth of a run predicts the end"}
OVER_TUNED_RUNS = {
    "larger is faster to the target",
    "the generalization gap grows with batch size",
    "small batches spike more, per epoch",
    "small batches spike more, per step",
}
