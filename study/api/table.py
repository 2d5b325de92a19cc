"""Rows as people at a Python prompt like them."""

from __future__ import annotations

from typing import Any


def as_table(rows: list[dict[str, Any]]) -> Any:
    """A pandas DataFrame where pandas is installed, else the rows themselves."""
    try:
        import pandas as pd
    except ImportError:
        return rows
    return pd.DataFrame(rows)
