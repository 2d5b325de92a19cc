"""The command line: parse, one call. Heavy imports wait until a verb needs them."""

from __future__ import annotations

import argparse
import atexit
import gc
import sys
from collections.abc import Collection, Sequence
from typing import Any, NoReturn

from batchfront.study.cli.advise import add_advise_verb
from batchfront.study.cli.claims import add_claims_verbs
from batchfront.study.cli.critical import add_critical_verbs
from batchfront.study.cli.delete import add_delete_verb
from batchfront.study.cli.door import told
from batchfront.study.cli.imports import add_import_verb
from batchfront.study.cli.look import add_looking_verbs
from batchfront.study.cli.lr_range import add_lr_range_verb
from batchfront.study.cli.noise import add_noise_verbs
from batchfront.study.cli.rates import add_rates_verbs
from batchfront.study.cli.run import add_training_verbs
from batchfront.study.cli.smallest import add_smallest_verb
from batchfront.study.cli.storage import add_storage_verbs
from batchfront.study.cli.typed import password_warning
from batchfront.study.cli.words import as_options, meant, untaken
from batchfront.study.errors import StudyError
from batchfront.study.machine.folder import check_working_folder
from batchfront.study.machine.interrupts import ending_by_exception


class Parser(argparse.ArgumentParser):
    """Says in one line what is wrong, and takes options by their full names only."""

    verbs: Collection[str] = ()  # of the parser of all of them

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"allow_abbrev": False, **options})

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse as argparse does, and the words that a Makefile hands on too."""
        if args is not None and self._subparsers is None:  # of one verb
            args = as_options(args, self._actions, verb=self.prog.split()[-1])
            for word in args:
                if word.startswith("--") and word.endswith("=--"):  # argparse would drop the value
                    self.error(f"argument {word[:-3]}: expected a value, found --")
        elif args is not None:
            self._check_verb(args)
        known, unknown = super().parse_known_args(args, namespace)
        if unknown and self._subparsers is None:
            raise StudyError(untaken(unknown[0], self._actions, verb=self.prog.split()[-1]))
        return known, unknown

    def _check_verb(self, words: Sequence[str]) -> None:
        verb = next((word for word in words if not word.startswith("-")), None)
        if verb is not None and verb not in self.verbs:
            raise StudyError(f"there is no verb {verb!r}{meant(verb, self.verbs)}")

    def error(self, message: str) -> NoReturn:
        raise StudyError(f"{message} (see {self.prog} --help)")


def command() -> int:
    """The `batchfront` command: what was typed, run."""
    # Names of files are not always text that can be printed: shown, they must not be the end.
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    atexit.register(gc.freeze)  # a process that ends need not look for garbage in what it has read
    return main(sys.argv[1:])


def main(argv: Sequence[str]) -> int:
    """Run one verb; returns the exit code."""
    try:
        with ending_by_exception():
            if any("\0" in word for word in argv):  # from Python: no command line can hold one
                raise StudyError("an argument holds a NUL, which no name does")
            args = parser().parse_args(argv)
            check_working_folder()
            warning = password_warning(args)
            if warning is not None:
                print(warning, file=sys.stderr)
            code = int(args.verb(args) or 0)
            sys.stdout.flush()  # while an error can still be told
            return code
    except BaseException as error:  # Ctrl-C too is told in one line; the rest goes on up
        exit_code = told(error)
        if exit_code is None:
            raise
        return exit_code


def parser() -> argparse.ArgumentParser:
    """All verbs with their options."""
    top = Parser(prog="batchfront", description="Which batch size and learning rate?")
    verbs = top.add_subparsers(title="verbs", metavar="VERB", required=True)
    add_training_verbs(verbs)
    add_advise_verb(verbs)
    add_looking_verbs(verbs)
    add_smallest_verb(verbs)
    add_rates_verbs(verbs)
    add_claims_verbs(verbs)
    add_storage_verbs(verbs)
    add_delete_verb(verbs)
    add_import_verb(verbs)
    add_critical_verbs(verbs)
    add_noise_verbs(verbs)
    add_lr_range_verb(verbs)
    top.verbs = verbs.choices
    return top
