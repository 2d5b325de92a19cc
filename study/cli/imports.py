"""The verb import."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import Any

from batchfront.objectives.metric import LONGEST, AskedMetric, Metric, as_metric, is_word
from batchfront.study.cli.options import add_verb, chosen_storage, study_name
from batchfront.study.errors import StudyError
from batchfront.study.plan.environment import DEFAULT_STORAGE, STORAGE_VARIABLE
from batchfront.study.plan.parsers import parse_direction
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
            import runs.csv.gz --study-name theirs
            import sqlite:///past.db --map learning_rate=lr
        """,
        usage="batchfront import runs.csv [options]",
    )
    import_.add_argument(
        "file",
        nargs="+",
        metavar="runs.csv",
        help="also .csv.gz, several metrics.csv of Lightning's, or the URL of an Optuna storage",
    )
    import_.add_argument(
        "--map",
        action="append",
        default=[],
        metavar="OURS=THEIRS",
        help="a column or parameter that has another name, or its value in all rows: "
        "learning_rate=lr, batch_size=64; may be repeated",
    )
    import_.add_argument("--metric", help="the column that holds it; default: a usual one")
    import_.add_argument("--direction", help="maximize or minimize: of that metric")
    words = "default: named after the file; of a URL: which of its studies"
    import_.add_argument("--study-name", type=study_name, help=words)
    words = "of a URL: the name of the new study; default: theirs with -imported"
    import_.add_argument("--as", dest="new_name", type=study_name, help=words)
    import_.add_argument("--storage", help=f"default: ${STORAGE_VARIABLE}, else {DEFAULT_STORAGE}")


def import_runs(args: argparse.Namespace) -> None:
    """Make a study from a table of recorded runs, to be looked at as any other.

    One row a run, or one row an epoch where there is a column epoch. It needs batch_size,
    learning_rate and an outcome: val_accuracy, val_r2, train_loss, train_seconds,
    peak_memory_bytes, epochs_to_target, steps_to_target, examples_to_target or tokens_to_target; or
    with --metric any other column.
    """
    from batchfront.study.transfer.importing import import_table
    from batchfront.study.transfer.past import import_study, import_tables

    names, column = _names(args.map), args.metric
    if column is not None and not is_word(column):
        args.metric = _as_word(column)
        if names.setdefault(args.metric, column) != column:
            raise StudyError(
                f"--metric {column!r} is called {args.metric} here, which --map has as "
                f"{names[args.metric]!r}: give one of the two"
            )
    url, metric = chosen_storage(args), _metric(args)
    first, *more = args.file
    with only_errors():
        if "://" in first:
            if more:
                raise StudyError(f"found {more[0]} after a URL, wanted one storage")
            import_study(
                first, args.study_name, url, args.new_name, _say, metric=metric, names=names
            )
        elif args.new_name is not None:
            raise StudyError("--as is for a URL: of a file --study-name names the new study")
        elif names or more:
            files = [Path(name) for name in args.file]
            import_tables(files, url, args.study_name, _say, metric=metric, names=names)
        else:
            import_table(Path(first), url, args.study_name, _say, metric)
    if column != args.metric:
        _say(f"the metric {column!r} is called {args.metric} in the study")


def _names(said: list[str]) -> dict[str, str]:
    """Their names by ours.

    Raises:
        StudyError: it is no pair, or one name twice.
    """
    pairs = [word.partition("=") for word in said]
    for (ours, equals, theirs), word in zip(pairs, said, strict=True):
        if not (ours and equals and theirs):
            raise StudyError(f"--map is {word!r}, wanted OURS=THEIRS, as in learning_rate=lr")
        if [one for one, _, _ in pairs].count(ours) > 1:
            raise StudyError(f"--map {ours} is there twice")
    return {ours: theirs for ours, _, theirs in pairs}


def _as_word(column: str) -> str:
    """A name that a metric can have, made of that of a column which it cannot."""
    word = re.sub(r"[^\w.@-]+", "_", column).strip("_")[:LONGEST]
    return word if is_word(word) else f"metric_{word}"[:LONGEST]


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
