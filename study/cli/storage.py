"""The verbs about storages rather than studies: serve and copy."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

from batchfront.objectives.number import PORT
from batchfront.storage.names import DEFAULT_PORT
from batchfront.study.cli.options import add_number, add_verb, chosen_storage, host, study_name
from batchfront.study.errors import StudyError
from batchfront.study.plan.environment import (
    DEFAULT_STORAGE,
    FROM_VARIABLE,
    STORAGE_VARIABLE,
    TO_VARIABLE,
)
from batchfront.study.quiet import only_errors


def add_storage_verbs(verbs: Any) -> None:
    """Tell the parser of them."""
    text = "let workers elsewhere share a storage"
    serve_ = add_verb(
        verbs,
        "serve",
        serve,
        text,
        tries="""
            serve
            serve --host 10.0.0.5 --port 13000
        """,
    )
    serve_.add_argument("--storage", help=f"default: ${STORAGE_VARIABLE}, else {DEFAULT_STORAGE}")
    serve_.add_argument("--host", type=host, default="127.0.0.1", help="default: %(default)s")
    add_number(serve_, "--port", PORT, default=DEFAULT_PORT, help="default: %(default)s")
    text = "copy a study to another storage"
    copy_ = add_verb(
        verbs,
        "copy",
        copy,
        text,
        tries="""
            copy --from sqlite:///runs/a.db --to sqlite:///runs/b.db
            copy --study-name digits
        """,
    )
    copy_.add_argument("--from", dest="from_url", help=f"default: ${FROM_VARIABLE}")
    copy_.add_argument("--to", dest="to_url", help=f"default: ${TO_VARIABLE}")
    copy_.add_argument("--study-name", type=study_name, help="default: the only study there is")


def serve(args: argparse.Namespace) -> int:
    """Let workers that cannot reach a storage themselves reach it through this process (gRPC).

    It asks nobody for a password, on loopback either.
    """
    from batchfront.study.transfer.serving import serve as serve_storage

    with only_errors():
        return serve_storage(chosen_storage(args), host=args.host, port=args.port, say=_say)


def copy(args: argparse.Namespace) -> None:
    """Copy a study with all its trials to another storage, to go on there.

    The same command completes a copy that was cut off.
    """
    from batchfront.study.transfer.copying import copy_study

    source = _url(args.from_url, "--from", FROM_VARIABLE)
    target = _url(args.to_url, "--to", TO_VARIABLE)
    with only_errors():
        copy_study(source, target, args.study_name, _say)


def _url(given: str | None, option: str, variable: str) -> str:
    url = given or os.environ.get(variable)
    if not url:
        raise StudyError(f"no storage given: set {option} URL, or ${variable} in the environment")
    return url


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
