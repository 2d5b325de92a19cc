"""The command line: parse, one call. Heavy imports wait until a verb needs them."""

from __future__ import annotations

import argparse
import errno
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from batchfront.objectives.measurement import ObjectiveError
from batchfront.storage.errors import StorageError
from batchfront.study.cli.claims import add_claims_verbs
from batchfront.study.cli.critical import add_critical_verbs
from batchfront.study.cli.delete import add_delete_verb
from batchfront.study.cli.imports import add_import_verb
from batchfront.study.cli.look import add_looking_verbs
from batchfront.study.cli.lr_range import add_lr_range_verb
from batchfront.study.cli.noise import add_noise_verbs
from batchfront.study.cli.rates import add_rates_verbs
from batchfront.study.cli.run import add_training_verbs
from batchfront.study.cli.smallest import add_smallest_verb
from batchfront.study.cli.storage import add_storage_verbs
from batchfront.study.cli.typed import password_warning
from batchfront.study.cli.words import as_options
from batchfront.study.errors import StudyError
from batchfront.study.machine.interrupts import Interrupted, ending_by_exception

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
USER_ERRORS = (StudyError, ObjectiveError, StorageError)


class Parser(argparse.ArgumentParser):
    """Says in one line what is wrong, and takes options by their full names only."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"allow_abbrev": False, **options})

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse as argparse does, and the words that a Makefile hands on too."""
        if args is not None and self._subparsers is None:  # of one verb
            args = as_options(args, self._actions, verb=self.prog.split()[-1])
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        raise StudyError(f"{message} (see {self.prog} --help)")


def command() -> int:
    """The `batchfront` command: what was typed, run."""
    return main(sys.argv[1:])


def main(argv: Sequence[str]) -> int:
    """Run one verb; returns the exit code."""
    try:
        with ending_by_exception():
            args = parser().parse_args(argv)
            warning = password_warning(args)
            if warning is not None:
                print(warning, file=sys.stderr)
            code = int(args.verb(args) or 0)
            sys.stdout.flush()  # while an error can still be told
            return code
    except USER_ERRORS as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # `... | head` has read enough, as the shell counts it
        _forget_output()
        return 141
    except OSError as error:
        if error.errno not in FULL:
            raise
        _forget_output()
        where = error.filename or "the output"
        said = f"error: cannot write {where}: {error.strerror}: make room, run it again"
        print(said, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return _ended_by(signal.SIGINT)
    except Interrupted as ended:
        return _ended_by(ended.signum)


def _ended_by(signum: int) -> int:
    name = signal.Signals(signum).name
    print(f"ended by {name}: give the same command again", file=sys.stderr)
    return 128 + signum


def _forget_output() -> None:
    """Let nobody write again, at the latest at the end of the process, what cannot be written."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def parser() -> argparse.ArgumentParser:
    """All verbs with their options."""
    top = Parser(prog="batchfront", description="Which batch size and learning rate?")
    verbs = top.add_subparsers(title="verbs", metavar="VERB", required=True)
    add_training_verbs(verbs)
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
    return top
