"""A TOML file with any of the settings."""

from __future__ import annotations

import tomllib
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from batchfront.study.errors import StudyError
from batchfront.study.plan.options import options


def settings_in(path: Path) -> dict[str, Any]:
    """Values by option name, parsed.

    Raises:
        StudyError: unreadable file, unknown key, value of the wrong type.
    """
    try:
        table = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise StudyError(f"cannot read the config file {path}: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise StudyError(f"{path} is not valid TOML: {error}") from error
    known = options()
    for key, value in table.items():
        if key not in known:
            near = get_close_matches(key, known, n=1, cutoff=0)[0]
            raise StudyError(f"{path} has the unknown key {key!r}: the nearest known is {near!r}")
        table[key] = known[key].typed(value, path)
    return table
