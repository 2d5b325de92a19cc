"""A light worker: recorded curves, played back slowly; no torch, so that it starts at once.

`python -m tests.chaos.worker` reads a pickled Job from standard input, and writes every result that
the storage has acknowledged, one line of JSON each, to the file named by its one argument.
"""

from __future__ import annotations

import json
import os
import pickle
import sys
import time
from dataclasses import dataclass, replace

from batchfront.objectives.curves.replay import ReplayObjective
from batchfront.objectives.load import load_objective
from batchfront.objectives.measurement import TrialParams
from batchfront.objectives.run import Run
from batchfront.storage.open import readable_errors
from batchfront.study.machine.interrupts import Interrupts
from batchfront.study.quiet import quiet_optuna
from batchfront.study.workers.events import Event
from batchfront.study.workers.launch import Job, run_here

EPOCH_SECONDS = 0.02


class SlowReplay(ReplayObjective):
    """Takes its time, as training would."""

    def __call__(self, params: TrialParams, run: Run) -> None:
        report = run.report

        def slowly(value: float, **more: float) -> None:
            time.sleep(EPOCH_SECONDS)
            report(value, **more)

        run.report = slowly  # type: ignore[method-assign]
        super().__call__(params, run)


@dataclass
class Diary:
    """What the storage has acknowledged; a line is written in one piece."""

    path: str

    def __call__(self, event: Event) -> None:
        if event.kind != "ended":
            return
        line = {"number": event.number, "verdict": event.verdict, "values": event.values}
        with open(self.path, "ab", buffering=0) as file:
            file.write(json.dumps(line).encode() + b"\n")


def main() -> None:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    job: Job = pickle.load(sys.stdin.buffer)
    loaded = load_objective(job.task, device="cpu")
    assert isinstance(loaded, ReplayObjective)
    objective = SlowReplay(loaded.table, name=loaded.name)
    objective.fingerprint = loaded.fingerprint
    # Every worker draws points of its own, as other machines would.
    job = replace(job, plan=replace(job.plan, seed=os.getpid()))
    interrupts = Interrupts()
    with interrupts.installed(), quiet_optuna(), readable_errors(job.storage):
        run_here(job, objective, interrupts, Diary(sys.argv[1]))


if __name__ == "__main__":
    main()
