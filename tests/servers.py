"""Databases on servers that run here, and servers of our own, for the tests of storages."""

from __future__ import annotations

import contextlib
import os
import queue
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy
from sqlalchemy.engine import URL, make_url

ROOT = Path(__file__).resolve().parents[1]
VARIABLES = {
    "postgresql": (
        "BATCHFRONT_TEST_POSTGRESQL",
        "postgresql+psycopg://postgres@127.0.0.1/postgres",
    ),
    "mysql": ("BATCHFRONT_TEST_MYSQL", "mysql+pymysql://root@127.0.0.1/"),
}
REQUIRED = "BATCHFRONT_REQUIRE_SERVERS"  # set where tests must run instead of being skipped
ON_SERVERS = [pytest.param(kind, marks=getattr(pytest.mark, kind)) for kind in VARIABLES]


def address(kind: str) -> URL:
    """Where the server of this kind is."""
    variable, usual = VARIABLES[kind]
    return make_url(os.environ.get(variable) or usual)


def free_port() -> int:
    """A port that nobody has, below those of connections: it is still free after a restart."""
    while True:
        port = random.randint(20000, 30000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


@contextmanager
def administration(kind: str) -> Iterator[sqlalchemy.Connection]:
    """A connection that may create databases and users; skips the test where no server answers."""
    engine = sqlalchemy.create_engine(
        address(kind), isolation_level="AUTOCOMMIT", connect_args={"connect_timeout": 5}
    )
    try:
        connection = engine.connect()
    except sqlalchemy.exc.OperationalError as error:
        said = str(error.orig).splitlines()[0]
        reason = f"no {kind} server answers (${VARIABLES[kind][0]}): {said}"
        if os.environ.get(REQUIRED) == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    with connection:
        yield connection
    engine.dispose()


@contextmanager
def database(kind: str, options: str = "") -> Iterator[str]:
    """The URL of a new, empty database, dropped at the end."""
    name = f"batchfront_{uuid.uuid4().hex[:12]}"
    with administration(kind) as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name} {options}")
    try:
        yield address(kind).set(database=name).render_as_string(hide_password=False)
    finally:
        force = "WITH (FORCE)" if kind == "postgresql" else ""
        with administration(kind) as connection:
            connection.exec_driver_sql(f"DROP DATABASE {name} {force}")


class Serve:
    """A `batchfront serve` process, and what it says."""

    def __init__(self, storage: str, *options: str, **environment: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "batchfront", "serve", *options],
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "BATCHFRONT_STORAGE": storage,
                **environment,
            },
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.said: list[str] = []
        self._lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self.process.stderr or ():
            self._lines.put(line)
        self._lines.put(None)

    def url(self) -> str:
        """Its address, once it answers."""
        while (line := self._lines.get(timeout=60)) is not None:
            self.said.append(line)
            if found := re.search(r"grpc://[^ ]+", line.partition(" as ")[2]):
                return found[0]
        raise AssertionError(f"it ended with {self.process.wait()}: {''.join(self.said)}")

    def ended(self) -> tuple[int, str]:
        """Exit code, and all it said."""
        code = self.process.wait(60)
        while (line := self._lines.get(timeout=60)) is not None:
            self.said.append(line)
        return code, "".join(self.said)

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGKILL)
        self.process.wait(60)


@contextmanager
def serve(storage: str, *options: str) -> Iterator[Serve]:
    """A server that is killed at the end, if it has not ended."""
    server = Serve(storage, *(options or ("--port", "0")))
    try:
        yield server
    finally:
        server.kill()
