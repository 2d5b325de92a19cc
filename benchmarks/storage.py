"""What storing a trial costs: milliseconds of our worker, beside plain Optuna, on each backend.

    python -m benchmarks.storage [URL ...] [--workers 1 2 4 8] [--trials 64] [--grown 1000 10000]
                                 [--json OUT]

Default: an SQLite file and a journal in a temporary folder. A server's database must be empty.
Both store the same attributes, curve, constraint and values for every trial; neither trains.
`plain` is Optuna with the storage it makes of the URL itself (journal: its own file storage), asked
and told in a loop. `ours` is the worker of `make study`, with claim lock and heartbeat. Both sample
at random. Milliseconds are of one worker: wall time of all, divided by the trials each has run.
With --grown: one worker on a study that has so many trials already, from ask to tell, when it has
just opened the study (`first`) and afterwards.
"""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import optuna

from batchfront.objectives.measurement import TrialParams
from batchfront.objectives.run import Run
from batchfront.storage.fence import IDENTITY
from batchfront.storage.names import redacted
from batchfront.storage.open import open_storage
from batchfront.study.machine.interrupts import Interrupts
from batchfront.study.plan.agreement import AGREEMENT, DEFAULTS
from batchfront.study.plan.budgets import Budgets
from batchfront.study.plan.plan import Plan
from batchfront.study.plan.space import SearchSpace
from batchfront.study.quiet import quiet_optuna
from batchfront.study.trials.costs import SizeCost
from batchfront.study.trials.hardware import store_costs
from batchfront.study.workers.events import Event
from batchfront.study.workers.launch import Job, run_here
from benchmarks.rows import parser, write

EPOCHS = 20
DIRECTIONS = ("maximize", "minimize", "minimize")
SPACE = SearchSpace()
WARM_UP = 3  # trials a worker runs before its clock starts


class Nothing:
    """An objective that only reports."""

    name, metric, default_epochs, max_epochs = "nothing", "val_accuracy", EPOCHS, None
    batch_sizes, compiled = (1, 512), False

    def __init__(self) -> None:
        self.search: dict[str, Any] = {}
        self.fingerprint: dict[str, str] = {}

    def predict_peak_bytes(self, batch_size: int, values: Any = None) -> None:
        """It has none."""

    def __call__(self, params: TrialParams, run: Run) -> None:
        run.begin(EPOCHS)
        run.recorded(step_seconds=1.0, peak_memory_bytes=1)
        for epoch in range(EPOCHS):
            run.step(0.5)
            run.report(0.5 + epoch / 100)


def cost(batch_size: int) -> SizeCost:
    """Known, so that no trial measures its memory."""
    return SizeCost(
        batch_size=batch_size, step_seconds=1.0, peak_memory_bytes=1, total_steps=EPOCHS,
        predicted_peak_memory_bytes=None,
    )  # fmt: skip


COSTS = {size: cost(size) for size in SPACE.batch_sizes}


def plan(n_trials: int, seed: int) -> Plan:
    """Random points, nothing pruned."""
    return Plan(
        study_name="bench", task="nothing", space=SPACE, asked=SPACE, budgets=Budgets(),
        metric_names=("val_accuracy", "train_seconds", "peak_memory_bytes"), epochs=EPOCHS,
        sampler="random", pruner="none", pruner_risk=0.02, seed=seed, target=None, device="cpu",
        hardware="none", costs=COSTS, n_trials=n_trials, timeout=None, grace_seconds=60,
        study_id="bench",
    )  # fmt: skip


def make(storage: optuna.storages.BaseStorage) -> optuna.Study:
    """A new study in place of the last one."""
    if "bench" in optuna.get_all_study_names(storage):
        optuna.delete_study(study_name="bench", storage=storage)
    study = optuna.create_study(storage=storage, study_name="bench", directions=DIRECTIONS)
    store_costs(study, "none", COSTS)
    study.set_user_attr(DEFAULTS, {})
    study.set_user_attr(IDENTITY, "bench")
    study.set_user_attr(AGREEMENT, {"space": SPACE.as_dict()})
    return study


class Stopwatch:
    """The time of one worker's trials but the first ones; all workers start together."""

    def __init__(self, ready: Any) -> None:
        self._ready = ready
        self._n = 0
        self.begun = 0.0
        self.seconds: list[float] = []  # of each trial since
        self._last = 0.0

    def __call__(self, event: Event) -> None:
        """Where our worker says what it does."""
        if event.kind == "ended":
            self.trial()

    def trial(self) -> None:
        """One more has ended."""
        self._n += 1
        now = time.perf_counter()
        if self._n == WARM_UP:
            self._ready.wait()
            now = self.begun = time.perf_counter()
        elif self._n > WARM_UP:
            self.seconds.append(now - self._last)
        self._last = now


def ours(url: str, n_trials: int, seed: int, watch: Stopwatch) -> None:
    """The worker of `make study`."""
    job = Job(
        storage=url, task="nothing", plan=plan(n_trials, seed), compiled=False, fingerprint={},
        deadline=None, checkpoints=None,
    )  # fmt: skip
    with quiet_optuna():
        run_here(job, Nothing(), Interrupts(), watch)


def plain(url: str, n_trials: int, seed: int, watch: Stopwatch, attributes: dict[str, Any]) -> None:
    """What a careful user of Optuna writes; `n_trials` are this worker's own."""
    study = optuna.load_study(
        study_name="bench", storage=plain_storage(url), sampler=optuna.samplers.RandomSampler(seed)
    )
    for _ in range(n_trials):
        trial = study.ask(SPACE.distributions())
        for key, value in attributes.items():
            trial.set_user_attr(key, value)
        trial.set_constraint("stopped", 0.0)
        study.tell(trial, [0.69, 20.0, 1.0])
        watch.trial()


def plain_storage(url: str) -> Any:
    """The storage as Optuna's documentation opens it."""
    kind, _, rest = url.partition("://")
    if kind == "journal":
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        return JournalStorage(JournalFileBackend(rest.removeprefix("/")))
    if kind == "grpc":
        host, _, port = rest.partition(":")
        return optuna.storages.GrpcStorageProxy(host=host, port=int(port))
    return url


def worker(run: Callable[[Stopwatch], None], ready: Any, answers: Any) -> None:
    """A process of its own."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    watch = Stopwatch(ready)
    try:
        run(watch)
    except Exception as error:
        ready.abort()
        answers.put((type(error).__name__, []))
        return
    answers.put(("", watch.seconds))


def milliseconds(runs: list[Callable[[Stopwatch], None]]) -> tuple[float, int]:
    """Milliseconds per trial of one worker, all running at once, and how many failed."""
    context = multiprocessing.get_context("spawn")
    ready, answers = context.Barrier(len(runs)), context.Queue()
    processes = [context.Process(target=worker, args=(run, ready, answers)) for run in runs]
    for process in processes:
        process.start()
    results = [answers.get(timeout=600) for _ in processes]
    for process in processes:
        process.join()
    seconds = [second for _, some in results for second in some]
    mean = 1000 * sum(seconds) / len(seconds) if seconds else float("nan")
    return mean, sum(bool(error) for error, _ in results)


def row(url: str, n_workers: int, n_trials: int) -> dict[str, Any]:
    """Ours and plain Optuna, one after the other, twice; the better of each."""
    found: dict[str, list[float]] = {"ours": [], "plain": []}
    failed = {"ours": 0, "plain": 0}
    for _ in range(2):
        total = n_workers * (n_trials + WARM_UP)
        study = make(open_storage(url, mode="worker"))
        each = [partial(ours, url, total, seed) for seed in range(n_workers)]
        note(found, failed, "ours", milliseconds(each))
        attributes = study.trials[-1].user_attrs
        theirs = url.replace("bench.", "plain.")  # a file of its own, as Optuna makes it
        make(optuna.storages.get_storage(plain_storage(theirs)))
        each = [
            partial(plain, theirs, n_trials + WARM_UP, seed, attributes=attributes)
            for seed in range(n_workers)
        ]
        note(found, failed, "plain", milliseconds(each))
    best = {name: min(values) for name, values in found.items()}
    return {
        "storage": redacted(url).split(":")[0],
        "workers": n_workers,
        "ours_ms": round(best["ours"], 1),
        "plain_ms": round(best["plain"], 1),
        "ratio": round(best["plain"] / best["ours"], 2),
        "ours_failed": failed["ours"],
        "plain_failed": failed["plain"],
    }


def note(
    found: dict[str, list[float]], failed: dict[str, int], name: str, result: tuple[float, int]
) -> None:
    """Keep one measurement."""
    found[name].append(result[0])
    failed[name] += result[1]


def grown_row(url: str, n_trials: int) -> dict[str, Any]:
    """The row of a large study: ask to tell of the first trial after a worker has resumed."""
    storage = open_storage(url, mode="worker")
    study = make(storage)
    template = finished_trial()
    study.add_trials([template] * n_trials)
    alone = multiprocessing.get_context("spawn").Barrier(1)
    opened = time.perf_counter()
    first: list[float] = []

    class First(Stopwatch):
        """And when the first one had ended."""

        def trial(self) -> None:
            first.append(time.perf_counter() - opened)
            super().trial()

    watch = First(alone)
    ours(url, n_trials + 30, 0, watch)
    return {
        "storage": redacted(url).split(":")[0],
        "trials": n_trials,
        "first_ms": round(1000 * first[0], 1),
        "later_ms": round(1000 * median(watch.seconds), 1),
    }


def finished_trial() -> optuna.trial.FrozenTrial:
    """A finished trial as our worker leaves one."""
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/one.db"
        study = make(open_storage(url, mode="worker"))
        barrier = multiprocessing.get_context("spawn").Barrier(1)
        ours(url, 1, 0, Stopwatch(barrier))
        return study.trials[0]


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("urls", nargs="*", metavar="URL")
    arguments.add_argument("--workers", nargs="+", type=int, default=[1, 2, 4, 8])
    arguments.add_argument("--trials", type=int, default=64, help="of each worker")
    arguments.add_argument("--grown", nargs="*", type=int, default=[1000, 10000])
    args = arguments.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder, quiet_optuna():
        here = Path(folder)
        for url in args.urls or [f"sqlite:///{here}/bench.db", f"journal:///{here}/bench.log"]:
            for n_workers in args.workers:
                rows.append(row(url, n_workers, args.trials))
                print(rows[-1], flush=True)
            for n_trials in args.grown:
                rows.append(grown_row(url, n_trials))
                print(rows[-1], flush=True)
    write(rows, args.json)


if __name__ == "__main__":
    main()
