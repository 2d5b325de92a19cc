"""How a setting is declared: a field of a dataclass, with its words and the verbs that take it."""

from __future__ import annotations

from dataclasses import field
from typing import Any

from batchfront.objectives.number import Number

TRAINING = "run smallest probe record"
SEARCHING = "run smallest"
FILLING = "rates claims critical-batch"  # with --max-trials they train, too
TECHNIQUE_VERBS = ("run", "smallest", "probe")


def setting(
    words: str,
    *,
    group: str,
    verbs: str,
    default: Any = None,
    kind: str | None = None,
    number: Number | None = None,
) -> Any:
    """A field that is an option of these verbs.

    `kind`: of PARSERS, where it is no plain type. `number`: which ones it may be.
    """
    said: dict[str, Any] = {"words": words, "group": group, "verbs": tuple(verbs.split())}
    more = {"kind": kind, "number": number}
    said.update((name, value) for name, value in more.items() if value is not None)
    return field(default=default, metadata=said)
