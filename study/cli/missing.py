"""What rates, claims and critical-batch share: they say which runs are missing, and make them."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchfront.objectives.number import WHOLE
from batchfront.study.api.look import LookedAt
from batchfront.study.cli.options import (
    add_number,
    add_option,
    chosen_storage,
    console_of,
)
from batchfront.study.commands import command
from batchfront.study.errors import StudyError
from batchfront.study.plan.agreement import AGREEMENT, IMPORTED
from batchfront.study.plan.checks import check_settings
from batchfront.study.plan.environment import DATA_VARIABLE, DEFAULT_STORAGE
from batchfront.study.plan.options import options
from batchfront.study.plan.settings import StudySettings

if TYPE_CHECKING:
    from batchfront.study.findings.missing.runs import Verb

OWN_TASK = "path/to/your/task.py"
ROOM = 2  # times what is known to be missing: what runs show may call for more


def add_max_trials(look: argparse.ArgumentParser, verb: str) -> None:
    """Tell the parser of the runs that are missing, and of what it takes to make them."""
    words = "run what is missing, at most so many trials; default: 0, look only"
    add_number(look, "--max-trials", replace(WHOLE, low=0), default=0, help=words)
    section = look.add_argument_group("with --max-trials; by default as the study has it")
    for option in options().values():
        if verb in option.verbs:
            add_option(section, option)


def run_missing(args: argparse.Namespace, verb: Verb, *, target: float | None = None) -> int:
    """Run what is missing where --max-trials says so; returns the exit code."""
    if not args.max_trials:
        return 0
    from batchfront.study.opening.open import the_study
    from batchfront.study.session.missing import MissingSession

    study = the_study(chosen_storage(args), args.study_name)
    settings = _settings(args, study.study_name, study.user_attrs[AGREEMENT])
    return MissingSession(
        settings, console_of(sys.stderr), verb=verb, target=target, max_trials=args.max_trials
    ).run()


def _settings(args: argparse.Namespace, name: str, record: dict[str, Any]) -> StudySettings:
    """What was said; the rest is as the study has it."""
    given = {key: value for key, value in vars(args).items() if key in _asked()}
    if os.environ.get(DATA_VARIABLE):
        given.setdefault("data_dir", os.environ[DATA_VARIABLE])
    if IMPORTED in record:
        raise StudyError(
            f"study {name!r} was imported from {record[IMPORTED]['file']}: there is nothing to "
            "train, leave out --max-trials"
        )
    if "task" not in given and not _is_here(record["task"]):
        raise StudyError(
            f"study {name!r} trains {record['task']!r}, a task of your own: add --task {OWN_TASK}"
        )
    given.setdefault("task", record["task"])
    settings = StudySettings(storage=chosen_storage(args), study_name=name, **given)
    check_settings(settings)
    return settings


def _is_here(task: str) -> bool:
    """Whether the task of that name needs no path: a bundled one, or a file of this folder."""
    from batchfront.objectives.tasks.bundled import NAMES

    return task in NAMES or Path(task.split(":")[0]).is_file()


def _asked() -> set[str]:
    """The settings that such a verb takes."""
    return {option.name for option in options().values() if "rates" in option.verbs}


def say_missing(
    args: argparse.Namespace, verb: Verb, found: LookedAt, *, target: float | None = None
) -> None:
    """Say what is missing, and the command that runs it."""
    from batchfront.study.findings.missing.runs import Missing
    from batchfront.study.findings.missing.show import missing_line, n_missing
    from batchfront.study.plan.space import SearchSpace

    record = found.study.user_attrs[AGREEMENT]
    if IMPORTED in record or "table" in record or found.names.metric is None:
        return  # recorded runs: there is nothing to train
    space = SearchSpace.from_dict(record["space"])
    agenda = Missing(verb=verb, target=target, names=found.names, space=space)
    console = console_of(sys.stdout)
    try:
        gaps = agenda.gaps(found.study, found.trials)
    except StudyError as few:
        console.print(f"nothing can be run for it yet: {few}", soft_wrap=True)
        return
    if gaps:
        console.print(missing_line(gaps))
        again = command(verb, _repeated(args, found, n_missing(gaps), target))
        console.print(f"to run them: {again}", soft_wrap=True)


def _repeated(
    args: argparse.Namespace, found: LookedAt, n: int, target: float | None
) -> dict[str, object]:
    from batchfront.storage.names import redacted

    said: dict[str, object] = {"study_name": found.study.study_name}
    if target is not None:
        said["target"] = f"{target:g}"
    if args.storage not in (None, DEFAULT_STORAGE):
        said["storage"] = redacted(args.storage)
    if "task" in args or not _is_here(found.study.user_attrs[AGREEMENT]["task"]):
        said["task"] = getattr(args, "task", OWN_TASK)
    return {**said, "max_trials": ROOM * n}
