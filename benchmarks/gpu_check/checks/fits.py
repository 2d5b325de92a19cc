"""Sizes that cannot fit are never run; running out of memory is evidence and leaves nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from benchmarks.gpu_check.bench import HERE, Bench, mib, read_json, verdicts
from benchmarks.gpu_check.loops import NOTE
from benchmarks.gpu_check.rows import Row, judged
from benchmarks.gpu_check.tasks import UNITS_A_STEP

HELD = 256 * 2**20  # bytes that the loop holds when it runs out of memory


def check(bench: Bench) -> Iterator[Row]:
    """A task that eats memory is probed; a loop that raises is searched."""
    yield _cut(bench)
    yield _combinations(bench)
    yield from _runs_out(bench)


def _cut(bench: Bench) -> Row:
    unit = 2**29 if bench.is_cuda else 2**16
    said = bench.said(
        "--task", f"{HERE / 'tasks.py'}:hungry",
        "--batch-sizes", "1:128",
        "--storage", bench.storage("fits"),
        "--json",
        verb="probe",
        env={"BATCHFRONT_CHECK_UNIT": str(unit)},
        seconds=120,
    )  # fmt: skip
    rows = read_json(said) or []
    ran = [row["batch_size"] for row in rows if row["step_seconds"]]
    if not bench.is_cuda:
        return judged(bool(ran), "sizes of the hungry task ran", f"{ran}{said.last}")
    from batchfront.objectives.device.hardware import usable_memory_bytes
    from batchfront.study.probes.prober import SAFE_SHARE

    room = SAFE_SHARE * usable_memory_bytes(bench.device)
    fitting = [2**k for k in range(8) if UNITS_A_STEP * unit * 2**k < room]
    return judged(
        bool(ran) and max(ran) >= fitting[-1],
        "sizes that do not fit are predicted, the others run",
        f"ran to {max(ran, default=None)}, {fitting[-1]} fits{said.last}",
    )


def _combinations(bench: Bench) -> Row:
    """A searched parameter takes up to 1024 times the memory: what cannot fit is never run."""
    said = bench.said(
        "--task", f"{HERE / 'tasks.py'}:hungrier",
        "--batch-sizes", "1:2" if bench.is_cuda else "4:8",
        "--epochs", "1",
        "--n-trials", "3",
        "--sampler", "random",
        "--storage", bench.storage("combinations"),
        "--checkpoint-dir", "none",
        env={"BATCHFRONT_CHECK_UNIT": str(2**29 if bench.is_cuda else 2**12)},
        seconds=100,
    )  # fmt: skip
    trials = bench.trials("combinations")
    refused = sum(bool(trial.get("predicted")) for trial in trials)
    ran_out = sum(trial.get("verdict") == "out_of_memory" for trial in trials) - refused
    good = said.code == 0 and not ran_out and len(trials) - refused == 3
    what = "searched combinations that cannot fit are predicted, and never run"
    return judged(good, what, f"{refused} refused, {verdicts(trials)}{said.last}")


def _runs_out(bench: Bench) -> Iterator[Row]:
    note = bench.folder / "memory.note"
    said = bench.said(
        "--task", f"{HERE / 'loops.py'}:out_of_memory",
        "--batch-sizes", "8:256",
        "--epochs", "3",
        "--n-trials", "10",
        "--sampler", "random",
        "--storage", bench.storage("memory"),
        "--checkpoint-dir", "none",
        env={NOTE: str(note)},
        seconds=100,
    )  # fmt: skip
    trials = bench.trials("memory")
    ended = [trial for trial in trials if trial["state"] == "FAIL"]
    failed = [trial for trial in ended if trial.get("fail_reason") != "crowded_out"]  # run again
    ran_out = [trial for trial in trials if trial.get("verdict") == "out_of_memory"]
    yield judged(
        said.code == 0 and bool(ran_out) and not failed,
        "out of memory in a trial: PRUNED, and the study completes",
        f"{verdicts(trials)}{said.last}",
    )
    if bench.is_cuda:
        yield _left(note)


def _left(note: Path) -> Row:
    held = [int(line) for line in note.read_text().split()]
    return judged(
        max(held) - min(held) < HELD / 3,
        "nothing of a run that ran out of memory lives on",
        f"{mib(min(held))} to {mib(max(held))} MiB at the starts of runs",
    )
