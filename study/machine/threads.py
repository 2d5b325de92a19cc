"""One thread for small matrices."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """NumPy and SciPy compute in one thread inside; also a decorator.

    With as many threads as cores, which is OpenBLAS' own choice, matrices of a few hundred rows
    take several times as long: the threads wait for one another, and all of them share a worker's
    only core. Training loops of your own keep what they have, unless they compute in another thread
    of this process meanwhile: the limit is the process's.
    """
    with _libraries().limit(limits=1):
        yield


@cache
def _libraries() -> Any:
    """What NumPy and SciPy have brought, a library each."""
    import scipy.linalg  # noqa: F401  # only what is loaded is found
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")
