"""What to type next, in the words of whoever reads it."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping

TYPED_VARIABLE = "BATCHFRONT_TYPED"  # set by our Makefile: what stood on make's command line
TARGETS = {"run": "study"}  # make's, where they are not called as the verb


def setting(name: str, value: object | None = None, *, in_python: bool = False) -> str:
    """`N_TRIALS=60` where make has started us, else `--n-trials 60`, or `n_trials=60` in Python.

    Without a value the name alone. `name`: the setting's, as in a config file.
    """
    if in_python:
        return name if value is None else f"{name}={value}"
    if TYPED_VARIABLE in os.environ:
        return name.upper() if value is None else f"{name.upper()}={value}"
    flag = f"--{name.replace('_', '-')}"
    return flag if value is None else f"{flag} {value}"


def command(verb: str, options: Mapping[str, object] | None = None) -> str:
    """`make study N_TRIALS=60` where make has started us, else `batchfront run --n-trials 60`.

    `options`: by their names in settings; values are quoted for a shell.
    """
    given = {name: shlex.quote(str(value)) for name, value in (options or {}).items()}
    if TYPED_VARIABLE in os.environ:
        caller = ["make", TARGETS.get(verb, verb)]
    else:
        caller = ["batchfront", verb]
    return " ".join([*caller, *(setting(name, value) for name, value in given.items())])
