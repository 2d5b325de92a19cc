"""The one door by which errors leave: one line on stderr and an exit code."""

from __future__ import annotations

import errno
import os
import signal
import sys

from batchfront.objectives.measurement import ObjectiveError
from batchfront.storage.errors import StorageError
from batchfront.study.errors import StudyError
from batchfront.study.machine.interrupts import Interrupted
from batchfront.study.show import one_line

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
USER_ERRORS = (StudyError, ObjectiveError, StorageError)
MENDABLE = 2  # the exit code for what a user can mend


def told(error: BaseException) -> int | None:
    """Tell what has ended a verb; the exit code, or None for a defect of ours, which is raised."""
    if isinstance(error, USER_ERRORS):
        return _refused(str(error))
    if isinstance(error, BrokenPipeError):  # `... | head` has read enough, as the shell counts it
        _forget_output()
        return 128 + signal.SIGPIPE
    if isinstance(error, OSError) and error.errno in FULL:
        _forget_output()
        where = error.filename or "the output"
        return _refused(f"cannot write {where}: {error.strerror}: make room, run it again")
    if isinstance(error, OSError) and error.filename is not None:  # a path that was given to us
        return _refused(f"cannot use {os.fsdecode(error.filename)}: {error.strerror}")
    if isinstance(error, KeyboardInterrupt):
        return _ended_by(signal.SIGINT)
    if isinstance(error, Interrupted):
        return _ended_by(error.signum)
    return None


def warn(text: str) -> None:
    """Print one line on stderr."""
    print(one_line(text), file=sys.stderr)


def _refused(why: str) -> int:
    warn(f"error: {why}")
    return MENDABLE


def _ended_by(signum: int) -> int:
    name = signal.Signals(signum).name
    print(f"ended by {name}: give the same command again", file=sys.stderr)
    return 128 + signum


def _forget_output() -> None:
    """Let nobody write again, at the latest at the end of the process, what cannot be written."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
