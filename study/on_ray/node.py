"""What runs on a node of a Ray cluster: one worker, as if `make study` were typed there."""

from __future__ import annotations

import socket
import sys
from dataclasses import dataclass

from batchfront.objectives.measurement import ObjectiveError
from batchfront.storage.errors import StorageError
from batchfront.study.errors import StudyError
from batchfront.study.plan.settings import StudySettings
from batchfront.study.search.ending import End

DIED = -1  # in place of an exit code: the process is gone, or an exception nobody foresaw


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a worker ended."""

    code: int  # 0 done, 1 gave up, 2 what a user can mend, 75 early, 130 or 143 a signal, DIED
    said: str = ""
    end: End | None = None  # the one that the search was at then


def work(settings: StudySettings) -> Ended:
    """One worker with the hardware of this node, until the search has ended.

    The settings come as an argument, since the storage's URL may hold a password: Ray shows the
    names and the environments of tasks, but not what they are called with.
    """
    try:
        from rich.console import Console

        from batchfront.study.session.session import Session

        # Ray keeps stderr in a file of the node.
        session = Session(settings, Console(file=sys.stderr, highlight=False, markup=False))
        code = session.run()
    except ModuleNotFoundError as error:
        return Ended(
            code=2,
            said=f"Python on {socket.gethostname()} has no {error.name}: every node of the cluster "
            "needs batchfront's packages, pip install -c constraints.txt -e '.[ray]'",
        )
    except (StudyError, ObjectiveError, StorageError) as error:
        return Ended(code=2, said=str(error))
    return Ended(code=code, said=str(session.failure or ""), end=session.end)
