"""The verb import."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from batchfront.objectives.metric import AskedMetric, Metric, as_metric
from batchfront.study.cli.options import add_verb, chosen_storage, study_name
from batchfront.study.errors import StudyError
from batchfront.study.plan.parsers import parse_direction
from batchfront.study.plan.settings import DEFAULT_STORAGE, STORAGE_VARIABLE
from batchfront.study.quiet import only_errors


def add_import_verb(verbs: Any) -> None:
    """Tell the parser of it."""
    text = "make a study from recorded runs"
    import_ = add_verb(
        verbs,
        "import",
        import_runs,
        text,
        tries="""
            import runs.csv
            import runs.csv.gz --study-name theirs
        """,
        usage="batchfront import runs.csv [options]",
    )
    import_.add_argument("file", type=Path, metavar="runs.csv", help="also .csv.gz")
    import_.add_argument("--metric", help="the column that holds it; default: a usual one")
    import_.add_argument("--direction", help="maximize or minimize: of that metric")
    import_.add_argument("--study-name", type=study_name, help="default: named after the file")
    import_.add_argument("--storage", help=f"default: ${STORAGE_VARIABLE}, else {DEFAULT_STORAGE}")


def import_runs(args: argparse.Namespace) -> None:
    """Make a study from a table of recorded runs, to be looked at as any other.

    One row a run, or one row an epoch where there is a column epoch. It needs batch_size,
    learning_rate and an outcome: val_accuracy, val_r2, train_loss, train_seconds,
    peak_memory_bytes, epochs_to_target, steps_to_target, examples_to_target or tokens_to_target; or
    with --metric any other column.
    """
    from batchfront.study.transfer.importing import import_table

    with only_errors():
        import_table(args.file, chosen_storage(args), args.study_name, _say, _metric(args))


def _metric(args: argparse.Namespace) -> Metric | None:
    """The metric that was named; None: the usual ones are looked for."""
    if args.metric is None and args.direction is None:
        return None
    if args.metric is None:
        raise StudyError("--direction is of a metric: give --metric, its column")
    direction = None if args.direction is None else parse_direction(args.direction)
    return as_metric(AskedMetric(name=args.metric, direction=direction).of(None))


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
