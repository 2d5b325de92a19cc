"""`make study` against the script that most people would write today, on digits, in one run.

    python -m benchmarks.plain_optuna [--seeds 5] [--n-trials 30] [--json OUT]

`plain_study` below is that script: Optuna's defaults, a categorical batch size, a DataLoader loop,
a NaN check, the default SQLite storage, `ru_maxrss` for memory. Both train the same model on the
same data for the same epochs. batchfront is looked at twice: after as many trials as the script,
and, going on with that study, after as many training seconds.

Hypervolume and regret are looked up for the points that completed, as in benchmarks/search.py: in
the recorded table of the same task, averaged over its seeds, with its times and memory.
"""

from __future__ import annotations

import math
import resource
import tempfile
import time
from pathlib import Path
from statistics import mean, median
from typing import Any

import optuna
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from batchfront.objectives.curves.table import read_table
from batchfront.objectives.task import Data
from batchfront.objectives.tasks.digits import digits
from batchfront.study.cli.main import main as batchfront
from batchfront.study.trials.attributes import batch_size_of
from batchfront.study.trials.front import pareto_front
from benchmarks.playback import Played
from benchmarks.rows import parser, write
from benchmarks.search import Score

TABLE = Path(__file__).parent / "tables" / "digits_sgd_momentum.csv.gz"
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)  # those of the table
RATES = (1e-4, 3.0)
LOST = 0.2  # accuracy: a run that ends below it has learned nothing
FAILED = ("diverged", "stalled", "non_finite")
MORE = 25  # trials at a time, until the training seconds are spent

Row = dict[str, Any]


def plain_study(folder: Path, data: Data, *, n_trials: int, epochs: int) -> optuna.Study:
    """What a user would write."""
    train = TensorDataset(data.x_train, data.y_train)

    def objective(trial: optuna.Trial) -> tuple[float, float, float]:
        batch_size = trial.suggest_categorical("batch_size", SIZES)
        lr = trial.suggest_float("lr", *RATES, log=True)
        model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
        optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
        loss_function = nn.CrossEntropyLoss()
        loader = DataLoader(train, batch_size=batch_size, shuffle=True)
        seconds = 0.0
        for _ in range(epochs):
            model.train()
            start = time.time()
            for x, y in loader:
                optimizer.zero_grad()
                loss = loss_function(model(x), y)
                loss.backward()
                optimizer.step()
                if math.isnan(loss.item()):
                    trial.set_user_attr("measured_seconds", seconds + time.time() - start)
                    raise optuna.TrialPruned
            seconds += time.time() - start
        model.eval()
        with torch.no_grad():
            accuracy = (model(data.x_val).argmax(dim=1) == data.y_val).float().mean().item()
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        return accuracy, seconds, memory

    study = optuna.create_study(
        study_name="digits",
        storage=f"sqlite:///{folder}/plain.db",
        directions=["maximize", "minimize", "minimize"],
    )
    study.optimize(objective, n_trials=n_trials)
    return study


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--seeds", type=int, default=5)
    arguments.add_argument("--n-trials", type=int, default=30)
    args = arguments.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    torch.set_num_threads(1)
    rows = []
    for seed in range(args.seeds):
        for row in compare(seed, args.n_trials):
            rows.append({"seed": seed, **row})
            print(rows[-1], flush=True)
    print_medians(rows)
    write(rows, args.json)


def compare(seed: int, n_trials: int) -> list[Row]:
    """Three rows of one seed."""
    task = digits()
    torch.manual_seed(seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        start = time.perf_counter()
        plain = plain_study(folder, task.data(), n_trials=n_trials, epochs=task.epochs)
        rows = [row_of("plain Optuna", plain, plain.best_trials, time.perf_counter() - start)]
        start = time.perf_counter()
        total = n_trials
        rows.append(_ours("batchfront, same trials", folder, seed, total, start))
        while _seconds(_open(folder)) < rows[0]["train_seconds"]:
            total += MORE
            last = _ours("batchfront, same seconds", folder, seed, total, start)
        return [*rows, last]


def _ours(who: str, folder: Path, seed: int, n_trials: int, start: float) -> Row:
    low, high = RATES
    code = batchfront(
        [
            "run", "--storage", f"sqlite:///{folder}/ours.db", "--seed", str(seed), "--n-trials",
            str(n_trials), "--batch-sizes", f"{SIZES[0]}:{SIZES[-1]}", "--learning-rates",
            f"{low}:{high}",
        ]
    )  # fmt: skip
    if code != 0:
        raise SystemExit(code)
    study = _open(folder)
    return row_of(who, study, pareto_front(study.trials), time.perf_counter() - start)


def _open(folder: Path) -> optuna.Study:
    return optuna.load_study(study_name="digits", storage=f"sqlite:///{folder}/ours.db")


def _spent(trial: optuna.trial.FrozenTrial) -> float:
    """Training seconds the run itself took."""
    measured = trial.user_attrs.get("measured_seconds")
    return float(trial.values[1] if measured is None else measured)


def _seconds(study: optuna.Study) -> float:
    return sum(_spent(trial) for trial in study.trials if _has_run(trial))


def _has_run(trial: optuna.trial.FrozenTrial) -> bool:
    return trial.values is not None or "measured_seconds" in trial.user_attrs


def _is_lost(trial: optuna.trial.FrozenTrial) -> bool:
    if trial.values is None:
        return trial.user_attrs.get("verdict", "non_finite") in FAILED
    return bool(trial.values[0] < LOST)


def row_of(
    who: str, study: optuna.Study, front: list[optuna.trial.FrozenTrial], wall_seconds: float
) -> Row:
    """What one study came to."""
    trials = [trial for trial in study.trials if _has_run(trial)]
    score = Score(table=read_table(TABLE))
    for trial in trials:
        params = trial.params
        size = params.get("batch_size") or batch_size_of(params)
        rate = params.get("lr") or params["learning_rate"]
        run = score.table.nearest(size, rate, 0)
        completed = trial.values is not None
        score.add(Played(run=run, completed=completed, train_seconds=_spent(trial)))
    outcome = score.outcome()
    return {
        "who": who,
        "n_trials": len(study.trials),
        "wall_seconds": wall_seconds,
        "train_seconds": _seconds(study),
        "lost_seconds": sum(_spent(trial) for trial in trials if _is_lost(trial)),
        "failures_on_front": sum(_is_lost(trial) for trial in front),
        **{key: outcome[key] for key in ("hypervolume", "regret_mean", "regret_worst")},
    }


def print_medians(rows: list[Row]) -> None:
    """A Markdown table: medians over the seeds, and the range."""
    keys = [key for key in rows[0] if key not in ("who", "seed")]
    print("|", " | ".join(["", *keys]), "|")
    print("|---" * (len(keys) + 1) + "|")
    for who in dict.fromkeys(row["who"] for row in rows):
        some = [row for row in rows if row["who"] == who]
        cells = [_cell([row[key] for row in some]) for key in keys]
        print("|", " | ".join([who, *cells]), "|")
    waste = [row["lost_seconds"] / row["train_seconds"] for row in rows]
    print(f"share of training seconds lost, over all rows: {mean(waste):.2f}")


def _cell(values: list[float]) -> str:
    middle, low, high = median(values), min(values), max(values)
    return f"{middle:.3g} ({low:.3g} to {high:.3g})"


if __name__ == "__main__":
    main()
