"""A TOML file with any of the settings."""

from __future__ import annotations

import tomllib
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from batchfront.objectives.files import read_file
from batchfront.study.errors import StudyError
from batchfront.study.plan.options import options

MOST_BYTES = 2**20  # all settings together take a few thousand


def settings_in(path: Path) -> dict[str, Any]:
    """Values by option name, parsed.

    Raises:
        StudyError: unreadable file, unknown key, value of the wrong type.
    """
    try:
        table = tomllib.loads(read_file(path, most_bytes=MOST_BYTES).decode())
    except OSError as error:
        raise StudyError(f"cannot read the config file {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise StudyError(f"cannot read the config file {path}: it is not UTF-8") from error
    except (ValueError, RecursionError) as error:  # also numbers of thousands of digits
        raise StudyError(f"{path} is not valid TOML: {error}") from error
    known = options()
    for key, value in table.items():
        if key not in known:
            near = get_close_matches(key, known, n=1, cutoff=0)[0]
            raise StudyError(f"{path} has the unknown key {key!r}: the nearest known is {near!r}")
        table[key] = known[key].typed(value, path)
    return table
