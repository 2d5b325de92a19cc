"""Where Python code that calls us sees what it did."""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING, Any

from batchfront.study.findings.overview.tables import WIDTH
from batchfront.study.show import in_notebook

if TYPE_CHECKING:
    from rich.console import Console

PLAIN: dict[str, Any] = {"highlight": False, "markup": False, "force_jupyter": False}


def console_of(stream: Any) -> Console:
    """The console that prints tables which fit the terminal, and 100 columns elsewhere."""
    from rich.console import Console

    # rich itself leaves out colours when the stream is no terminal or NO_COLOR is set.
    console = Console(file=stream, **PLAIN)
    return console if console.is_terminal else Console(file=stream, width=WIDTH, **PLAIN)


def console_here() -> Console:
    """The console of a script is stderr, that of a notebook the output of the cell.

    The latter calls itself a terminal, and can do little of what one can.
    """
    from rich.console import Console

    if not in_notebook():
        return console_of(sys.stderr)
    warnings.filterwarnings("ignore", "IProgress not found")  # of tqdm, which Optuna loads
    return Console(file=sys.stdout, width=WIDTH, force_terminal=False, **PLAIN)
