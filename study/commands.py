"""What to type next, in the words of whoever reads it."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping

TYPED_VARIABLE = "BATCHFRONT_TYPED"  # set by our Makefile: what stood on make's command line
TARGETS = {"run": "study"}  # make's, where they are not called as the verb


def command(verb: str, options: Mapping[str, object] | None = None) -> str:
    """`make study N_TRIALS=60` where make has started us, else `batchfront run --n-trials 60`.

    `options`: by their names in settings; values are quoted for a shell.
    """
    given = {name: shlex.quote(str(value)) for name, value in (options or {}).items()}
    if TYPED_VARIABLE in os.environ:
        words = [f"{name.upper()}={value}" for name, value in given.items()]
        return " ".join(["make", TARGETS.get(verb, verb), *words])
    words = [f"--{name.replace('_', '-')} {value}" for name, value in given.items()]
    return " ".join(["batchfront", verb, *words])
