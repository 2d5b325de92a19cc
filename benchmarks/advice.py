"""How well the answer holds: what a fresh run is promised against what the recorded runs reach.

    python -m benchmarks.advice TABLE… [--seeds 50] [--trials 30] [--all-runs] [--json OUT]

A study with the default sampler and pruner is played back from the table for each seed, and asked
for its answer. A run is told with the rate that it was recorded at. The truth is the mean of the
recorded seeds at the grid point nearest to what is recommended. Columns:
  bias            expected minus true metric, in deviations between seeds
  between         the same, the truth interpolated over the logarithm of the learning rate
  coverage        share of that point's recorded runs inside the interval (nominal 0.90)
  regret          best mean of the table minus that of the recommendation, in deviations
  within          share of studies whose regret is at most their tolerance, and a mean's deviation
  seconds_ratio   seconds of the recommendation over those of the fastest point whose true regret
                  is as small; median
  rate            share of studies whose interval of the rate, its ends taken to the nearest ones of
                  the grid and open where it says so, holds the best one of that batch size
  naive_bias, naive_regret   the same of "take the best run seen"
A mean of three seeds is itself off by 0.6 deviations, and the best of many such means is too good:
no recommendation can have a regret of 0, and no promise a bias of 0:
  least           mean size of the bias that a promise of the very truth would have, by the errors
                  of the recorded means of what was recommended
With `--all-runs` the answer is given every recorded run in place of a study: what it makes of 180
to 495 runs is as well as these tables can tell. With `--informed` it has the study's runs alone,
but knows how smooth the surface is and how much seeds differ, as all recorded runs tell it: as much
as any belief about them could help.
"""

from __future__ import annotations

import functools
import math
import multiprocessing
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, median
from typing import TYPE_CHECKING, Any

from batchfront.objectives.curves.replay import ReplayObjective
from batchfront.objectives.curves.table import Table, read_table
from batchfront.objectives.measurement import Verdict
from batchfront.study.answer.model import shape_of
from batchfront.study.plan.space import SearchSpace
from batchfront.study.quiet import quiet_optuna
from batchfront.study.trials.attributes import (
    OBJECTIVES,
    SCALED,
    VERDICT,
    batch_size_of,
    derive_seed,
)
from batchfront.study.trials.hardware import store_costs
from benchmarks.peers import known_limits
from benchmarks.playback import final_metric, play_trial
from benchmarks.pruning import make_rule
from benchmarks.rows import parser, table_name, write
from benchmarks.searches import sampler_of
from benchmarks.true_means import Judged, Point, Truth, known_runs, least_bias, nearest

if TYPE_CHECKING:
    import optuna


CHOSEN_ON = (
    "breast_cancer_adam", "diabetes_adam", "digits_adagrad", "digits_cnn_adam", "digits_rmsprop",
    "friedman_adamw", "noisy_adamw", "wine_sgd",
)  # fmt: skip
"""Every second table by name: what the answer's model takes for granted was chosen on these."""
COLUMNS = (
    "bias", "between", "coverage", "regret", "within", "seconds_ratio", "rate", "naive_bias",
    "naive_regret", "least",
)  # fmt: skip


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("tables", type=Path, nargs="+", metavar="TABLE")
    arguments.add_argument("--seeds", type=int, default=50)
    arguments.add_argument("--trials", type=int, default=30)
    arguments.add_argument("--jobs", type=int, default=2, help="processes")
    given = arguments.add_mutually_exclusive_group()
    given.add_argument("--all-runs", action="store_true", help="in place of a study")
    given.add_argument("--informed", action="store_true", help="about the surface's shape")
    args = arguments.parse_args()
    print(f"{'table':22}" + "".join(f"{name:>14}" for name in COLUMNS))
    rows = []
    with multiprocessing.get_context("spawn").Pool(args.jobs) as pool:
        for path in args.tables:
            n_trials = None if args.all_runs else args.trials
            one = functools.partial(judged, path, n_trials=n_trials, informed=args.informed)
            seeds = range(1 if args.all_runs else args.seeds)
            rows.append({"table": table_name(path), **summary(pool.map(one, seeds))})
            print_row(rows[-1])
    chosen_on = [row for row in rows if row["table"] in CHOSEN_ON]
    others = [row for row in rows if row["table"] not in CHOSEN_ON]
    groups = {"mean, chosen on": chosen_on, "mean, others": others, "mean": rows}
    means = [mean_row(name, some) for name, some in groups.items() if some]
    for row in means:
        print_row(row)
    write([*rows, *means], args.json)


def mean_row(name: str, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Means over tables, of the size of their biases too."""
    means = {key: mean(row[key] for row in rows) for key in COLUMNS}
    return {"table": name, **means, "|bias|": mean(abs(row["bias"]) for row in rows)}


def summary(studies: list[Judged]) -> dict[str, float]:
    """Means over the studies; a median of the ratios."""
    columns = [one.columns for one in studies]
    means = {
        key: (median if key == "seconds_ratio" else mean)(one[key] for one in columns)
        for key in columns[0]
    }
    return {**means, "least": least_bias(studies)}


def print_row(row: dict[str, Any]) -> None:
    """One line."""
    cells = "".join(f"{row[key]:14.2f}" for key in COLUMNS)
    size = f"  |bias| {row['|bias|']:.2f}" if "|bias|" in row else ""
    print(f"{row['table']:22}{cells}{size}", flush=True)


def judged(path: Path, seed: int, *, n_trials: int | None, informed: bool) -> Judged:
    """One study of a table, and how its answer does; None: of all recorded runs."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    truth = Truth(read_table(path))
    if n_trials is None:
        return truth.judge(recorded_study(truth.table))
    shape = shape_of(known_runs(recorded_study(truth.table))) if informed else None
    return truth.judge(played_study(truth.table, n_trials=n_trials, seed=seed), shape)


def recorded_study(table: Table) -> optuna.Study:
    """A study of all the table's runs."""
    from optuna.trial import TrialState, create_trial

    study = new_study(table, None, seed=0)
    for run in table.runs.values():
        metric = final_metric(table, run)
        works = math.isfinite(metric)
        costs = [run.train_seconds[-1], float(run.peak_memory_bytes)]
        study.add_trial(
            create_trial(
                params={"batch_size": run.batch_size, "learning_rate": run.learning_rate},
                distributions=space_of(table).distributions(),
                state=TrialState.COMPLETE if works else TrialState.PRUNED,
                values=[metric, *costs] if works else None,
                user_attrs={} if works else {VERDICT: Verdict.DIVERGED.value},
            )
        )
    return study


def space_of(table: Table) -> SearchSpace:
    """All of its batch sizes and learning rates."""
    rates = [rate for size in table.batch_sizes for rate in table.learning_rates(size)]
    return SearchSpace(
        batch_sizes=tuple(table.batch_sizes), learning_rates=(min(rates), max(rates))
    )


def new_study(
    table: Table, sampler: optuna.samplers.BaseSampler | None, *, seed: int
) -> optuna.Study:
    """An empty study as `run` makes it, in memory, which knows what runs cost."""
    import optuna

    study = optuna.create_study(
        study_name=f"{table.task} {seed}",
        directions=["maximize", "minimize", "minimize"],
        sampler=sampler,
    )
    with quiet_optuna():
        study.set_metric_names([table.metric, *OBJECTIVES[1:]])
    store_costs(study, "", known_limits(table).costs)
    return study


def played_study(table: Table, *, n_trials: int, seed: int) -> optuna.Study:
    """A study played back in memory."""
    space = space_of(table)
    study = new_study(table, sampler_of("cost-aware", table, space, seed), seed=seed)
    objective = ReplayObjective(table, name=table.task)
    rule = make_rule(table, "front", seed=seed)
    deck = Deck(table, seed)
    for _ in range(n_trials):
        trial = study.ask(space.distributions())
        play_trial(objective, study, trial, rule, seed=deck.deal(trial), guarded=True)
    return study


class Deck:
    """The recorded runs of each grid point, dealt so that none comes twice before all have.

    A run is told with the rate that it was recorded at, not with the one that was asked for: the
    two lie up to 0.8 doublings apart, and what looks like noise then is the next grid point.
    """

    def __init__(self, table: Table, seed: int) -> None:
        self._table, self._seed = table, seed
        self._next: dict[Point, int] = {}  # which of a point's runs comes next

    def deal(self, trial: optuna.Trial) -> int:
        """Which of the nearest grid point's runs this trial is; the trial is told its rate."""
        asked = batch_size_of(trial.params), trial.params["learning_rate"]
        point = nearest(self._table, *asked)
        trial.set_user_attr(SCALED, point[1])
        first = derive_seed(self._seed, len(self._next), purpose="trial")
        run = self._next.setdefault(point, first)
        self._next[point] += 1
        return run


if __name__ == "__main__":
    main()
