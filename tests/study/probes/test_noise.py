"""noise-scale from the command line."""

from __future__ import annotations

import pytest

from batchfront.study.cli.main import main
from batchfront.study.probes.show_noise import label


def test_a_task_is_looked_at_after_chosen_epochs(workdir, rows):
    options = ("--learning-rate", "0.05", "--epochs", "0,1", "--n-draws", "30", "--norms", "20")
    found = rows("noise-scale", *options)
    assert [(r["epoch"], r["method"]) for r in found["rows"]] == [
        (0, "two_sizes"), (0, "per_example"), (1, "two_sizes"), (1, "per_example"),
    ]  # fmt: skip
    assert all(r["status"] == "shown" for r in found["rows"])
    assert all(10 < r["noise_scale"] < 1000 for r in found["rows"])
    assert found["rows"][0]["val_metric"] is None
    assert found["rows"][2]["val_metric"] > 0.2
    norms = [r for r in found["norms"] if r["epoch"] == 0]
    assert [r["batch_size"] for r in norms] == [2**k for k in range(10)]
    assert norms[-1]["ratio"] == 1
    assert norms[0]["mean"] > norms[5]["mean"] > norms[-1]["mean"]


def test_tables_fit_and_say_what_the_number_is_not(workdir, capsys):
    assert main(["noise-scale", "--n-draws", "20", "--norms", "3"]) == 0
    printed = capsys.readouterr().out
    assert "per example" in printed
    assert "gradient norms at epoch 0" in printed
    assert "arXiv:1812.06162" in printed
    assert max(map(len, printed.splitlines())) <= 100
    assert "not the critical batch size" in label("AdamW()")


BATCH_NORM = """
    from torch import nn
    from batchfront.objectives.task import Task, sgd_momentum
    from batchfront.objectives.tasks.digits import _flat

    def model():
        return nn.Sequential(nn.Linear(64, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 10))

    task = Task(name="bn", data=_flat, model=model, loss=nn.functional.cross_entropy,
                optimizer=sgd_momentum)
"""


def test_batch_norm_leaves_two_batch_sizes_and_says_so(write_task, rows):
    options = ("--task", write_task(BATCH_NORM), "--n-draws", "20", "--norms", "2")
    found = rows("noise-scale", *options)
    assert [r["method"] for r in found["rows"]] == ["two_sizes"]
    assert "per-example gradients are not defined" in found["remarks"][0]
    assert found["norms"][0]["batch_size"] == 2, "one example has no variance"


LOST = """
    import torch
    from torch import nn
    from batchfront.objectives.task import Data, Task, sgd_momentum

    def data():
        x = torch.randn(600, 20, generator=torch.Generator().manual_seed(0))
        x, y = torch.cat([x, -x]), torch.zeros(1200, 1)  # the gradients of x and -x cancel
        return Data(x_train=x, y_train=y, x_val=x, y_val=y, x_test=x, y_test=y)

    def loss(output, target):
        return (output - target).mean()

    task = Task(name="lost", data=data, model=lambda: nn.Linear(20, 1, bias=False), loss=loss,
                optimizer=sgd_momentum, metric="r2")
"""


def test_a_gradient_lost_in_noise_is_refused(write_task, rows, capsys):
    options = ("--task", write_task(LOST), "--n-draws", "50")
    found = rows("noise-scale", *options)
    assert {r["status"] for r in found["rows"]} == {"not_shown"}
    assert all(r["noise_scale"] is None for r in found["rows"])
    assert "more draws" in found["rows"][0]["reason"]
    assert main(["noise-scale", *options]) == 0
    assert "epoch 0, two batch sizes: not shown" in capsys.readouterr().out


def test_what_a_task_raises_is_one_line(write_task, capsys):
    failing = (
        BATCH_NORM.replace("nn.functional.cross_entropy", "loss")
        + """
    def loss(output, target):
        if output.requires_grad:
            raise KeyError("mine")
        return nn.functional.cross_entropy(output, target)
    """
    )
    failing = failing.replace("task = Task(", "task = lambda: Task(")
    assert main(["noise-scale", "--task", write_task(failing)]) == 2
    assert "fails: KeyError: 'mine'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--task", "planted.py"), "training loop of your own"),
        (("--epochs", "0,3"), "give --learning-rate"),
        (("--epochs", "one"), "wanted numbers"),
        (("--epochs", "-1"), "wanted numbers such as 0,1,5"),
        (("--n-draws", "1"), "at least 2"),
        (("--batch-size", "4000"), "training examples"),
        (("--learning-rate", "nan"), "wanted a number of at least 1e-37"),
    ],
)
def test_what_cannot_be_run_is_refused(workdir, capsys, options, words):
    assert main(["noise-scale", *options]) == 2
    assert words in capsys.readouterr().err
