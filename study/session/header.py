"""What a search says before it begins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchfront.objectives.probes.lr_range import LOWEST
from batchfront.objectives.training.recipe import n_ranks
from batchfront.storage.names import redacted
from batchfront.study.machine.slots import n_cores, why_not_alone
from batchfront.study.plan.parsers import AUTO
from batchfront.study.plan.plan import Plan
from batchfront.study.plan.settings import StudySettings
from batchfront.study.plan.sizes import span_of
from batchfront.study.show import counted
from batchfront.study.trials.costs import undefined_line

if TYPE_CHECKING:
    from batchfront.objectives.objective import Objective

VERY_LOW = f"; they reach below {LOWEST:g}, where tests begin: are inputs and targets scaled?"


def header_lines(settings: StudySettings, plan: Plan, *, is_new: bool) -> list[str]:
    """What study it is, and what is searched."""
    lines = [
        f"study {plan.study_name!r}: task {plan.task} on {plan.device}, {plan.length}",
        f"storage {redacted(settings.storage)}",
        f"space {plan.space}; sampler {plan.sampler}, seed {plan.seed}",
    ]
    for past in plan.past:
        runs = counted(len(past.runs), "run")
        lines.append(
            f"warm start: {runs} of {past.source}, for what the metric is, where they agree"
        )
    if is_new and settings.learning_rates == AUTO:
        lines.append(
            "learning rates are from range tests at the smallest and largest batch size"
            + (VERY_LOW if plan.space.learning_rates[0] < LOWEST else "")
        )
    if str(plan.budgets):
        lines.append(f"budgets: {plan.budgets}")
    if is_new and plan.space != plan.asked:
        asked, left = (span_of(s.batch_sizes) for s in (plan.asked, plan.space))
        lines.append(f"batch sizes {asked} were cut to what data, memory and budgets allow: {left}")
    return lines


def task_notes(objective: Objective, plan: Plan) -> list[str]:
    """What a person should know of the task."""
    why = getattr(objective, "why_least", "")  # of tasks that our own loop trains
    asked_less = plan.asked.batch_sizes[0] < objective.batch_sizes[0]
    undefined = undefined_line(plan.costs)
    return [
        *objective.notes,
        *([why] if why and asked_less else []),
        *([undefined] if undefined is not None else []),
    ]


def rank_lines(objective: Objective, device: str, n_workers: int) -> list[str]:
    """How many processes train each trial, and whether they have the cores for it."""
    n = n_ranks(objective)
    if n == 1:
        return []
    lines = [f"each trial is trained by {n} ranks together"]
    if device.startswith("cpu") and n * n_workers > n_cores():
        lines.append(
            f"note: {n * n_workers} ranks share {n_cores()} cores and wait for each other, so "
            "that times say little: choose fewer workers or ranks"
        )
    return lines


def machine_notes() -> list[str]:
    """Why times measured on this machine may say little, where they may."""
    reason = why_not_alone()
    return [] if reason is None else [reason]
