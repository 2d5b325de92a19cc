"""What people write for a setting, read once: every kind of value that is no plain type."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any

from batchfront.objectives.measurement import DIAGNOSTICS
from batchfront.objectives.meters.early_stopping import EarlyStopping
from batchfront.objectives.metric import DIRECTIONS, Direction
from batchfront.objectives.number import WHOLE, Number
from batchfront.study.errors import StudyError
from batchfront.study.plan.budgets import parse_bytes
from batchfront.study.plan.sizes import parse_batch_sizes, parse_micro_batch_sizes
from batchfront.study.plan.space import parse_learning_rates

AUTO = "auto"  # learning rates, how many trials, and how many share a GPU
OFF = "off"  # of what is fused
MOST_FUSED = 64
MANY = Number(low=2, high=MOST_FUSED, whole=True)
WORKERS = Number(low=1, high=4096, whole=True)  # processes of one machine
DURATIONS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}  # in seconds
LONGEST = 1e9  # seconds
LONGEST_NAME = 512  # of a study: Optuna's tables take no longer ones


def check_choice(what: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise StudyError, with the nearest choice, unless `value` is one of them."""
    if value not in choices:
        near = get_close_matches(value, choices, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise StudyError(f"unknown {what} {value!r}: {hint}choose from {', '.join(choices)}")


def check_study_name(name: str) -> None:
    """Raise StudyError for what would break lines, tables or databases."""
    if not name.strip():
        raise StudyError("study_name is empty, wanted a name")
    if not name.isprintable():
        raise StudyError(f"study_name is {name!r}, wanted one printable line")
    if len(name) > LONGEST_NAME:
        raise StudyError(f"study_name has {len(name)} characters, wanted at most {LONGEST_NAME}")


def parse_rates_or_auto(text: str) -> tuple[float, float] | str:
    """A range of learning rates, or the word that leaves it to a range test."""
    return AUTO if text == AUTO else parse_learning_rates(text)


def parse_trials(text: str) -> int | str:
    """A number of trials, or the word that leaves it to the search.

    Raises:
        StudyError: neither.
    """
    return _number_or_auto("n_trials", WHOLE, text)


def parse_sharing(text: str) -> int | str:
    """The number of trials that share a GPU, or the word that leaves it to be measured.

    Raises:
        StudyError: neither.
    """
    return _number_or_auto("trials_per_gpu", WORKERS, text)


def _number_or_auto(name: str, number: Number, text: str) -> int | str:
    if text == AUTO:
        return text
    try:
        return int(number.read(name, text))
    except ValueError as error:
        raise StudyError(f"{error}, or auto") from None


def parse_duration(text: str) -> float:
    """`90s`, `20m`, `1.5h`, `2d`, or a number of seconds.

    Raises:
        StudyError: no duration.
    """
    found = re.fullmatch(r"([\d.]+)\s*([smhd]?)", text.strip(), re.IGNORECASE)
    try:
        seconds = float(found.group(1)) * DURATIONS[found.group(2).lower()] if found else 0.0
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= LONGEST:
        raise StudyError(f"{text!r} is no budget, wanted a duration like 90s, 20m or 1.5h")
    return seconds


def parse_words(text: str) -> tuple[str, ...]:
    """Words with commas between them."""
    return tuple(word.strip() for word in text.split(","))


def parse_diagnostics(text: str) -> tuple[str, ...]:
    """The diagnostics that were asked for, maybe none.

    Raises:
        StudyError: an unknown one.
    """
    names = parse_words(text)
    for name in names:
        check_choice("diagnostic", name, (*DIAGNOSTICS, "none"))
    return tuple(name for name in names if name != "none")


def parse_early_stopping(text: str) -> EarlyStopping | str:
    """A rule by which runs end early, or the word that they do not.

    Raises:
        ObjectiveError: neither.
    """
    return EarlyStopping.parse(text) or "none"


def parse_fuse(text: str) -> str | int:
    """The number of runs that are trained together: the most, or the words `auto` and `off`.

    Raises:
        StudyError: none of these.
    """
    if text in (AUTO, OFF):
        return text
    try:
        return int(MANY.read("fuse", text))
    except ValueError:
        raise StudyError(
            f"fuse is {text!r}, wanted auto, off, or how many runs at most, 2 to {MOST_FUSED}"
        ) from None


def parse_direction(text: str) -> Direction:
    """`maximize` or `minimize`.

    Raises:
        StudyError: neither.
    """
    if text == "maximize":
        return "maximize"
    check_choice("direction", text, DIRECTIONS)
    return "minimize"


def parse_studies(text: str) -> tuple[str, ...]:
    """Names of studies, or URLs of storages that hold them, with commas between them.

    Raises:
        StudyError: one is empty.
    """
    found = parse_words(text)
    if not all(found):
        raise StudyError(f"warm_start is {text!r}, wanted the name of a study, or URL#NAME")
    return found


NAMED = ("batch_size", "learning_rate")


def parse_names(text: str) -> tuple[tuple[str, str], ...]:
    """`batch_size=bs,learning_rate=lr`: our names, and those that a script has for the same.

    Raises:
        StudyError: it is something else.
    """
    pairs = []
    for word in parse_words(text):
        ours, equals, theirs = word.partition("=")
        if not equals or not theirs.strip():
            raise StudyError(f"param is {text!r}, wanted {' or '.join(f'{n}=NAME' for n in NAMED)}")
        check_choice("param", ours.strip(), NAMED)
        pairs.append((ours.strip(), theirs.strip()))
    return tuple(pairs)


PARSERS: Mapping[str, Callable[[str], Any]] = {
    "batch sizes": parse_batch_sizes,
    "learning rates": parse_rates_or_auto,
    "bytes": parse_bytes,
    "trials": parse_trials,
    "duration": parse_duration,
    "words": parse_words,
    "diagnostics": parse_diagnostics,
    "early stopping": parse_early_stopping,
    "direction": parse_direction,
    "names": parse_names,
    "studies": parse_studies,
    "fuse": parse_fuse,
    "sharing": parse_sharing,
    "micro-batch sizes": parse_micro_batch_sizes,
}
