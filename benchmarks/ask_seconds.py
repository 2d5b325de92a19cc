"""What asking costs as a study grows: seconds of one ask, samplers side by side.

    python -m benchmarks.ask_seconds [--samplers a b] [--trials 100 1000] [--json OUT]

An in-memory study of completed trials with curves, a tenth of them stopped; medians and the worst
of several asks on one core. Ours fits its shape anew when the data has grown by half; such an ask
is the column `first`, and a resume pays it once.
"""

from __future__ import annotations

import math
import time
from statistics import median
from typing import Any

import optuna

from batchfront.study.plan.budgets import Budgets
from batchfront.study.plan.choices import SAMPLERS
from batchfront.study.plan.limits import Limits
from batchfront.study.plan.space import SearchSpace
from batchfront.study.search.by_name import make_sampler
from batchfront.study.search.samplers import stock_sampler
from batchfront.study.trials.attributes import CONSTRAINT, CURVE, SO_FAR, VERDICT, batch_size_of
from batchfront.study.trials.costs import SizeCost
from batchfront.study.trials.outcome import GRADES
from benchmarks.rows import parser, write

SPACE = SearchSpace()
EPOCHS = 20
ASKS = 10
SLOW = ("gp",)  # asked once


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--samplers", nargs="+", choices=SAMPLERS, default=SAMPLERS)
    arguments.add_argument("--trials", nargs="+", type=int, default=[100, 1000])
    args = arguments.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    rows = []
    for n_trials in args.trials:
        study = grown(n_trials)
        for name in args.samplers:
            rows.append(row_of(name, study, n_trials))
            print(rows[-1], flush=True)
    write(rows, args.json)


def row_of(name: str, study: optuna.Study, n_trials: int) -> dict[str, Any]:
    """Asks that are taken back at once."""
    study.sampler = make_sampler(
        name, space=SPACE, seed=0, hardware="", limits=lambda study: limits()
    )
    times = []
    for _ in range(1 if name in SLOW else ASKS):
        start = time.perf_counter()
        trial = study.ask(SPACE.distributions())
        times.append(time.perf_counter() - start)
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
    later = times[1:] or times
    return {
        "sampler": name, "trials": n_trials, "ask_seconds": median(later),
        "worst": max(later), "first": times[0],
    }  # fmt: skip


def limits() -> Limits:
    """Limits that a probe could have measured: halving the batch size doubles the time."""
    costs = {
        size: SizeCost(
            batch_size=size,
            step_seconds=100 / size,
            peak_memory_bytes=1000 + size,
            predicted_peak_memory_bytes=None,
            total_steps=1,
        )
        for size in SPACE.batch_sizes
    }
    return Limits(costs=costs, budgets=Budgets(), failed_size=None, device_bytes=2**40)


def grown(n_trials: int) -> optuna.Study:
    """A study of random trials on a bowl."""
    study = optuna.create_study(
        directions=["maximize", "minimize", "minimize"],
        sampler=stock_sampler("random", space=SPACE, seed=0),
    )
    costs = limits().costs
    for number in range(n_trials):
        trial = study.ask(SPACE.distributions())
        size, rate = batch_size_of(trial.params), trial.params["learning_rate"]
        off = math.log2(rate * 1000) - 0.5 * math.log2(size)
        accuracy = 1 - min(0.02 * math.exp(0.08 * off**2), 0.9)
        known = (100 / size, costs[size].peak_memory_bytes)
        stopped = number % 10 == 9
        epochs = EPOCHS // 3 if stopped else EPOCHS
        curve = [accuracy * (1 - math.exp(-e / 4)) for e in range(1, epochs + 1)]
        trial.set_user_attr(CURVE, curve)
        verdict = "dominated" if stopped else "completed"
        trial.set_user_attr(VERDICT, verdict)
        trial.set_constraint(CONSTRAINT, GRADES.get(verdict, 0.0))
        if stopped:
            trial.set_user_attr(SO_FAR, [curve[-1], *known])
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            study.tell(trial, (accuracy, *known))
    return study


if __name__ == "__main__":
    main()
