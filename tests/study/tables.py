"""Recorded tables to import, and the studies made of them."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

from batchfront.study.cli.main import main
from batchfront.study.opening.open import the_study

DATA = Path(__file__).resolve().parents[1] / "data"
CURVES = DATA / "digits_curves.csv"
TO_TARGET = DATA / "mlperf_resnet50_epochs_to_target.csv"
STORAGE = "sqlite:///runs/batchfront.db"
Write = Callable[[str], str]


def imported(file: Path | str, *more: str) -> Any:
    """The study made of a file."""
    assert main(["import", str(file), *more]) == 0
    return the_study(STORAGE, None)


def recorded(file: Path) -> list[dict[str, str]]:
    with file.open() as stream:
        return list(csv.DictReader(stream))
