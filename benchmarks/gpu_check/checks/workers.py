"""Several workers: on one GPU in turns and together, and over several GPUs."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress

from benchmarks.gpu_check.bench import HERE, Bench, Said, verdicts
from benchmarks.gpu_check.rows import Row, info, judged
from benchmarks.gpu_check.tasks import UNITS_A_STEP

N_TRIALS = 8


def check(bench: Bench) -> Iterator[Row]:
    """The launcher has probed sizes that need most of the memory."""
    yield _in_turns(bench)
    yield from _together(bench)
    yield _auto(bench)
    yield _spread(bench)


def _in_turns(bench: Bench) -> Row:
    import torch

    all_bytes = torch.cuda.mem_get_info(bench.device)[0] if bench.is_cuda else 2**24
    unit = int(all_bytes * 0.375 / UNITS_A_STEP / 64) // 64 * 64  # the largest runs take 3/8
    said = bench.said(
        "--task", f"{HERE / 'tasks.py'}:hungry",
        "--batch-sizes", "1:2" if bench.is_cuda else "16:64",
        "--n-trials", str(N_TRIALS),
        "--n-workers", "2",
        "--sampler", "random",
        "--pruner", "none",
        "--storage", bench.storage("turns"),
        "--checkpoint-dir", "none",
        "--learning-rates", "0.001:0.1",
        env={"BATCHFRONT_CHECK_UNIT": str(unit // 2)},
        seconds=110,
    )  # fmt: skip
    trials = bench.trials("turns")
    ended = verdicts(trials)
    good = said.code == 0 and ended.get("out_of_memory", 0) == 0
    return judged(
        good, "two workers in turns: sizes that fit do not run out", f"{ended}{said.last}"
    )


def _sharing(
    bench: Bench,
    name: str,
    *,
    n_workers: int,
    trials_per_gpu: str,
    watch: Callable[[int], object] = lambda pid: None,
) -> Said:
    """A study of digits whose trials may share a GPU."""
    return bench.said(
        "--task", "digits",
        "--batch-sizes", "16:64",
        "--n-trials", str(N_TRIALS),
        "--n-workers", str(n_workers),
        "--trials-per-gpu", trials_per_gpu,
        "--storage", bench.storage(name),
        "--checkpoint-dir", "none",
        seconds=110,
        watch=watch,
    )  # fmt: skip


def _together(bench: Bench) -> Iterator[Row]:
    """Two trials that share a GPU, and the launcher, which must hold none of it."""
    launcher, knows, others = list[bool](), list[bool](), set[int]()

    def watch(pid: int) -> None:
        if bench.is_cuda:
            with suppress(OSError, subprocess.SubprocessError, ValueError):
                seen = set(bench.on_device())
                launcher.append(pid in seen)
                knows.append(os.getpid() in seen)  # this process has asked for the memory before
                others.update(seen - {pid, os.getpid()})

    said = _sharing(bench, "together", n_workers=2, trials_per_gpu="2", watch=watch)
    trials = bench.trials("together")
    failed = sum(trial["state"] == "FAIL" for trial in trials)
    good = said.code == 0 and not failed and len(trials) >= N_TRIALS
    yield judged(good, "two trials share a GPU", f"{verdicts(trials)}{said.last}")
    what, found = "the launcher holds none of the GPU", f"{len(others)} other processes did"
    # Without numbers that we know too, as in containers, nobody can tell.
    yield (
        judged(not any(launcher), what, found) if any(knows) else info(what, "nobody can tell here")
    )


def _auto(bench: Bench) -> Row:
    """The number is measured; values that are told are a probe's all the same."""
    said = _sharing(bench, "auto", n_workers=3, trials_per_gpu="auto")
    words = ("no GPU is shared", "trials share", "trials take turns", "do not share")
    why = [line for line in said.err.splitlines() if any(word in line for word in words)]
    good = said.code == 0 and bool(why) and "could not be measured" not in why[-1]
    return judged(good, "trials per GPU, left to be measured", f"{why[-1:]}{said.last}")


def _spread(bench: Bench) -> Row:
    from batchfront.objectives.device.names import beside

    places = beside(bench.device)
    if len(places) < 2:
        return info("workers spread over GPUs", "there is one device")
    said = bench.said(
        "--task", "digits",
        "--n-trials", str(N_TRIALS),
        "--n-workers", str(len(places)),
        "--storage", bench.storage("spread"),
        "--checkpoint-dir", "none",
        seconds=110,
        device="cuda",  # any of them
    )  # fmt: skip
    good = said.code == 0 and "workers take turns" not in said.err
    return judged(good, f"workers spread over {len(places)} GPUs", f"yes{said.last}")
