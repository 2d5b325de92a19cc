"""What a large study costs: every verb beside plain Optuna, which reads the same study once.

    python -m benchmarks.scale [--trials 1000 10000 50000] [--claims 8] [--long 2000] [--json OUT]

The study is one that a worker has begun on a recorded table, grown by trials drawn from that table
with all that our trials store. CPU seconds (user and system) of fresh processes on one SQLite file,
each divided by those of `optuna.load_study(...).trials` in the same run; peak memory likewise.
`claim` and `epoch` are of a worker that has read the study: its thread's seconds, the median claim
and the mean over the epochs that the pruner was asked about. `import` is of a table of as many
runs, against `Study.add_trial` a run. `growth` is what one worker's memory grows by over 2,000
trials, measured over `--long` of them at the smallest size. The slope is of seconds over numbers of
trials, log over log.
"""

from __future__ import annotations

import csv
import json
import math
import os
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.grown import NAME
from benchmarks.rows import parser, write

PLAIN = "import optuna; optuna.load_study(study_name={name!r}, storage={url!r}).trials"
ADD = """
import sys, time, optuna
url, name, new, n = sys.argv[1:]
study = optuna.load_study(study_name=name, storage=url)
ids = range(1, int(n) + 1)  # of the first trials; reading all of them would take long
trials = [study._storage.get_trial(trial_id) for trial_id in ids]
added = optuna.create_study(storage=new, directions=study.directions)
begun = time.process_time()
for trial in trials:
    added.add_trial(trial)
print((time.process_time() - begun) / len(trials))
"""
VERBS = ("ls", "front", "export", "report", "rates", "claims")
SAMPLERS = ("random", "cost-aware")
WANTED = {
    "ls": ".1", **dict.fromkeys(("front", "export"), ".5"),
    **dict.fromkeys(("report", "rates", "claims", *(f"{verb} memory" for verb in VERBS)), "1"),
    **{f"claim {sampler}": ".02" for sampler in SAMPLERS},
    **{f"epoch {sampler}": ".0005" for sampler in SAMPLERS},
    "import": ".2", "report MB": "12", "growth MB": "20",
}  # fmt: skip
TIMED = {*VERBS, *(f"{what} {sampler}" for sampler in SAMPLERS for what in ("claim", "epoch"))}
ADDED = 200  # trials of plain `add_trial`


class Spent(NamedTuple):
    """What a process has used."""

    seconds: float  # of CPU
    peak_bytes: int
    out: bytes


def spent(*argv: str) -> Spent:
    """Run Python to its end. Its peak is at least what this process takes, which stays small."""
    with tempfile.TemporaryFile() as out:
        process = subprocess.Popen([sys.executable, *argv], stdout=out, stderr=subprocess.DEVNULL)
        _, status, used = os.wait4(process.pid, 0)
        if status != 0:
            raise RuntimeError(f"{' '.join(argv)} ended with status {status}")
        out.seek(0)
        return Spent(used.ru_utime + used.ru_stime, 1024 * used.ru_maxrss, out.read())


def copied(source: Path, target: Path) -> Path:
    """A copy of a database, also of what lies in its log."""
    with closing(sqlite3.connect(source)) as there, closing(sqlite3.connect(target)) as here:
        there.backup(here)
    return target


def row_of(path: Path, n_trials: int, n_claims: int) -> dict[str, Any]:
    """Everything measured at one number of trials."""
    url = f"sqlite:///{path}"
    plain = spent("-c", PLAIN.format(name=NAME, url=url))
    row: dict[str, Any] = {
        "trials": n_trials, "plain_seconds": plain.seconds, "plain_bytes": plain.peak_bytes,
    }  # fmt: skip
    page = path.with_suffix(".html")
    for verb in VERBS:
        output = ["-o", str(page)] if verb == "report" else []
        used = spent("-m", "batchfront", verb, "--storage", url, *output)
        row[verb] = used.seconds / plain.seconds
        row[f"{verb} memory"] = used.peak_bytes / plain.peak_bytes
    row["report MB"] = page.stat().st_size / 1e6
    for n, sampler in enumerate(SAMPLERS, 1):
        found = worked(path, n_trials + n * n_claims, sampler)
        row[f"claim {sampler}"] = found["claim"] / plain.seconds
        row[f"epoch {sampler}"] = found["epoch"] / plain.seconds
    row["import"] = import_ratio(path, n_trials)
    return row


def worked(path: Path, n_trials: int, sampler: str) -> dict[str, float]:
    """What one worker took for the trials that the study has not yet."""
    used = spent("-m", "benchmarks.scale_worker", str(path), str(n_trials), sampler)
    found: dict[str, float] = json.loads(used.out)
    return found


def import_ratio(path: Path, n_trials: int) -> float:
    """Seconds a run of `import`, over those of plain `add_trial`."""
    table = path.with_suffix(".csv")
    with table.open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(["batch_size", "learning_rate", "val_accuracy", "train_seconds", "epochs"])
        for n in range(n_trials):
            size, value = 2 ** (n % 9), round(0.5 + 0.4 * (n % 97) / 97, 4)
            lines.writerow([size, 1e-3 * (1 + n / n_trials), value, 1 + n % 13, 20])
    new = path.with_suffix(".imported.db")
    used = spent("-m", "batchfront", "import", str(table), "--storage", f"sqlite:///{new}")
    added, n_added = path.with_suffix(".added.db"), min(ADDED, n_trials)
    plain = spent("-c", ADD, f"sqlite:///{new}", table.stem, f"sqlite:///{added}", str(n_added))
    return used.seconds / n_trials / float(plain.out)


def slope(name: str, rows: list[dict[str, Any]]) -> str:
    """How a cost grows: 1 is as fast as the number of trials, 0 not at all."""
    if len(rows) < 2 or name not in TIMED:
        return ""
    first, last = rows[0], rows[-1]
    seconds = [row[name] * row["plain_seconds"] for row in (first, last)]
    return f"{math.log(seconds[1] / seconds[0]) / math.log(last['trials'] / first['trials']):.2f}"


def table_of(rows: list[dict[str, Any]]) -> str:
    """All that was measured, in Markdown, beside what is wanted at 10,000 trials."""
    head = ["", *(f"{row['trials']:,}" for row in rows), "wanted", "slope"]
    lines = [head, ["---"] * len(head)]
    for name in rows[0]:
        if name != "trials":
            values = (row.get(name) for row in rows)
            shown = ("" if value is None else f"{value:.3g}" for value in values)
            lines.append([name, *shown, WANTED.get(name, ""), slope(name, rows)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--trials", nargs="+", type=int, default=[1000, 10_000, 50_000])
    arguments.add_argument("--claims", type=int, default=8, help="trials that each worker runs")
    arguments.add_argument("--long", type=int, default=2000, help="trials that memory grows over")
    args = arguments.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        begun = here / "begun.db"
        spent("-m", "benchmarks.grown", str(begun))
        for n_trials in args.trials:
            path = copied(begun, here / f"grown{n_trials}.db")
            spent("-m", "benchmarks.grown", str(path), str(n_trials))
            rows.append(row_of(path, n_trials, args.claims))
            print(json.dumps(rows[-1]), flush=True)
            write(rows, args.json)
        path = here / f"grown{args.trials[0]}.db"
        n_there = args.trials[0] + len(SAMPLERS) * args.claims
        grown = worked(path, n_there + args.long, "random")["grown_bytes_per_trial"]
        rows[0]["growth MB"] = 2000 * grown / 1e6
    print(table_of(rows))
    write(rows, args.json)


if __name__ == "__main__":
    main()
