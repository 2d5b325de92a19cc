"""Our workers as Ray tasks: start one, find out how it ended, stop it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from batchfront.study.errors import RUN_AGAIN, StudyError
from batchfront.study.on_ray.cluster import Cluster
from batchfront.study.on_ray.node import DIED, Ended, work
from batchfront.study.plan.settings import StudySettings


def cancel(tasks: Iterable[Any], *, force: bool = False) -> None:
    """Cancel the tasks; without force a worker sees it as Ctrl-C."""
    import ray

    for task in tasks:
        ray.cancel(task, force=force)


def starter(cluster: Cluster, theirs: StudySettings) -> Callable[[], Any]:
    """Starts one worker; returns Ray's reference to the task."""
    import ray

    deadline = None if theirs.timeout is None else time.monotonic() + theirs.timeout
    remote = ray.remote(
        name="batchfront",
        max_retries=0,  # we start it again ourselves, and know when not to
        max_calls=1,  # a process of its own: nothing is left on the GPU
        scheduling_strategy="SPREAD",
        **cluster.resources,
    )
    task = remote(work)

    def start() -> Any:
        if deadline is None:
            return task.remote(theirs)
        return task.remote(replace(theirs, timeout=max(0.001, deadline - time.monotonic())))

    return start


def end_of(task: Any) -> Ended:
    """How a task ended that is no longer running.

    Raises:
        StudyError: no node can unpack what we sent.
    """
    import ray
    from ray import exceptions

    try:
        end: Ended = ray.get(task)
    except exceptions.TaskCancelledError:
        return Ended(code=130)
    except exceptions.RuntimeEnvSetupError as error:
        raise StudyError(f"a node cannot unpack the code it was sent: {_line(error)}") from error
    except exceptions.RayTaskError as error:
        return Ended(code=DIED, said=f"{type(error.cause).__name__}: {_line(error.cause)}")
    except exceptions.RayError as error:
        return Ended(code=DIED, said=f"{type(error).__name__}: {_line(error)}")
    if end.code == RUN_AGAIN:
        return replace(end, said="it ended before the study was complete")
    return end if end.code in (0, 1, 2) else replace(end, said=f"by signal {end.code - 128}")


def _line(error: BaseException) -> str:
    """The first sentence; Ray goes on with advice."""
    text = str(error).strip().partition("\n")[0]
    return text.partition(". ")[0].rstrip(".")
