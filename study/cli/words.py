"""`N_TRIALS=60`, as people write it after make, is `--n-trials=60`."""

from __future__ import annotations

import argparse
import re
from collections.abc import Collection, Sequence
from difflib import get_close_matches

from batchfront.study.errors import StudyError
from batchfront.study.plan.options import options

WORD = re.compile(r"([A-Z][A-Z0-9_]*)=(.*)", re.DOTALL)
POSITIONAL = {"file": "RUNS"}  # the file that `import` reads
FALSE = ("", "0", "no", "false")


def as_options(words: Sequence[str], actions: Sequence[argparse.Action], *, verb: str) -> list[str]:
    """A verb's words, with every NAME=VALUE as the option or file that it names.

    Raises:
        StudyError: the verb takes none of that name.
    """
    valued = {flag for action in actions if action.nargs != 0 for flag in action.option_strings}
    found: list[str] = []
    for before, word in zip(["", *words], words, strict=False):
        named = None if before in valued else WORD.fullmatch(word)
        found += [word] if named is None else _said(named[1], named[2], actions, verb)
    return found


def untaken(word: str, actions: Sequence[argparse.Action], *, verb: str) -> str:
    """What to say of a word that a verb does not take; it names the option that was meant, if any.

    An option of other verbs is named with these.
    """
    name = word.partition("=")[0]
    if not name.startswith("-"):
        return f"{verb} takes no {name!r} (see batchfront {verb} --help)"
    others = [option for option in options().values() if option.flag == name]
    if others:
        return f"{verb} takes no {name}: it belongs to {', '.join(others[0].verbs)}"
    own = [flag for action in actions for flag in action.option_strings if flag.startswith("--")]
    return f"{verb} takes no {name}{meant(name, own, verb=verb)}"


def meant(word: str, known: Collection[str], *, verb: str | None = None) -> str:
    """`: did you mean --n-trials?`, or where to look; to be said after what is wrong."""
    near = get_close_matches(word, known, n=1)
    where = "batchfront" if verb is None else f"batchfront {verb}"
    return f": did you mean {near[0]}?" if near else f" (see {where} --help)"


def variables(actions: Sequence[argparse.Action]) -> dict[str, argparse.Action]:
    """Options and files by their names as make variables."""
    found = {}
    for action in actions:
        long = [flag for flag in action.option_strings if flag.startswith("--")]
        if long and long[-1] != "--help":
            found[long[-1][2:].upper().replace("-", "_")] = action
        elif action.dest in POSITIONAL:
            found[POSITIONAL[action.dest]] = action
    return found


def _said(name: str, value: str, actions: Sequence[argparse.Action], verb: str) -> list[str]:
    known = variables(actions)
    if name not in known:
        (near,) = get_close_matches(name, known, n=1, cutoff=0)
        raise StudyError(
            f"{verb} takes no {name}: did you mean {near}? See batchfront {verb} --help"
        )
    action = known[name]
    if not action.option_strings:
        return [value]
    if action.nargs == 0:  # a flag
        return [] if value.lower() in FALSE else [action.option_strings[-1]]
    return [f"{action.option_strings[-1]}={value}"]
