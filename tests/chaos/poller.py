"""Somebody who watches the dashboard during a storm."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import urllib.request
from contextlib import suppress
from pathlib import Path

from tests.chaos.damage import Damage
from tests.servers import free_port

ROOT_FOLDER = Path(__file__).resolve().parents[2]


class Poller:
    """optuna-dashboard on the storage, asked for all trials every second, as an open page does."""

    def __init__(self, url: str, damage: Damage) -> None:
        self._url = url
        self._damage = damage
        self._port = free_port()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._poll, daemon=True)

    def __enter__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "batchfront", "dashboard", "--port", str(self._port)],
            cwd=ROOT_FOLDER,
            env={**os.environ, "BATCHFRONT_STORAGE": self._url},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._thread.start()

    def __exit__(self, *exc: object) -> None:
        self._ended.set()
        self._thread.join(timeout=10)
        self._process.kill()
        self._process.wait()

    def _poll(self) -> None:
        base = f"http://127.0.0.1:{self._port}/api/studies"
        with suppress(OSError):  # until it is up
            while not self._ended.wait(1.0):
                with suppress(OSError):
                    urllib.request.urlopen(base, timeout=5).close()
                    break
        while not self._ended.wait(1.0):
            try:
                with urllib.request.urlopen(base, timeout=60) as answer:
                    (study,) = json.load(answer)["study_summaries"]
                with urllib.request.urlopen(f"{base}/{study['study_id']}", timeout=60) as answer:
                    json.load(answer)
                self._damage.faults["polls of the dashboard"] += 1
            except Exception as error:
                if not self._ended.is_set():
                    self._damage.errors.append(f"dashboard: {error}")
