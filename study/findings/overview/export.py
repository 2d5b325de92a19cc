"""Rows for machines: JSON and CSV."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from typing import Any

from batchfront.study.trials.attributes import ATTRIBUTES, FAIL_REASON


def to_json(rows: Sequence[dict[str, Any]]) -> str:
    """A JSON list of objects; what JSON has no number for becomes null."""
    return json.dumps([{k: _plain(v) for k, v in row.items()} for row in rows], indent=2)


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def to_csv(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> str:
    """CSV with a header, also when there is no row; lists are written as JSON."""
    out = io.StringIO()
    writer = csv.DictWriter(out, fieldnames=columns, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow(
            {k: json.dumps(v) if isinstance(v, list | dict) else v for k, v in row.items()}
        )
    return out.getvalue()


def export_columns(
    metric_names: Sequence[str], own: Sequence[str], kept: Sequence[str] = ()
) -> list[str]:
    """Columns of `full_row`, in order; `own`: parameters of the task, `kept`: of imported runs."""
    params = ("number", "batch_size", "learning_rate", *own)
    columns = ["state", *params, *metric_names, *ATTRIBUTES, *kept, FAIL_REASON]
    return list(dict.fromkeys(columns))  # of imported runs an attribute may be an objective
