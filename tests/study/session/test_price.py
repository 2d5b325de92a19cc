"""What a search says that it will take."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

from batchfront.study.cli.main import main
from batchfront.study.plan.goal import ALL_TRIALS, Goal
from batchfront.study.session.price import price_lines
from batchfront.study.trials.costs import SizeCost

COST = SizeCost(
    batch_size=64,
    step_seconds=0.1,
    peak_memory_bytes=1,
    predicted_peak_memory_bytes=None,
    total_steps=100,
)


def test_a_search_says_what_it_will_take_before_its_first_trial(workdir, capsys, rows):
    assert main(["run", "--batch-sizes", "16:64", "--epochs", "2", "--n-trials", "3"]) == 0
    said = capsys.readouterr().err
    (line,) = re.findall(r"^3 trials: about .* of training; a run takes .*$", said, re.MULTILINE)
    sizes = re.search(r"at batch size (\d+), .* at (\d+); probing took .* s besides$", line)
    assert sizes is not None
    cheap, dear = map(int, sizes.groups())
    took = {row["batch_size"]: row["step_seconds"] / row["batch_size"] for row in rows("probe")}
    assert (cheap, dear) == (min(took, key=took.get), max(took, key=took.get))
    assert said.index(line) < said.index("1/3")


def test_only_what_is_missing_is_counted(workdir, capsys):
    quick = ["run", "--batch-sizes", "16:64", "--epochs", "2", "--n-trials"]
    assert main([*quick, "2"]) == 0
    capsys.readouterr()
    assert main([*quick, "3"]) == 0
    said = capsys.readouterr().err
    assert "1 trial: about" in said
    assert "probing took" not in said, "a study that is there is not probed again"


def test_of_one_batch_size_no_search_takes_longer_than_all_its_runs():
    """And the size is named once."""
    space = SimpleNamespace(batch_sizes=(64,))
    known = {"costs": {64: COST}, "growth": None, "space": space, "probing_seconds": 0.02}
    plan: Any = SimpleNamespace(**known, n_trials=3, goal=ALL_TRIALS)
    (line,) = price_lines(plan, n_finished=0)
    assert line == ("3 trials: about 15 s to 30 s of training; a run takes 10 s at batch size 64")


def test_of_a_search_that_ends_by_itself_the_usual_numbers_are_priced():
    space = SimpleNamespace(batch_sizes=(64,))
    known = {"costs": {64: COST}, "growth": None, "space": space, "probing_seconds": 0.02}
    plan: Any = SimpleNamespace(**known, n_trials=150, goal=Goal(is_auto=True))
    (line,) = price_lines(plan, n_finished=10)
    assert line.startswith("as many trials as it takes, usually 30 to 80 in all: about 1 min 40 s")
