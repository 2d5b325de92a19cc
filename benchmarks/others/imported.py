"""Rows of a table as a study, by the way that `batchfront import` takes."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from batchfront.study.api.look import LookedAt, look_at
from batchfront.study.quiet import only_errors
from batchfront.study.transfer.past import import_tables

if TYPE_CHECKING:
    from batchfront.objectives.metric import Metric

Rows = Sequence[Mapping[str, Any]]


@contextmanager
def imported(
    rows: Rows, names: Mapping[str, str] | None = None, metric: Metric | None = None
) -> Iterator[LookedAt]:
    """The study of the rows, for as long as it is looked at; `names`: their columns by ours."""
    with TemporaryDirectory(prefix="batchfront-") as folder:
        path = Path(folder, "published.csv")
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        url = f"journal:///{folder}/study.log"
        with only_errors():
            import_tables([path], url, None, lambda line: None, metric=metric, names=names or {})
        yield look_at(url, None)
