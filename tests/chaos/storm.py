"""A storm: workers on one study, and a killer among them."""

from __future__ import annotations

import json
import pickle
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import torch

from batchfront.objectives.load import load_objective
from batchfront.storage.open import open_storage
from batchfront.study.opening.create import create_or_resume
from batchfront.study.plan.settings import StudySettings
from batchfront.study.probes.prober import Watch
from batchfront.study.quiet import quiet_optuna
from batchfront.study.trials.attributes import ROOT, is_finished
from batchfront.study.workers.launch import Job
from tests.chaos.damage import Damage
from tests.chaos.poller import Poller
from tests.faults.oracles import unsound

ROOT_FOLDER = Path(__file__).resolve().parents[2]
TABLE = ROOT_FOLDER / "benchmarks" / "tables" / "digits_sgd_momentum.csv.gz"


@dataclass(frozen=True, kw_only=True)
class Weather:
    """How bad it is."""

    n_workers: int = 8
    n_trials: int = 300
    every_seconds: float = 2.0
    """Between two faults; 0 for none."""
    grace_seconds: int = 3
    longest_pause_seconds: float = 8.0
    kill_share: float = 0.6
    """Of the faults: the others are pauses (SIGSTOP)."""
    dashboard: bool = True
    seed: int = 0
    limit_seconds: float = 900.0


class Storm:
    """One study, its workers and what is done to them."""

    def __init__(self, url: str, weather: Weather, folder: Path) -> None:
        self.url = url
        self.weather = weather
        self.folder = folder
        self.damage = Damage()
        self.workers: dict[subprocess.Popen[bytes], Path] = {}
        self.paused: dict[subprocess.Popen[bytes], float] = {}  # until when
        self._random = random.Random(weather.seed)
        self._n_started = 0
        self._killed: set[subprocess.Popen[bytes]] = set()
        self.job = self._prepare()

    def _prepare(self) -> Job:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        settings = StudySettings(
            task=str(TABLE),
            study_name="storm",
            storage=self.url,
            n_trials=self.weather.n_trials,
            sampler="random",
            grace=self.weather.grace_seconds,
            device="cpu",
        )
        torch.set_num_threads(1)
        objective = load_objective(settings.task, device="cpu")
        with quiet_optuna():
            _, plan, _ = create_or_resume(
                open_storage(self.url, mode="worker"),
                settings,
                objective,
                device="cpu",
                watch=Watch(),
            )
        return Job(
            storage=self.url,
            task=settings.task,
            plan=plan,
            compiled=False,
            fingerprint=objective.fingerprint,
            deadline=None,
            checkpoints=None,
        )

    def start_worker(self) -> None:
        """One more."""
        self._n_started += 1
        diary = self.folder / f"diary-{self._n_started}.jsonl"
        words = self.folder / f"words-{self._n_started}.txt"
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.worker", str(diary)],
            cwd=ROOT_FOLDER,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=words.open("wb"),
        )
        assert process.stdin is not None
        process.stdin.write(pickle.dumps(self.job))
        process.stdin.close()
        self.workers[process] = words

    def rage(self, *between: Any) -> Damage:
        """Until the study is complete; `between` are called at every moment with the storm."""
        begun = time.monotonic()
        with ExitStack() as stack:
            stack.callback(self._end_all)
            if self.weather.dashboard:
                stack.enter_context(Poller(self.url, self.damage))
            for _ in range(self.weather.n_workers):
                self.start_worker()
            strike_at = begun + 2 * self.weather.every_seconds
            while self.workers and time.monotonic() - begun < self.weather.limit_seconds:
                if self.weather.every_seconds and time.monotonic() >= strike_at:
                    self._strike()
                    strike_at = time.monotonic() + self.weather.every_seconds
                for call in between:
                    call(self)
                self._bring_out()
                time.sleep(0.05)
        self.damage.seconds = time.monotonic() - begun
        self.inspect()
        return self.damage

    def _strike(self) -> None:
        standing = [w for w in self.workers if w.poll() is None and w not in self.paused]
        if not standing:
            return
        victim = self._random.choice(standing)
        first = not self.damage.faults["kill -9"]
        if first or self._random.random() < self.weather.kill_share:
            self.kill(victim)
            return
        seconds = self._random.uniform(0.5, self.weather.longest_pause_seconds)
        victim.send_signal(signal.SIGSTOP)
        self.paused[victim] = time.monotonic() + seconds
        long = seconds > self.weather.grace_seconds
        self.damage.faults["paused beyond the grace period" if long else "paused briefly"] += 1

    def kill(self, victim: subprocess.Popen[bytes]) -> None:
        """kill -9, and another one in its place."""
        self._killed.add(victim)
        victim.kill()
        self.damage.faults["kill -9"] += 1
        self.start_worker()

    def _bring_out(self) -> None:
        """Let paused ones go on, and see who has ended."""
        for worker, until in list(self.paused.items()):
            if time.monotonic() >= until:
                worker.send_signal(signal.SIGCONT)
                del self.paused[worker]
        for worker, words in list(self.workers.items()):
            if worker.poll() is None:
                continue
            del self.workers[worker]
            if worker.returncode != 0 and worker not in self._killed:
                text = words.read_text(errors="replace").strip().splitlines()
                self.damage.errors.append(text[-1] if text else f"exit {worker.returncode}")

    def _end_all(self) -> None:
        for worker in self.workers:
            worker.kill()
            worker.wait()

    def trials(self) -> list[optuna.trial.FrozenTrial]:
        """The trials as a reader finds them."""
        storage = open_storage(self.url, mode="reader")
        return optuna.load_study(study_name="storm", storage=storage).get_trials(deepcopy=False)

    def inspect(self) -> None:
        """Compare the storage with the diaries, and with what must always hold."""
        trials = self.trials()
        states = Counter(t.state.name for t in trials)
        wrong = self.damage.wrong
        n_finished = sum(map(is_finished, trials))
        if [t.number for t in trials] != list(range(len(trials))):
            wrong.append("numbers are not consecutive")
        if n_finished != self.weather.n_trials:
            wrong.append(f"{n_finished} finished, wanted {self.weather.n_trials}")
        if states["RUNNING"]:
            wrong.append(f"{states['RUNNING']} still running")
        if self.workers:
            wrong.append(f"{len(self.workers)} workers did not end")
        wrong += self._lost(trials) + _twice(trials) + unsound(self.url)
        told = sum(len(lines) for lines in self._diaries())
        self.damage.counts = {
            "trials": len(trials),
            "finished": n_finished,
            "results told": told,
            "queued again": sum(ROOT in t.user_attrs for t in trials),
        }

    def _diaries(self) -> list[list[dict[str, Any]]]:
        found = []
        for path in self.folder.glob("diary-*.jsonl"):
            lines = path.read_bytes().split(b"\n")[:-1]
            found.append([json.loads(line) for line in lines])
        return found

    def _lost(self, trials: list[optuna.trial.FrozenTrial]) -> list[str]:
        """Results that a worker was told are kept, and are not."""
        wrong = []
        for line in (line for diary in self._diaries() for line in diary):
            trial = trials[line["number"]]
            if line["verdict"] == "taken over":
                self.damage.faults["kept from writing after a pause"] += 1
                continue
            if line["values"] is not None and trial.values != line["values"]:
                wrong.append(f"trial {line['number']}: told {line['values']}, has {trial.values}")
            if not trial.state.is_finished():
                wrong.append(f"trial {line['number']} ended and is {trial.state.name}")
        return wrong


def _twice(trials: list[optuna.trial.FrozenTrial]) -> list[str]:
    """Runs that were queued again and then finished more than once."""
    ended = Counter(
        t.user_attrs.get(ROOT, t.number) for t in trials if t.state.name in ("COMPLETE", "PRUNED")
    )
    return [f"the run of trial {number} ended {n} times" for number, n in ended.items() if n > 1]


def storm(url: str, weather: Weather, *between: Any) -> Damage:
    """Let it rage in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        return Storm(url, weather, Path(folder)).rage(*between)
