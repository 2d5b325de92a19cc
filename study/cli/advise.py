"""The verb that answers: advise."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from batchfront.objectives.number import FINITE, Number
from batchfront.storage.garbage import keeping_garbage
from batchfront.study.api.look import answers
from batchfront.study.cli.options import add_look, add_number, console_of, looked_at

PREFERENCES = ("fast", "memory", "metric")
WITHIN = Number(low=0, above=True)


def add_advise_verb(verbs: Any) -> None:
    """Tell the parser of it."""
    text = "which batch size and learning rate to train with"
    advise_ = add_look(
        verbs,
        "advise",
        advise,
        text,
        tries="""
            advise
            advise --study-name digits --prefer memory --within 0.01
        """,
        as_json=True,
    )
    advise_.add_argument(
        "--prefer",
        choices=PREFERENCES,
        default="fast",
        help="what to choose by among the good sizes (default: %(default)s)",
    )
    add_number(
        advise_,
        "--within",
        WITHIN,
        help="how far from the best a size may be expected, in the metric (default: one deviation "
        "between seeds)",
    )
    advise_.add_argument("--trials", action="store_true", help="say which trials were looked at")
    add_number(
        advise_,
        "--target",
        FINITE,
        help="a value of the metric: say what runs took to it (default: the study's, if any)",
    )


@keeping_garbage()
def advise(args: argparse.Namespace) -> None:
    """Say which batch size and learning rate to train with, and what a fresh run will reach."""
    from batchfront.study.answer.show import (
        answers_json,
        disturbed_lines,
        footnote,
        sentences,
        trial_lines,
    )
    from batchfront.study.answer.table import answer_table

    looked = looked_at(args)
    found = answers(looked, prefer=args.prefer, within=args.within, target=args.target)
    if args.json:
        print(json.dumps(answers_json(found), indent=2))
        return
    console = console_of(sys.stdout)
    for title, (answer, known) in found.items():
        if title:
            console.print(f"on {title}:")
        for line in sentences(answer, known):
            console.print(line)
        if answer.sizes:
            console.print(answer_table(answer, known, width=console.width))
        if answer.recommended is not None:
            console.print(footnote(answer, known))
        for line in trial_lines(answer) if args.trials else []:
            console.print(line)
    for line in disturbed_lines(looked.study):
        console.print(line)
