"""Commands and workers as processes of their own that need not import everything again.

A server imports torch, Optuna and batchfront once and forks itself for each process, which then
costs 0.1 seconds of CPU time instead of four. It is Python's own, does nothing else and has no
threads: a command finds what `python -m batchfront` finds, with the modules loaded. But workers do
not begin in the group of processes that a terminal signals, and no command line shows in `ps`:
where that matters, tests take `spawn` or `fresh_workers`.
"""

from __future__ import annotations

import atexit
import os
import signal
import subprocess
import sys
import tempfile
from functools import cache
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from batchfront.study.cli.main import command
from batchfront.study.workers import team

LOADED = [
    "torch", "optuna", "sqlalchemy.orm", "alembic.context", "plotly.graph_objects",
    "plotly.offline", "rich.progress", "scipy.stats", "sklearn.datasets",
    "sklearn.gaussian_process", "batchfront.study.findings.overview.board",
    "batchfront.study.session.session", "batchfront.study.smallest.session",
    "batchfront.study.transfer.copying", "batchfront.objectives.training.objective",
    "batchfront.storage.sqlite", __name__,
]  # fmt: skip


class Forked(ForkServerProcess):
    """A process that has the environment of the one that started it, and not the server's."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._environment = dict(os.environ)

    def run(self) -> None:
        os.environ.clear()
        os.environ.update(self._environment)
        tempfile.tempdir = None  # it may be another one there
        super().run()


class Server(ForkServerContext):
    """A context of `multiprocessing` in which every process is forked so."""

    Process = Forked


@cache
def server(method: str = "forkserver") -> Server:
    """One for all; whichever method of starting a process is asked for."""
    context = Server()
    context.set_forkserver_preload(LOADED)
    return context


STARTER = SimpleNamespace(get_context=server)  # for `team`, instead of `multiprocessing`


class Command:
    """`batchfront ARGS`, running; of `subprocess.Popen` it has what tests use."""

    def __init__(
        self, *args: str, cwd: Path, start_new_session: bool = False, **environment: str
    ) -> None:
        self._said = [Path(name) for name in (_empty_file(), _empty_file())]
        self._process = server().Process(
            target=_run, args=(args, cwd, environment, start_new_session, self._said)
        )
        self._process.start()
        self.pid = self._process.pid
        atexit.register(self.kill)  # else Python would wait for it

    @property
    def returncode(self) -> int | None:
        """The exit code as `poll` found it; below zero the signal that ended the process."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """The exit code; None while the process runs."""
        return self._process.exitcode

    def send_signal(self, signum: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, signum)

    def kill(self) -> None:
        if self.poll() is None:
            self._process.kill()

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, once there is one."""
        self._process.join(timeout)
        code = self.poll()
        if code is None:
            raise subprocess.TimeoutExpired("batchfront", timeout or 0)
        return code

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Stdout and stderr, when the process has ended."""
        self.wait(timeout)
        out, err = (path.read_text() for path in self._said)
        return out, err


def _empty_file() -> str:
    number, path = tempfile.mkstemp(prefix="said-")
    os.close(number)
    return path


def _run(
    args: tuple[str, ...], cwd: Path, environment: dict[str, str], alone: bool, said: list[Path]
) -> None:
    """Run in the process itself: it becomes what `python -m batchfront ARGS` would be."""
    # The server may have been started by somebody who kept signals back.
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if alone:
        os.setsid()
    for number, path in enumerate(said, 1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_APPEND), number)
    os.chdir(cwd)
    os.environ.update(environment)
    # Workers come from the same server; Python would start another one for them.
    forkserver._forkserver.ensure_running = lambda: None  # type: ignore[method-assign]
    team.multiprocessing = STARTER  # type: ignore[assignment]
    sys.argv = ["batchfront", *args]
    sys.exit(command())
