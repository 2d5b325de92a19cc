"""Storage calls that outlive a restart of their server."""

from __future__ import annotations

import functools
import inspect
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

PATIENCE_SECONDS = 300.0  # how long a server may be away before a worker gives up
FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0
Class = TypeVar("Class", bound=type)

log = logging.getLogger("batchfront")
_thread = threading.local()


@contextmanager
def impatient() -> Iterator[None]:
    """Let calls inside, on this thread, fail at once while the server is away."""
    _thread.impatient = True
    try:
        yield
    finally:
        _thread.impatient = False


def waits_for_server(is_away: Callable[[BaseException], bool]) -> Callable[[Class], Class]:
    """A class decorator: calls that fail because the server is away are made again.

    A call whose answer was lost is made twice. That is safe: attributes are written over; a second
    new trial leaves a first one that nobody owns, which is failed like any dead worker's; and a
    trial that is told twice raises UpdateFinishedTrialError, as for one that was taken away.
    """

    def decorate(cls: Class) -> Class:
        inside = threading.local()  # a call made by another one does not wait on its own
        for parent in cls.__mro__[:-1]:
            for name, function in vars(parent).items():
                if _goes_to_server(name, function) and name not in vars(cls):
                    setattr(cls, name, _patient(function, is_away, inside))
        return cls

    return decorate


def _goes_to_server(name: str, function: Any) -> bool:
    """Methods, but neither special ones nor parts of a transaction."""
    if name.startswith("__") or not inspect.isfunction(function):
        return False
    parameters = inspect.signature(function).parameters
    return "self" in parameters and "session" not in parameters


def _patient(
    function: Callable[..., Any], is_away: Callable[[BaseException], bool], inside: threading.local
) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        if getattr(inside, "active", False):
            return function(self, *args, **kwargs)
        inside.active = True
        try:
            return again_while_away(functools.partial(function, self, *args, **kwargs), is_away)
        finally:
            inside.active = False

    return call


def again_while_away(call: Callable[[], Any], is_away: Callable[[BaseException], bool]) -> Any:
    """What `call` returns, made again for PATIENCE_SECONDS while it fails for that reason."""
    if getattr(_thread, "impatient", False):
        return call()
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    pause = FIRST_PAUSE_SECONDS
    while True:
        try:
            return call()
        except Exception as error:
            if not is_away(error) or time.monotonic() > give_up_at:
                raise
        if pause == FIRST_PAUSE_SECONDS:
            log.warning("the storage does not answer: trying again for %.0f s", PATIENCE_SECONDS)
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
