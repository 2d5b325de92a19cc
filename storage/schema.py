"""What whoever reads Optuna's tables knows of them without importing Optuna."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

TABLES = {"studies", "trials", "version_info"}  # a database with these is one of Optuna's
REVISION = "v3.2.0.a"  # of the tables that `tables.py` and `glance.py` know


@contextmanager
def keeping_garbage() -> Iterator[None]:
    """Looking for garbage among so many trials, which all stay, is a third of reading them."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
