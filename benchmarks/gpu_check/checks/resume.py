"""A trial that is killed in its middle goes on from its checkpoint."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from typing import Any

from benchmarks.gpu_check.bench import Bench
from benchmarks.gpu_check.rows import Row, judged

PATIENCE_SECONDS = 60
SAME = 0.02  # accuracy: kernels add up in no fixed order


def check(bench: Bench) -> Iterator[Row]:
    """The resumed trial beside one that nothing befell."""
    folder = bench.folder / "killed"
    process = bench.start(*_argv(bench, "killed"))
    end, kept = time.monotonic() + PATIENCE_SECONDS * (1 if bench.is_cuda else 5), False
    while not kept and process.poll() is None and time.monotonic() < end:
        time.sleep(0.05)
        kept = any(folder.rglob("*.pt"))
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    said = bench.said(*_argv(bench, "killed"), seconds=90)
    bench.said(*_argv(bench, "undisturbed"), seconds=90)
    found = [_completed(bench, f"{name}/study") for name in ("killed", "undisturbed")]
    if not all(found):
        yield judged(False, "a killed trial is completed", f"no{said.last}")
        return
    resumed, undisturbed = (one["val_accuracy"] for one in found if one)
    retry = found[0] and found[0].get("retry_of")
    yield judged(
        kept and retry is not None and abs(resumed - undisturbed) < SAME,
        "accuracy of a killed trial that went on, and of one that nothing befell",
        f"{resumed:.4f}, {undisturbed:.4f}{', bit for bit' if resumed == undisturbed else ''}",
    )


def _argv(bench: Bench, name: str) -> tuple[str, ...]:
    (bench.folder / name).mkdir(exist_ok=True)
    return (
        "--task", "digits-cnn",
        "--batch-sizes", "8:8",
        "--epochs", "100" if bench.is_cuda else "12",
        "--n-trials", "1",
        "--seed", "5",
        "--learning-rates", "0.02:0.021",
        "--pruner", "none",
        "--storage", bench.storage(f"{name}/study"),
    )  # fmt: skip


def _completed(bench: Bench, name: str) -> dict[str, Any] | None:
    ended = [trial for trial in bench.trials(name) if trial["state"] == "COMPLETE"]
    return ended[0] if ended else None
