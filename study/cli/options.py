"""What verbs share: their options, the settings and storages these name, and how they print."""

from __future__ import annotations

import argparse
import inspect
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from batchfront.objectives.number import Number
from batchfront.storage.files import replace_text
from batchfront.study.api.console import console_of as console_of
from batchfront.study.api.look import LookedAt, look_at
from batchfront.study.errors import StudyError
from batchfront.study.plan.checks import check_settings
from batchfront.study.plan.environment import DEFAULT_STORAGE, STORAGE_VARIABLE
from batchfront.study.plan.options import (
    GROUPS,
    Option,
    options,
    settings_from,
    with_environment,
)
from batchfront.study.plan.parsers import check_study_name
from batchfront.study.plan.settings import StudySettings
from batchfront.study.plan.settings_file import settings_in


def add_verb(
    verbs: Any,
    name: str,
    verb: Callable[[argparse.Namespace], Any],
    text: str,
    *,
    tries: str,
    usage: str | None = None,
) -> argparse.ArgumentParser:
    """A verb with its help; `tries` are lines to try, as its help shows them."""
    examples = "\n".join(f"  batchfront {line.strip()}" for line in tries.strip().splitlines())
    parser_: argparse.ArgumentParser = verbs.add_parser(
        name,
        help=text,
        usage=f"batchfront {name} [options]" if usage is None else usage,
        description=inspect.cleandoc(verb.__doc__ or ""),
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser_.set_defaults(verb=verb)
    return parser_


def add_settings(
    verbs: Any, name: str, verb: Callable[[argparse.Namespace], Any], text: str, *, tries: str
) -> argparse.ArgumentParser:
    """A verb that takes all options that name it."""
    parser_ = add_verb(verbs, name, verb, text, tries=tries)
    own = [option for option in options().values() if name in option.verbs]
    for group, title in GROUPS.items():
        section = parser_.add_argument_group(title)
        for option in own:
            if option.group == group:
                add_option(section, option)
    parser_.add_argument("--config", type=Path, help="a TOML file with any of these settings")
    return parser_


def add_option(section: Any, option: Option) -> None:
    """One option, which is absent where it is not said: a config file may say it."""
    how: dict[str, Any] = {"help": option.words, "default": argparse.SUPPRESS}
    if option.kind == "bool":
        section.add_argument(option.flag, action="store_true", **how)
    else:
        action = "extend" if option.kind in ("names", "studies") else "store"
        section.add_argument(option.flag, type=option.read, action=action, **how)


def add_number(section: Any, flag: str, number: Number, **how: Any) -> None:
    """An option of one verb that is a number."""

    def read(text: str) -> float:
        try:
            return number.read(flag, text)
        except ValueError as error:
            raise StudyError(str(error)) from None

    section.add_argument(flag, type=read, **how)


def study_name(text: str) -> str:
    """The name of a study, of any verb."""
    check_study_name(text)
    return text


def host(text: str) -> str:
    """A name or address to listen on.

    Raises:
        StudyError: there can be no such name.
    """
    try:
        text.encode("idna")
    except UnicodeError:
        raise StudyError(f"--host is {text!r}, wanted a name or address of this machine") from None
    return text


def add_look(
    verbs: Any,
    name: str,
    verb: Callable[[argparse.Namespace], Any],
    text: str,
    *,
    tries: str,
    study: bool = True,
    as_json: bool = False,
) -> argparse.ArgumentParser:
    """A verb that looks at a storage, and at one of its studies."""
    look = add_verb(verbs, name, verb, text, tries=tries)
    look.add_argument("--storage", help=options()["storage"].words)
    if study:
        look.add_argument("--study-name", type=study_name, help="default: the only study there is")
    if as_json:
        look.add_argument("--json", action="store_true", help="print JSON")
    return look


def chosen_settings(args: argparse.Namespace) -> StudySettings:
    """What was said, else the environment's, else the config file's, else the defaults.

    Raises:
        StudyError: values that no study could use.
    """
    given = {name: value for name, value in vars(args).items() if name in options()}
    in_file = {} if args.config is None else settings_in(args.config)
    given = {**in_file, **with_environment(given)}
    settings = StudySettings(**settings_from(given))
    check_settings(settings)
    return settings


def chosen_storage(args: argparse.Namespace) -> str:
    """What was said, else the environment's, else the default."""
    return args.storage or os.environ.get(STORAGE_VARIABLE) or DEFAULT_STORAGE


def looked_at(args: argparse.Namespace) -> LookedAt:
    """The study that was named, or the only one; says how many of its trials are set aside."""
    looked = look_at(chosen_storage(args), args.study_name)
    if looked.foreign is not None:
        print(looked.foreign, file=sys.stderr)
    return looked


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
