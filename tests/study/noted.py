"""A training loop that writes down which epochs are trained, by whichever process."""

from __future__ import annotations

from textwrap import indent

LOOP = """
import os, signal
import numpy as np

def objective(params, run):
    first = run.restored["epoch"] if run.restored else 0
    run.begin(10 * params.epochs)
    for epoch in range(first, params.epochs):
        if params.seed:  # not in a probe
            with open("trained", "a") as file:
                print(epoch, file=file)
{before}
        for _ in range(10):
            run.step(0.5)
        run.report(0.1 * epoch)
        run.save({{"epoch": epoch + 1, "extra": {extra}}})
{after}
"""
# The process that finds no file `again` is interrupted in its third epoch.
INTERRUPTED = """
if params.seed and epoch == 2 and not os.path.exists("again"):
    os.kill(os.getpid(), signal.SIGINT)
"""


def noted(*, before: str = "", after: str = "", extra: str = "None") -> str:
    """The text of a task file: an epoch runs `before`, its steps, and `after`.

    Its checkpoints hold the value of `extra` beside the number of the epoch.
    """
    within = " " * 8
    return LOOP.format(before=indent(before, within), after=indent(after, within), extra=extra)
