"""Who runs a trial, and whether that process is still alive."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

from study.trials import OWNER

if TYPE_CHECKING:
    from optuna import Study


def this_process() -> dict[str, Any]:
    """Host, process id, and when the process started, since ids are used again."""
    pid = os.getpid()
    return {"host": socket.gethostname(), "pid": pid, "started": _started(pid)}


def is_dead(owner: dict[str, Any]) -> bool:
    """True only when the owner surely no longer runs: it was on this machine and is gone."""
    if owner.get("host") != socket.gethostname():
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


def fail_lost_trials(study: Study) -> None:
    """Fail trials whose process died; call it under the claim lock.

    A trial gets its owner under that lock, so one without an owner lost it in between.
    """
    from optuna.trial import TrialState

    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        owner = trial.user_attrs.get(OWNER)
        if owner is None or is_dead(owner):
            study.tell(trial.number, state=TrialState.FAIL)
