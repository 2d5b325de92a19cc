"""The verbs that only look at studies: ls, front, export, report and dashboard."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchfront.objectives.number import PORT
from batchfront.storage.garbage import keeping_garbage
from batchfront.study.api.look import page_of
from batchfront.study.cli.options import (
    add_look,
    add_number,
    chosen_storage,
    console_of,
    host,
    looked_at,
    study_name,
    write_out,
)
from batchfront.study.errors import StudyError
from batchfront.study.machine.interrupts import Interrupted

if TYPE_CHECKING:
    from batchfront.study.api.look import LookedAt


def add_looking_verbs(verbs: Any) -> None:
    """Tell the parser of them."""
    for add in (_add_ls, _add_front, _add_export, _add_report, _add_dashboard):
        add(verbs)


def _add_ls(verbs: Any) -> None:
    add_look(
        verbs,
        "ls",
        ls,
        "list the studies of a storage",
        tries="""
            ls
            ls --json
        """,
        study=False,
        as_json=True,
    )


def ls(args: argparse.Namespace) -> None:
    """List the studies of a storage with their numbers of trials and what they take of the disk."""
    from batchfront.storage.open import disk_bytes
    from batchfront.study.findings.overview.tables import studies_table
    from batchfront.study.opening.open import foreign_lines, study_rows
    from batchfront.study.show import human_bytes

    url = chosen_storage(args)
    (rows, foreign), total = study_rows(url), disk_bytes(url)
    if args.json:
        print(json.dumps([{**row, "storage_bytes": total} for row in rows + foreign], indent=2))
        return
    console = console_of(sys.stdout)
    console.print(studies_table(rows))
    for line in foreign_lines(foreign):
        console.print(line, soft_wrap=True)
    if total is not None:
        console.print(f"all studies together take {human_bytes(total)}, checkpoints apart")


def _add_front(verbs: Any) -> None:
    verb = add_look(
        verbs,
        "front",
        front,
        "show the Pareto front",
        tries="""
            front
            front --study-name digits --json
        """,
    )
    form = verb.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON")
    form.add_argument("--csv", action="store_true", help="print CSV")


@keeping_garbage()
def front(args: argparse.Namespace) -> None:
    """Show the Pareto front of a study: completed trials that no other beats everywhere."""
    from batchfront.study.answer.show import answer_lines
    from batchfront.study.findings.overview.export import to_csv, to_json
    from batchfront.study.findings.overview.tables import front_rows, front_table
    from batchfront.study.trials.attributes import own_params
    from batchfront.study.trials.hardware import fronts_by_hardware

    study, names, trials, _ = looked_at(args)
    fronts = fronts_by_hardware(study, trials)
    rows = front_rows(fronts, names, trials)
    if args.json:
        print(to_json(rows))
    elif args.csv:
        own = own_params(trial for some in fronts.values() for trial in some)
        extra = ("hardware",) if len(fronts) > 1 else ()
        columns = ("number", "batch_size", "learning_rate", *own, *names, *extra)
        print(to_csv([{name: row.get(name) for name in columns} for row in rows], columns), end="")
    else:
        console = console_of(sys.stdout)
        for hardware, some in fronts.items():
            width = console.width
            table = front_table(some, names, hardware=hardware, among=trials, width=width)
            console.print(table)
        for line in answer_lines(study, trials):
            console.print(line)


def _add_export(verbs: Any) -> None:
    verb = add_look(
        verbs,
        "export",
        export,
        "print all trials, for machines",
        tries="""
            export > trials.csv
            export --study-name digits --format json -o trials.json
        """,
    )
    verb.add_argument("--format", choices=("csv", "json"), default="csv")
    verb.add_argument("-o", "--output", type=Path, help="write to this file instead of stdout")


def export(args: argparse.Namespace) -> None:
    """Print every trial of a study with parameters, values, verdict and attributes."""
    from batchfront.study.findings.overview.export import export_columns, to_csv, to_json
    from batchfront.study.plan.agreement import AGREEMENT, KEPT
    from batchfront.study.trials.attributes import also_names, full_row, own_params

    study, names, trials, _ = looked_at(args)
    kept = [*study.user_attrs[AGREEMENT].get(KEPT, []), *also_names(trials)]
    rows = [full_row(trial, names, kept) for trial in trials]
    columns = export_columns(names, own_params(trials), kept)
    text = to_csv(rows, columns) if args.format == "csv" else to_json(rows) + "\n"
    if args.output is None:
        sys.stdout.write(text)
    else:
        write_out(args.output, text)


def _add_report(verbs: Any) -> None:
    verb = add_look(
        verbs,
        "report",
        report,
        "write one self-contained HTML page",
        tries="""
            report --study-name digits -o page.html
            report --study-name digits --compare digits-cnn
        """,
    )
    verb.add_argument(
        "--compare",
        type=study_name,
        metavar="STUDY",
        help="another study of the storage and of the same metric, to show beside it",
    )
    verb.add_argument("-o", "--output", type=Path, help="default: runs/STUDY_NAME.html")


def report(args: argparse.Namespace) -> None:
    """Write one self-contained HTML page of figures that needs no network to be read."""
    looked = looked_at(args)
    name = looked.study.study_name
    other = None if args.compare is None else _beside(args, name)
    safe = "".join(c if c.isalnum() or c in "-_." else "_" for c in name)
    write_out(args.output or Path("runs") / f"{safe}.html", page_of(looked, other))


def _beside(args: argparse.Namespace, name: str) -> LookedAt:
    """The study that is to be shown beside the one of that name."""
    if args.compare == name:
        raise StudyError(f"--compare is {name!r}, the study itself: name another one")
    return looked_at(argparse.Namespace(storage=args.storage, study_name=args.compare))


def _add_dashboard(verbs: Any) -> None:
    verb = add_look(
        verbs,
        "dashboard",
        dashboard,
        "serve optuna-dashboard",
        tries="""
            dashboard
            dashboard --port 8081
        """,
        study=False,
    )
    verb.add_argument("--host", type=host, default="127.0.0.1", help="default: %(default)s")
    add_number(verb, "--port", PORT, default=8080, help="default: %(default)s")
    verb.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="also answer to this name of the machine; may be repeated",
    )


def dashboard(args: argparse.Namespace) -> None:
    """Serve optuna-dashboard on the storage; only this machine can reach it unless told so."""
    from batchfront.storage.open import open_storage, readable_errors
    from batchfront.study.findings.overview.board_server import board_server
    from batchfront.study.findings.overview.same_origin import checked_host
    from batchfront.study.transfer.serving import LOOPBACK

    allow_hosts = [checked_host(name) for name in args.allow_host]
    url = chosen_storage(args)
    storage = open_storage(url, mode="reader")
    try:
        server = board_server(storage, host=args.host, port=args.port, allow_hosts=allow_hosts)
    except OSError as error:
        raise StudyError(f"cannot serve on {args.host}:{args.port}: {error}; try --port") from error
    if args.host not in LOOPBACK:
        print(f"warning: anyone who reaches {args.host} can change the studies", file=sys.stderr)
    name = f"[{args.host}]" if ":" in args.host else args.host
    address = f"http://{name}:{server.server_port}/"
    print(f"dashboard on {address} (Ctrl-C ends it)", file=sys.stderr, flush=True)
    with server, readable_errors(url):
        try:
            server.serve_forever()
        except Interrupted as ended:
            if ended.signum != signal.SIGINT:
                raise
