"""The command line: parse, one call, print. Heavy imports wait until a verb needs them."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from objectives.measurement import ObjectiveError
from storage.errors import StorageError
from study.errors import StudyError
from study.settings import (
    DEFAULT_STORAGE,
    LAUNCHERS,
    PRUNERS,
    SAMPLERS,
    STORAGE_VARIABLE,
    StudySettings,
    with_file,
)
from study.verbs_import import add_import_verb
from study.verbs_storage import add_storage_verbs, chosen_storage

if TYPE_CHECKING:
    from optuna import Study
    from rich.console import Console

USER_ERRORS = (StudyError, ObjectiveError, StorageError)


class Parser(argparse.ArgumentParser):
    """Says in one line what is wrong, and takes options by their full names only."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"allow_abbrev": False, **options})

    def error(self, message: str) -> NoReturn:
        raise StudyError(f"{message} (see {self.prog} --help)")


def main(argv: Sequence[str]) -> int:
    """Run one verb; returns the exit code."""
    try:
        args = parser().parse_args(argv)
        return int(args.verb(args) or 0)
    except USER_ERRORS as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # `... | head` has read enough, as the shell counts it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        return 130


def parser() -> argparse.ArgumentParser:
    """All verbs with their options."""
    top = Parser(prog="python -m study", description="Which batch size and learning rate?")
    verbs = top.add_subparsers(title="verbs", metavar="VERB", required=True)
    run_ = _add_settings(verbs, "run", run, "search, or resume a search", OPTIONS)
    _add_compile(run_)
    run_.add_argument(
        "--mixed-hardware",
        action="store_true",
        default=argparse.SUPPRESS,
        help="let this hardware join a study timed on another: one front for each",
    )
    text = "step time and memory of each batch size"
    probe_ = _add_settings(verbs, "probe", probe, text, PROBE_OPTIONS)
    _add_compile(probe_)
    probe_.add_argument("--again", action="store_true", help="measure even if the study knows")
    probe_.add_argument("--json", action="store_true", help="print JSON")
    text = "sweep a grid into a table of training curves, to be played back"
    record_ = _add_settings(verbs, "record", record, text, RECORD_OPTIONS)
    record_.add_argument("--n-rates", type=int, default=9, help="default: %(default)s")
    record_.add_argument("--n-seeds", type=int, default=3, help="default: %(default)s")
    record_.add_argument("-o", "--output", type=Path, help="default: runs/TASK-curves.csv")
    _add_look(verbs, "ls", ls, "list the studies of a storage", study=False, as_json=True)
    front_ = _add_look(verbs, "front", front, "show the Pareto front")
    form = front_.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON")
    form.add_argument("--csv", action="store_true", help="print CSV")
    export_ = _add_look(verbs, "export", export, "print all trials, for machines")
    export_.add_argument("--format", choices=("csv", "json"), default="csv")
    export_.add_argument("-o", "--output", type=Path, help="write to this file instead of stdout")
    report_ = _add_look(verbs, "report", report, "write one self-contained HTML page")
    report_.add_argument("-o", "--output", type=Path, help="default: runs/STUDY_NAME.html")
    dashboard_ = _add_look(verbs, "dashboard", dashboard, "serve optuna-dashboard", study=False)
    dashboard_.add_argument("--host", default="127.0.0.1", help="default: %(default)s")
    dashboard_.add_argument("--port", type=int, default=8080, help="default: %(default)s")
    add_storage_verbs(verbs)
    add_import_verb(verbs)
    return top


OPTIONS: dict[str, tuple[type, str]] = {
    "task": (str, "a bundled task, or path/to/mine.py[:name]; default: digits"),
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
    "batch-sizes": (str, "LOW:HIGH, powers of two; default: 1:512"),
    "learning-rates": (str, "LOW:HIGH; default: 1e-4:3"),
    "timeout": (float, "seconds after which no new trial starts"),
    "grace": (int, "seconds after which a silent worker's trial goes to another; default: 60"),
    "checkpoint-dir": (str, "default: beside an SQLite file or journal; none: lose started runs"),
    "max-memory": (str, "budget for a run's peak memory, like 2GiB"),
    "max-seconds": (float, "budget for a run's training time"),
    "min-accuracy": (float, "a run that ends below it is infeasible"),
}
PROBE_OPTIONS = (
    "task",
    "study-name",
    "storage",
    "epochs",
    "device",
    "batch-sizes",
    "learning-rates",
)

RECORD_OPTIONS = ("task", "epochs", "device", "batch-sizes", "learning-rates")


def _add_settings(verbs: Any, name: str, verb: Any, text: str, options: Iterable[str]) -> Any:
    parser_ = verbs.add_parser(name, help=text, description=verb.__doc__)
    parser_.set_defaults(verb=verb)
    for option in options:
        kind, words = OPTIONS[option]
        # Without SUPPRESS a config file could not tell a default from something said here.
        parser_.add_argument(f"--{option}", type=kind, default=argparse.SUPPRESS, help=words)
    parser_.add_argument("--config", type=Path, help="a TOML file with any of the run settings")
    return parser_


def _add_compile(parser_: argparse.ArgumentParser) -> None:
    parser_.add_argument(
        "--compile",
        action="store_true",
        default=argparse.SUPPRESS,
        help="compile the whole training step: worth it for small batches and long runs",
    )


def _add_look(
    verbs: Any, name: str, verb: Any, text: str, *, study: bool = True, as_json: bool = False
) -> argparse.ArgumentParser:
    look: argparse.ArgumentParser = verbs.add_parser(name, help=text, description=verb.__doc__)
    look.set_defaults(verb=verb)
    look.add_argument("--storage", help=f"default: ${STORAGE_VARIABLE}, else {DEFAULT_STORAGE}")
    if study:
        look.add_argument("--study-name", help="default: the only study there is")
    if as_json:
        look.add_argument("--json", action="store_true", help="print JSON")
    return look


def _settings(args: argparse.Namespace) -> StudySettings:
    known = {field.name for field in fields(StudySettings)}
    given = {k: v for k, v in vars(args).items() if k in known}
    if os.environ.get(STORAGE_VARIABLE):
        given.setdefault("storage", os.environ[STORAGE_VARIABLE])
    settings = StudySettings(**given)
    if args.config is not None:
        settings = with_file(settings, args.config, set(given))
    settings.check()
    return settings


def run(args: argparse.Namespace) -> int:
    """Search batch size and learning rate until the study has n_trials; run again to resume."""
    settings, console = _settings(args), _console(sys.stderr)
    if settings.launcher == "ray":
        from study.launch_ray import RaySession

        return RaySession(settings, console).run()
    from study.session import Session

    return Session(settings, console).run()


def probe(args: argparse.Namespace) -> None:
    """Measure step time, throughput and peak memory of every batch size of the space."""
    from study.findings.export import to_json
    from study.findings.tables import advice_lines, cost_row, costs_table
    from study.session import probe_costs

    costs = probe_costs(_settings(args), _console(sys.stderr), again=args.again)
    if args.json:
        print(to_json([cost_row(cost) for cost in costs.values()]))
        return
    console = _console(sys.stdout)
    console.print(costs_table(costs))
    for line in advice_lines(costs):
        console.print(line)


def record(args: argparse.Namespace) -> None:
    """Train at every batch size, learning rate and seed of a grid and write the curves down.

    The same command resumes. `run --task TABLE.csv` then plays them back, without training.
    """
    from study.record import record as sweep

    path, n_runs = sweep(
        _settings(args),
        args.output,
        n_rates=args.n_rates,
        n_seeds=args.n_seeds,
        console=_console(sys.stderr),
    )
    command = f"make study TASK={shlex.quote(str(path))}"
    print(f"{n_runs} runs in {path}; try: {command}", file=sys.stderr)


def ls(args: argparse.Namespace) -> None:
    """List the studies of a storage with their numbers of trials."""
    from study.findings.tables import studies_table
    from study.look import study_rows

    rows = study_rows(chosen_storage(args))
    if args.json:
        print(json.dumps(rows, indent=2))
    else:
        _console(sys.stdout).print(studies_table(rows))


def front(args: argparse.Namespace) -> None:
    """Show the Pareto front of a study: completed trials that no other beats everywhere."""
    from study.comparable import fronts_by_hardware
    from study.findings.export import to_csv, to_json
    from study.findings.tables import front_rows, front_table
    from study.trials import own_params

    study, names = _look_at(args)
    fronts = fronts_by_hardware(study)
    rows = front_rows(fronts, names)
    if args.json:
        print(to_json(rows))
    elif args.csv:
        own = own_params(trial for trials in fronts.values() for trial in trials)
        extra = ("hardware",) if len(fronts) > 1 else ()
        columns = ("number", "batch_size", "learning_rate", *own, *names, *extra)
        print(to_csv(rows, columns), end="")
    else:
        for hardware, trials in fronts.items():
            _console(sys.stdout).print(front_table(trials, names, hardware=hardware))


def export(args: argparse.Namespace) -> None:
    """Print every trial of a study with parameters, values, verdict and attributes."""
    from study.create import KEPT, RECORD
    from study.findings.export import export_columns, to_csv, to_json
    from study.trials import full_row, own_params

    study, names = _look_at(args)
    trials = study.get_trials(deepcopy=False)
    kept = study.user_attrs[RECORD].get(KEPT, [])
    rows = [full_row(trial, names, kept) for trial in trials]
    columns = export_columns(names, own_params(trials), kept)
    text = to_csv(rows, columns) if args.format == "csv" else to_json(rows) + "\n"
    if args.output is None:
        sys.stdout.write(text)
    else:
        _write(args.output, text)


def report(args: argparse.Namespace) -> None:
    """Write one self-contained HTML page of figures that needs no network to be read."""
    from study.findings.board import stored_note
    from study.findings.report import report_html

    study, _ = _look_at(args)
    safe = "".join(c if c.isalnum() or c in "-_." else "_" for c in study.study_name)
    _write(
        args.output or Path("runs") / f"{safe}.html", report_html(study, note=stored_note(study))
    )


def dashboard(args: argparse.Namespace) -> None:
    """Serve optuna-dashboard on the storage; only this machine can reach it unless told so."""
    from storage.url import open_storage
    from study.findings.board import serve
    from study.serving import LOOPBACK

    storage = open_storage(chosen_storage(args), mode="reader")
    if args.host not in LOOPBACK:
        print(f"warning: anyone who reaches {args.host} can change the studies", file=sys.stderr)
    print(f"dashboard on http://{args.host}:{args.port}/ (Ctrl-C ends it)", file=sys.stderr)
    try:
        serve(storage, host=args.host, port=args.port)
    except (OSError, OverflowError) as error:
        raise StudyError(f"cannot serve on {args.host}:{args.port}: {error}; try --port") from error


def _look_at(args: argparse.Namespace) -> tuple[Study, list[str]]:
    from study.look import the_study

    study = the_study(chosen_storage(args), args.study_name)
    return study, list(study.metric_names or [])


def _console(stream: Any) -> Console:
    from rich.console import Console

    from study.findings.tables import WIDTH

    # rich itself leaves out colours when the stream is no terminal or NO_COLOR is set.
    console = Console(file=stream, highlight=False, markup=False)
    return (
        console
        if console.is_terminal
        else Console(file=stream, highlight=False, markup=False, width=WIDTH)
    )


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    except OSError as error:
        raise StudyError(f"cannot write {path}: {error.strerror}") from error
    print(f"wrote {path}", file=sys.stderr)
