"""Objectives without training, and the command line as tests call it."""

from __future__ import annotations

import contextlib
import json
import math
import multiprocessing
import os
import shutil
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest

from batchfront.storage import sqlite
from batchfront.storage.open import open_storage
from batchfront.study.cli.main import main
from batchfront.study.findings.overview import board
from batchfront.study.plan.environment import DEFAULT_STORAGE, STORAGE_VARIABLE
from batchfront.study.plan.space import SearchSpace
from batchfront.study.search.samplers import stock_sampler
from batchfront.study.trials.costs import TIME_OFF
from batchfront.study.workers import apart, team
from tests.servers import database
from tests.study.processes import STARTER, Command
from tests.study.tables import TO_TARGET

ROOT = Path(__file__).resolve().parents[2]
FIGURES = board._figures
JOURNAL = "journal:///runs/study.log"

PLANTED = """
    import os, time

    SECONDS_PER_EPOCH = float(os.environ.get("PLANTED_SECONDS", "0"))

    def objective(params, run):
        '''Learns nothing at small batches with high rates, the better the larger the rate else.'''
        run.begin(100 * params.epochs, baseline_loss=1.0, baseline_metric=0.1)
        diverges = params.learning_rate > 0.1 * params.batch_size ** 0.5
        for epoch in range(params.epochs):
            # In the first epoch, so that there is another one; and in a trial: probes have seed 0.
            while epoch == 0 and params.seed and os.path.exists("hold"):
                open("held", "w").close()
                time.sleep(0.01)
            for _ in range(100):
                end = time.perf_counter() + SECONDS_PER_EPOCH / 100
                while time.perf_counter() < end:  # sleeping would look like a disturbed CPU
                    pass
                run.step(5.0 if diverges else 0.5)
            run.report(0.1 if diverges else 0.5 + 0.01 * epoch + 0.05 * params.learning_rate ** 0.1)
"""


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Probes are short and made once, however busy the machine is; nothing is waited for."""
    monkeypatch.setattr("batchfront.study.probes.prober.PROBE_SECONDS", 0.004)
    monkeypatch.setattr("batchfront.study.probes.prober.REPEATS", 0)
    monkeypatch.setattr("batchfront.objectives.probes.cost.BLOCK_SECONDS", 0.001)
    monkeypatch.setattr("batchfront.study.probes.prober.PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr("batchfront.study.workers.worker.PASSING_SECONDS", 0.0)
    monkeypatch.setattr("batchfront.study.workers.doubts.TIME_OFF", math.inf)


@pytest.fixture
def doubted_sizes_are_probed_again(_impatient: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs that take another time than their probe said have their size probed again, as in use."""
    monkeypatch.setattr("batchfront.study.workers.doubts.TIME_OFF", TIME_OFF)


@pytest.fixture(autouse=True)
def _no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures for the dashboard, a quarter of a second at the end of every run, are not made."""
    monkeypatch.setattr("batchfront.study.findings.overview.board._figures", lambda *_: {})


@pytest.fixture
def dashboard_figures(_no_figures: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are made, as in use."""
    monkeypatch.setattr("batchfront.study.findings.overview.board._figures", FIGURES)


@pytest.fixture(autouse=True)
def _quick_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Worker processes are forked from one that has imported everything."""
    for module in (team, apart):
        monkeypatch.setattr(module, "multiprocessing", STARTER)


@pytest.fixture
def fresh_workers(monkeypatch: pytest.MonkeyPatch, _quick_workers: None) -> None:
    """Worker processes are started as for a user: nothing is imported in them yet."""
    for module in (team, apart):
        monkeypatch.setattr(module, "multiprocessing", multiprocessing)


@pytest.fixture(scope="session")
def _empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("tables") / "empty.db"
    sqlite._create(made)
    return made


@pytest.fixture(autouse=True)
def _tables_are_made_once(_empty_database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """New SQLite files are copies of the first: Optuna takes 0.1 s to make its tables."""
    monkeypatch.setattr(sqlite, "_create", lambda path: shutil.copyfile(_empty_database, path))


@pytest.fixture
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to run in, with a quick task `planted.py`."""
    (tmp_path / "planted.py").write_text(textwrap.dedent(PLANTED))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BATCHFRONT_STORAGE", raising=False)
    return tmp_path


@pytest.fixture
def journal(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The storage of all commands: a file that takes a third of SQLite's CPU time for a trial."""
    monkeypatch.setenv(STORAGE_VARIABLE, JOURNAL)
    return JOURNAL


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., None]:
    """Makes what a run leaves in a folder; the run itself is made once."""
    made: dict[tuple[str, ...], Path] = {}

    def record(folder: Path, *argv: str) -> None:
        key = (os.environ.get(STORAGE_VARIABLE, ""), *argv)
        if key not in made:
            made[key] = tmp_path_factory.mktemp("recorded")
            shutil.copy(folder / "planted.py", made[key])
            with contextlib.chdir(made[key]):
                assert main(list(argv)) == 0
        shutil.copytree(made[key] / "runs", folder / "runs")

    return record


@pytest.fixture
def write_task(workdir: Path) -> Callable[[str], str]:
    """Writes mine.py; returns its name for --task."""

    def write(text: str) -> str:
        path = workdir / "mine.py"
        path.write_text(textwrap.dedent(text))
        for name, module in list(sys.modules.items()):  # as for another process
            if getattr(module, "__file__", None) == str(path):
                del sys.modules[name]
        return str(path)

    return write


@pytest.fixture
def source(workdir: Path) -> str:
    """Where a study to be copied may be made."""
    return f"sqlite:///{workdir}/source.db"


@pytest.fixture
def rows(workdir: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """What a verb prints with --json."""

    def read(verb: str, *args: str) -> Any:
        capsys.readouterr()
        flags = ["--format", "json"] if verb == "export" else ["--json"]
        assert main([verb, *args, *flags]) == 0
        return json.loads(capsys.readouterr().out)

    return read


@pytest.fixture(
    params=["sqlite", "journal", pytest.param("postgresql", marks=pytest.mark.postgresql)]
)
def shared_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty storage of each kind that several workers share."""
    if request.param == "postgresql":
        with database("postgresql") as found:
            yield found
    else:
        yield f"{request.param}:///{tmp_path}/shared.{request.param}"


def study_of(name: str) -> optuna.Study:
    """The study of that name where commands keep theirs."""
    url = os.environ.get(STORAGE_VARIABLE) or DEFAULT_STORAGE
    return optuna.load_study(study_name=name, storage=open_storage(url, mode="worker"))


def stored(path: Path) -> str:
    """All that a database holds, also what lies in its log still (`-wal`)."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return "\n".join(connection.iterdump())


@pytest.fixture
def shared_study(shared_url: str) -> optuna.Study:
    """A study in it, without trials."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = open_storage(shared_url, mode="worker")
    return optuna.create_study(
        study_name="mine", storage=storage, directions=["maximize", "minimize", "minimize"]
    )


def ask(study: optuna.Study) -> optuna.Trial:
    """A trial of the usual space, drawn at random."""
    study.sampler = stock_sampler("random", space=SearchSpace(), seed=0)
    return study.ask(SearchSpace().distributions())


@pytest.fixture
def table(workdir: Path) -> Callable[[str], str]:
    """Writes runs.csv; returns its name."""

    def write(text: str) -> str:
        lines = [line.strip() for line in text.strip().splitlines()]
        Path("runs.csv").write_text("\n".join(lines) + "\n")
        return "runs.csv"

    return write


@pytest.fixture
def few(workdir: Path) -> Path:
    """Every tenth run of the table of epochs to target: 13."""
    lines = TO_TARGET.read_text().splitlines()
    Path("few.csv").write_text("\n".join(lines[:1] + lines[1::10]) + "\n")
    return Path("few.csv")


def spawn(
    *args: str, cwd: Path, start_new_session: bool = False, **environment: str
) -> subprocess.Popen[str]:
    """`batchfront ARGS` as a fresh process, as a user starts it; a `Command` takes less time."""
    return subprocess.Popen(
        [sys.executable, "-m", "batchfront", *args],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=start_new_session,
    )


def finish(process: subprocess.Popen[str] | Command, timeout: float = 120) -> tuple[int, str, str]:
    """Exit code, stdout and stderr."""
    out, err = process.communicate(timeout=timeout)
    return process.returncode, out, err
