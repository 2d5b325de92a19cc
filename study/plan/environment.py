"""What the environment may say in place of an option, and what holds where it says nothing."""

from __future__ import annotations

import os
from pathlib import Path

from batchfront.objectives.datasets import DATA_DIR

STORAGE_VARIABLE = "BATCHFRONT_STORAGE"  # URLs may hold passwords, which others see in a command
DEFAULT_STORAGE = "sqlite:///runs/batchfront.db"
DATA_VARIABLE = "BATCHFRONT_DATA"
FROM_VARIABLE = "BATCHFRONT_FROM"
TO_VARIABLE = "BATCHFRONT_TO"


def chosen_data_dir() -> Path:
    """The folder of downloaded data sets that the environment names, else the usual one."""
    return Path(os.environ.get(DATA_VARIABLE) or DATA_DIR)
