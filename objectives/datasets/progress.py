"""Shows on stderr what keeps a person waiting: a bar on a terminal, one line elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

PATIENCE_SECONDS = 2.0  # what is over sooner is not shown

Show = Callable[[int], None]  # takes the bytes that are there


def say(line: str) -> None:
    """One line."""
    _console().print(line, soft_wrap=True)


@contextmanager
def shown(what: str, n_bytes: int) -> Iterator[Show]:
    """Inside, a function to be told the bytes that are there."""
    started, update = time.monotonic(), None
    with ExitStack() as stack:

        def show(done: int) -> None:
            nonlocal update
            if update is None and time.monotonic() - started >= PATIENCE_SECONDS:
                update = _shown_from_now_on(what, n_bytes, stack)
            if update is not None:
                update(done)

        yield show


def _shown_from_now_on(what: str, n_bytes: int, stack: ExitStack) -> Show:
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    console = _console()
    if not console.is_terminal:
        say(f"downloading {what} ({n_bytes / 1e6:.1f} MB)")
    columns = (TextColumn("{task.description}"), BarColumn(20), DownloadColumn())
    bar = stack.enter_context(
        Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal)
    )
    task = bar.add_task(what, total=n_bytes)
    return lambda done: bar.update(task, completed=done)


def _console() -> Console:
    from rich.console import Console

    return Console(stderr=True, highlight=False, markup=False)
