"""A storm over commands that people run: they are struck, and start again what has ended."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

import optuna

from batchfront.storage.open import open_storage
from batchfront.study.trials.attributes import OWNER, id_of
from batchfront.study.workers.team import SAME_CRASHES
from tests.chaos.crowd.command import ROOT_FOLDER, Command, is_alive
from tests.chaos.crowd.ear import Ear, Silences
from tests.chaos.crowd.places import Place
from tests.chaos.crowd.strikes import STRIKES
from tests.chaos.damage import Damage
from tests.faults.kinds import counted
from tests.faults.scene import Exit

TASK = Path(__file__).with_name("noisy.py")
NAME = "storm"
RATES = ("1e-5:1e-4", "1e-3:0.3")  # of one study, and of the next one under its name
SWEEP_SECONDS = 0.1
LATELY_SECONDS = 5.0  # somebody trains, before anybody is struck
HEED_SECONDS = 120.0  # for a command to end that was told to, however busy the machine is
END_SECONDS = 30.0  # for workers to notice that their command was killed


@dataclass(frozen=True, kw_only=True)
class Gale:
    """How bad it is, and for whom."""

    teams: tuple[int, ...] = (4, 3, 1)
    """Workers of each command."""
    n_trials: int = 60
    deck: dict[str, int] = field(default_factory=dict)
    """How often each of STRIKES comes, in an order drawn at random."""
    every_seconds: float = 3.0
    grace_seconds: int = 5
    damaged_share: float = 0.3  # of the checkpoints, where all are killed
    seed: int = 0
    bug: str | None = None
    """Planted in every process of it."""
    limit_seconds: float = 1800.0


class Crowd:
    """The commands on one study."""

    def __init__(self, place: Place, weather: Gale, folder: Path) -> None:
        self.place = place
        self.weather = weather
        self.kept = place.disk / "kept"
        self.damage = Damage()
        self.random = random.Random(weather.seed)
        self.commands: list[Command] = []  # that have not ended, as far as was seen
        self.ended: list[Command] = []
        self.of_others: set[Command] = set()  # that worked at a study which was deleted
        self.n_studies = 1
        self.exits: list[Exit] = []
        self.seen_alive: dict[int, float] = {}  # processes that ran trials: when last, time.time()
        self.paused: dict[int, tuple[float, float]] = {}  # since and until when
        self.stale: dict[int, int] = {}  # of paused ones of a deleted study: the id of their trial
        self.silences: dict[int, list[tuple[float, float]]] = {}  # of those that were paused
        self.heard = Silences(at_least=weather.grace_seconds / 2)
        self._folder = folder
        self._n_started = 0
        deck = [name for name, n in weather.deck.items() for _ in range(n)]
        self.random.shuffle(deck)
        self._deck = deck

    # What strikes use

    def standing(self) -> list[Command]:
        """Commands that nothing has been done to yet, once they heed signals."""
        return [command for command in self.commands if command.is_up]

    def busy(self) -> list[tuple[Command, int]]:
        """Workers that run a trial now and are not paused, each with its command."""
        owners = {trial.user_attrs.get(OWNER, {}).get("pid") for trial in self.trials()
                  if trial.state.name == "RUNNING"} - self.paused.keys()  # fmt: skip
        found = [(command, pid) for command in self.standing() for pid in command.workers()]
        return [(command, pid) for command, pid in found if pid in owners]

    def kill(self, command: Command, pid: int) -> None:
        """A worker of it."""
        command.n_killed += 1
        self.send(pid, signal.SIGKILL)

    def pause(self, pid: int, seconds: float) -> None:
        """Stop a process until then."""
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
            self.paused[pid] = time.time(), time.time() + seconds

    def living(self) -> set[int]:
        """All processes of all commands."""
        commands = {command.process.pid for command in self.commands}
        workers = {pid for command in (*self.commands, *self.ended) for pid in command.seen}
        return set(filter(is_alive, commands | workers))

    @staticmethod
    def send(pid: int, signum: int) -> None:
        """A signal to a process that may have ended."""
        with suppress(ProcessLookupError):
            os.kill(pid, signum)

    def delete(self) -> bool:
        """Whether `batchfront delete` has deleted the study."""
        options = ("--study-name", NAME, "--checkpoint-dir", str(self.kept), "--yes")
        deleted = subprocess.run(
            [sys.executable, "-m", "study", "delete", *options],
            cwd=ROOT_FOLDER,
            env={**os.environ, "BATCHFRONT_STORAGE": self.place.url},
            capture_output=True,
            text=True,
        )
        if deleted.returncode not in (0, 2) or "Traceback" in deleted.stderr:
            self.damage.wrong.append(f"delete: {deleted.stderr[-300:]}")
        return deleted.returncode == 0

    def forget(self) -> None:
        """What commands were told until now is of a study that is gone; the next one differs."""
        self.n_studies += 1
        self.of_others |= {*self.commands, *self.ended}

    def let_pass(self, seconds: float) -> None:
        """Meanwhile paused ones go on when their time has come."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._bring_out()
            time.sleep(SWEEP_SECONDS)

    def trials(self) -> list[optuna.trial.FrozenTrial]:
        """The trials as a reader finds them."""
        storage = open_storage(self.place.url, mode="reader")
        return optuna.load_study(study_name=NAME, storage=storage).get_trials(deepcopy=False)

    # The storm

    def start(self, n_workers: int) -> Command:
        """One more command."""
        self._n_started += 1
        weather = self.weather
        command = Command(
            [
                *("--task", str(TASK), "--study-name", NAME),
                *("--n-trials", str(weather.n_trials), "--grace", str(weather.grace_seconds)),
                *("--batch-sizes", "4:32", "--learning-rates", RATES[self.n_studies % 2]),
                *("--checkpoint-dir", str(self.kept), "--device", "cpu"),
            ],
            storage=self.place.url,
            n_workers=n_workers,
            words=self._folder / f"words-{self._n_started}.txt",
            bug=weather.bug,
        )
        self.commands.append(command)
        return command

    def rage(self) -> Damage:
        """Strike until every command has ended because the study is complete."""
        begun = time.monotonic()
        with ExitStack() as stack:
            stack.enter_context(Ear(self.place.url, NAME, self.heard))
            stack.callback(self._end_all)
            for n_workers in self.weather.teams:
                self.start(n_workers)
            strike_at = begun
            while self.commands and time.monotonic() - begun < self.weather.limit_seconds:
                if self._deck and time.monotonic() >= strike_at and self._is_training():
                    self._strike()
                    strike_at = time.monotonic() + self.weather.every_seconds
                self.let_pass(SWEEP_SECONDS)
                self._see_who_ended()
                self._see_who_stays()
        self.damage.seconds = time.monotonic() - begun
        return self.damage

    def calm(self, seconds: float = 300.0) -> None:
        """One command that nothing befalls; it has little to do."""
        command = self.start(1)
        command.process.wait(seconds)
        self.commands.remove(command)
        self.ended.append(command)
        self._note(command)

    def _is_training(self) -> bool:
        """Whether a run has kept an epoch lately: strikes on commands that start teach little."""
        for path in self.kept.glob("*.pt"):
            with suppress(OSError):  # it has just ended
                if time.time() - path.lstat().st_mtime < LATELY_SECONDS:
                    return True
        return False

    def _strike(self) -> None:
        """The next of the deck that finds somebody."""
        for place, name in enumerate(self._deck):
            if STRIKES[name](self):
                del self._deck[place]
                self.damage.faults[name] += 1
                return

    def _bring_out(self) -> None:
        for command in self.commands:
            command.workers()  # are noted while they live
        self.seen_alive.update(dict.fromkeys(self.living(), time.time()))
        for pid, (since, until) in list(self.paused.items()):
            if time.time() >= until or self._is_at_work(self.stale.get(pid)):
                self._go_on(pid, since)

    def _is_at_work(self, trial_id: int | None) -> bool:
        """Whether somebody runs the trial of that id, in a study that was made anew."""
        if trial_id is None:
            return False
        with suppress(KeyError):  # there is no study now
            running = (t for t in self.trials() if t.state.name == "RUNNING")
            return any(id_of(trial) == trial_id and OWNER in trial.user_attrs for trial in running)
        return False

    def _go_on(self, pid: int, since: float) -> None:
        """Its last sign of life was up to a quarter of the grace period before it was stopped."""
        del self.paused[pid]
        self.stale.pop(pid, None)
        self.send(pid, signal.SIGCONT)
        last_sign = since - self.weather.grace_seconds / 4
        self.silences.setdefault(pid, []).append((last_sign, time.time()))

    def _see_who_ended(self) -> None:
        """Whoever ended short of the total is started again, as a person or a cluster would."""
        for command in [c for c in self.commands if c.process.poll() is not None]:
            self.commands.remove(command)
            self.ended.append(command)
            self._note(command)
            if command.process.returncode != 0:
                self.start(command.n_workers)

    def _see_who_stays(self) -> None:
        for command in self.commands:
            asked_at = command.signalled_at
            if asked_at is not None and time.monotonic() - asked_at > HEED_SECONDS:
                self.damage.wrong.append(f"signals were not heeded: {command.said[-300:]}")
                command.kill()
                command.signalled_at = None

    def _note(self, command: Command) -> None:
        """How a command ended."""
        code = command.process.returncode
        worn_out = code == 1 and command.n_killed >= SAME_CRASHES
        if code != 0 and code not in command.excused and not worn_out:
            self.damage.wrong.append(f"exit code {code} for nothing: {command.said[-300:]}")
        if code != -signal.SIGKILL:
            self.exits.append(
                Exit(
                    code=code,
                    n_finished=len(counted(self.trials())) if code == 0 else 0,
                    n_trials=self.weather.n_trials,
                    signum=command.signalled[0] if command.signalled else None,
                    said=command.said,
                )
            )

    def _end_all(self) -> None:
        """Nothing of ours outlives the storm."""
        for pid, (since, _) in list(self.paused.items()):
            self._go_on(pid, since)
        if self.commands:
            self.damage.wrong.append(f"{len(self.commands)} commands did not end in time")
        for command in self.commands:
            command.kill()
            command.process.wait()
        orphans = {pid for c in (*self.commands, *self.ended) for pid in c.seen if is_alive(pid)}
        self._until_ended(orphans)
        for pid in filter(is_alive, orphans):
            self.damage.wrong.append(f"worker {pid} outlived its command")
            os.kill(pid, signal.SIGKILL)

    def _until_ended(self, pids: set[int]) -> None:
        end = time.monotonic() + END_SECONDS
        while any(map(is_alive, pids)) and time.monotonic() < end:
            self.let_pass(SWEEP_SECONDS)
