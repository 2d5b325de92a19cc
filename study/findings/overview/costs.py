"""What a probe shows of every batch size, and what follows from that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batchfront.study.show import human_bytes, human_seconds, plain_table
from batchfront.study.trials.costs import (
    OF_DEVICES,
    Costs,
    SizeCost,
    advice,
    disturbed_line,
    undefined_line,
)

if TYPE_CHECKING:
    from rich.table import Table

LONG_WAIT = 0.2  # share of a step: beyond, the loader is worth a word


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
    columns = ["batch size", "step", "examples/s", ""]
    justify = ["right", "right", "right", "left"]
    has_memory = measures_memory(costs)
    if has_memory:
        columns += ["peak memory", "", "predicted"]
        justify += ["right", "left", "right"]
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
            *([_bytes(memory), bar(memory or 0, largest), _bytes(predicted)] if has_memory else []),
            *([_bytes(cost.device_memory_bytes)] if has_device else []),
        )
    return table


def measures_memory(costs: Costs) -> bool:
    """Whether there is a peak to be shown: 0 everywhere is that of no meter."""
    return any(cost.memory for cost in costs.values())


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
        fits = f"; largest that fits: {found.largest_that_fits}"
        lines.append(
            f"smallest batch size within 5% of the best throughput: {found.smallest_near_best}"
            f"{fits if measures_memory(costs) else '; nothing measures its memory'}"
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
    lines += [line for line in (disturbed_line(costs), undefined_line(costs)) if line is not None]
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
