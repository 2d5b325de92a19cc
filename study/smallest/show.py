"""An answer in sentences and tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from batchfront.study.show import human_bytes, human_seconds, plain_table
from batchfront.study.smallest.advice import Advice, Frozen
from batchfront.study.smallest.evidence import SizeRuns, mean
from batchfront.study.smallest.ladder import Walk
from batchfront.study.smallest.sensitivity import Neighbour, scores_on_test

if TYPE_CHECKING:
    from rich.table import Table


def answer_line(table: Sequence[SizeRuns], found: Walk, smallest_tried: int) -> str:
    """The answer in one sentence, or that it is not shown, and why."""
    if found.answer is None or found.target is None:
        return f"not shown: {found.reason}; {found.remedy}"
    own = next(size for size in table if size.batch_size == found.answer)
    low = 0.0 if own.reached_low is None else own.reached_low
    line = (
        f"The smallest batch size that reaches {found.target:.4g} is {own.batch_size}, at learning "
        f"rate {own.learning_rate:.2g}: {own.n_reached} of {own.n_seeds} fresh seeds (with 95% "
        f"confidence at least {low:.0%} of all)"
    )
    below = [size for size in table if size.batch_size < own.batch_size and size.counts is False]
    if below:
        next_ = max(below, key=lambda size: size.batch_size)
        return f"{line}; {next_.batch_size} does not ({_share(next_)})."
    if own.batch_size == smallest_tried:
        return f"{line}; smaller ones were not to be tried."
    return f"{line}."


def _share(size: SizeRuns) -> str:
    seeds = [f"{size.n_reached} of {size.n_seeds}"] if size.n_seeds else []
    return ", ".join([*seeds, *([size.why] if size.why else [])])


def advice_line(found: Walk, advised: Advice) -> str:
    """Which size to use, and what the smallest one costs."""
    parts = [
        f"Fastest to the target is {advised.fastest} ({human_seconds(advised.fastest_seconds)})"
    ]
    if advised.smallest_near_fastest != advised.fastest:
        parts.append(f"{advised.smallest_near_fastest} is the smallest within 5% of it")
    if advised.least_memory is not None and advised.least_memory_bytes is not None:
        memory = human_bytes(advised.least_memory_bytes)
        parts.append(f"{advised.least_memory} takes the least memory ({memory})")
    if advised.answer_seconds is not None and found.answer != advised.fastest:
        times = advised.answer_seconds / advised.fastest_seconds
        parts.append(
            f"{found.answer} takes {human_seconds(advised.answer_seconds)}, {times:.3g} times as "
            "long as the fastest"
        )
    if advised.larger is not None and advised.larger_seconds is not None:
        parts.append(
            f"beyond the ladder, {advised.larger} took {human_seconds(advised.larger_seconds)} in "
            "the search"
        )
    return "; ".join(parts) + "."


def ladder_table(table: Sequence[SizeRuns], target: float | None) -> Table:
    """Whether each size counts, and how well it trains."""
    columns = ("batch size", "learning rate (95%)", "seeds that reach it", "accuracy (95%)")
    at = "" if target is None else f", target {target:.4g}"
    shown = plain_table(f"fresh seeds at the tuned rate{at}", _right((*columns, "counts")))
    for size in table:
        shown.add_row(
            str(size.batch_size),
            _with_interval(
                size.learning_rate, size.learning_rate_low, size.learning_rate_high, ".2g"
            ),
            f"{size.n_reached} of {size.n_seeds} "
            f"({_interval(size.reached_low, size.reached_high, '.0%')})",
            _with_interval(size.accuracy, size.accuracy_low, size.accuracy_high, ".3f"),
            {True: "yes", False: "no", None: "?"}[size.counts],
        )
    return shown


def price_table(table: Sequence[SizeRuns], advised: Advice | None) -> Table:
    """What reaching the target takes at each size."""
    columns = ("batch size", "epochs to it", "steps", "examples", "seconds", "cost of halving")
    shown = plain_table("to the target, medians of the seeds that reach it", _right(columns))
    halving = {} if advised is None else advised.halving_seconds
    for size in table:
        seconds, more = size.seconds_to_target, halving.get(size.batch_size)
        shown.add_row(
            str(size.batch_size),
            _number(size.epochs_to_target, "g"),
            _number(size.steps_to_target, ",.0f"),
            _number(size.examples_to_target, ",.0f"),
            "-" if seconds is None else human_seconds(seconds),
            "-" if more is None else f"{'-' if more < 0 else '+'}{human_seconds(abs(more))}",
        )
    return shown


def stability_table(table: Sequence[SizeRuns]) -> Table:
    """How the same seeds trained, whether or not they reached the target."""
    columns = ("batch size", "all runs", "whole run", "peak memory", "generalization gap")
    more = ("spikes a run", "stopped early")
    shown = plain_table("fresh seeds, whole runs", _right(columns + more))
    for size in table:
        whole, peak = size.train_seconds, size.peak_memory_bytes
        shown.add_row(
            str(size.batch_size),
            str(size.n_runs),
            "-" if whole is None else human_seconds(whole),
            "-" if peak is None else human_bytes(peak),
            _number(size.generalization_gap, ".3f"),
            _number(size.n_spikes, ".2g"),
            str(size.n_stopped),
        )
    return shown


def sensitivity_table(around: Sequence[Neighbour], adaptive: Neighbour | None = None) -> Table:
    """Half and twice the answer at its learning rate, and the answer with a batch that grows."""
    rate = f"{around[0].learning_rate:.2g}"
    shown = plain_table(
        f"the batch size halved and doubled, learning rate kept at {rate}",
        _right(("batch size", "reach it", "accuracy", "lowest", "spikes", "stopped early")),
    )
    for one in [*around, *([] if adaptive is None else [adaptive])]:
        known = [run.metric for run in one.runs if run.metric is not None]
        last = f", growing to {one.last_sizes[len(one.runs) // 2]}" if one is adaptive else ""
        shown.add_row(
            f"{one.batch_size}{last}",
            f"{sum(one.outcomes)}/{len(one.outcomes)}",
            _number(mean(known), ".3f"),
            _number(min(known, default=None), ".3f"),
            _number(mean([run.n_spikes for run in one.runs if run.n_spikes is not None]), ".2g"),
            str(one.n_stopped),
        )
    return shown


def more_lines(
    table: Sequence[SizeRuns],
    found: Walk,
    frozen: Frozen | None,
    around: Sequence[Neighbour],
) -> list[str]:
    """Ties, the test split, and what a frozen learning rate would have said."""
    lines = []
    tied = [str(size.batch_size) for size in table if size.tied and size.batch_size != found.answer]
    if tied:
        lines.append(f"accuracy tied with {found.answer}: {', '.join(tied)}")
    scores = scores_on_test(found, around)
    if found.answer is not None and around and not scores:
        lines.append("not scored on the test split: the training loop never called run.scored")
    if scores:
        spread = f", {min(scores):.4f} to {max(scores):.4f}" if len(scores) > 1 else ""
        lines.append(
            f"on the test split, looked at once: {mean(scores):.4f} ({len(scores)} seeds{spread})"
        )
    if frozen is not None:
        said = "none" if frozen.answer is None else str(frozen.answer)
        seen = ", ".join(
            f"{size}: {frozen.n_reached[size]}/{frozen.n_runs[size]}"
            for size in sorted(frozen.n_runs, reverse=True)
        )
        lines.append(
            f"with the learning rate frozen at {frozen.learning_rate:.2g}, as tuned at the start, "
            f"one would have said {said} ({seen})"
        )
    return lines


def _right(columns: Sequence[str]) -> list[tuple[str, str]]:
    return [(name, "right") for name in columns]


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _interval(low: float | None, high: float | None, form: str) -> str:
    return "-" if low is None or high is None else f"{low:{form}}..{high:{form}}"


def _with_interval(value: float | None, low: float | None, high: float | None, form: str) -> str:
    if value is None:
        return "-"
    return f"{value:{form}}" + ("" if low is None else f" ({_interval(low, high, form)})")
