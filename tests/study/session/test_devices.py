"""What a person is told of a machine's accelerators before a search."""

from __future__ import annotations

import inspect

import pytest
import torch

from batchfront.study.plan.settings import StudySettings
from batchfront.study.session import devices
from batchfront.study.session.devices import device_notes

GIB = 2**30


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 80 GiB each, the first with 60 GiB free."""
    monkeypatch.setattr(devices, "all_memory_bytes", lambda device: 80 * GIB)
    monkeypatch.setattr(devices, "usable_memory_bytes", lambda device: 60 * GIB)
    monkeypatch.setattr(devices, "others_memory_bytes", lambda device: 1 * GIB)
    monkeypatch.setattr(devices, "beside", lambda device, n_ranks: ("cuda:0", "cuda:1")[::n_ranks])


@pytest.mark.usefixtures("two_gpus")
def test_workers_that_have_a_gpu_each_are_worth_no_word():
    assert device_notes(StudySettings(device="auto", n_workers=2), "cuda:0") == []
    settings = StudySettings(device="auto", n_workers=4, trials_per_gpu=2)
    assert device_notes(settings, "cuda:0") == []


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize(("device", "places"), [("auto", "cuda:0, cuda:1"), ("cuda:0", "cuda:0")])
def test_workers_that_take_turns_are_told_where_and_how_to_share(device, places):
    (note,) = device_notes(StudySettings(device=device, n_workers=3), "cuda:0")
    assert f"3 workers take turns on {places}, where 1 trial at a time" in note
    assert "--trials-per-gpu" in note


@pytest.mark.usefixtures("two_gpus")
def test_ranks_take_several_gpus_of_a_worker():
    settings = StudySettings(device="auto", n_workers=2, techniques={"data_parallel": 2})
    (note,) = device_notes(settings, "cuda:0")
    assert "2 workers take turns on cuda:0, where" in note


@pytest.mark.usefixtures("two_gpus")
def test_others_that_hold_much_of_the_memory_are_told(monkeypatch):
    monkeypatch.setattr(devices, "others_memory_bytes", lambda device: 20 * GIB)
    (note,) = device_notes(StudySettings(), "cuda:0")
    assert "cuda:0 has 60" in note
    assert "other processes hold 20" in note


def test_the_cpu_has_a_note_where_a_gpu_was_wanted_alone(monkeypatch):
    monkeypatch.setattr(devices, "why_no_accelerator", lambda: "the driver is too old")
    assert device_notes(StudySettings(device="auto"), "cpu") == ["the driver is too old"]
    assert device_notes(StudySettings(device="cpu"), "cpu") == []


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize("has_its_own", [True, False])
def test_bfloat16_that_a_gpu_has_no_arithmetic_for_is_told(monkeypatch, has_its_own):
    def supported(*, including_emulation: bool = True) -> bool:  # torch's own signature
        return including_emulation or has_its_own

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    settings = StudySettings(device="cuda:0", techniques={"precisions": ("float32", "bfloat16")})
    notes = device_notes(settings, "cuda:0")
    assert notes == (
        []
        if has_its_own
        else ["cuda:0 computes bfloat16 by way of float32: it saves memory and no time"]
    )
    assert device_notes(StudySettings(device="cuda:0"), "cuda:0") == []


def test_torch_still_tells_emulation_apart():
    parameters = inspect.signature(torch.cuda.is_bf16_supported).parameters
    assert parameters["including_emulation"].default is True
