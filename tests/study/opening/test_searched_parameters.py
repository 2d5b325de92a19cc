"""A task's own parameters, from the command line to the tables."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from batchfront.study.cli.main import main
from batchfront.study.plan.choices import SAMPLERS
from batchfront.study.trials.attributes import UNPROBED, log2_batch_size_of

from ..conftest import study_of

pytestmark = pytest.mark.usefixtures("journal")

TASK = """
    import time

    from batchfront import CustomLoop, Parameter

    def loop(params, run):
        '''Twice the layers take twice the time; dropout costs nothing.'''
        run.begin(20 * params.epochs, baseline_loss=1.0, baseline_metric=0.1)
        for epoch in range(params.epochs):
            for _ in range(20):
                end = time.perf_counter() + 2e-4 * params.extra["layers"]
                while time.perf_counter() < end:
                    pass
                run.step(0.5)
            run.report(0.9 - params.extra["dropout"])

    objective = CustomLoop(
        function=loop,
        search={
            "layers": Parameter(low=1, high=4, usual=2),
            "dropout": Parameter(low=0.0, high=0.5, bears_cost=False),
        },
    )
"""
RUN = ("run", "--epochs", "3", "--batch-sizes", "4:16")


def _study(name):
    return study_of(f"{name}:objective")


@pytest.mark.parametrize(
    "sampler",
    [
        pytest.param(name, marks=[] if name in ("cost-aware", "tpe") else pytest.mark.slow)
        for name in SAMPLERS
    ],
)
def test_they_are_searched_by_every_sampler(write_task, rows, sampler):
    task = write_task(TASK)
    n = "12" if sampler == "gp" else "8"  # its first ten are random
    assert main([*RUN, "--task", task, "--sampler", sampler, "--n-trials", n]) == 0
    trials = rows("export")
    assert {t["layers"] for t in trials} <= {1, 2, 3, 4}
    assert len({t["layers"] for t in trials}) > 1
    assert len({t["dropout"] for t in trials}) > 1


def test_they_are_shown(write_task, capsys):
    task = write_task(TASK)
    assert main([*RUN, "--task", task, "--sampler", "random", "--n-trials", "4"]) == 0
    assert "layers" in capsys.readouterr().err
    assert main(["front", "--json"]) == 0
    row = json.loads(capsys.readouterr().out)[0]
    assert list(row)[:5] == ["number", "batch_size", "learning_rate", "layers", "dropout"]
    for verb in (["front", "--csv"], ["export"]):
        assert main(verb) == 0
        assert ",layers,dropout," in capsys.readouterr().out.splitlines()[0]
    assert main(["report", "-o", "page.html"]) == 0
    assert ">layers</button></th>" in Path("page.html").read_text()


@pytest.mark.timed
def test_only_the_probed_combination_has_a_known_cost(write_task):
    assert main([*RUN, "--task", write_task(TASK), "--sampler", "random", "--n-trials", "25"]) == 0
    trials = [t for t in _study("mine.py").trials if t.values]
    known = [t for t in trials if UNPROBED not in t.user_attrs]
    assert {t.params["layers"] for t in known} == {2}
    assert 2 not in {t.params["layers"] for t in trials if UNPROBED in t.user_attrs}
    by_size = {}
    for trial in known:
        by_size.setdefault(log2_batch_size_of(trial.params), set()).add(trial.values[1])
    assert all(len(seconds) == 1 for seconds in by_size.values()), "the probe's, whatever dropout"
    deep = [t.values[1] for t in trials if t.params["layers"] == 4]
    shallow = [t.values[1] for t in trials if t.params["layers"] == 1]
    # Other work on the machine only makes runs slower.
    assert min(deep) > 2 * min(shallow), "measured by the trials themselves"


def test_a_study_whose_task_searches_something_else_now_is_not_mixed(
    write_task, capsys, monkeypatch
):
    assert main([*RUN, "--task", write_task(TASK), "--n-trials", "2"]) == 0
    other = write_task(TASK.replace("high=4", "high=8"))
    for name in [name for name in sys.modules if name == "mine" or "batchfront_task" in name]:
        monkeypatch.delitem(sys.modules, name)  # as a new process would find it
    capsys.readouterr()
    assert main([*RUN, "--task", other, "--n-trials", "3"]) != 0
    said = capsys.readouterr().err
    assert "made with other" in said
    assert "layers 1..8" in said
    assert len(_study("mine.py").trials) == 2


def test_a_resume_needs_no_words_about_them(write_task, capsys):
    task = write_task(TASK)
    assert main([*RUN, "--task", task, "--n-trials", "3"]) == 0
    assert main(["run", "--task", task, "--n-trials", "5"]) == 0
    assert len(_study("mine.py").trials) == 5
    assert "layers 1..4 x dropout 0..0.5" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("name", ["number", "epochs", "seed", "val_accuracy", "train_seconds"])
def test_a_name_that_is_a_column_of_every_study_is_refused(write_task, capsys, name):
    task = write_task(TASK.replace("layers", name))
    assert main([*RUN, "--task", task, "--n-trials", "2"]) != 0
    said = " ".join(capsys.readouterr().err.split())
    assert f"searches {name}, which is the name of a column" in said
