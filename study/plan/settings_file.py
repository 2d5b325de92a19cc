"""A TOML file with any of the settings."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from batchfront.objectives.files import read_file
from batchfront.study.errors import StudyError
from batchfront.study.plan.options import option_named

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
    for key, value in table.items():
        table[key] = option_named(key, f"{path} has the unknown key").typed(value, path)
    return table
