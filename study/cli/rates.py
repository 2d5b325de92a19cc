"""The verb about learning rates: rates."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from batchfront.study.cli.missing import add_max_trials, run_missing, say_missing
from batchfront.study.cli.options import add_look, console_of, looked_at, write_out


def add_rates_verbs(verbs: Any) -> None:
    """Tell the parser of them."""
    text = "best learning rate of each batch size, and its law"
    rates_ = add_look(
        verbs,
        "rates",
        rates,
        text,
        tries="""
            rates
            rates --study-name digits --max-trials 40 -o rates.html
        """,
        as_json=True,
    )
    rates_.add_argument("--trials", action="store_true", help="say which trials were looked at")
    rates_.add_argument("-o", "--output", type=Path, help="write a figure (HTML) to this file")
    add_max_trials(rates_, "rates")


def rates(args: argparse.Namespace) -> int:
    """Show the best learning rate of each batch size, and how it grows with the batch size."""
    from batchfront.study.findings.rates.best import WITHIN
    from batchfront.study.findings.rates.law import rate_estimates, rate_law
    from batchfront.study.findings.rates.show import (
        edge_line,
        law_sentence,
        left_out_line,
        meaning_lines,
        rates_figure,
        rates_json,
        rates_table,
        trial_lines,
    )
    from batchfront.study.trials.rows import runs_of
    from batchfront.study.trials.yardstick import standard

    code = run_missing(args, "rates")
    found = looked_at(args)
    _, names, trials, _ = found
    yardstick = names.yardstick(trials)
    estimates = rate_estimates(runs_of(standard(trials, yardstick), names))
    law = rate_law(estimates)
    lost = f"{abs(yardstick.own_difference(WITHIN)):.2g} of {yardstick.metric.name}"
    if args.output is not None:
        figure = rates_figure(estimates, law, lost)
        write_out(args.output, figure.to_html(include_plotlyjs=True))
    if args.json:
        print(json.dumps(rates_json(estimates, law), indent=2))
        return code
    console = console_of(sys.stdout)
    console.print(rates_table(estimates))
    named = trial_lines(estimates) if args.trials else []
    lines = [*meaning_lines(estimates, lost), edge_line(estimates), left_out_line(estimates)]
    for line in filter(None, [*lines, *named, law_sentence(law)]):
        console.print(line)
    say_missing(args, "rates", found)
    return code
