"""Names of devices, on this machine and on one with two made-up accelerators."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from batchfront.objectives.device.names import beside, resolve_device, why_no_accelerator
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


class Machine:
    """GPUs by their names, without any."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
        def name_of(device: object) -> str:
            return names[int(str(device).rpartition(":")[2])]

        monkeypatch.setattr(torch.cuda, "device_count", lambda: len(names))
        monkeypatch.setattr(torch.cuda, "get_device_name", name_of)


def test_workers_spread_over_gpus_of_one_kind(monkeypatch):
    Machine(monkeypatch, "A", "B", "A", "A")
    assert beside("cuda:0") == ("cuda:0", "cuda:2", "cuda:3")
    assert beside("cuda:1") == ("cuda:1",)
    assert beside("cpu") == ("cpu",)


def test_workers_of_ranks_take_gpus_that_follow_each_other(monkeypatch):
    Machine(monkeypatch, *"AAAAA")
    assert beside("cuda:0", n_ranks=2) == ("cuda:0", "cuda:2")
    assert beside("cuda:1", n_ranks=2) == ("cuda:1", "cuda:3")


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("The NVIDIA driver on your system is too old (found version 12020). Please", "too old"),
        ("Found no NVIDIA driver on your system. Please check", "Found no NVIDIA driver"),
    ],
)
def test_a_cuda_build_without_a_gpu_says_why(monkeypatch, said, words):
    def init() -> None:
        raise RuntimeError(said)

    assert why_no_accelerator() is None, "the CPU build has nothing to explain"
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "init", init)
    found = why_no_accelerator()
    assert found is not None
    assert words in found
    assert "Please" not in found
