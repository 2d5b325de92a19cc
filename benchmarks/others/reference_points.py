"""MLPerf's reference convergence points: what several seeds took to a target, by batch size.

`mlperf_logging/rcp_checker/*/rcps_*.json` of https://github.com/mlcommons/logging (copyright
MLCommons, Apache License 2.0). A table is one benchmark of one release; the next repeats most.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batchfront.study.errors import StudyError

MIN_SIZES = 3
MOST_EPOCHS = 10_000  # what is called epochs there and is more than that counts examples, or tokens
RATES = ("opt_base_learning_rate", "opt_lr")


@dataclass(frozen=True, kw_only=True)
class Points:
    """One benchmark of one release."""

    name: str
    rows: list[dict[str, Any]]  # one a run, by the names of columns that an import reads


def tables(where: Path) -> Iterator[Points]:
    """The tables of at least three batch sizes, each once, by the release that has it first.

    Raises:
        StudyError: there are none.
    """
    seen: list[list[dict[str, Any]]] = []
    for path in sorted(where.rglob("rcps_*.json")):
        rows = _rows(json.loads(path.read_text()))
        if len({row["batch_size"] for row in rows}) >= MIN_SIZES and rows not in seen:
            seen.append(rows)
            release = path.parent.name.removeprefix("training_")
            yield Points(name=f"{path.stem.removeprefix('rcps_')} {release}", rows=rows)
    if not seen:
        raise StudyError(f"{where} holds no rcps_*.json: wanted a clone of mlcommons/logging")


def _rows(records: dict[str, Any]) -> list[dict[str, Any]]:
    """One row a run; records of one batch size and rate are seeds of the same."""
    found: dict[tuple[int, float], list[float]] = {}
    of_samples = False
    for record in records.values():
        asked = record.get("Hyperparams", {})
        rate = next((float(asked[name]) for name in RATES if name in asked), 1.0)
        unit, costs = next(item for item in record.items() if item[0].endswith("to converge"))
        of_samples |= unit.startswith("samples")
        found.setdefault((int(record["BS"]), rate), []).extend(map(float, costs))
    most = max((cost for costs in found.values() for cost in costs), default=0.0)
    of_samples |= most > MOST_EPOCHS
    column = "examples_to_target" if of_samples else "epochs_to_target"
    return [
        {"batch_size": size, "learning_rate": rate, "seed": seed, column: cost}
        for (size, rate), costs in sorted(found.items())
        for seed, cost in enumerate(costs)
    ]
