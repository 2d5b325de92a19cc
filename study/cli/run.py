"""The verbs that train: run, probe and record."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from batchfront.objectives.number import Number
from batchfront.study.api.search import search
from batchfront.study.cli.options import add_number, add_settings, chosen_settings, console_of
from batchfront.study.commands import command
from batchfront.study.errors import StudyError
from batchfront.study.show import counted


def add_training_verbs(verbs: Any) -> None:
    """Tell the parser of them."""
    add_settings(
        verbs,
        "run",
        run,
        "search, or resume a search",
        tries="""
            run --n-trials 60 --batch-sizes 8:256
            run --task path/to/mine.py --max-memory 2GiB --n-workers 2
        """,
    )
    _add_probe(verbs)
    _add_record(verbs)


def _add_probe(verbs: Any) -> None:
    probe_ = add_settings(
        verbs,
        "probe",
        probe,
        "step time and memory of each batch size",
        tries="""
            probe --task digits-cnn
            probe --task path/to/mine.py --largest --max-memory 2GiB
        """,
    )
    probe_.add_argument("--again", action="store_true", help="measure even if the study knows")
    probe_.add_argument(
        "--largest",
        action="store_true",
        help="find the largest batch size that fits into memory, or into --max-memory",
    )
    probe_.add_argument("--json", action="store_true", help="print JSON")


def _add_record(verbs: Any) -> None:
    record_ = add_settings(
        verbs,
        "record",
        record,
        "sweep a grid into a table of training curves, to be played back",
        tries="""
            record --task digits --batch-sizes 8:64 --n-rates 5
            record --task path/to/mine.py -o runs/mine.csv
        """,
    )
    many = Number(low=1, high=1000, whole=True)
    add_number(record_, "--n-rates", many, default=9, help="default: %(default)s")
    add_number(record_, "--n-seeds", many, default=3, help="default: %(default)s")
    record_.add_argument("-o", "--output", type=Path, help="default: runs/TASK-curves.csv")


def run(args: argparse.Namespace) -> int:
    """Search batch size and learning rate until the study has n_trials; run again to resume."""
    return search(chosen_settings(args), console_of(sys.stderr))[0]


def probe(args: argparse.Namespace) -> None:
    """Measure step time, throughput and peak memory of every batch size of the space."""
    from batchfront.study.findings.overview.costs import advice_lines, cost_row, costs_table
    from batchfront.study.findings.overview.export import to_json
    from batchfront.study.session.probe import probe_costs, probe_largest

    settings, console = chosen_settings(args), console_of(sys.stderr)
    if args.largest:
        largest = probe_largest(settings, console)
        print(json.dumps(asdict(largest), indent=2) if args.json else "\n".join(largest.lines()))
        return
    if settings.max_memory is not None:
        raise StudyError("--max-memory is for probe --largest: add it, or leave the budget out")
    costs = probe_costs(settings, console, again=args.again)
    if args.json:
        print(to_json([cost_row(cost) for cost in costs.values()]))
        return
    console = console_of(sys.stdout)
    console.print(costs_table(costs))
    for line in advice_lines(costs):
        console.print(line)


def record(args: argparse.Namespace) -> None:
    """Train at every batch size, learning rate and seed of a grid and write the curves down.

    The same command resumes. `run --task TABLE.csv` then plays them back, without training.
    """
    from batchfront.study.transfer.sweep import record as sweep

    path, n_runs = sweep(
        chosen_settings(args),
        args.output,
        n_rates=args.n_rates,
        n_seeds=args.n_seeds,
        console=console_of(sys.stderr),
    )
    again = command("run", {"task": path})
    print(f"{counted(n_runs, 'run')} in {path}; try: {again}", file=sys.stderr)
