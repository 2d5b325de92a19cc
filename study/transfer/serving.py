"""Lets workers elsewhere share a storage that only this machine can reach."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable

from batchfront.storage.errors import StorageError
from batchfront.storage.names import redacted
from batchfront.storage.open import open_storage, readable_errors
from batchfront.study.machine.interrupts import Interrupts

LOOPBACK = ("127.0.0.1", "localhost", "::1")
EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104  # names of it, not a choice
POLL_SECONDS = 0.1
LAST_CALL_SECONDS = 5.0  # for a call that is still at a storage which does not answer


def serve(url: str, *, host: str, port: int, say: Callable[[str], None]) -> int:
    """Serve until Ctrl-C or SIGTERM; returns the exit code.

    Raises:
        StorageError: the storage cannot be served, or not at this address.
    """
    _check_kind(url)
    from batchfront.storage.proxy_server import serving

    interrupts = Interrupts()
    with readable_errors(url), interrupts.installed():
        storage = open_storage(url, mode="worker")
        with serving(storage, host=host, port=port) as bound:
            who = "every user of this machine" if host in LOOPBACK else f"who reaches {host}"
            say(f"warning: no password protects it: {who} can read and change the studies")
            say(f"serving {redacted(url)} as {_address(host, bound)} (Ctrl-C ends it)")
            while interrupts.signum is None:
                time.sleep(POLL_SECONDS)
            say("ending: calls in flight may finish")
    _end_soon(interrupts.exit_code)
    return interrupts.exit_code


def _check_kind(url: str) -> None:
    kind = url.split("://")[0].split("+")[0]
    if kind == "journal":
        raise StorageError(
            f"cannot serve {redacted(url)}: Optuna's proxy does not support journals; serve a "
            "database, or let workers open the journal itself on NFS"
        )
    if kind == "grpc":
        raise StorageError(f"cannot serve {redacted(url)}: it is a server already, use it directly")


def _address(host: str, port: int) -> str:
    """The URL at which workers on other machines find the server."""
    name = socket.gethostname() if host in EVERYWHERE else host
    return f"grpc://[{name}]:{port}" if ":" in name else f"grpc://{name}:{port}"


def _end_soon(exit_code: int) -> None:
    """Python waits at its end for threads, and one may be at a storage that is away."""
    timer = threading.Timer(LAST_CALL_SECONDS, os._exit, (exit_code,))
    timer.daemon = True
    timer.start()
