"""Tasks made for the checks: random inputs, models of four kinds, one that eats memory."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from batchfront import Data, Parameter, Task

IS_SMALL = not torch.cuda.is_available()  # a dry run
UNIT = int(os.environ.get("BATCHFRONT_CHECK_UNIT", 2**29))  # bytes that an example's step holds
N_CLASSES = 10
UNITS_A_STEP = 3  # what a step of the hungry model needs for each example, in UNIT


class Hungry(nn.Module):
    """Keeps UNIT bytes for every example, or several; a step takes three times that."""

    def __init__(self, times: int = 1) -> None:
        super().__init__()
        self.times = times
        self.first, self.last = nn.Linear(16, 16), nn.Linear(16, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Outputs (B, 4) of inputs (B, N), of which 16 count."""
        wide = self.first(x[:, :16])[:, None, :].expand(-1, UNIT // 64 * self.times, -1)
        return self.last(torch.sigmoid(wide).mean(dim=1))


def hungry_data() -> Data:
    """Rows so long that a validation takes few of them at a time."""
    n, width = 128, 2**8 if IS_SMALL else 2**17
    x = torch.zeros(n + 16, width)
    x[:, :16] = torch.randn(n + 16, 16, generator=torch.Generator().manual_seed(0))
    return _split(x, x[:, :4].argmax(dim=1), n, 8)


def hungry() -> Task:
    """A task whose batch size is limited by memory alone."""
    return Task(
        name="hungry",
        data=hungry_data,
        model=Hungry,
        loss=cross_entropy,
        optimizer=partial(torch.optim.SGD, momentum=0.9),
        epochs=8,
    )


def hungrier() -> Task:
    """The same, and its appetite is searched: most combinations fit on no card."""
    times = Parameter(low=1, high=1024, log=True, usual=1)
    return replace(hungry(), name="hungrier", search={"times": times})


def wide_model(width: int) -> nn.Module:
    """A hidden layer of that width."""
    hidden = [nn.Linear(512, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()]
    return nn.Sequential(*hidden, nn.Linear(width, N_CLASSES))


def wide() -> Task:
    """Vectors through `wide_model`, whose width is searched."""
    width = Parameter(low=8, high=4096, log=True, usual=16 if IS_SMALL else 256)
    return replace(_task("wide", mlp_model, (512,)), model=wide_model, search={"width": width})


def made(shape: tuple[int, ...]) -> Data:
    """Random inputs (n, *shape) and random classes: nothing can be learned."""
    n, generator = 128 if IS_SMALL else 2048, torch.Generator().manual_seed(0)
    x = torch.randn(n + 512, *shape, generator=generator)
    return _split(x, torch.randint(N_CLASSES, (n + 512,), generator=generator), n, 256)


def _split(x: torch.Tensor, y: torch.Tensor, n: int, n_val: int) -> Data:
    val, test = slice(n, n + n_val), slice(n + n_val, None)
    return Data(
        x_train=x[:n], y_train=y[:n], x_val=x[val], y_val=y[val], x_test=x[test], y_test=y[test]
    )


def mlp_model() -> nn.Module:
    """Two wide hidden layers."""
    width = 64 if IS_SMALL else 2048
    hidden = [nn.Linear(512, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()]
    return nn.Sequential(*hidden, nn.Linear(width, N_CLASSES))


class Hooked(nn.Module):
    """The same in a reference cycle: its hook is its own method, so that only gc frees it."""

    def __init__(self) -> None:
        super().__init__()
        self.body = mlp_model()
        self.body[0].register_forward_hook(self.note)  # type: ignore[index]  # a Sequential

    def note(self, module: nn.Module, given: Any, output: torch.Tensor) -> None:
        """Remember a shape."""
        self.seen = tuple(output.shape)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Outputs (B, classes)."""
        return self.body(x)


def cnn_model() -> nn.Module:
    """Two convolutions with batch norm."""
    first = [nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU()]
    second = [nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU()]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, N_CLASSES)]
    return nn.Sequential(*first, *second, *head)


class Encoder(nn.Module):
    """A small transformer over sequences of vectors."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(128, 4, 512, batch_first=True, norm_first=True)
        n_layers = 1 if IS_SMALL else 3
        self.body = nn.TransformerEncoder(layer, n_layers, enable_nested_tensor=False)
        self.out = nn.Linear(128, N_CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Outputs (B, classes) of inputs (B, T, 128)."""
        return self.out(self.body(x).mean(1))


class Recurrent(nn.Module):
    """An LSTM with dropout, whose states cuDNN keeps."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.LSTM(64, 128, 2, batch_first=True, dropout=0.1)
        self.out = nn.Linear(128, N_CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Outputs (B, classes) of inputs (B, T, 64)."""
        return self.out(self.body(x)[0][:, -1])


def _task(name: str, model: Callable[[], nn.Module], shape: tuple[int, ...]) -> Task:
    return Task(
        name=name,
        data=partial(made, shape),
        model=model,
        loss=cross_entropy,
        optimizer=torch.optim.AdamW,
        epochs=3,
    )


def mlp() -> Task:
    """Vectors through `mlp_model`."""
    return _task("mlp", mlp_model, (512,))


def hooked() -> Task:
    """The same through `Hooked`."""
    return _task("hooked", Hooked, (512,))


def cnn() -> Task:
    """Images through `cnn_model`."""
    return _task("cnn", cnn_model, (3, 8, 8) if IS_SMALL else (3, 32, 32))


def transformer() -> Task:
    """Sequences through `Encoder`."""
    return _task("transformer", Encoder, (8, 128) if IS_SMALL else (128, 128))


def lstm() -> Task:
    """Sequences through `Recurrent`."""
    return _task("lstm", Recurrent, (4, 64) if IS_SMALL else (32, 64))
