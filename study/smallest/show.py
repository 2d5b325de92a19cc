"""An answer in sentences and tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from batchfront.study.show import (
    counted,
    human_bytes,
    human_seconds,
    metric_form,
    plain_table,
    trials_word,
)
from batchfront.study.smallest.advice import Advice, Frozen
from batchfront.study.smallest.evidence import SizeRuns, also_reach, mean
from batchfront.study.smallest.ladder import Walk
from batchfront.study.smallest.sensitivity import Neighbour, scores_on_test
from batchfront.study.smallest.single import SingleRuns
from batchfront.study.trials.yardstick import AS_IT_IS, Yardstick

if TYPE_CHECKING:
    from rich.table import Table


def answer_line(
    table: Sequence[SizeRuns], found: Walk, smallest_tried: int, by: Yardstick = AS_IT_IS
) -> str:
    """The answer in one sentence, or that it is not shown, why, and what is known all the same."""
    also = also_reach(table, found)
    if found.answer is None or found.target is None:
        return _not_shown(found, also)
    own = next(size for size in table if size.batch_size == found.answer)
    low, target = 0.0 if own.reached_low is None else own.reached_low, by.own(found.target)
    line = (
        f"The smallest batch size that reaches {target:.4g} is {own.batch_size}"
        if not also
        else f"Batch size {own.batch_size} reaches {target:.4g}"
    )
    line += (
        f", at learning rate {own.learning_rate:.2g}: {own.n_reached} of {own.n_seeds} fresh seeds "
        f"{_at_other_rates(own)}(with 95% confidence at least {low:.0%} of all)"
    )
    if not own.confirmed:
        line += "; not confirmed: too few seeds to rule out that 80% of all do"
    if also:
        line += f"; {_also(also)}, on too few seeds to lead past a gap: ask for more --seeds"
    fails = _failing(table, own.batch_size, every=bool(also))
    if fails:
        return f"{line}; {_said(fails, 'does not', 'do not')}."
    if own.batch_size == smallest_tried:
        return f"{line}; smaller ones were not to be tried."
    return f"{line}."


def single_line(seen: SingleRuns) -> str:
    """The weaker answer of single runs, in one sentence."""
    said = "no size" if seen.answer is None else str(seen.answer)
    frozen = "none" if seen.frozen_answer is None else str(seen.frozen_answer)
    ends = [end for end in (seen.smallest, seen.largest) if end != seen.answer]
    moved = " or ".join("none" if end is None else str(end) for end in dict.fromkeys(ends))
    repeat = f"a repeat could make this {moved}" if ends else "a repeat would hardly move this"
    scatter = (
        "too few rates lie near the best ones to say how far runs scatter"
        if seen.noise is None
        else f"runs scatter by {seen.noise:.0%} of the error around a smooth surface"
    )
    return (
        f"a weaker answer: on single runs, at the best rate of each size: {said}; with the rate "
        f"frozen at {seen.frozen_rate:.2g} one would say {frozen}; {repeat} ({scatter})"
    )


def _at_other_rates(own: SizeRuns) -> str:
    """Recorded runs stand for the rate that the other runs choose, which may be another one."""
    others = own.n_seeds - own.n_at_rate
    return f"({others} of them at the rate that the others choose) " if others else ""


def _not_shown(found: Walk, also: Sequence[SizeRuns]) -> str:
    bound = "" if found.at_most is None else f", but it is {found.at_most} or smaller"
    line = f"not shown{bound}: {found.reason}"
    return f"{line}; {_also(also)}; {found.remedy}" if also else f"{line}; {found.remedy}"


def _also(also: Sequence[SizeRuns]) -> str:
    return _said(also, "also reaches it", "also reach it")


def _failing(table: Sequence[SizeRuns], answer: int, *, every: bool) -> list[SizeRuns]:
    """Sizes that do not reach it: those above the answer and the next below, or all of them."""
    fails = [size for size in table if size.counts is False]
    below = [size for size in fails if size.batch_size < answer]
    return fails if every else [size for size in fails if size not in below[1:]]


def _said(sizes: Sequence[SizeRuns], one_does: str, they_do: str) -> str:
    """`64 does not (0 of 10)`, or `64 (0 of 10) and 16 (1 of 5) do not`."""
    if len(sizes) == 1:
        return f"{sizes[0].batch_size} {one_does} ({_share(sizes[0])})"
    said = [f"{size.batch_size} ({_share(size)})" for size in sizes]
    return f"{', '.join(said[:-1])} and {said[-1]} {they_do}"


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


def ladder_table(
    table: Sequence[SizeRuns], target: float | None, by: Yardstick = AS_IT_IS
) -> Table:
    """Whether each size counts, and how well it trains."""
    columns = ("batch size", "learning rate (95%)", "seeds that reach it", f"{by.metric} (95%)")
    at = "" if target is None else f", target {by.own(target):.4g}"
    shown = plain_table(f"fresh seeds at the tuned rate{at}", _right((*columns, "counts")))
    form = metric_form(*(size.metric for size in table), digits=3)
    for size in table:
        shown.add_row(
            str(size.batch_size),
            _with_interval(
                size.learning_rate, size.learning_rate_low, size.learning_rate_high, ".2g"
            ),
            f"{size.n_reached} of {size.n_seeds} "
            f"({_interval(size.reached_low, size.reached_high, '.0%')})",
            _with_interval(size.metric, size.metric_low, size.metric_high, form),
            {True: "yes", False: "no", None: "?"}[size.counts],
        )
    return shown


def price_table(table: Sequence[SizeRuns], advised: Advice | None) -> Table:
    """What reaching the target takes at each size."""
    in_tokens = any(size.tokens_to_target is not None for size in table)
    unit = "tokens" if in_tokens else "epochs"
    columns = ("batch size", f"{unit} to it", "steps", "examples", "seconds", "cost of halving")
    shown = plain_table("to the target, medians of the seeds that reach it", _right(columns))
    halving = {} if advised is None else advised.halving_seconds
    for size in table:
        seconds, more = size.seconds_to_target, halving.get(size.batch_size)
        shown.add_row(
            str(size.batch_size),
            _number(size.tokens_to_target, ",.0f")
            if in_tokens
            else _number(size.epochs_to_target, ".4g"),
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


def sensitivity_table(
    around: Sequence[Neighbour], adaptive: Neighbour | None, by: Yardstick = AS_IT_IS
) -> Table:
    """The answer and the sizes around it at its rate, and the answer with a batch that grows."""
    rate = f"{around[0].learning_rate:.2g}"
    shown = plain_table(
        f"the sizes around it, learning rate kept at {rate}",
        _right(("batch size", "reach it", str(by.metric), "worst", "spikes", "stopped early")),
    )
    for one in [*around, *([] if adaptive is None else [adaptive])]:
        known = [by.own(run.metric) for run in one.runs if run.metric is not None]
        worst = min(known, key=by.metric.good, default=None)
        last = f", growing to {one.last_sizes[len(one.runs) // 2]}" if one is adaptive else ""
        shown.add_row(
            f"{one.batch_size}{last}",
            f"{sum(one.outcomes)}/{len(one.outcomes)}",
            _number(mean(known), metric_form(worst, digits=3)),
            _number(worst, metric_form(worst, digits=3)),
            _number(mean([run.n_spikes for run in one.runs if run.n_spikes is not None]), ".2g"),
            str(one.n_stopped),
        )
    return shown


def more_lines(
    table: Sequence[SizeRuns],
    found: Walk,
    frozen: Frozen | None,
    around: Sequence[Neighbour],
    by: Yardstick = AS_IT_IS,
) -> list[str]:
    """Ties, the test split, and what a frozen learning rate would have said."""
    lines = []
    tied = [str(size.batch_size) for size in table if size.tied and size.batch_size != found.answer]
    if tied:
        lines.append(f"{by.metric} tied with {found.answer}: {', '.join(tied)}")
    scores = scores_on_test(found, around)
    if found.answer is not None and around and not scores:
        lines.append("not scored on the test split: the training loop never called run.scored")
    if scores:
        spread = f", {min(scores):.4f} to {max(scores):.4f}" if len(scores) > 1 else ""
        seeds = counted(len(scores), "seed")
        lines.append(f"on the test split, looked at once: {mean(scores):.4f} ({seeds}{spread})")
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


def trial_lines(table: Sequence[SizeRuns], around: Sequence[Neighbour]) -> list[str]:
    """Which trials the figures of each size are of."""
    lines = [
        f"seeds of {size.batch_size}: {trials_word(size.trials)}" for size in table if size.trials
    ]
    for one in around:
        numbers = trials_word([run.number for run in one.runs])
        lines.append(f"{one.batch_size} at {one.learning_rate:.2g}: {numbers}")
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
