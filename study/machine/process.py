"""Who runs a trial, and whether that process is still alive."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any


def this_process() -> dict[str, Any]:
    """Where the process runs, its id, and when it started, since ids are used again."""
    pid = os.getpid()
    return {**_here(), "pid": pid, "started": _started(pid)}


def _here() -> dict[str, str | None]:
    """Containers may share a host's name, and have process ids of their own."""
    namespace: str | None
    boot: str | None
    try:
        namespace = os.readlink("/proc/self/ns/pid")
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:  # not Linux
        namespace = boot = None
    return {"host": socket.gethostname(), "namespace": namespace, "boot": boot}


def is_dead(owner: Any) -> bool:
    """True only when the owner surely no longer runs: it was on this machine and is gone.

    Or when it says too little for anybody ever to find out.
    """
    if not isinstance(owner, dict) or not isinstance(owner.get("pid"), int):
        return True
    if any(owner.get(key, value) != value for key, value in _here().items()):
        return False
    pid = owner["pid"]
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return _started(pid) != owner.get("started") or _is_zombie(pid)


def _stat(pid: int) -> list[str]:
    """Fields 3 and on of /proc/PID/stat (see proc(5)); empty where there is no /proc."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _started(pid: int) -> str | None:
    fields = _stat(pid)
    return fields[19] if fields else None  # field 22: clock ticks after boot


def _is_zombie(pid: int) -> bool:
    return _stat(pid)[:1] == ["Z"]
