"""One worker on a grown study: CPU seconds of its claims, and of its pruner at each epoch.

    python -m benchmarks.scale_worker DATABASE N_TRIALS SAMPLER

Prints one JSON object. Seconds are of the worker's own thread; the first claim reads the study,
and so does the pruner in the first trial.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from statistics import fmean, median
from typing import Any

from rich.console import Console

from batchfront.study.pruning.front import FrontPruner
from batchfront.study.session.session import Session
from batchfront.study.workers.next_trial import NextTrial
from benchmarks.grown import settings


@contextmanager
def timed(cls: type, name: str, seconds: list[float]) -> Iterator[None]:
    """Adds the CPU seconds of each call of a method made inside."""
    method: Callable[..., Any] = getattr(cls, name)

    def call(*args: Any, **kwargs: Any) -> Any:
        begun = time.thread_time()
        try:
            return method(*args, **kwargs)
        finally:
            seconds.append(time.thread_time() - begun)

    setattr(cls, name, call)
    try:
        yield
    finally:
        setattr(cls, name, method)


def resident_bytes() -> int:
    """Memory of this process now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def main() -> None:
    path, n_trials, sampler = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    resident: list[int] = []
    n_before: list[int] = []  # epochs before each claim
    claims: list[float] = []
    epochs: list[float] = []
    claim = NextTrial.next

    def noted(self: NextTrial) -> Any:
        resident.append(resident_bytes())
        n_before.append(len(epochs))
        return claim(self)

    NextTrial.next = noted  # type: ignore[method-assign]
    with timed(NextTrial, "next", claims), timed(FrontPruner, "judge", epochs):
        console = Console(file=StringIO())
        Session(settings(path, n_trials, sampler), console).run()
    first, *warm, _last = claims
    judged = epochs[next(filter(None, n_before)) :]
    since = len(resident) // 4  # what is loaded and read at first is no growth
    grown = (resident[-1] - resident[since]) / (len(resident) - 1 - since)
    print(
        json.dumps(
            {
                "first_claim": first,
                "claim": median(warm),
                "worst_claim": max(warm),
                "epoch": fmean(judged),
                "worst_epoch": max(judged),
                "grown_bytes_per_trial": grown,
            }
        )
    )


if __name__ == "__main__":
    main()
