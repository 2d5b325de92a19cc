"""Storages of all kinds for a storm: on servers of its own, on disks that can be filled."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy

from tests.chaos.scenarios import PATIENCE_SECONDS, NoTmpfs, own_postgresql, small_disk
from tests.servers import Serve, free_port

KINDS = ("sqlite", "postgresql", "mysql", "journal", "grpc")
DISK = "24m"
AWAY_SECONDS = 1.0  # of a server


@dataclass(frozen=True, kw_only=True)
class Place:
    """A place where a study is kept, and what can be done to that."""

    kind: str
    url: str
    disk: Path  # holds the checkpoints, and what is no server's
    can_be_filled: bool
    restart: Callable[[], None] | None

    @property
    def file(self) -> Path:
        """The file of the storage, where it is one."""
        return Path(self.url.partition(":///")[2])


@contextmanager
def place(kind: str) -> Iterator[Place]:
    """An empty storage of that kind, which nobody else uses."""
    with ExitStack() as stack:
        try:
            disk, can_be_filled = stack.enter_context(small_disk(DISK)), True
        except NoTmpfs:
            disk, can_be_filled = Path(stack.enter_context(tempfile.TemporaryDirectory())), False
        restart = None
        if kind in ("sqlite", "journal"):
            url = f"{kind}:///{disk}/study.{kind}"
        else:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            server = {"postgresql": _postgresql, "mysql": mariadb, "grpc": _grpc}[kind]
            url, restart = stack.enter_context(server(folder))
        yield Place(kind=kind, url=url, disk=disk, can_be_filled=can_be_filled, restart=restart)


@contextmanager
def _postgresql(folder: Path) -> Iterator[tuple[str, Callable[[], None]]]:
    with own_postgresql(folder) as (url, control):

        def restart() -> None:
            control("stop", "-m", "immediate")
            time.sleep(AWAY_SECONDS)
            control("start")

        yield url, restart


@contextmanager
def _grpc(folder: Path) -> Iterator[tuple[str, Callable[[], None]]]:
    """A gRPC server over SQLite; killed, and started again on its port."""
    behind = f"sqlite:///{folder}/study.db"
    servers = [Serve(behind, "--port", "0")]
    url = servers[0].url()

    def restart() -> None:
        servers[-1].kill()
        time.sleep(AWAY_SECONDS)
        servers.append(Serve(behind, "--port", url.rpartition(":")[2]))
        servers[-1].url()

    try:
        yield url, restart
    finally:
        servers[-1].kill()


@contextmanager
def mariadb(folder: Path) -> Iterator[tuple[str, Callable[[], None]]]:
    """A server that nobody else uses; killed, and started again."""
    user = 65534 if os.getuid() == 0 else None
    if user is not None:
        os.chown(folder, user, user)
    data, port = folder / "data", free_port()
    options = ("--no-defaults", f"--datadir={data}")

    def start(*command: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command,
            user=user,
            group=user,
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def serve() -> subprocess.Popen[bytes]:
        server = start(
            shutil.which("mariadbd") or "/usr/sbin/mariadbd",
            *options,
            f"--port={port}",
            "--bind-address=127.0.0.1",
            "--socket=socket",
            "--innodb-buffer-pool-size=64M",
            "--max-connections=400",
        )
        _until_it_answers(f"mysql+pymysql://root@127.0.0.1:{port}/", server)
        return server

    made = start("mariadb-install-db", *options, "--auth-root-authentication-method=normal")
    assert made.wait(PATIENCE_SECONDS) == 0, "mariadb-install-db failed"
    servers = [serve()]

    def restart() -> None:
        servers[-1].kill()
        servers[-1].wait()
        time.sleep(AWAY_SECONDS)
        servers.append(serve())

    try:
        url = f"mysql+pymysql://root@127.0.0.1:{port}/"
        engine = sqlalchemy.create_engine(url)
        with engine.begin() as connection:
            connection.exec_driver_sql("CREATE DATABASE storm")
        engine.dispose()
        yield url + "storm", restart
    finally:
        servers[-1].kill()
        servers[-1].wait()


def _until_it_answers(url: str, server: subprocess.Popen[bytes]) -> None:
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
    end = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            engine.connect().close()
            return
        except sqlalchemy.exc.OperationalError:
            assert server.poll() is None, f"mariadbd ended with {server.returncode}"
            if time.monotonic() > end:
                raise
            time.sleep(0.1)
