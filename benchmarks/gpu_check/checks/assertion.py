"""One device-side assertion, as an index out of range trips it."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.gpu_check.bench import HERE, Bench, verdicts
from benchmarks.gpu_check.loops import NOTE
from benchmarks.gpu_check.rows import Row, judged


def check(bench: Bench) -> Iterator[Row]:
    """The context is lost; the study is not."""
    said = bench.said(
        "--task", f"{HERE / 'loops.py'}:assertion",
        "--batch-sizes", "16:32",
        "--epochs", "3",
        "--n-trials", "8",
        "--sampler", "random",
        "--storage", bench.storage("assertion"),
        "--checkpoint-dir", "none",
        env={NOTE: str(bench.folder / "assertion.note")},
        seconds=90,
    )  # fmt: skip
    trials = bench.trials("assertion")
    failed = sum(trial["state"] == "FAIL" for trial in trials)
    good = said.code == 0 and failed == 1
    yield judged(good, "it costs one trial, not the study", f"{verdicts(trials)}{said.last}")
