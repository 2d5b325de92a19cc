"""What all checks use: the device, a folder, the command line, a prober."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ENDED = 0  # exit code of a study that reached its total


@dataclass(frozen=True, kw_only=True)
class Said:
    """What a command has said."""

    code: int
    out: str
    err: str

    @property
    def last(self) -> str:
        """Its last words, where it failed."""
        lines = (self.err or self.out).strip().splitlines()
        return "" if self.code == ENDED or not lines else f"; {lines[-1][:160]}"


@dataclass(frozen=True, kw_only=True)
class Bench:
    """A device to look at. On a CPU all sizes are tiny: a dry run of the check itself."""

    device: str
    folder: Path

    @property
    def is_cuda(self) -> bool:
        """Whether this is more than a dry run."""
        return self.device.startswith("cuda")

    def storage(self, name: str) -> str:
        """The URL of a study's database in the folder."""
        return f"sqlite:///{self.folder / name}.db"

    def objective(self, name: str, **more: Any) -> Any:
        """A task of `tasks.py`, ready to train."""
        from batchfront.objectives.load import load_objective

        return load_objective(f"{HERE / 'tasks.py'}:{name}", device=self.device, **more)

    def prober(self, objective: Any, *, epochs: int = 3) -> Any:
        """A prober of batch sizes, as a study has it."""
        from batchfront.objectives.length import Length
        from batchfront.study.probes.prober import Prober

        length = Length(amount=epochs, n_train=objective.n_train)
        return Prober(objective, length=length, device=self.device, rate=1e-3)

    def params(
        self, batch_size: int, *, epochs: int, seed: int = 0, rate: float = 1e-3, **more: Any
    ) -> Any:
        """Parameters of a run."""
        from batchfront.objectives.measurement import TrialParams

        return TrialParams(
            batch_size=batch_size,
            learning_rate=rate,
            epochs=epochs,
            seed=seed,
            device=self.device,
            **more,
        )

    def measured(self, objective: Any, params: Any, *, memory: bool = False) -> Any:
        """A whole run of random labels, which no guard is to stop, with its time, or its memory."""
        from batchfront.objectives.meters.divergence import GuardSettings
        from batchfront.objectives.run import Run, carry_out

        patient = GuardSettings(stalled_after=2.0, exploded_after=2.0)
        run = Run(
            device=self.device, compiled=objective.compiled, measure_memory=memory, guard=patient
        )
        carry_out(objective, params, run)
        return run.result()

    def start(
        self,
        *argv: str,
        verb: str = "run",
        env: Mapping[str, str] | None = None,
        device: str | None = None,
    ) -> subprocess.Popen[str]:
        """A command of batchfront on this device, in the folder, in a group of its own.

        `device`: another name than this one's, as `cuda` for all GPUs.
        """
        return subprocess.Popen(
            [sys.executable, "-m", "batchfront", verb, *argv, "--device", device or self.device],
            cwd=self.folder,
            env={**os.environ, "TMPDIR": str(self.folder), **(env or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def said(
        self,
        *argv: str,
        verb: str = "run",
        env: Mapping[str, str] | None = None,
        device: str | None = None,
        seconds: float,
        watch: Callable[[int], object] = lambda pid: None,
    ) -> Said:
        """The end of a command; one that takes too long is killed, and says so.

        `watch` is called every second, with the number of its process.
        """
        process = self.start(*argv, verb=verb, env=env, device=device)
        end = time.monotonic() + seconds * (1 if self.is_cuda else 5)
        while True:
            try:
                out, err = process.communicate(timeout=1)
                return Said(code=process.returncode, out=out, err=err)
            except subprocess.TimeoutExpired:
                watch(process.pid)
            if time.monotonic() > end:
                break
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        err += "\nkilled by the check: it took too long"
        return Said(code=process.returncode, out=out, err=err)

    def on_device(self) -> dict[int, int]:
        """The bytes of each process that holds any of the GPU, by its number, as nvidia-smi says.

        In containers the numbers are those of the host.
        """
        import torch

        index = torch.device(self.device).index or 0
        uuid = f"GPU-{torch.cuda.get_device_properties(index).uuid}"
        said = subprocess.run(
            [
                *("nvidia-smi", "-i", uuid, "--query-compute-apps=pid,used_memory"),
                "--format=csv,noheader,nounits",
            ],
            capture_output=True,
            text=True,
            check=True,
            timeout=20,
        )
        pairs = [line.split(",") for line in said.stdout.splitlines()]
        return {int(pid): int(used) * 2**20 for pid, used in pairs}

    def trials(self, name: str) -> list[dict[str, Any]]:
        """The trials of the study in a database, as `export` gives them."""
        said = subprocess.run(
            [
                sys.executable,
                "-m",
                "batchfront",
                "export",
                "--storage",
                self.storage(name),
                "--format",
                "json",
            ],
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        return list(json.loads(said.stdout)) if said.returncode == ENDED else []


def verdicts(trials: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """How many trials ended in which way."""
    return dict(Counter(str(trial.get("verdict") or trial["state"]) for trial in trials))


def mib(n_bytes: float | None) -> str:
    """A number of bytes in MiB."""
    return "-" if n_bytes is None else f"{n_bytes / 2**20:.1f}"


def read_json(said: Said) -> Any:
    """What a command printed with --json; None where it failed."""
    return json.loads(said.out) if said.code == ENDED and said.out.strip() else None
