"""Names of devices, on this machine and on one with two made-up accelerators."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from batchfront.objectives.device.names import resolve_device
from batchfront.objectives.measurement import ObjectiveError


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = SimpleNamespace(type="cuda")
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda **_: gpu)
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda **_: None)


def test_the_cpu_is_always_there():
    assert resolve_device("cpu") == "cpu"


def test_what_auto_picks_can_hold_a_tensor():
    assert torch.ones(2, device=resolve_device("auto")).sum().item() == 2


@pytest.mark.parametrize(
    ("asked", "found"),
    [("auto", "cuda:0"), ("cuda", "cuda:0"), ("cuda:1", "cuda:1"), ("cpu", "cpu")],
)
def test_an_accelerator_is_found_by_its_name(two_gpus, asked, found):
    assert resolve_device(asked) == found


def test_auto_is_the_cpu_where_there_is_nothing_else(no_gpu):
    assert resolve_device("auto") == "cpu"


@pytest.mark.parametrize("asked", ["cuda:2", "mps", "gpu", ""])
def test_a_device_that_is_not_there_is_refused_with_those_that_are(two_gpus, asked):
    with pytest.raises(ObjectiveError, match="this machine has cpu, cuda:0, cuda:1;"):
        resolve_device(asked)


@pytest.mark.parametrize("asked", ["cuda", "cuda:0", "mps", "xpu:1"])
def test_without_an_accelerator_only_the_cpu_is_there(no_gpu, asked):
    with pytest.raises(ObjectiveError, match=f"'{asked}' is not there: this machine has cpu;"):
        resolve_device(asked)
