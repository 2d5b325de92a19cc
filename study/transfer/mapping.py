"""Runs of other tools as a table that an import reads: columns renamed, constants added."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchfront.objectives.files import read_file
from batchfront.study.errors import StudyError

if TYPE_CHECKING:
    from optuna import Study

Rows = list[dict[str, str]]
HPARAMS = "hparams.yaml"  # beside Lightning's metrics.csv
NUMBERED = {"COMPLETE": "", "PRUNED": "pruned"}  # states of Optuna's that count, as verdicts


def table_of(files: Sequence[Path], names: Mapping[str, str]) -> str:
    """The text of one table of all files, its columns by our names.

    Args:
        files: CSV; of Lightning's logger, with the hparams.yaml beside each, where there is one.
        names: theirs by ours; a number in place of a name is that number in every row.

    Raises:
        StudyError: a name that no column has, or a file that cannot be read.
    """
    rows: Rows = []
    for number, path in enumerate(files):
        own = _rows_in(path)
        if _is_of_lightning(own):
            own = [{**_hparams(path.with_name(HPARAMS)), **row} for row in _epochs(own)]
            own = [{"seed": str(number), **row} for row in own] if len(files) > 1 else own
        rows += own
    return _text(_renamed(rows, names, "the table"))


def table_of_study(study: Study, names: Mapping[str, str]) -> tuple[str, int]:
    """The text of a table of a study's finished trials, and how many others are left out.

    Its columns are parameters, attributes that are no lists, and values: by the names of the
    metrics, else value, or value_0 and so on of several.

    Raises:
        StudyError: a name that is none of these.
    """
    rows: Rows = []
    trials = study.get_trials(deepcopy=False)
    values = value_names(study)
    for trial in trials:
        if trial.state.name not in NUMBERED:
            continue
        told = dict(zip(values, trial.values or [""] * len(values), strict=True))
        said = {k: v for k, v in trial.user_attrs.items() if isinstance(v, str | int | float)}
        known = {**trial.params, **told, "verdict": NUMBERED[trial.state.name]}
        row = {**known, **said, **known}
        rows.append({name: str(value) for name, value in row.items()})
    if not rows:
        raise StudyError(f"study {study.study_name!r} has no finished trials")
    where = f"study {study.study_name!r}"
    renamed = _renamed(rows, names, where)
    _check_needed(renamed, where)
    return _text(renamed), len(trials) - len(rows)


def _check_needed(rows: Rows, where: str) -> None:
    """Raise StudyError where no parameter is called as it is here."""
    known = {name: None for row in rows for name in row}
    for name in ("batch_size", "learning_rate"):
        if name not in known:
            found = ", ".join(n for n in known if n != "verdict")
            raise StudyError(f"{where} has no {name}, but {found}: --map {name}=THEIRS names it")


def value_names(study: Study) -> list[str]:
    """What the values of a study's trials are called."""
    if study.metric_names:
        return list(study.metric_names)
    n = len(study.directions)
    return ["value"] if n == 1 else [f"value_{k}" for k in range(n)]


def _rows_in(path: Path) -> Rows:
    try:
        text = read_file(path).decode("utf-8-sig")
    except OSError as error:
        raise StudyError(f"cannot read the table {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise StudyError(f"{path.name} is not UTF-8: save the file as such") from error
    return [
        {name: cell or "" for name, cell in row.items() if name}
        for row in csv.DictReader(io.StringIO(text, newline=""))
    ]


def _is_of_lightning(rows: Rows) -> bool:
    """Whether several rows are of one epoch, counted from 0, and have the steps."""
    return bool(rows) and {"epoch", "step"} <= set(rows[0]) and rows[0]["epoch"] == "0"


def _epochs(rows: Rows) -> Rows:
    """One row an epoch, counted from 1, with the last of what its rows say."""
    found: dict[str, dict[str, str]] = {}
    for row in rows:
        said = {name: cell for name, cell in row.items() if cell and name not in ("epoch", "step")}
        found.setdefault(row["epoch"], {}).update(said)
    names = {name for row in found.values() for name in row}
    return [
        {"epoch": str(n), **{name: row.get(name, "") for name in sorted(names)}}
        for n, row in enumerate(found.values(), 1)
    ]


def _hparams(path: Path) -> dict[str, str]:
    """The plain entries of a file of hyperparameters; none where there is none."""
    if not path.is_file():
        return {}
    pairs = [line.partition(":") for line in path.read_text().splitlines() if line[:1].isalpha()]
    return {name.strip(): value.strip() for name, _, value in pairs if value.strip()}


def _renamed(rows: Rows, names: Mapping[str, str], where: str) -> Rows:
    known = {name: None for row in rows for name in row}
    constants = {ours: theirs for ours, theirs in names.items() if _is_number(theirs)}
    theirs = {name: ours for ours, name in names.items() if ours not in constants}
    for name, ours in theirs.items():
        if name not in known:
            found = ", ".join(known) or "no columns"
            raise StudyError(f"--map {ours}={name}: {where} has {found}")
    taken = names.keys() & known.keys() - theirs.keys()
    return [
        {
            **{theirs.get(n, n): cell for n, cell in row.items() if n not in taken},
            **constants,
        }
        for row in rows
    ]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _text(rows: Sequence[Mapping[str, Any]]) -> str:
    out = io.StringIO()
    names = list({name: None for row in rows for name in row})
    writer = csv.DictWriter(out, fieldnames=names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()
