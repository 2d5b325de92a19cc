"""The smallest batch size, asked for on the device."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.gpu_check.bench import Bench, read_json
from benchmarks.gpu_check.rows import Row, judged


def check(bench: Bench) -> Iterator[Row]:
    """Digits at a target that all sizes reach."""
    said = bench.said(
        "--task", "digits",
        "--target", "0.95",
        "--batch-sizes", "16:64",
        "--timeout", "80",
        "--storage", bench.storage("smallest"),
        "--json",
        verb="smallest",
        seconds=110,
    )  # fmt: skip
    answer = read_json(said) or {}
    found = f"{answer.get('status')}: {answer.get('answer')}{said.last}"
    yield judged(answer.get("status") == "shown", "smallest: digits, target 0.95", found)
