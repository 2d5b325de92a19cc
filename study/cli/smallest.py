"""The verb smallest: the smallest batch size that still reaches a target."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchfront.objectives.number import FINITE, WHOLE, Number
from batchfront.study.cli.options import (
    add_number,
    add_settings,
    chosen_settings,
    console_of,
    say_foreign,
    write_out,
)

if TYPE_CHECKING:
    from batchfront.study.plan.settings import StudySettings
    from batchfront.study.smallest.answer import Answer, Asking


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
    code, answer = (_recorded if asking.max_trials == 0 else _walked)(settings, asking)
    if answer is None:
        return code
    if args.output is not None:
        from batchfront.study.smallest.figure import ladder_figure

        write_out(args.output, ladder_figure(answer).to_html())
    if args.json:
        print(json.dumps(as_json(answer), indent=2))
    else:
        _show(answer, trials=args.trials)
    return code


def _recorded(settings: StudySettings, asking: Asking) -> tuple[int, Answer]:
    from batchfront.study.opening.open import the_study
    from batchfront.study.smallest.answer import recorded_answer

    study = the_study(settings.storage, settings.study_name)
    say_foreign(study)
    return 0, recorded_answer(study, asking)


def _walked(settings: StudySettings, asking: Asking) -> tuple[int, Answer | None]:
    from batchfront.study.smallest.session import SmallestSession

    session = SmallestSession(settings, asking, console_of(sys.stderr))
    return session.run(), session.answer


def _show(answer: Answer, *, trials: bool) -> None:
    from batchfront.study.smallest import show as words

    console, found, by = console_of(sys.stdout), answer.found, answer.question.yardstick
    say = console.print
    say(words.answer_line(answer.table, found, answer.question.sizes[0], by), soft_wrap=True)
    if answer.single is not None:
        say(words.single_line(answer.single), soft_wrap=True)
    if answer.advised is not None:
        say(words.advice_line(found, answer.advised), soft_wrap=True)
    if answer.table:
        say(words.ladder_table(answer.table, found.target, by))
        say(words.price_table(answer.table, answer.advised))
        say(words.stability_table(answer.table))
    if answer.around:
        say(words.sensitivity_table(answer.around, answer.adaptive, by))
    for line in words.more_lines(answer.table, found, answer.frozen, answer.around, by):
        say(line, soft_wrap=True)
    for line in words.trial_lines(answer.table, answer.around) if trials else []:
        say(line, soft_wrap=True)
