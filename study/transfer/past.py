"""Imports what other tools have recorded: an Optuna study, or tables with names of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from batchfront.objectives.metric import COMMON, Metric, as_metric
from batchfront.storage.names import redacted
from batchfront.storage.open import open_storage, readable_errors
from batchfront.study.commands import setting
from batchfront.study.errors import StudyError
from batchfront.study.opening.open import foreign_studies
from batchfront.study.plan.agreement import AGREEMENT
from batchfront.study.show import counted
from batchfront.study.transfer.importing import Say, import_table
from batchfront.study.transfer.mapping import table_of, table_of_study, value_names

if TYPE_CHECKING:
    from collections.abc import Iterator

    from optuna import Study


def import_tables(
    files: Sequence[Path],
    url: str,
    study_name: str | None,
    say: Say,
    *,
    metric: Metric | None,
    names: Mapping[str, str],
) -> None:
    """Make a study of CSV files whose columns have other names than ours.

    Raises:
        ObjectiveError, StudyError, StorageError: as of `import_table`; a name that is not there.
    """
    with _written(files[0].name, table_of(files, names)) as path:
        import_table(path, url, study_name, say, metric)


def import_study(
    source: str,
    theirs: str | None,
    url: str,
    study_name: str | None,
    say: Say,
    *,
    metric: Metric | None,
    names: Mapping[str, str],
) -> None:
    """Make a study of one that Optuna has made.

    Args:
        source: the URL of its storage.
        theirs: its name; None: the only one there is that is not ours.
        url: of the storage to write to.
        study_name: of the new study; None: theirs, with "-imported".
        say: takes the lines that tell what was done.
        metric: None: the first value.
        names: of their parameters and values, by ours.

    Raises:
        StudyError: no such study, or one of ours; a name that it does not have.
    """
    with readable_errors(source):
        study = _found(source, theirs)
        text, n_left = table_of_study(study, names)
    name = study_name or f"{study.study_name}-imported"
    file = "".join(c if c.isalnum() or c in "-_." else "_" for c in study.study_name)
    with _written(f"{file}.csv", text) as path:
        import_table(path, url, name, say, metric or _first_value(study, names))
    if n_left:
        say(f"left out: {counted(n_left, 'trial')} that did not end")


def _found(source: str, theirs: str | None) -> Study:
    import optuna

    storage = open_storage(source, mode="reader")
    if theirs is None:
        names = [study.study_name for study in foreign_studies(storage)]
        if len(names) != 1:
            found = ", ".join(map(repr, names)) or "none that Optuna alone has made"
            choose = f"choose with {setting('study_name')}"
            raise StudyError(f"which study? there are {found}: {choose}")
        theirs = names[0]
    known = optuna.get_all_study_names(storage)
    if theirs not in known:
        found = ", ".join(map(repr, known)) or "none"
        raise StudyError(f"there is no study {theirs!r} in {redacted(source)}: there are {found}")
    study = optuna.load_study(study_name=theirs, storage=storage)
    if AGREEMENT in study.user_attrs:
        raise StudyError(
            f"study {theirs!r} is one of batchfront's: copy it with batchfront copy --from URL"
        )
    return study


def _first_value(study: Study, names: Mapping[str, str]) -> Metric:
    """The first value as a metric, by the name that it is given."""
    first = value_names(study)[0]
    name = next((ours for ours, theirs in names.items() if theirs == first), first)
    direction = "minimize" if study.directions[0].name == "MINIMIZE" else "maximize"
    usual = as_metric(name) if name in COMMON else None
    if usual is not None and usual.direction == direction:
        return usual
    return Metric(name, direction="minimize" if direction == "minimize" else "maximize")


@contextmanager
def _written(name: str, text: str) -> Iterator[Path]:
    """A file of that name for as long as it is read."""
    with TemporaryDirectory(prefix="batchfront-") as folder:
        path = Path(folder, name)
        path.write_text(text)
        yield path
