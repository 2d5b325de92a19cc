"""One `batchfront run` command: its processes, what is done to them, and what it says."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

ROOT_FOLDER = Path(__file__).resolve().parents[3]
SAID = re.compile(r"^\d+/\d+ trial (\d+) batch \d+ lr \S+ (\w+) (\S+) \|", re.MULTILINE)
HEEDING = ("env", "--default-signal=INT,HUP")  # also where the storm runs in the background
INSTALLED_SECONDS = 2.0  # until Python heeds a signal
NOT_WRITTEN = ("interrupted", "taken")  # what a line may say of a trial besides its verdict


class Command:
    """A command in a session of its own, as in a terminal."""

    def __init__(
        self, options: Sequence[str], *, storage: str, n_workers: int, words: Path, bug: str | None
    ) -> None:
        self.n_workers = n_workers
        self.signalled: list[int] = []
        self.signalled_at: float | None = None
        self.excused: set[int] = set()  # exit codes for what was done to it
        self.n_killed = 0  # of its workers, by the storm
        self.seen: set[int] = set()  # its workers, so far
        self._words = words
        self.begun = time.monotonic()
        planted = {} if bug is None else {"STORM_BUG": bug}
        with words.open("wb") as out:
            self.process = subprocess.Popen(
                [
                    *HEEDING,
                    sys.executable,
                    "-m",
                    "study",
                    "run",
                    *options,
                    "--n-workers",
                    str(n_workers),
                ],
                cwd=ROOT_FOLDER,
                env={**os.environ, "BATCHFRONT_STORAGE": storage, **planted},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def said(self) -> str:
        """All that it has printed."""
        return self._words.read_text(errors="replace")

    @property
    def is_up(self) -> bool:
        """Whether it runs, was not asked to end, and heeds signals by now."""
        young = time.monotonic() - self.begun < INSTALLED_SECONDS
        return self.process.poll() is None and not self.signalled and not young

    @property
    def has_joined(self) -> bool:
        """Whether it has found or made the study, and will not make one any more."""
        return "resuming" in self.said or SAID.search(self.said) is not None

    def workers(self) -> list[int]:
        """Ids of the processes that run its trials now."""
        if self.n_workers == 1:
            found = [self.process.pid] if self.process.poll() is None else []
        else:
            found = [pid for pid in _children(self.process.pid) if "spawn_main" in _command(pid)]
        self.seen.update(found)
        return found

    def signal(self, signum: int) -> None:
        """Signal as a terminal does that is closed or gets Ctrl-C; SIGTERM the command alone."""
        self.signalled.append(signum)
        self.signalled_at = self.signalled_at or time.monotonic()
        code = 130 if signum == signal.SIGINT else 143
        self.excused |= {code, -signum}  # whom it kills a shell calls 128 + signum, too
        with suppress(ProcessLookupError):
            if signum == signal.SIGTERM:
                self.process.send_signal(signum)
            else:
                os.killpg(self.process.pid, signum)

    def kill(self) -> None:
        """kill -9; its workers notice by themselves."""
        self.workers()
        self.excused.add(-signal.SIGKILL)
        self.process.kill()

    def told(self) -> list[tuple[int, str, str]]:
        """Number, verdict and metric of each trial that it has called finished."""
        found = SAID.findall(self.said)
        return [(int(n), verdict, metric) for n, verdict, metric in found
                if verdict not in NOT_WRITTEN]  # fmt: skip


def is_alive(pid: int) -> bool:
    """Whether there is such a process, and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _children(pid: int) -> list[int]:
    try:
        return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))
    except OSError:  # it has ended
        return []


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""
