"""The verb critical-batch: up to which batch size larger batches save time at no cost."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchfront.objectives.number import FINITE
from batchfront.study.cli.missing import add_max_trials, run_missing, say_missing
from batchfront.study.cli.options import add_look, add_number, console_of, looked_at, write_out
from batchfront.study.errors import StudyError

if TYPE_CHECKING:
    from optuna import Study


def add_critical_verbs(verbs: Any) -> None:
    """Tell the parser of it."""
    text = "the largest batch size that still saves steps"
    look = add_look(
        verbs,
        "critical-batch",
        critical_batch,
        text,
        tries="""
            critical-batch --target 0.95
            critical-batch --study-name digits --target 0.95 --max-trials 40
        """,
        as_json=True,
    )
    add_number(look, "--target", FINITE, help="validation metric that runs should reach")
    look.add_argument("--trials", action="store_true", help="say which trials were looked at")
    look.add_argument("-o", "--output", type=Path, help="write the figure to this HTML file")
    add_max_trials(look, "critical-batch")


def critical_batch(args: argparse.Namespace) -> int:
    """Fit what each batch size took to reach the target: E(B) = E_min (1 + B / B_crit)."""
    from batchfront.study.findings.critical import show as words
    from batchfront.study.findings.critical.figure import critical_figure
    from batchfront.study.findings.critical.fit import critical_batch as fit
    from batchfront.study.findings.critical.to_target import to_target
    from batchfront.study.show import trials_word
    from batchfront.study.trials.rows import runs_of
    from batchfront.study.trials.yardstick import check_target, standard

    looked = looked_at(args)
    _check(looked.study)
    check_target(args.target, looked.names.yardstick(looked.trials).metric)
    code = run_missing(args, "critical-batch", target=args.target)
    looked = looked_at(args) if args.max_trials else looked
    _, names, trials, _ = looked
    by = names.yardstick(trials)
    data = to_target(runs_of(standard(trials, by), names), args.target, by)
    found = fit(data.sizes, resolution=data.resolution, of_steps=data.of_steps)
    if args.output is not None:
        page = critical_figure(found, unit=data.unit).to_html(include_plotlyjs=True)
        write_out(args.output, page)
    if args.json:
        print(json.dumps(words.as_json(found, data, args.target), indent=2))
        return code
    console = console_of(sys.stdout)
    console.print(words.sentence(found, data))
    console.print(words.critical_table(found, data))
    for line in words.caveats(found, data):
        console.print(f"- {line}")
    for row in found.sizes if args.trials else []:
        size = f"batch size {row.runs.batch_size}"
        console.print(f"{size}: {trials_word(row.runs.trials)}", soft_wrap=True)
    say_missing(args, "critical-batch", looked, target=args.target)
    return code


def _check(study: Study) -> None:
    """Raise StudyError where no run says what one batch size takes."""
    from batchfront.study.plan.agreement import AGREEMENT

    if '"schedule"' in study.user_attrs[AGREEMENT].get("recipe", ""):
        raise StudyError(
            f"the batch size of study {study.study_name!r} grows within its runs, so no run says "
            "what one batch size takes: look at a study without --schedule"
        )
