"""What verbs share: their options, the settings and storages these name, and how they print."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchfront.objectives.datasets import DATA_DIR
from batchfront.objectives.measurement import DIAGNOSTICS
from batchfront.storage.files import replace_text
from batchfront.study.errors import StudyError
from batchfront.study.plan.settings import (
    DATA_VARIABLE,
    DEFAULT_STORAGE,
    LAUNCHERS,
    PRUNERS,
    SAMPLERS,
    STORAGE_VARIABLE,
    StudySettings,
    with_file,
)

if TYPE_CHECKING:
    from optuna import Study
    from rich.console import Console

OPTIONS: dict[str, tuple[type, str]] = {
    "task": (str, "a bundled task, path/to/mine.py[:name] or text:path.txt; default: digits"),
    "data-dir": (str, f"keeps downloaded data sets; default: ${DATA_VARIABLE}, else {DATA_DIR}"),
    "study-name": (str, "default: named after the task"),
    "storage": (str, f"default: ${STORAGE_VARIABLE}, else {DEFAULT_STORAGE}"),
    "n-trials": (int, "the total to reach, whoever ran them; default: 30"),
    "n-workers": (int, "local processes, one thread each; default: 1, on Ray every GPU or CPU"),
    "launcher": (str, f"{' or '.join(LAUNCHERS)}: where workers run; default: local"),
    "ray-address": (str, "of a running Ray cluster, host:port; default: auto"),
    "sampler": (str, f"{', '.join(SAMPLERS)}; default: cost-aware"),
    "pruner": (str, f"{', '.join(PRUNERS)}, or path/to/mine.py:name; default: front"),
    "pruner-risk": (float, "of front: chance to stop a run of the final front; default: 0.02"),
    "seed": (int, "of sampler and trials; default: 0"),
    "epochs": (int, "default: the task's own"),
    "device": (str, "cpu, cuda, cuda:1, mps or auto; default: auto"),
    "target": (float, "validation metric for epochs-to-target"),
    "diagnostics": (str, f"{', '.join(DIAGNOSTICS)}: of completed runs; default: none"),
    "batch-sizes": (str, "LOW:HIGH, powers of two; default: 1:512"),
    "learning-rates": (str, "LOW:HIGH, or auto: what lr-range suggests; default: 1e-4:3"),
    "scale-rule": (str, "none, linear or sqrt: rates are base rates, scaled by the batch size"),
    "scale-reference": (int, "batch size at which they are not; default: 64"),
    "timeout": (float, "seconds after which no new trial starts"),
    "grace": (int, "seconds after which a silent worker's trial goes to another; default: 60"),
    "checkpoint-dir": (str, "default: beside an SQLite file or journal; none: lose started runs"),
    "micro-batch-sizes": (
        str,
        "examples of a pass, or LOW:HIGH to search; default: the batch",
    ),
    "precision": (str, "float32, bfloat16 or float16; several, with commas, are searched"),
    "schedule": (str, "of the batch size: constant, doubling or noise-scale"),
    "rate-schedule": (str, "of the learning rate: constant or cosine"),
    "warmup-examples": (int, "over which the learning rate rises; default: 0"),
    "beta2-half-life": (float, "of Adam's second moment, in examples; default: the task's beta2"),
    "ghost-batch-size": (int, "examples that share batch-norm statistics; default: the batch"),
    "data-parallel": (int, "ranks that train one trial together; default: 1"),
    "shards": (str, "what each rank gets of a batch: striped or block; default: striped"),
    "max-memory": (str, "budget for a run's peak memory, like 2GiB"),
    "max-seconds": (float, "budget for a run's training time"),
    "min-accuracy": (float, "a run that ends below it is infeasible"),
}


TECHNIQUES = (
    "scale-rule",
    "scale-reference",
    "micro-batch-sizes",
    "precision",
    "schedule",
    "rate-schedule",
    "warmup-examples",
    "beta2-half-life",
    "ghost-batch-size",
    "data-parallel",
    "shards",
)


def add_settings(verbs: Any, name: str, verb: Any, text: str, options: Iterable[str]) -> Any:
    """A verb that takes options of StudySettings."""
    parser_ = verbs.add_parser(name, help=text, description=verb.__doc__)
    parser_.set_defaults(verb=verb)
    for option in options:
        kind, words = OPTIONS[option]
        # Without SUPPRESS a config file could not tell a default from something said here.
        parser_.add_argument(f"--{option}", type=kind, default=argparse.SUPPRESS, help=words)
    parser_.add_argument("--config", type=Path, help="a TOML file with any of the run settings")
    return parser_


def add_compile(parser_: argparse.ArgumentParser) -> None:
    """The option of verbs that train."""
    parser_.add_argument(
        "--compile",
        action="store_true",
        default=argparse.SUPPRESS,
        help="compile the whole training step: worth it for small batches and long runs",
    )


def add_checkpoint_activations(parser_: argparse.ArgumentParser) -> None:
    """The option of verbs that train."""
    parser_.add_argument(
        "--checkpoint-activations",
        action="store_true",
        default=argparse.SUPPRESS,
        help="compute activations again in the backward pass: less memory, more time",
    )


def add_look(
    verbs: Any, name: str, verb: Any, text: str, *, study: bool = True, as_json: bool = False
) -> argparse.ArgumentParser:
    """A verb that looks at a storage, and at one of its studies."""
    look: argparse.ArgumentParser = verbs.add_parser(name, help=text, description=verb.__doc__)
    look.set_defaults(verb=verb)
    look.add_argument("--storage", help=f"default: ${STORAGE_VARIABLE}, else {DEFAULT_STORAGE}")
    if study:
        look.add_argument("--study-name", help="default: the only study there is")
    if as_json:
        look.add_argument("--json", action="store_true", help="print JSON")
    return look


def chosen_settings(args: argparse.Namespace) -> StudySettings:
    """What was said, else the environment's, else the config file's, else the defaults.

    Raises:
        StudyError: values that no study could use.
    """
    known = {field.name for field in fields(StudySettings)}
    given = {k: v for k, v in vars(args).items() if k in known}
    for name, variable in (("storage", STORAGE_VARIABLE), ("data_dir", DATA_VARIABLE)):
        if os.environ.get(variable):
            given.setdefault(name, os.environ[variable])
    settings = StudySettings(**given)
    if args.config is not None:
        settings = with_file(settings, args.config, set(given))
    settings.check()
    return settings


def chosen_storage(args: argparse.Namespace) -> str:
    """What was said, else the environment's, else the default."""
    return args.storage or os.environ.get(STORAGE_VARIABLE) or DEFAULT_STORAGE


def looked_at(args: argparse.Namespace) -> tuple[Study, list[str]]:
    """The study that was named, or the only one; and its metrics."""
    from batchfront.study.opening.open import the_study

    study = the_study(chosen_storage(args), args.study_name)
    say_foreign(study)
    return study, list(study.metric_names or [])


def say_foreign(study: Study) -> None:
    """Say how many trials of a study are set aside, where there are any."""
    from batchfront.study.trials.sound import foreign_line

    line = foreign_line(study)
    if line is not None:
        print(line, file=sys.stderr)


def console_of(stream: Any) -> Console:
    """For tables that fit the terminal, and 100 columns elsewhere."""
    from rich.console import Console

    from batchfront.study.findings.overview.tables import WIDTH

    # rich itself leaves out colours when the stream is no terminal or NO_COLOR is set.
    console = Console(file=stream, highlight=False, markup=False)
    if console.is_terminal:
        return console
    return Console(file=stream, highlight=False, markup=False, width=WIDTH)


def write_out(path: Path, text: str) -> None:
    """Write a file, and say where; one that was there is replaced as a whole.

    Raises:
        StudyError: it cannot be written, and what was there still is.
    """
    try:
        replace_text(path, text)
    except OSError as error:
        raise StudyError(f"cannot write {path}: {error.strerror}") from error
    print(f"wrote {path}", file=sys.stderr)
