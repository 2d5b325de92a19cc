"""All precisions train."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.gpu_check.bench import Bench
from benchmarks.gpu_check.rows import Row, judged

LEARNED = 0.6  # accuracy; a tenth is chance


def check(bench: Bench) -> Iterator[Row]:
    """A study that searches the precision, too."""
    precisions = ("float32", "bfloat16", "float16") if bench.is_cuda else ("float32", "bfloat16")
    said = bench.said(
        "--task", "digits-cnn",
        "--batch-sizes", "32:256",
        "--epochs", "6",
        "--n-trials", "9",
        "--precision", ",".join(precisions),
        "--sampler", "random",
        "--learning-rates", "0.02:0.2",
        "--storage", bench.storage("precision"),
        "--checkpoint-dir", "none",
        seconds=100,
    )  # fmt: skip
    best: dict[str, float] = {}
    trials = bench.trials("precision")
    for trial in trials:
        name = trial.get("precision") or precisions[0]
        best[name] = max(best.get(name, 0.0), trial.get("best_metric") or 0.0)
    failed = [trial.get("reason") for trial in trials if trial["state"] == "FAIL"]
    good = said.code == 0 and not failed and all(value > LEARNED for value in best.values())
    found = ", ".join(f"{name} {value:.2f}" for name, value in best.items())
    yield judged(good and len(best) > 1, "best accuracy by precision", f"{found}{said.last}")
