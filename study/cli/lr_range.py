"""The verb lr-range: which learning rates are worth searching."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from batchfront.objectives.number import SEED, SIZE
from batchfront.study.cli.options import add_number, add_verb, console_of, write_out
from batchfront.study.commands import command, setting
from batchfront.study.plan.options import options


def add_lr_range_verb(verbs: Any) -> None:
    """Tell the parser of it."""
    text = "which learning rates are worth searching"
    verb = add_verb(
        verbs,
        "lr-range",
        lr_range,
        text,
        tries="""
            lr-range --task digits --batch-size 32
            lr-range --task path/to/mine.py -o range.html
        """,
    )
    verb.add_argument("--task", default="digits", help=options()["task"].words)
    add_number(verb, "--batch-size", SIZE, default=64, help="default: %(default)s")
    add_number(verb, "--seed", SEED, default=0, help="of model and data; default: %(default)s")
    verb.add_argument("--device", default="auto", help=options()["device"].words)
    verb.add_argument("-o", "--output", type=Path, help="write the figure to this HTML file")
    verb.add_argument("--json", action="store_true", help="print JSON")


def lr_range(args: argparse.Namespace) -> None:
    """Train once while the learning rate grows until the loss explodes; suggest what to search."""
    from batchfront.study.probes.lr_range import cut_line, one_test, rates_text

    found = one_test(task=args.task, batch_size=args.batch_size, seed=args.seed, device=args.device)
    if args.output is not None:
        from batchfront.study.probes.show_range import range_figure

        page = range_figure(found, task=args.task).to_html(include_plotlyjs=True)
        write_out(args.output, page)
    if args.json:
        print(json.dumps(vars(found), indent=2))
        return
    say = console_of(sys.stdout).print
    ended = "the loss exploded" if found.exploded else "the test ended"
    say(
        f"batch size {found.batch_size}, {len(found.rates)} steps from {found.rates[0]:.2g} to "
        f"{found.rates[-1]:.2g}, where {ended}"
    )
    rates = rates_text([found])
    say(f"the loss starts to fall at {found.low:.2g} and is back where it was at {found.high:.2g}")
    cut = cut_line([found])
    if cut is not None:
        say(cut)
    say(setting("learning_rates", rates))
    say(f"try: {command('run', {'task': args.task, 'learning_rates': rates})}", soft_wrap=True)
