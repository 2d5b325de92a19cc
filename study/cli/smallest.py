"""The verb smallest: the smallest batch size that still reaches a target."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from batchfront.objectives.number import FINITE, WHOLE, Number
from batchfront.study.api.search import find_smallest, show_smallest
from batchfront.study.cli.options import (
    add_number,
    add_settings,
    chosen_settings,
    console_of,
    write_out,
)


def add_smallest_verb(verbs: Any) -> None:
    """Tell the parser of it."""
    verb = add_settings(
        verbs,
        "smallest",
        smallest,
        "the smallest batch size that still reaches a target, with evidence",
        tries="""
            smallest --target 0.95
            smallest --study-name digits --target 0.95 --max-trials 0
        """,
    )
    words = "the metric that a run must end at, or better"
    add_number(verb, "--target", FINITE, default=argparse.SUPPRESS, help=words)
    words = "instead of --target: so much worse than the best that is known"
    add_number(verb, "--within", FINITE, help=words)
    words = "nine of ten must reach it; default: %(default)s"
    add_number(verb, "--seeds", Number(low=1, high=10_000, whole=True), default=10, help=words)
    words = "of this call; 0 judges what is recorded; default: no limit"
    add_number(verb, "--max-trials", replace(WHOLE, low=0), help=words)
    verb.add_argument("-o", "--output", type=Path, help="write a figure of it to this HTML file")
    verb.add_argument("--trials", action="store_true", help="say which trials the figures are of")
    verb.add_argument("--json", action="store_true", help="print JSON")


def smallest(args: argparse.Namespace) -> int:
    """Walk down the batch sizes from 64, the learning rate tuned anew and fresh seeds at each."""
    from batchfront.study.smallest.answer import Asking, as_json

    settings = chosen_settings(args)
    asking = Asking(
        target=settings.target,
        within=args.within,
        n_seeds=args.seeds,
        max_trials=args.max_trials,
    )
    asking.check()
    code, answer = find_smallest(settings, asking, console_of(sys.stderr))
    if answer is None:
        return code
    if args.output is not None:
        from batchfront.study.smallest.figure import ladder_figure

        write_out(args.output, ladder_figure(answer).to_html())
    if args.json:
        print(json.dumps(as_json(answer), indent=2))
    else:
        show_smallest(answer, console_of(sys.stdout), trials=args.trials)
    return code
