"""What befalls a crowd of commands; each strike says whether there was anybody to be struck."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import optuna
import sqlalchemy
from optuna.storages import RDBStorage
from optuna.storages.journal import JournalFileOpenLock

from batchfront.storage.open import open_storage
from batchfront.study.trials.attributes import OWNER, id_of
from batchfront.study.workers.retry import BEAT
from tests.faults.kinds import counted

if TYPE_CHECKING:
    from tests.chaos.crowd.crowd import Crowd

FULL_SECONDS = 4.0
AWAY_SECONDS = 3.0
LAST = 2.0  # grace periods: whoever has waited takes it up then
STALE = 8.0  # grace periods until a worker of a deleted study comes back
HOUR = {
    "sqlite": "datetime(heartbeat, '-1 hour')",
    "postgresql": "heartbeat - interval '1 hour'",
    "mysql": "heartbeat - interval 1 hour",
}
Strike = Callable[["Crowd"], bool]


def kill_worker(crowd: Crowd) -> bool:
    """kill -9; its command starts another one."""
    victims = [(command, pid) for command, pid in crowd.busy() if pid != command.process.pid]
    if not victims:
        return False
    command, pid = crowd.random.choice(victims)
    crowd.kill(command, pid)
    return True


def kill_command(crowd: Crowd) -> bool:
    """kill -9 of what was typed; its workers notice, and end."""
    victims = [command for command, _ in crowd.busy()]
    if not victims:
        return False
    crowd.random.choice(victims).kill()
    return True


def signalled(signum: int, times: int = 1) -> Strike:
    """A strike: that signal, so many times within half a second."""

    def strike(crowd: Crowd) -> bool:
        standing = crowd.standing()
        if not standing:
            return False
        victim = crowd.random.choice(standing)
        victim.signal(signum)
        for _ in range(times - 1):
            time.sleep(0.5)
            victim.signal(signum)
        return True

    return strike


def paused(least: float, most: float) -> Strike:
    """A strike: a worker stands still, for a time in multiples of the grace period."""

    def strike(crowd: Crowd) -> bool:
        victims = [pid for _, pid in crowd.busy()]
        if not victims:
            return False
        seconds = crowd.random.uniform(least, most) * crowd.weather.grace_seconds
        crowd.pause(crowd.random.choice(victims), seconds)
        return True

    return strike


def pause_last(crowd: Crowd) -> bool:
    """Somebody stands still when there are no more trials than workers: all have to wait for it."""
    left = crowd.weather.n_trials - len(counted(crowd.trials()))
    victims = [pid for _, pid in crowd.busy()]
    if not victims or left > sum(crowd.weather.teams) or len(crowd.standing()) < 2:
        return False
    crowd.pause(victims[0], LAST * crowd.weather.grace_seconds)
    return True


def age_heartbeats(crowd: Crowd) -> bool:
    """Make every last sign of life an hour older, or the first one again, as if a clock were set.

    Nobody may take that for a death.
    """
    storage = open_storage(crowd.place.url, mode="worker")
    if isinstance(storage, RDBStorage):
        aged = f"UPDATE trial_heartbeats SET heartbeat = {HOUR[crowd.place.kind]}"
        with storage.engine.begin() as connection:
            changed = connection.execute(sqlalchemy.text(aged)).rowcount
        return changed > 0
    running = [trial for trial in crowd.trials() if trial.state.name == "RUNNING"]
    for trial in running:
        with suppress(optuna.exceptions.UpdateFinishedTrialError):
            storage.set_trial_system_attr(trial._trial_id, BEAT, 0)
    return bool(running)


def restart_server(crowd: Crowd) -> bool:
    """Restart the server as by a crash; who opens the study for the first time is told at once."""
    assert crowd.place.restart is not None
    for command in crowd.commands:
        if not command.has_joined:
            command.excused.add(2)
    crowd.place.restart()
    return True


def tear_line(crowd: Crowd) -> bool:
    """Half a line at the end of a journal, as a writer leaves it that dies."""
    path = crowd.place.file
    if not path.exists():
        return False
    lock = JournalFileOpenLock(str(path))
    lock.acquire()
    with path.open("ab") as file:
        file.write(b'{"op_code":8,"worker_id":"gone')
    lock.release()
    return True


def fill_disk(crowd: Crowd) -> bool:
    """No room for some seconds; what ends then must say so."""
    if not crowd.kept.exists():
        return False
    filler = crowd.place.disk / "filler"
    with suppress(OSError), filler.open("wb") as file:
        while True:
            file.write(bytes(65536))
            file.flush()
    crowd.let_pass(FULL_SECONDS)
    filler.unlink()
    for command in crowd.commands:
        command.excused.add(2)
    return True


def take_file_away(crowd: Crowd) -> bool:
    """Take the file away for some seconds: there is none of its name, or one of something else.

    Whoever needs it meanwhile ends with one line; the file comes back as it was, its log first.
    """
    file = crowd.place.file
    names = [path.name for path in (file, *sorted(file.parent.glob(f"{file.name}-*")))]
    if not crowd.standing() or not file.exists():
        return False
    aside = file.parent / "aside"
    aside.mkdir()
    for name in names:
        with suppress(FileNotFoundError):  # a log that was just removed
            os.rename(file.parent / name, aside / name)
    if crowd.random.random() < 0.5:
        file.write_bytes(b"something else")
    crowd.let_pass(AWAY_SECONDS)
    for name in reversed(names):
        with suppress(FileNotFoundError):
            os.rename(aside / name, file.parent / name)
    aside.rmdir()
    for command in crowd.commands:
        command.excused.add(2)
    return True


def replace_file(crowd: Crowd) -> bool:
    """Replace the file by an equal copy, as when a backup takes its place: all that is kept counts.

    Made while everybody stands still, so that it holds all that any worker was told is kept.
    """
    file = crowd.place.file
    if not crowd.standing() or not file.exists():
        return False
    pids = [pid for pid in crowd.living() if pid not in crowd.paused]
    for pid in pids:
        crowd.send(pid, signal.SIGSTOP)
    copy = file.with_name("copy")
    done = _copied_sqlite(file, copy) if crowd.place.kind == "sqlite" else _copied(file, copy)
    if done:
        for path in file.parent.glob(f"{file.name}-*"):
            path.unlink()
        os.replace(copy, file)
        for command in crowd.commands:
            command.excused.add(2)
    for pid in pids:
        crowd.send(pid, signal.SIGCONT)
    return done


def _copied_sqlite(file: Path, copy: Path) -> bool:
    """Whether nobody stood still in the middle of a write."""
    with closing(sqlite3.connect(file, timeout=0)) as there, closing(sqlite3.connect(copy)) as here:
        try:
            there.execute("BEGIN IMMEDIATE")
            there.execute("COMMIT")
            there.backup(here)
        except sqlite3.OperationalError:
            return False
    return True


def _copied(file: Path, copy: Path) -> bool:
    content = file.read_bytes()
    if not content.endswith(b"\n") or file.with_name(file.name + ".lock").exists():
        return False
    copy.write_bytes(content)
    return True


def make_anew(crowd: Crowd) -> bool:
    """Somebody deletes the study, and commands that ask for other rates make one of its name.

    A worker that stands still in the middle of a trial comes back when the new one is at work: at a
    trial of the same id, where the storage uses ids again.
    """
    busy = crowd.busy()
    if not busy:
        return False
    pid = busy[0][1]
    crowd.pause(pid, STALE * crowd.weather.grace_seconds)
    trial_id = max(
        id_of(trial)
        for trial in crowd.trials()
        if trial.user_attrs.get(OWNER, {}).get("pid") == pid
    )
    for command in crowd.commands:
        command.excused.add(2)
        if not command.has_joined:  # it would make a study like the one that is deleted
            command.kill()
    if not crowd.delete():
        return False
    crowd.forget()
    crowd.stale[pid] = trial_id
    return True


def kill_all(crowd: Crowd) -> bool:
    """Kill all, as when the machine loses its power; some checkpoints come out of that damaged."""
    standing = crowd.standing()
    if len(standing) < len(crowd.commands) or not standing:
        return False
    for command in crowd.commands:
        pids = command.workers()
        command.kill()
        for pid in pids:
            crowd.kill(command, pid)
    for command in crowd.commands:
        command.process.wait()
    crowd.let_pass(0.5)
    for path in sorted(crowd.kept.glob("*.pt")):
        if crowd.random.random() < crowd.weather.damaged_share:
            crowd.random.choice(DAMAGES)(path)
            crowd.damage.faults["checkpoints damaged"] += 1
    return True


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def _garbage(path: Path) -> None:
    path.write_bytes(b"\x80\x02garbage" * 50)


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/hostname")


DAMAGES = (_empty, _cut, _garbage, _pipe, _link)


STRIKES: dict[str, Strike] = {
    "kill -9 of a worker": kill_worker,
    "kill -9 of a command": kill_command,
    "all killed": kill_all,
    "SIGTERM": signalled(signal.SIGTERM),
    "SIGHUP": signalled(signal.SIGHUP),
    "Ctrl-C": signalled(signal.SIGINT),
    "Ctrl-C twice": signalled(signal.SIGINT, times=2),
    "paused briefly": paused(0.1, 0.6),
    "the last one paused": pause_last,
    "paused about the grace period": paused(0.8, 1.3),
    "paused beyond it": paused(1.5, 3.0),
    "heartbeats aged": age_heartbeats,
    "server restarted": restart_server,
    "disk full": fill_disk,
    "file taken away": take_file_away,
    "file replaced": replace_file,
    "line torn": tear_line,
    "study made anew": make_anew,
}
