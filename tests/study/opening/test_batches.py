"""A study records by which rule its batches are cut, and keeps it."""

from __future__ import annotations

import optuna
import pytest

from batchfront.study.cli.main import main
from batchfront.study.plan.agreement import AGREEMENT

NORMED = """
    import torch
    from torch import nn
    from batchfront.objectives.task import Data, Task, sgd_momentum

    def data():
        x = torch.randn(95, 6, generator=torch.Generator().manual_seed(0))
        y = (x[:, 0] > 0).long()
        return Data(x_train=x[:65], y_train=y[:65], x_val=x[65:80], y_val=y[65:80],
                    x_test=x[80:], y_test=y[80:])

    def model():
        return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))

    task = Task(name="made", data=data, model=model, loss=nn.functional.cross_entropy,
                optimizer=sgd_momentum, epochs=3)
"""
URL = "sqlite:///own.db"
SAID = "note: batch norm has no variance in one example: batch sizes begin at 2"


def study_of(name: str) -> optuna.Study:
    return optuna.load_study(study_name=name, storage=URL)


def test_a_new_study_takes_exact_batches_and_says_from_which_size_on(write_task, rows, capsys):
    argv = ["run", "--task", write_task(NORMED), "--storage", URL, "--sampler", "random"]
    assert main([*argv, "--study-name", "all", "--n-trials", "4", "--pruner", "none"]) == 0
    assert SAID in capsys.readouterr().err
    assert study_of("all").user_attrs[AGREEMENT]["batches"] == "exact"
    for row in rows("export", "--storage", URL, "--study-name", "all"):
        assert row["batch_size"] >= 2
        assert row["total_steps"] == 3 * 65 // row["batch_size"]
    larger = ("--study-name", "larger", "--batch-sizes", "8:16", "--n-trials", "1")
    assert main([*argv, *larger]) == 0
    assert "note:" not in capsys.readouterr().err


@pytest.mark.slow
def test_workers_of_an_older_study_cut_batches_as_it_did(write_task, rows):
    task = write_task(NORMED.replace("nn.BatchNorm1d(8)", "nn.ReLU()"))
    argv = ["run", "--task", task, "--study-name", "older", "--storage", URL, "--sampler", "random"]
    assert main([*argv, "--n-trials", "1", "--batch-sizes", "8:32"]) == 0
    study = study_of("older")
    record = dict(study.user_attrs[AGREEMENT])
    assert record.pop("batches") == "exact"
    study.set_user_attr(AGREEMENT, record)  # as 0.7 wrote it
    assert main([*argv, "--n-trials", "4", "--n-workers", "2"]) == 0
    first, *later = rows("export", "--storage", URL, "--study-name", "older")
    assert first["total_steps"] == 3 * 65 // first["batch_size"]
    assert [row["total_steps"] for row in later] == [3 * -(-65 // r["batch_size"]) for r in later]
