"""Tables of at most 100 columns, and the words around them."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from batchfront.objectives.metric import Metric
from batchfront.study.show import counted, human_bytes, human_seconds, plain_table, said, short
from batchfront.study.trials.attributes import (
    CONSTANT_METRIC,
    MEMORY_OFF,
    OWN_CLOCK,
    PREDICTED,
    REASON,
    VERDICT,
    WAITS,
    is_finished,
    measured_names,
    own_params,
    trial_row,
)
from batchfront.study.trials.costs import OF_DEVICES, TIME_OFF, Costs, SizeCost, advice
from batchfront.study.trials.repeats import repeats_of

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial
    from rich.table import Table

WIDTH = 100
BETWEEN = 3  # columns of the terminal that rich puts around a cell
ASKED = ("batch_size", "learning_rate")
SHORTER = {
    "batch_size": "size",
    "learning_rate": "rate",
    "train_seconds": "time",
    "peak_memory_bytes": "memory",
}
FELT_SECONDS = 0.05  # by which a run may differ from its probe without a word
LEAST_RATIO = 0.0005  # of measured to known seconds: what is less is stored as none at all
LONG_WAIT = 0.2  # share of a step: beyond, the loader is worth a word


def front_table(
    front: Sequence[FrozenTrial],
    metric_names: Sequence[str],
    *,
    hardware: str = "",
    width: int = WIDTH,
    among: Sequence[FrozenTrial] = (),
) -> Table:
    """The Pareto front, one trial a line.

    Args:
        width: columns of the terminal.
        among: all trials, for the spread of repeated ones.
    """
    columns, left_out = _fitting(
        _front_columns(front, metric_names, among), own_params(front), width
    )
    where = f" on {hardware}" if hardware else ""
    title = f"Pareto front{where}: {counted(len(front), 'trial')}"
    table = plain_table(title, [(head, "right") for head, _ in columns])
    for cells in zip(*(cells for _, cells in columns), strict=True):
        table.add_row(*cells)
    if left_out:
        table.caption = f"no room for {', '.join(left_out)}: front --csv has all"
        table.caption_justify = "left"
    return table


def _front_columns(
    front: Sequence[FrozenTrial], metric_names: Sequence[str], among: Sequence[FrozenTrial]
) -> dict[str, list[str]]:
    """The cells of each column by its name; the seeds where a setting was repeated."""
    own, shown = own_params(front), measured_names(among or front, metric_names)
    names = ["trial", "batch_size", "learning_rate", *own, *shown]
    rows = front_cells(front, shown)
    columns = {name: [row[n] for row in rows] for n, name in enumerate(names)}
    repeats = repeats_of(front, among)
    if any(one["n_seeds"] > 1 for one in repeats):
        columns["seeds"] = [spread(metric_names[0], one) for one in repeats]
    return columns


def _fitting(
    columns: Mapping[str, list[str]], own: Sequence[str], width: int
) -> tuple[list[tuple[str, list[str]]], list[str]]:
    """The columns with headings as long as there is room for, and which of them had to go.

    Headings first wrap at spaces, then get shorter; then the task's own parameters go, from the
    last: no word is broken.
    """
    plain = {name: _spaced(name) if name in ASKED else name for name in columns}
    short = {name: SHORTER.get(name, _spaced(name)) for name in columns}
    for heads, is_whole in ((plain, True), ({n: _spaced(n) for n in columns}, False)):
        found = [
            (_wrapped(heads[name], columns[name], is_whole), columns[name]) for name in columns
        ]
        if _width(found) < width:
            return found, []
    for n_left_out in range(len(own) + 1):
        left_out = list(own[len(own) - n_left_out :])
        kept = [name for name in columns if name not in left_out]
        found = [(_wrapped(short[name], columns[name], False), columns[name]) for name in kept]
        if _width(found) < width:
            break
    return found, left_out


def _spaced(name: str) -> str:
    return name.replace("_", " ")


def _wrapped(head: str, cells: Sequence[str], is_whole: bool) -> str:
    """The heading in lines no wider than its longest word, or than the cells."""
    if is_whole:
        return head
    widest = max(map(len, [*head.split(), *cells]))
    return "\n".join(textwrap.wrap(head, widest))


def _width(columns: Sequence[tuple[str, Sequence[str]]]) -> int:
    """The columns of the terminal that they take."""
    return sum(max(map(len, [*head.split("\n"), *cells])) + BETWEEN for head, cells in columns)


def spread(name: str, repeats: Mapping[str, Any]) -> str:
    """`median of 5, 0.9660 to 0.9750`: the setting's, where it was repeated."""
    if repeats["n_seeds"] == 1:
        return "1"
    low, high = said(name, repeats["lowest"]), said(name, repeats["highest"])
    return f"median of {repeats['n_seeds']}, {low} to {high}"


def front_cells(front: Sequence[FrozenTrial], metric_names: Sequence[str]) -> list[list[str]]:
    """A row of text for each trial: number, batch size, rate, the task's own, objectives."""
    own = own_params(front)
    rows = [trial_row(trial, metric_names) for trial in front]
    return [
        [
            str(row["number"]),
            str(row["batch_size"]),
            f"{row['learning_rate']:.3g}",
            *(short(row.get(name)) for name in own),
            *(said(name, row[name]) for name in metric_names),
        ]
        for row in rows
    ]


def front_rows(
    fronts: Mapping[str, Sequence[FrozenTrial]],
    metric_names: Sequence[str],
    among: Sequence[FrozenTrial] = (),
) -> list[dict[str, Any]]:
    """The rows of the fronts for machines; each names its hardware where there is more than one.

    `seeds` says of which trials of a repeated setting one is the median, and how they spread.
    """
    return [
        {
            **trial_row(trial, metric_names),
            **({"seeds": repeats} if repeats["n_seeds"] > 1 else {}),
            **{name: trial.user_attrs[name] for name in [WAITS] if name in trial.user_attrs},
            **({"hardware": hardware} if len(fronts) > 1 else {}),
        }
        for hardware, trials in fronts.items()
        for trial, repeats in zip(trials, repeats_of(trials, among), strict=True)
    ]


def cost_row(cost: SizeCost) -> dict[str, Any]:
    """What a probe says of one batch size; None where it was not run."""
    return {
        "batch_size": cost.batch_size,
        "step_seconds": cost.step_seconds,
        **({} if cost.data_wait_share is None else _waiting(cost)),
        "examples_per_second": cost.examples_per_second,
        "peak_memory_bytes": cost.peak_memory_bytes,
        "evaluation_peak_bytes": cost.evaluation_peak_bytes,
        "predicted_peak_memory_bytes": cost.predicted_peak_memory_bytes,
        **_of_device(cost),
    }


def _of_device(cost: SizeCost) -> dict[str, int | None]:
    """What an accelerator loses; nothing on a CPU."""
    found = {name: getattr(cost, name) for name in OF_DEVICES}
    return found if any(found.values()) else {}


def _waiting(cost: SizeCost) -> dict[str, float | None]:
    return {
        "data_wait_share": cost.data_wait_share,
        "step_seconds_without_waiting": cost.busy_step_seconds,
    }


def costs_table(costs: Costs) -> Table:
    """`probe`: one batch size a line, bars for throughput and memory."""
    columns = ["batch size", "step", "examples/s", "", "peak memory", "", "predicted"]
    justify = ["right", "right", "right", "left", "right", "left", "right"]
    waits = any(cost.data_wait_share is not None for cost in costs.values())
    if waits:
        columns.insert(2, "waits")
        justify.insert(2, "right")
    has_device = any(cost.device_memory_bytes is not None for cost in costs.values())
    if has_device:
        columns.append("device loses")
        justify.append("right")
    table = plain_table("", list(zip(columns, justify, strict=True)))
    most = max((c.examples_per_second or 0.0 for c in costs.values()), default=0.0)
    largest = max((c.memory or 0 for c in costs.values()), default=0)
    for cost in costs.values():
        speed, memory = cost.examples_per_second, cost.peak_memory_bytes
        predicted = cost.predicted_peak_memory_bytes
        why = "does not fit" if cost.cannot_fit else "failed"
        table.add_row(
            str(cost.batch_size),
            why if cost.step_seconds is None else human_seconds(cost.step_seconds),
            *([_share(cost.data_wait_share)] if waits else []),
            "-" if speed is None else f"{speed:,.0f}",
            bar(speed or 0.0, most),
            _bytes(memory),
            bar(memory or 0, largest),
            _bytes(predicted),
            *([_bytes(cost.device_memory_bytes)] if has_device else []),
        )
    return table


def _bytes(n_bytes: int | None) -> str:
    return "-" if n_bytes is None else human_bytes(n_bytes)


def _share(share: float | None) -> str:
    return "-" if share is None else f"{share:.0%}"


def bar(value: float, most: float, width: int = 12) -> str:
    """A bar of eighths of a character, `width` characters for `most`."""
    eighths = round(8 * width * value / most) if most else 0
    full, rest = divmod(eighths, 8)
    return "█" * full + (" ▏▎▍▌▋▊▉"[rest] if rest else "")


def advice_lines(costs: Costs) -> list[str]:
    """The two sizes people look for, and what was wrong."""
    found = advice(costs)
    lines = []
    if found is not None:
        lines.append(
            f"smallest batch size within 5% of the best throughput: {found.smallest_near_best}; "
            f"largest that fits: {found.largest_that_fits}"
        )
    if any(c.device_memory_bytes is not None for c in costs.values()):
        lines.append(
            "peak memory is the model's; what the device loses has data, cache and context in it: "
            "--max-memory of a new study is held against that"
        )
    evaluation = max((c.evaluation_peak_bytes or 0 for c in costs.values()), default=0)
    if any(c.memory is not None and c.memory < evaluation for c in costs.values()):
        lines.append(
            f"evaluation needs up to {human_bytes(evaluation)}, which peak memory leaves out: "
            "sizes that train with less need that much"
        )
    disturbed = [str(c.batch_size) for c in costs.values() if c.disturbed]
    if disturbed:
        lines.append(f"other work ran on this CPU while measuring size {', '.join(disturbed)}")
    waiting = [c for c in costs.values() if (c.data_wait_share or 0.0) > LONG_WAIT]
    if waiting:
        sizes = ", ".join(str(cost.batch_size) for cost in waiting)
        most = max(cost.data_wait_share or 0.0 for cost in waiting)
        lines.append(
            f"up to {most:.0%} of a step at size {sizes} is waiting for data: the loader limits "
            "them, not the device; give the datasets more num_workers"
        )
    lines += [f"size {c.batch_size}: {c.error}" for c in costs.values() if c.error]
    return lines


def studies_table(rows: Sequence[dict[str, Any]]) -> Table:
    """`ls`: one study a line."""
    paused = ("n_paused",) if any(row["n_paused"] for row in rows) else ()  # some of n_pruned
    keys = ("n_trials", "n_complete", "n_pruned", *paused, "n_fail", "n_running")
    columns = [("study_name", "left"), *((key, "right") for key in (*keys, "checkpoints"))]
    table = plain_table("", columns)
    for row in rows:
        kept = row["checkpoint_bytes"]
        table.add_row(
            row["study_name"],
            *(str(row[key]) for key in keys),
            "-" if kept is None else human_bytes(kept),
        )
    return table


def summary_lines(trials: Sequence[FrozenTrial], metric: Metric) -> list[str]:
    """How many trials completed or stopped early, why, what that saved, and what is in doubt."""
    finished = [t for t in trials if is_finished(t)]
    refused = sum(bool(t.user_attrs.get(PREDICTED)) for t in trials)
    not_run = f"not run: {counted(refused, 'proposal')}, known not to fit or to break a budget"
    return [
        *_ended_lines(finished),
        *([not_run] if refused else []),
        *_doubt_lines(finished, metric),
    ]


def _ended_lines(finished: Sequence[FrozenTrial]) -> list[str]:
    states = Counter(t.state.name for t in finished)
    stopped = [t for t in finished if t.state.name == "PRUNED"]
    why = Counter(str(t.user_attrs.get(VERDICT)) for t in stopped)
    reasons = f" ({', '.join(f'{n} {verdict}' for verdict, n in why.most_common())})" if why else ""
    lines = [
        f"{counted(len(finished), 'trial')}: {states['COMPLETE']} completed, "
        f"{states['PRUNED']} stopped early{reasons}, {states['FAIL']} failed"
    ]
    failures = Counter(
        str(t.user_attrs.get(REASON)) for t in finished if t.state.name == "FAIL"
    ).most_common(1)
    if failures:
        lines.append(f"most frequent failure: {failures[0][0].splitlines()[0][:200]}")
    planned = [t for t in stopped if "planned_train_seconds" in t.user_attrs]
    if planned:
        spent = sum(t.user_attrs.get("measured_seconds", 0.0) for t in finished)
        saved = sum(map(saved_seconds, planned))
        lines.append(
            f"stopping early saved {human_seconds(saved)} of training; "
            f"{human_seconds(spent)} were spent"
        )
    return lines


def _doubt_lines(finished: Sequence[FrozenTrial], metric: Metric) -> list[str]:
    """What speaks against the figures."""

    def runs_with(attribute: str) -> int:
        return sum(attribute in t.user_attrs for t in finished)

    lines = []
    if n := runs_with(OWN_CLOCK):
        lines.append(
            f"{counted(n, 'run')} reported fewer training steps than announced: times are "
            "those of their own clocks, and the divergence guard saw little of them"
        )
    if _none_beats_the_constant(finished, metric):
        lines.append(
            "no run is better than a constant prediction: what is trained does not learn, or its "
            "metric does not show it, and the front says nothing"
        )
    if n := sum(map(_is_felt, finished)):
        lines.append(
            f"{counted(n, 'run')} took over {TIME_OFF:.0%} more or less time than their probe: "
            "is the device shared or throttled, or slow after each checkpoint (--checkpoint-dir "
            "none shows it)? the front uses the probe's times"
        )
    if n := runs_with(MEMORY_OFF):
        lines.append(
            f"{counted(n, 'run')} took another peak of memory than their probe: the front uses "
            "the probe's; probe --again measures anew"
        )
    return lines


def _is_felt(trial: FrozenTrial) -> bool:
    """Whether it took another time than its probe, and by more than what nobody feels.

    The first steps of each epoch are slow, since validation has emptied the caches.
    """
    off, measured = (trial.user_attrs.get(name) for name in ("time_off", "measured_seconds"))
    if off is None or measured is None:
        return off is not None
    known = measured / max(1 + off, LEAST_RATIO)  # by the probe
    return bool(abs(off) * known > FELT_SECONDS)


def saved_seconds(trial: FrozenTrial) -> float:
    """What its run would have taken more; a run on a busy machine may have taken longer anyway."""
    spent = trial.user_attrs.get("measured_seconds", 0.0)
    return max(0.0, float(trial.user_attrs["planned_train_seconds"] - spent))


def _none_beats_the_constant(trials: Sequence[FrozenTrial], metric: Metric) -> bool:
    """Whether all completed runs end at or below the metric of a constant prediction."""
    known = [t for t in trials if t.values and CONSTANT_METRIC in t.user_attrs]
    return bool(known) and not any(
        metric.is_better(t.values[0], t.user_attrs[CONSTANT_METRIC]) for t in known
    )
