"""Looking for garbage among thousands of trials, which all stay, takes longer than to read them."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def keeping_garbage() -> Iterator[None]:
    """Python looks for no reference cycles inside; also to decorate what does not run for long."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
