"""The verb about beliefs: claims."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from batchfront.objectives.number import FINITE
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
            claims --study-name digits --target 0.95
        """,
        as_json=True,
    )
    add_number(claims_, "--target", FINITE, help="validation metric, for the time to it")
    claims_.add_argument("--trials", action="store_true", help="say which trials were looked at")


def claims(args: argparse.Namespace) -> None:
    """Hold common beliefs about batch size against a study: agree, disagree or not shown."""
    from batchfront.study.findings.claims.show import claim_row, claims_table, closing_line
    from batchfront.study.findings.claims.table import all_claims
    from batchfront.study.plan.agreement import AGREEMENT
    from batchfront.study.plan.recipe import recipe_in
    from batchfront.study.show import trials_word
    from batchfront.study.trials.rows import runs_of
    from batchfront.study.trials.yardstick import check_target, standard

    study, names, trials, _ = looked_at(args)
    by = names.yardstick(trials)
    rows = runs_of(standard(trials, by), names)
    check_target(args.target, by.metric)
    recipe = recipe_in(study.user_attrs[AGREEMENT])
    steady = (recipe.schedule, recipe.rate_schedule) == ("constant", "constant")
    found = all_claims(rows, target=args.target, steady=steady, by=by)
    if args.json:
        print(json.dumps([claim_row(claim) for claim in found], indent=2))
        return
    console = console_of(sys.stdout)
    console.print(claims_table(found))
    console.print(closing_line(found))
    for claim in found if args.trials else []:
        console.print(f"{claim.name}: {trials_word(claim.trials)}", soft_wrap=True)
