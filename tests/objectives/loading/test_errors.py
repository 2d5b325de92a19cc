"""What is wrong with people's data, in one clear line."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from batchfront.objectives.measurement import ObjectiveError
from batchfront.objectives.task import no_loss
from tests.objectives.conftest import ready, refused, train
from tests.objectives.loading.people import (
    Named,
    Noisy,
    Stream,
    loaders,
    noisy,
    step,
    streams,
    task_of,
    tensors,
)


def said(task: Any, **params: Any) -> str:
    """The one line that loading, or training, ends with."""
    with pytest.raises(ObjectiveError) as caught:
        train(ready(task), **params)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) <= 300
    return str(caught.value)


class Lazy(Noisy):
    """Fails at an example that nobody looks at before training."""

    def __getitem__(self, index: int) -> Any:
        if index == 7 and len(self) == 50:
            raise OSError("image 7.png is truncated")
        return super().__getitem__(index)


class Killed(Lazy):
    """Takes its worker along."""

    def __getitem__(self, index: int) -> Any:
        if index == 7 and len(self) == 50:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(8)


class Shrinking(Noisy):
    def __init__(self, split: str) -> None:
        super().__init__(split)
        self.n = len(self.y)

    def __len__(self) -> int:
        return self.n


def few_raise(examples: list[Any]) -> Any:
    if len(examples) == 16:
        raise ValueError("16 is a bad number")
    return torch.utils.data.default_collate(examples)


@pytest.mark.parametrize("num_workers", [0, 1])
@pytest.mark.parametrize(
    ("datasets", "words"),
    [
        (lambda n: noisy(Lazy, num_workers=n), "train[7] raises OSError: image 7.png is truncated"),
        (
            lambda n: noisy(train_collate_fn=few_raise, num_workers=n),
            "train_collate_fn raises ValueError: 16 is a bad number",
        ),
        (
            lambda n: streams(n_train=60, num_workers=n),
            "train ended after 50 examples, and n_train says 60: give the number that one pass has",
        ),
    ],
    ids=["example", "collate", "ends early"],
)
def test_what_the_data_raises_is_said(monkeypatch, num_workers, datasets, words):
    monkeypatch.setattr("batchfront.objectives.training.sampled.MOST", 3)  # nobody meets it
    monkeypatch.setattr("batchfront.objectives.training.sampled.FEWEST", 3)
    assert said(task_of(datasets(num_workers))) == words


def test_a_worker_that_dies_is_said_and_the_next_run_has_another(monkeypatch):
    monkeypatch.setattr("batchfront.objectives.training.sampled.MOST", 3)
    monkeypatch.setattr("batchfront.objectives.training.sampled.FEWEST", 3)
    datasets = noisy(Killed, num_workers=1)
    objective = ready(task_of(datasets))
    for _ in range(2):
        with pytest.raises(
            ObjectiveError, match=r"a worker that loads data died \(.*pid"
        ) as caught:
            train(objective)
        assert "num_workers=0" in str(caught.value)


@pytest.mark.slow
def test_datasets_that_cannot_be_sent_to_workers_say_what_to_do(monkeypatch):
    datasets = noisy(num_workers=1, collate_fn=lambda some: torch.utils.data.default_collate(some))
    monkeypatch.setattr("batchfront.objectives.loading.loader.start_method", lambda: "spawn")
    assert "cannot be sent to workers" in said(task_of(datasets))


def test_a_length_that_changes_is_said():
    datasets = noisy(Shrinking)
    objective = ready(task_of(datasets))
    datasets.train.n = 40  # type: ignore[attr-defined]
    with pytest.raises(ObjectiveError, match=r"train had 50 examples when the task was .* has 40"):
        train(objective)


class Fickle(DataLoader[Any]):
    def __len__(self) -> int:
        return 9


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"train": Noisy("train").x, "val": []}, "val has no examples"),
        ({"val": iter([1])}, "val is list_iterator, wanted a dataset with a length"),
        ({"val": Stream("val")}, "val is an IterableDataset and n_val is None: give its number"),
        ({"n_train": 5}, "n_train is for an IterableDataset, and train has a length"),
        ({"num_workers": -1}, "num_workers is -1, wanted 0 or more"),
        ({"collate_fn": 3}, "collate_fn is int, wanted a function"),
    ],
)
def test_datasets_that_are_none_are_refused(changes, words):
    assert said(task_of(noisy(**changes))).startswith(words)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"datasets": None}, "has no data: give one of data, datasets and loaders"),
        ({"loaders": loaders, "datasets": noisy}, "has datasets and loaders: give one of"),
        ({"step": step}, "has both loss and step: give"),
        ({"loss": no_loss}, "has no loss and step: give"),
        ({"datasets": 3}, "datasets is int, wanted Datasets"),
        ({"datasets": noisy(Named)}, "a batch is dict of inputs, label, name, wanted a pair"),
        (
            {"datasets": noisy(Named), "loss": no_loss, "step": step},
            "val_accuracy is computed from outputs and targets, and step gives a loss alone",
        ),
    ],
)
def test_tasks_that_cannot_be_trained_are_refused(changes, words):
    assert words in said(replace(task_of(), **changes))


def of(*found: Any) -> Any:
    return task_of(loaders=lambda batch_size: found)


def test_loaders_that_are_none_are_refused():
    train_loader, val, _ = loaders(8)
    assert "loaders(16) returns tuple of 1, wanted the loaders" in said(of(train_loader))
    assert "the val loader is list_iterator, wanted one" in said(of(train_loader, iter([1])))
    nothing = DataLoader(TensorDataset(*tensors("train")), 64, drop_last=True)
    assert "the train loader of batch size 16 gives no batches" in said(of(nothing, val))
    fickle = Fickle(TensorDataset(*tensors("train")), 8)
    words = "the train loader of batch size 16 gave 7 batches where its length was 9"
    assert said(of(fickle, val)).startswith(words)


def test_a_loader_that_raises_in_its_worker_is_said_in_one_line():
    loader = DataLoader(Lazy("train"), 4, num_workers=1)
    assert said(of(loader, loaders(8)[1])) == "a loader raises OSError: image 7.png is truncated"


def test_wrong_shapes_are_said_when_the_task_is_loaded(write):
    path: Path = write(
        """
        import torch
        from torch import nn
        from torch.utils.data import TensorDataset
        from batchfront import Datasets, Task

        split = TensorDataset(torch.rand(20, 7), torch.zeros(20, dtype=torch.int64))
        task = Task(name="t", datasets=Datasets(train=split, val=split),
                    model=lambda: nn.Linear(5, 3), loss=nn.functional.cross_entropy,
                    optimizer=torch.optim.Adam)
        """
    )
    assert "mat1 and mat2 shapes cannot be multiplied" in refused(path)
