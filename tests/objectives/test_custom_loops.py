"""Training loops of one's own as objectives."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.objectives.conftest import LOOP, load, refused, train

ROOT = Path(__file__).resolve().parents[2]

SQUARES = """
    import torch
    from torch.utils.data import DataLoader, Dataset

    class Squares(Dataset):
        def __len__(self):
            return 8

        def __getitem__(self, n):
            return torch.tensor(float(n * n))

    def objective(params, run):
        run.begin(8)
        loader = DataLoader(Squares(), batch_size=4, num_workers=1, multiprocessing_context="spawn")
        for batch in loader:
            run.step(batch.mean())
        run.report(batch.sum() / 1000)
"""
SCRIPT = """
    from batchfront.objectives.load import load_objective
    from batchfront import Run, TrialParams

    if __name__ == "__main__":
        params = TrialParams(batch_size=4, learning_rate=1, epochs=1, seed=1, device="cpu")
        with Run() as run:
            load_objective("with_workers.py", device="cpu")(params, run)
        print(run.result().metric)
"""


def test_a_bare_function_is_a_training_loop(write):
    objective = load(f"{write(LOOP)}:objective")
    assert (objective.name, str(objective.metric)) == ("mine.py:objective", "val_accuracy")
    assert objective.batch_sizes == (1, None)
    assert train(objective).result().metric == 0.5


def test_a_loop_of_ones_own_may_say_more_about_itself(write):
    wrapped = """
        from batchfront import CustomLoop
        loop = CustomLoop(
            function=objective, metric="val_r2", default_epochs=3, n_train=99,
            fingerprint={"data": "v1"},
        )
    """
    objective = load(f"{write(LOOP, wrapped)}:loop")
    assert (objective.name, str(objective.metric)) == ("mine.py:loop", "val_r2")
    assert (objective.batch_sizes, objective.default_epochs) == ((1, 99), 3)
    assert objective.fingerprint["data"] == "v1"
    assert train(objective).result().metric == 0.5


@pytest.mark.parametrize(
    "made",
    [
        "task = objective",
        "from functools import partial\ntask = partial(partial(objective))",
        "class Own:\n    def __call__(self, params, run): objective(params, run)\ntask = Own()",
    ],
    ids=["function", "partial", "object"],
)
def test_the_source_of_a_loop_is_part_of_its_fingerprint(write, made):
    one = load(write(LOOP, made, name="one.py"))
    same = load(write(LOOP, made, name="same.py"))
    other = load(write(LOOP.replace("0.5", "0.75"), made, name="other.py"))
    assert train(one).result().metric == 0.5
    assert one.fingerprint == same.fingerprint != other.fingerprint


@pytest.mark.parametrize(
    ("wrong", "said"),
    [("metric='f 1'", "metric is named 'f 1'"), ("default_epochs=0", "wanted at least 1")],
)
def test_a_loop_that_says_something_wrong_about_itself_is_refused(write, wrong, said):
    made = f"from batchfront import CustomLoop\ntask = CustomLoop(function=objective, {wrong})"
    assert said in refused(write(LOOP, made))


def test_a_loop_of_ones_own_is_seeded(write):
    loop = """
        import random, numpy, torch
        def objective(params, run):
            run.begin(1)
            run.report(torch.rand(()) * numpy.random.rand() * random.random())
    """
    objective = load(write(loop))
    drawn = [train(objective, seed=seed).result().metric for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.slow
def test_workers_of_a_data_loader_find_the_data_set_of_the_file(write):
    """They are fresh interpreters, which import the module that a data set was pickled from."""
    write(SQUARES, name="with_workers.py")
    script = write(SCRIPT, name="script.py")
    done = subprocess.run(
        [sys.executable, script.name],
        cwd=script.parent,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == pytest.approx((16 + 25 + 36 + 49) / 1000)
