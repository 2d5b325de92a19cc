"""Arrays that are mapped into memory stay on disk."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from dataclasses import fields

import numpy as np
import pytest
import torch

from batchfront.objectives.task import Data, as_tensors, is_on_disk
from batchfront.objectives.training.feed import LoaderFeed
from tests.objectives.conftest import made_data, made_task, ready, train

FRESH = """
import numpy as np, torch
from torch import nn
from batchfront import Data, Task
from tests.objectives.conftest import made_task, ready, train

def anonymous():
    lines = dict(line.split(":", 1) for line in open("/proc/self/status") if ":" in line)
    return int(lines["RssAnon"].split()[0]) * 1024

def trained_on(x):
    y, n = np.arange(len(x)) % 3, len(x) - 200
    data = lambda: Data(x_train=x[:n], y_train=y[:n], x_val=x[n:-100], y_val=y[n:-100],
                        x_test=x[-100:], y_test=y[-100:])
    objective = ready(made_task(data=data, model=lambda: nn.Linear(WIDTH, 3)))
    train(objective, batch_size=64, epochs=2)
    return objective

WIDTH = 4096
x = np.load("x.npy", mmap_mode="r")
trained_on(x[:1024])  # everything is imported, and every buffer of a batch has been used
before = anonymous()
kept = trained_on(x)
print((anonymous() - before) / x.nbytes)
"""


def mapped(tmp_path) -> Data:
    """The data of `made_data`, in files."""
    given = made_data()
    paths = {one.name: tmp_path / f"{one.name}.npy" for one in fields(Data)}
    for name, path in paths.items():
        np.save(path, getattr(given, name).numpy())
    return Data(**{name: np.load(path, mmap_mode="r") for name, path in paths.items()})


def test_a_run_on_mapped_arrays_is_that_on_tensors_bit_for_bit(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        objective = ready(made_task(data=lambda: mapped(tmp_path)))
    assert isinstance(objective._source.feed, LoaderFeed)
    same = ready(made_task())
    assert objective.fingerprint == same.fingerprint
    found, expected = (train(one, batch_size=24).result() for one in (objective, same))
    assert found.metric_curve == expected.metric_curve
    assert found.train_loss == expected.train_loss


def test_plain_arrays_are_tensors_of_the_same_memory():
    given = {one.name: getattr(made_data(), one.name).numpy().copy() for one in fields(Data)}
    data = as_tensors(Data(**given))
    assert not is_on_disk(Data(**given))
    given["x_train"][0, 0] = 7
    assert float(data.x_train[0, 0]) == 7
    assert isinstance(data.y_val, torch.Tensor)


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
def test_a_mapped_array_takes_no_memory_of_its_own(tmp_path):
    shape = (16384, 4096)
    np.lib.format.open_memmap(tmp_path / "x.npy", mode="w+", dtype=np.float32, shape=shape).flush()
    path = os.pathsep.join([os.environ.get("PYTHONPATH", ""), os.getcwd()])
    environment = {**os.environ, "PYTHONPATH": path}
    found = subprocess.run(
        [sys.executable, "-c", FRESH], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert found.returncode == 0, found.stderr
    assert float(found.stdout) < 0.4
