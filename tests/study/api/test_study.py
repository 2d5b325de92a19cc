"""`batchfront.Study` as a script uses it; objects stand in the place of names."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import batchfront as bf
from batchfront.study.api import table
from batchfront.study.cli.main import main
from batchfront.study.errors import StudyError

SMALL = {"batch_sizes": "4:16", "learning_rates": (1e-3, 0.1), "epochs": 2, "n_trials": 8}


def planted(params, run):
    """The larger the rate the better."""
    run.begin(20 * params.epochs)
    for epoch in range(params.epochs):
        for _ in range(20):
            run.step(0.5)
        run.report(0.5 + 0.01 * epoch + 0.1 * params.learning_rate)


@pytest.fixture
def study(workdir) -> bf.Study:
    """Eight trials of a function."""
    return bf.Study(planted, **SMALL).run()


def test_a_study_answers_with_tables_and_figures(study, capsys):
    pandas = pytest.importorskip("pandas")
    sizes, front = study.advise(), study.front()
    assert isinstance(sizes, pandas.DataFrame)
    assert "Train with batch size" in capsys.readouterr().err
    (chosen,) = sizes[sizes.recommended].batch_size
    assert study.recommended()["batch_size"] == chosen
    assert set(front.number) <= {t.number for t in study.optuna.trials}
    assert list(front.columns)[:4] == ["number", "batch_size", "learning_rate", "val_accuracy"]
    for figure in (study.plot_batch_sizes(), study.plot_front(), study.plot_surface()):
        drawn = [len(trace.x) for trace in figure.data if trace.x is not None]
        assert sum(drawn) >= 3
    assert study.report("page.html").read_text().startswith("<!doctype html>")


def test_tables_are_plain_rows_where_there_is_no_pandas(study, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    front = study.front()
    assert type(front) is list
    assert {t.number for t in study.optuna.trials} >= {row["number"] for row in front}
    assert table.as_table([{"a": 1}]) == [{"a": 1}]


def test_a_second_run_goes_on_and_the_command_line_sees_the_same(study, rows):
    first = {t.number: t.params for t in study.optuna.trials}
    more = bf.Study(planted, **{**SMALL, "n_trials": 10}).run()
    assert len(more.optuna.trials) == 10
    assert {t.number: t.params for t in more.optuna.trials} | first == {
        t.number: t.params for t in more.optuna.trials
    }
    assert rows("ls")[0]["study_name"] == more.name == "planted"
    assert main(["front", "--study-name", "planted"]) == 0


def test_the_options_are_those_of_the_command_line(workdir):
    told = bf.Study(
        "planted.py", batch_sizes=range(8, 25, 8), learning_rates=np.array([0.01]).tolist(),
        epochs=np.int64(2), n_trials=3, sampler="random", clip_grad_norm=1, max_memory="2GiB",
    )._settings  # fmt: skip
    assert told.batch_sizes == (8, 16, 24)
    assert told.learning_rates == (0.01, 0.01)
    assert (told.epochs, told.max_memory) == (2, 2 * 2**30)
    assert told.techniques == {"clip_grad_norm": 1.0}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"n_trial": 3}, "unknown option 'n_trial': the nearest known is 'n_trials'"),
        ({"n_trials": 0}, "n_trials is 0"),
        ({"n_trials": "ten"}, "n_trials is 'ten', wanted a whole number of at least 1, or auto"),
        ({"learning_rates": (0.1, 0.01)}, "learning_rates"),
        ({"batch_sizes": (0, 4)}, "batch"),
        ({"n_workers": 2}, "cannot load 'planted', which lives in this one: write it into a file"),
        ({"data_parallel": 2}, "data_parallel is 2, and other processes cannot load"),
        ({"launcher": "ray"}, "launcher is ray, and other processes cannot load"),
    ],
)
def test_what_no_study_could_use_is_refused_in_one_line(workdir, options, said):
    with pytest.raises(StudyError, match=said) as refused:
        bf.Study(planted, **options)
    assert "\n" not in str(refused.value)
    assert not Path("runs").exists()


def test_nothing_to_draw_is_said(workdir):
    study = bf.Study(planted, **{**SMALL, "n_trials": 1}).run()
    with pytest.raises(StudyError, match="nothing to draw yet: 1 run completed"):
        study.plot_surface()


@pytest.mark.slow
def test_several_workers_load_a_task_from_its_file(workdir):
    study = bf.Study("planted.py:objective", **SMALL, n_workers=2).run()
    assert [t.state.name for t in study.optuna.trials] == ["COMPLETE"] * 8


def test_a_task_object_is_trained(workdir):
    import torch

    x = torch.linspace(-1, 1, 96).reshape(-1, 1)  # (N, 1)
    data = bf.Data(x_train=x, y_train=3 * x, x_val=x, y_val=3 * x, x_test=x, y_test=x)
    task = bf.Task(
        name="line",
        data=lambda: data,
        model=lambda: torch.nn.Linear(1, 1),
        loss=torch.nn.functional.mse_loss,
        optimizer=torch.optim.SGD,
        metric="r2",
    )
    study = bf.Study(task, batch_sizes=[8, 24], learning_rates=0.3, epochs=3, n_trials=2).run()
    assert study.name == "line"
    assert all(t.values[0] > 0.9 for t in study.optuna.trials)


def test_a_defect_is_raised(workdir):
    def broken(params, run):
        raise RuntimeError("no such column")

    with pytest.raises(bf.study.errors.StudyError, match="no such column"):
        bf.Study(broken, **SMALL).run()


SCRIPT = """
    import os, signal
    import batchfront as bf

    def objective(params, run):
        run.begin(10)
        for n in range(10):
            run.step(0.5)
            if params.seed and os.path.exists("interrupt"):
                os.remove("interrupt")
                os.kill(os.getpid(), signal.SIGINT)
        run.report({value})

    study = bf.Study(objective, batch_sizes="4:8", learning_rates=0.1, epochs=1, n_trials={n})
    try:
        study.run()
    except KeyboardInterrupt:
        print("interrupted", flush=True)
    print([t.state.name for t in study.optuna.trials])
"""


def _script(**more: object) -> subprocess.CompletedProcess[str]:
    import textwrap

    Path("script.py").write_text(textwrap.dedent(SCRIPT.format(**{"value": 0.5, **more})))
    return subprocess.run(
        [sys.executable, "script.py"], env=os.environ, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_a_script_hands_the_trial_back_and_may_change_around_its_function(workdir):
    Path("interrupt").touch()
    done = _script(n=3)
    assert done.stdout.splitlines()[0] == "interrupted"
    assert "RUNNING" not in done.stdout
    assert "COMPLETE" in _script(n=4).stdout, "the line that was changed is not of the function"
    other = _script(n=5, value=0.6)
    assert other.returncode == 1
    assert "objective is changed" in other.stderr.splitlines()[-1]


def test_the_package_imports_nothing_heavy_before_it_is_used():
    code = "import batchfront as bf, sys; print({'torch', 'optuna', 'numpy'} & set(sys.modules))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "set()"
    assert "Study" in dir(bf)
    assert bf.study.__name__ == "batchfront.study"
