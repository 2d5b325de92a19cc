"""The verb delete."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from batchfront.study.cli.options import add_verb, chosen_storage, study_name
from batchfront.study.errors import StudyError
from batchfront.study.plan.options import options


def add_delete_verb(verbs: Any) -> None:
    """Tell the parser of it."""
    text = "delete a study and what is kept of its runs"
    delete_ = add_verb(
        verbs,
        "delete",
        delete,
        text,
        tries="""
            delete --study-name digits
            delete --study-name digits --yes
        """,
    )
    delete_.add_argument("--study-name", type=study_name, required=True, help="the study to delete")
    delete_.add_argument("--storage", help=options()["storage"].words)
    words = "where its runs are kept; default: beside an SQLite file or journal"
    delete_.add_argument("--checkpoint-dir", type=Path, help=words)
    delete_.add_argument("--yes", action="store_true", help="delete without asking: for scripts")


def delete(args: argparse.Namespace) -> int:
    """Delete a study with all its trials and checkpoints, after saying what goes.

    It asks on a terminal. Elsewhere it needs --yes. There is no way back, except for a copy.
    """
    from batchfront.study.transfer.deleting import delete_study

    def agree(what: str) -> bool:
        print(what, file=sys.stderr)
        return bool(args.yes) or _asked(args.study_name)

    is_gone = delete_study(
        chosen_storage(args), args.study_name, checkpoints=args.checkpoint_dir, agree=agree
    )
    print("deleted" if is_gone else "nothing was deleted", file=sys.stderr)
    return 0 if is_gone else 1


def _asked(study_name: str) -> bool:
    """What somebody at the terminal says."""
    if not sys.stdin.isatty():
        raise StudyError("nobody is there to ask, and nothing was deleted: pass --yes")
    print(f"delete {study_name!r} for good? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
