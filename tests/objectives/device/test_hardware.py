"""Fingerprints, memory limits and what counts as out of memory."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import batchfront.objectives.device.hardware
from batchfront.objectives.device.hardware import (
    cpu_model,
    device_memory_bytes,
    free_memory,
    hardware,
    is_out_of_memory,
    nvidia_driver,
)


def test_the_fingerprint_names_device_cpu_torch_and_threads():
    found = hardware("cpu")
    assert found == hardware("cpu")
    assert found["torch"] == torch.__version__
    assert found["threads"] == "1"
    assert set(found) == {"device", "cpu", "torch", "threads"}


def test_the_fingerprint_of_a_gpu_names_it_and_its_driver(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"Fast GPU at {device}")
    monkeypatch.setattr(batchfront.objectives.device.hardware, "nvidia_driver", lambda: "550.54.15")
    found = hardware("cuda:1")
    assert (found["device"], found["gpu"]) == ("cuda", "Fast GPU at cuda:1")
    assert found["driver"] == "550.54.15"
    assert "threads" not in found, "they play no part"


def test_names_are_read_from_the_system(tmp_path: Path):
    info = tmp_path / "cpuinfo"
    info.write_text("processor\t: 0\nmodel name\t: Fast CPU 3000\nmodel name\t: Fast CPU 3000\n")
    assert cpu_model(info) == "Fast CPU 3000"
    version = tmp_path / "version"
    version.write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar 5\n")
    assert nvidia_driver(version) == "550.54.15"
    assert nvidia_driver(tmp_path / "none") == "unknown"


def test_a_real_failed_allocation_is_out_of_memory():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**50, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert is_out_of_memory(MemoryError())


@pytest.mark.parametrize("error", [ValueError("out of memory"), RuntimeError("shapes differ")])
def test_other_errors_are_not(error):
    assert not is_out_of_memory(error)


def test_freeing_lets_go_of_tensors_in_the_frames_of_an_error():
    def fail() -> weakref.ref:
        big = torch.zeros(1000)
        seen.append(weakref.ref(big))
        raise MemoryError

    seen: list[weakref.ref] = []
    try:
        fail()
    except MemoryError as error:
        assert seen[0]() is not None
        free_memory(error)
        assert seen[0]() is None


def test_the_cpu_has_a_plausible_amount_of_memory():
    assert 2**26 < device_memory_bytes("cpu") < 2**45


PHYSICAL_BYTES = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
MEMINFO = "MemTotal:       16000000 kB\nMemFree:         1000 kB\nMemAvailable:    8000000 kB\n"


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes a system that holds these files and no others, as seen by what asks for hardware."""
    module = batchfront.objectives.device.hardware
    monkeypatch.setattr(module, "Path", lambda name: tmp_path / name.lstrip("/"))

    def hold(**files: str) -> None:
        for name, text in files.items():
            file = tmp_path / {"meminfo": "proc", "limit": "sys/fs/cgroup"}[name]
            file.mkdir(parents=True)
            (file / {"meminfo": "meminfo", "limit": "memory.max"}[name]).write_text(text)

    return hold


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({"meminfo": MEMINFO}, 8_192_000_000),
        ({"meminfo": MEMINFO, "limit": "536870912\n"}, 2**29),
        ({"meminfo": MEMINFO, "limit": "max\n"}, 8_192_000_000),
        ({"meminfo": MEMINFO, "limit": f"{2**40}\n"}, 8_192_000_000),
        ({"limit": f"{2**20}\n"}, 2**20),
        ({}, PHYSICAL_BYTES),
    ],
    ids=["free", "limited", "unlimited", "limit-above-free", "limit-alone", "nothing-told"],
)
def test_the_cpu_has_what_is_free_and_no_more_than_its_container_may_use(system, files, found):
    system(**files)
    assert device_memory_bytes("cpu") == found
