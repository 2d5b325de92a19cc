"""The verb about beliefs: claims."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from batchfront.study.cli.options import add_look, console_of, looked_at
from batchfront.study.errors import StudyError


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
    claims_.add_argument("--target", type=float, help="validation metric, for the time to it")


def claims(args: argparse.Namespace) -> None:
    """Hold common beliefs about batch size against a study: agree, disagree or not shown."""
    from batchfront.study.findings.claims.show import claim_row, claims_table, closing_line
    from batchfront.study.findings.claims.table import all_claims
    from batchfront.study.plan.agreement import AGREEMENT
    from batchfront.study.plan.recipe import recipe_in
    from batchfront.study.trials.rows import runs_of
    from batchfront.study.trials.sound import sound_trials

    if args.target is not None and not args.target <= 1:
        raise StudyError(f"--target is {args.target:g}, wanted a fraction of at most 1")
    study, names = looked_at(args)
    rows = runs_of(sound_trials(study), names)
    recipe = recipe_in(study.user_attrs[AGREEMENT])
    steady = (recipe.schedule, recipe.rate_schedule) == ("constant", "constant")
    found = all_claims(rows, target=args.target, steady=steady)
    if args.json:
        print(json.dumps([claim_row(claim) for claim in found], indent=2))
        return
    console = console_of(sys.stdout)
    console.print(claims_table(found))
    console.print(closing_line(found))
