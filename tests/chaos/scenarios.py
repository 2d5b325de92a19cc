"""What befalls a study: each scenario returns what happened, and what was wrong afterwards."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from tests.chaos.damage import Damage
from tests.chaos.storm import Storm, Weather, storm
from tests.servers import Serve, database, free_port

PATIENCE_SECONDS = 300  # for a server to start or end, however busy the machine is
CALM = Weather(every_seconds=0.0, dashboard=False)


@contextmanager
def place(kind: str) -> Iterator[str]:
    """The URL of an empty storage."""
    if kind == "postgresql":
        with database("postgresql") as url:
            yield url
        return
    with tempfile.TemporaryDirectory() as folder:
        yield f"{kind}:///{folder}/storm.{kind}"


def raging(kind: str, weather: Weather) -> Damage:
    """Workers are killed and paused at random."""
    with place(kind) as url:
        return storm(url, weather)


def starting_together(kind: str, n_workers: int, n_trials: int) -> Damage:
    """Many workers open a study at the same moment; nobody is harmed."""
    with place(kind) as url:
        damage = storm(url, replace(CALM, n_workers=n_workers, n_trials=n_trials))
    damage.faults["workers at once"] = n_workers
    return damage


class Sometimes:
    """Calls something every so many seconds, so many times."""

    def __init__(self, call: Callable[[Storm], None], *, every: float, times: int) -> None:
        self._call = call
        self._every = every
        self._left = times
        self._at = time.monotonic() + 2 * every

    def __call__(self, storm_: Storm) -> None:
        if self._left and time.monotonic() >= self._at:
            self._left -= 1
            self._call(storm_)
            self._at = time.monotonic() + self._every


def torn_journal(weather: Weather) -> Damage:
    """Half a line at the end, as a writer leaves it that dies in the middle, while others write."""
    from optuna.storages.journal import JournalFileOpenLock

    def tear(storm_: Storm) -> None:
        path = storm_.url.partition(":///")[2]
        lock = JournalFileOpenLock(path)
        lock.acquire()
        with open(path, "ab") as file:
            file.write(b'{"op_code":8,"worker_id":"gone')
        lock.release()
        storm_.damage.faults["torn lines"] += 1

    with place("journal") as url:
        return storm(url, weather, Sometimes(tear, every=1.5, times=5))


def proxy_restarted(weather: Weather) -> Damage:
    """The gRPC server is killed and comes back on its port."""
    with place("sqlite") as behind:
        servers = [Serve(behind, "--port", "0")]
        url = servers[0].url()

        def restart(storm_: Storm) -> None:
            servers[-1].kill()
            time.sleep(1.0)
            servers.append(Serve(behind, "--port", url.rpartition(":")[2]))
            servers[-1].url()
            storm_.damage.faults["restarts of the gRPC server"] += 1

        try:
            return storm(url, weather, Sometimes(restart, every=4, times=3))
        finally:
            servers[-1].kill()


def postgresql_restarted(weather: Weather) -> Damage:
    """The database server is stopped at once, as by a crash, and started again."""
    with tempfile.TemporaryDirectory() as folder, own_postgresql(Path(folder)) as (url, control):

        def restart(storm_: Storm) -> None:
            control("stop", "-m", "immediate")
            time.sleep(1.0)
            control("start")
            storm_.damage.faults["restarts of PostgreSQL"] += 1

        return storm(url, weather, Sometimes(restart, every=4, times=3))


@contextmanager
def own_postgresql(folder: Path) -> Iterator[tuple[str, Callable[..., None]]]:
    """A server that nobody else uses, and its pg_ctl; as root, run by the user nobody."""
    binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin"))[-1]
    data, log, port = folder / "data", folder / "log", free_port()
    user = 65534 if os.getuid() == 0 else None
    if user is not None:
        os.chown(folder, user, user)

    def run(program: str, *arguments: str) -> None:
        # No pipes: the server would keep them open.
        done = subprocess.run(
            [str(binaries / program), "-D", str(data), *arguments],
            user=user,
            group=user,
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        said = log.read_text()[-500:] if log.exists() else "no log"
        assert done.returncode == 0, f"{program} ended with {done.returncode}: {said}"

    def control(*words: str) -> None:
        run("pg_ctl", "-w", "-t", str(PATIENCE_SECONDS), "-l", str(log), *words)

    run("initdb", "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C", "--no-sync")
    with open(data / "postgresql.conf", "a") as settings:
        # No socket: in a deep folder its path would be longer than the system takes.
        settings.write(
            f"port = {port}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = ''\n"
        )
    control("start")
    try:
        yield f"postgresql+psycopg://postgres@127.0.0.1:{port}/postgres", control
    finally:
        control("stop", "-m", "immediate")


class NoTmpfs(Exception):
    """Only root may mount one."""


@contextmanager
def small_disk(size: str) -> Iterator[Path]:
    """A file system of that size."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            subprocess.run(
                ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder],
                check=True,
                capture_output=True,
            )
        except (OSError, subprocess.CalledProcessError) as error:
            raise NoTmpfs(str(error)) from error
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", "-l", folder], check=True)


def full_disk(kind: str, weather: Weather) -> Damage:
    """The disk fills up in the middle: workers end with the reason, and go on once there is room.

    Raises:
        NoTmpfs: there can be no small disk here.
    """
    with small_disk("8m") as disk, tempfile.TemporaryDirectory() as folder:
        rage = Storm(f"{kind}:///{disk}/storm.{kind}", weather, Path(folder))
        filler = disk / "filler"

        def fill(storm_: Storm) -> None:
            with contextlib.suppress(OSError), open(filler, "wb") as file:
                while True:
                    file.write(bytes(65536))
                    file.flush()
            storm_.damage.faults["full disks"] += 1

        first = rage.rage(Sometimes(fill, every=1.5, times=1))
        said = [words for words in first.errors if "StorageError" in words or "storage" in words]
        filler.unlink()
        silent = len(first.errors) - len(said)
        rage.damage = Damage(faults=first.faults)
        rage.rage()
        if silent:
            rage.damage.wrong.append(f"{silent} workers ended with {first.errors[0]!r}")
        return rage.damage


def paused_in_a_claim(kind: str) -> Damage:
    """A worker stands still with the claim lock in its hands; the others pass it by in time."""
    script = (
        "import sys, time; from batchfront.storage.open import open_storage\n"
        "with open_storage(sys.argv[1], mode='worker').claim_lock('storm'):\n"
        "    print('held', flush=True); time.sleep(600)\n"
    )
    import sys

    with place(kind) as url, tempfile.TemporaryDirectory() as folder:
        rage = Storm(url, replace(CALM, n_workers=2, n_trials=10), Path(folder))
        holder = subprocess.Popen(
            [sys.executable, "-c", script, url], stdout=subprocess.PIPE, text=True
        )
        assert holder.stdout is not None
        holder.stdout.readline()
        holder.send_signal(signal.SIGSTOP)
        try:
            damage = rage.rage()
        finally:
            holder.kill()
            holder.wait()
        damage.faults["holders of the claim lock paused"] += 1
        return damage
