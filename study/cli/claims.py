"""The verb about beliefs: claims."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from batchfront.objectives.number import FINITE
from batchfront.study.cli.missing import add_max_trials, run_missing, say_missing
from batchfront.study.cli.options import add_look, add_number, console_of, looked_at


def add_claims_verbs(verbs: Any) -> None:
    """Tell the parser of them."""
    text = "common beliefs, held against a study"
    claims_ = add_look(
        verbs,
        "claims",
        claims,
        text,
        tries="""
            claims
            claims --study-name digits --target 0.95 --max-trials 40
        """,
        as_json=True,
    )
    add_number(claims_, "--target", FINITE, help="validation metric, for the time to it")
    add_max_trials(claims_, "claims")
    claims_.add_argument("--trials", action="store_true", help="say which trials were looked at")


def claims(args: argparse.Namespace) -> int:
    """Hold common beliefs about batch size against a study: agree, disagree or not shown."""
    from batchfront.study.findings.claims.show import (
        claim_row,
        claims_table,
        closing_line,
        figure_lines,
    )
    from batchfront.study.findings.claims.table import all_claims
    from batchfront.study.plan.agreement import AGREEMENT
    from batchfront.study.plan.recipe import recipe_in
    from batchfront.study.show import trials_word
    from batchfront.study.trials.hardware import at_known_costs
    from batchfront.study.trials.rows import runs_of
    from batchfront.study.trials.yardstick import check_target, standard

    code = run_missing(args, "claims", target=args.target)
    looked = looked_at(args)
    study, names, trials, _ = looked
    by = names.yardstick(trials)
    rows = runs_of(standard(at_known_costs(study, trials), by), names)
    check_target(args.target, by.metric)
    recipe = recipe_in(study.user_attrs[AGREEMENT])
    steady = (recipe.schedule, recipe.rate_schedule) == ("constant", "constant")
    found = all_claims(rows, target=args.target, steady=steady, by=by)
    if args.json:
        print(json.dumps([claim_row(claim) for claim in found], indent=2))
        return code
    console = console_of(sys.stdout)
    console.print(claims_table(found))
    named = [f"- {c.name}: {trials_word(c.trials)}" for c in found] if args.trials else []
    for line in [*figure_lines(found), *named, closing_line(found)]:
        console.print(line)
    say_missing(args, "claims", looked, target=args.target)
    return code
