"""Runs the checks in processes of their own, within the time there is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.gpu_check.rows import FAILED, SKIPPED, Row, rows_in

# By name: the seconds that each may take. First what needs the device's clock or its memory for
# itself, then what runs beside each other.
ALONE = {
    "environment": 60, "peak": 110, "device": 80, "workers": 170, "fits": 150, "times": 90,
    "compiled": 120, "speed": 60,
}  # fmt: skip
TOGETHER = {"resume": 150, "assertion": 110, "precision": 110, "smallest": 130}
NAMES = (*ALONE, *TOGETHER)
LEAST_SECONDS = 25  # left: less is too little to begin a check
DRY_TIMES = 5  # as long on a CPU, which may be busy


@dataclass(frozen=True, kw_only=True)
class Started:
    """A check that runs."""

    name: str
    process: subprocess.Popen[str]
    begun: float


class Driver:
    """Runs checks until the time is over."""

    def __init__(self, *, device: str, folder: Path, seconds: float) -> None:
        self._device = device
        self._folder = folder
        self._slow = 1 if device.startswith("cuda") else DRY_TIMES
        self._end = time.monotonic() + seconds
        self.log: list[str] = []

    def run(self, names: Sequence[str]) -> list[Row]:
        """The rows of those checks."""
        rows: list[Row] = []
        for name in [name for name in ALONE if name in names]:
            started = self._start(name)
            rows += [_skipped(name)] if started is None else self._finish(started, ALONE[name])
        running = [(name, self._start(name)) for name in TOGETHER if name in names]
        for name, started in running:
            rows += [_skipped(name)] if started is None else self._finish(started, TOGETHER[name])
        return rows

    def _start(self, name: str) -> Started | None:
        if self._end - time.monotonic() < LEAST_SECONDS:
            return None
        folder = self._folder / name
        folder.mkdir()
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "benchmarks.gpu_check",
                "--device",
                self._device,
                "--one",
                name,
                "--folder",
                str(folder),
            ],
            env={**os.environ, "TMPDIR": str(folder)},  # locks of its own
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        return Started(name=name, process=process, begun=time.monotonic())

    def _finish(self, started: Started, seconds: float) -> list[Row]:
        process, late = started.process, []
        left = min(seconds * self._slow, self._end - time.monotonic())
        try:
            said, _ = process.communicate(timeout=max(1.0, left))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            said, _ = process.communicate()
            late = [Row(verdict=FAILED, what="took too long", found=f"over {left:.0f} s")]
        if process.returncode and not late:
            words = " / ".join(said.strip().splitlines()[-2:])[:200]
            late = [Row(verdict=FAILED, what="the check itself ended", found=words)]
        took = time.monotonic() - started.begun
        self.log.append(
            f"===== {started.name}: {took:.0f} s, exit code {process.returncode}\n{said}"
        )
        print(f"{started.name}: {took:.0f} s", file=sys.stderr, flush=True)
        return [replace(row, check=started.name) for row in [*rows_in(said), *late]]


def _skipped(name: str) -> Row:
    return Row(check=name, verdict=SKIPPED, what="no time was left", found="")
