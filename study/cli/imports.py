"""The verb import."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from batchfront.study.cli.options import add_verb, chosen_storage
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
    import_.add_argument("--study-name", help="default: named after the file")
    import_.add_argument("--storage", help=f"default: ${STORAGE_VARIABLE}, else {DEFAULT_STORAGE}")


def import_runs(args: argparse.Namespace) -> None:
    """Make a study from a table of recorded runs, to be looked at as any other.

    One row a run, or one row an epoch where there is a column epoch. It needs batch_size,
    learning_rate and an outcome: val_accuracy, val_r2, train_loss, train_seconds,
    peak_memory_bytes, epochs_to_target, steps_to_target or examples_to_target.
    """
    from batchfront.study.transfer.importing import import_table

    with only_errors():
        import_table(args.file, chosen_storage(args), args.study_name, _say)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
