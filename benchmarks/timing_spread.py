"""How much the time told for one repeated configuration varies: measured runs against probes.

    python -m benchmarks.timing_spread [--repeats 10] [--json OUT]

Trains one configuration of digits again and again, on a quiet machine and with a second process
that keeps another core busy, and prints the coefficient of variation (sd / mean) and the largest
over the smallest value of: the wall time of the run's training steps, the median epoch times the
number of epochs, and the time told from a fresh probe each time. Within one study the told time has
no spread at all: all runs of a batch size are told the same.
"""

from __future__ import annotations

import contextlib
import statistics
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import torch

from batchfront.objectives.length import Length
from batchfront.objectives.load import load_objective
from batchfront.objectives.measurement import TrialParams
from batchfront.objectives.objective import Objective
from batchfront.objectives.run import Run
from batchfront.study.machine.slots import pinned_core
from batchfront.study.probes.prober import Prober
from benchmarks import rows as output

BATCH_SIZE, EPOCHS = 64, 20
BURN = "while True: pass"


@contextlib.contextmanager
def busy_neighbour(wanted: bool) -> Iterator[None]:
    """A process that computes for ever beside us."""
    if not wanted:
        yield
        return
    process = subprocess.Popen([sys.executable, "-c", BURN])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def run_once(objective: Objective) -> tuple[float, float]:
    """Seconds of all training steps as they came, and the median epoch times the epochs."""
    run = Run(metric=objective.metric, measure_memory=False)
    params = TrialParams(
        batch_size=BATCH_SIZE, learning_rate=0.1, epochs=EPOCHS, seed=0, device="cpu"
    )
    with run:
        objective(params, run)
    return run._clock.spent()[0], run.result().train_seconds


def probe_once(objective: Objective) -> float:
    """Seconds of the same run, told from a fresh probe."""
    prober = Prober(objective, length=Length(amount=EPOCHS), device="cpu", rate=1e-4)
    return prober.sizes([BATCH_SIZE])[BATCH_SIZE].train_seconds or 0.0


def spread(values: list[float]) -> dict[str, float]:
    """Coefficient of variation, and the largest over the smallest."""
    variation = statistics.stdev(values) / statistics.mean(values)
    return {"variation": variation, "largest_over_smallest": max(values) / min(values)}


def main() -> None:
    """Print the table; write rows with --json."""
    parser = output.parser(__doc__)
    parser.add_argument("--repeats", type=int, default=10)
    args = parser.parse_args()
    torch.set_num_threads(1)
    objective = load_objective("digits", device="cpu")
    rows: list[dict[str, Any]] = []
    print(f"{'machine':18}{'time of':24}{'variation':>10}{'max/min':>9}")
    for machine in ("quiet", "busy second core"):
        with busy_neighbour(machine != "quiet"), pinned_core():
            runs = [run_once(objective) for _ in range(args.repeats)]
            probes = [probe_once(objective) for _ in range(args.repeats)]
        for what, values in (
            ("run, as it came", [r[0] for r in runs]),
            ("run, median epoch", [r[1] for r in runs]),
            ("fresh probe", probes),
        ):
            row = {"machine": machine, "time_of": what, **spread(values)}
            rows.append(row)
            print(
                f"{machine:18}{what:24}{row['variation']:10.1%}{row['largest_over_smallest']:9.2f}",
                flush=True,
            )
    output.write(rows, args.json)


if __name__ == "__main__":
    main()
