"""From not shown to shown: which runs are missing, and that they are made."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from batchfront.study.cli.main import main
from batchfront.study.findings.missing.rates import APART, missing_rates
from batchfront.study.findings.missing.runs import MISSING, n_asked
from batchfront.study.findings.missing.seeds import seeds_of_medians, seeds_of_trends
from batchfront.study.findings.rates.best import NotShown, RateEstimate, best_rate, rate_runs
from batchfront.study.trials.attributes import PURPOSE
from batchfront.study.trials.yardstick import AS_IT_IS
from tests.study.conftest import study_of
from tests.study.recorded import run_row

RUN = (
    "run", "--task", "planted.py", "--epochs", "2", "--batch-sizes", "16:64", "--n-trials", "8",
    "--sampler", "random", "--study-name", "one",
)  # fmt: skip


NONE = NotShown(reason="not looked at")


def missing(found, guess: float) -> list[float]:
    """The rates that runs of size 8 lack."""
    return missing_rates(found, best_rate(*rate_runs(found, 8)), lambda: guess)


def rows(errors: dict[float, float], **known):
    """Runs of size 8: their final errors by rate; 1 is one that diverged."""
    return [
        run_row(8, rate, metric=None if error == 1 else 1 - error, **known)
        if error < 1
        else run_row(8, rate, verdict="diverged")
        for rate, error in errors.items()
    ]


def test_few_rates_are_made_up_around_the_guess():
    assert missing([], 0.1) == [0.033, 0.3, 0.1]
    assert missing(rows({0.1: 0.05}), 0.1) == [0.033, 0.3]
    assert missing(rows({0.03: 0.05, 0.3: 0.1}), 0.1) == [0.1]


def test_a_best_rate_at_an_edge_asks_for_one_beyond_it():
    falling = {0.01: 0.3, 0.03: 0.15, 0.1: 0.05}
    assert missing(rows(falling), 0.1) == [pytest.approx(0.1 * APART)]
    rising = {0.01: 0.05, 0.03: 0.15, 0.1: 0.3}
    assert missing(rows(rising), 0.1) == [pytest.approx(0.01 / APART, rel=0.02)]


def test_what_is_asked_for_ends_with_a_bracketed_rate_on_a_planted_surface():
    def error(rate: float) -> float:  # best at 0.4, a cliff above 2
        return 1.0 if rate > 2 else 0.03 * (max(rate / 0.4, 0.4 / rate)) ** 0.7

    found = rows({0.01: error(0.01)})
    for _ in range(9):
        more = missing(found, 0.01)
        if not more:
            break
        found += rows({rate: error(rate) for rate in more})
    best = best_rate(*rate_runs(found, 8))
    assert isinstance(best, RateEstimate)
    assert not best.at_edge
    assert best.low <= 0.4 <= best.high


def test_where_all_runs_failed_a_lower_rate_is_asked_for():
    assert missing(rows({1.0: 1, 2.0: 1, 3.0: 1}), 1.0) == [0.33]


def test_seeds_are_asked_for_at_the_best_rate_until_there_are_three():
    curves = {"curve": (0.5, 0.8, 0.9), "epochs": 3}
    found = rows({0.01: 0.3, 0.1: 0.05, 0.9: 0.4}, **curves)
    assert seeds_of_trends(found, best_rate(*rate_runs(found, 8)))[1] == 2
    rule = seeds_of_medians(0.85, AS_IT_IS)
    rate, n = rule(found, NONE)
    assert (rate in (0.01, 0.1, 0.9), n) == (True, 2)
    assert (
        rule([*found, *rows({rate: 0.05}, **curves), *rows({rate: 0.05}, **curves)], NONE)[1] == 0
    )


def test_a_size_that_never_gets_there_is_not_run_again():
    found = rows({0.01: 0.4, 0.1: 0.3, 0.9: 0.5}, curve=(0.5, 0.6), epochs=2)
    assert seeds_of_medians(0.85, AS_IT_IS)(found, NONE) is None


@pytest.mark.parametrize(
    "verb",
    [("rates",), pytest.param(("critical-batch", "--target", "0.5"), marks=pytest.mark.slow)],
)
def test_a_verb_says_what_is_missing_and_the_command_runs_it(workdir, recorded, capsys, verb):
    recorded(workdir, *RUN)
    capsys.readouterr()
    assert main(list(verb)) == 0
    out = capsys.readouterr().out
    assert re.search(r"^missing: \d+ runs? ", out, re.MULTILINE)
    (said,) = re.findall(r"^to run them: batchfront (.+)$", out, re.MULTILINE)
    words = said.split()
    assert words[0] == verb[0]
    assert main(words) == 0
    most = int(words[words.index("--max-trials") + 1])
    made = [t for t in study_of("one").trials if t.user_attrs.get(PURPOSE) == MISSING]
    assert 0 < len(made) <= most
    assert all(trial.state.is_finished() for trial in made)


def test_no_more_trials_are_run_than_allowed(workdir, recorded):
    recorded(workdir, *RUN)
    assert main(["rates", "--max-trials", "2"]) == 0
    assert n_asked(study_of("one").trials) == 2
    assert main(["rates", "--max-trials", "1"]) == 0
    assert n_asked(study_of("one").trials) == 3


def test_tables_fit_80_columns(workdir, recorded, capsys, monkeypatch):
    recorded(workdir, *RUN)
    capsys.readouterr()
    for verb in (["rates"], ["claims"], ["critical-batch", "--target", "0.5"]):
        assert main(verb) == 0
        out = capsys.readouterr().out
        rule = next(line for line in out.splitlines() if "───" in line)
        assert len(rule) <= 80


def test_what_cannot_be_run_is_one_line(workdir, recorded, few, capsys):
    recorded(workdir, *RUN)
    assert main(["import", str(few)]) == 0
    Path("planted.py").unlink()
    capsys.readouterr()
    for study, why in (("one", "a task of your own"), ("few", "nothing to train")):
        assert main(["rates", "--study-name", study, "--max-trials", "3"]) == 2
        error = capsys.readouterr().err
        assert why in error
        assert error.count("\n") == 1
