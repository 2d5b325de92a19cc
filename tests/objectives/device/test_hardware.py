"""Fingerprints, memory limits and what counts as out of memory."""

from __future__ import annotations

import errno
import os
import platform
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import batchfront.objectives.device.hardware
from batchfront.objectives.device.hardware import (
    all_memory_bytes,
    cpu_model,
    free_memory,
    hand_memory_over,
    hardware,
    is_device_lost,
    is_out_of_memory,
    nvidia_driver,
    others_memory_bytes,
    usable_memory_bytes,
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


@pytest.mark.parametrize(
    "said",
    [
        "CUDA out of memory. Tried to allocate 2.00 GiB",
        "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported",
        "HIP out of memory. Tried to allocate",
        "MPS backend out of memory (MPS allocated: 17 GB)",
        "Out of memory allocating 1,024 bytes (allocated so far: 512 bytes).",
        "RESOURCE_EXHAUSTED: Attempting to allocate 5.96G. That was not possible.",
        "XLA:TPU compile permanent error. Ran out of memory in memory space hbm.",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "NCCL error: unhandled cuda error; Failed to CUDA calloc async 608 bytes",
        "NCCL error: Cuda failure 2 'out of memory'",
        "[enforce fail at alloc_cpu.cpp:66] . posix_memalign(&data, 64, nbytes) == 0. 12 vs 0",
        "unable to mmap 1024 bytes from file: Cannot allocate memory (12)",
        "std::bad_alloc",
        "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that "
        "dataloader's workers are out of shared memory.",
    ],
)
def test_a_shortage_is_known_in_the_words_of_every_library(said):
    assert is_out_of_memory(RuntimeError(said))
    assert not is_out_of_memory(ValueError(said))


class ResourceExhaustedError(Exception):
    """TensorFlow's is no RuntimeError."""


def test_a_shortage_is_known_by_its_type_and_number():
    assert is_out_of_memory(ResourceExhaustedError("OOM when allocating tensor"))
    assert is_out_of_memory(OSError(errno.ENOMEM, "Cannot allocate memory"))


def raised(how: str) -> BaseException:
    try:
        try:
            raise RuntimeError("CUDA out of memory")
        except RuntimeError as error:
            if how == "from":
                raise ValueError("failed in fold 3") from error
            raise ValueError("wrong shape in the smaller attempt") from None
    except ValueError as error:
        return error


def test_an_error_that_was_raised_from_a_shortage_is_one_and_one_raised_after_it_is_not():
    assert is_out_of_memory(raised("from"))
    assert not is_out_of_memory(raised("from None"))


AMBIGUOUS = {  # said without memory, and for other reasons too: (words, one of each)
    "GET was unable to find an engine to execute this computation": (
        "cuDNN swallows what the allocator raises for each plan's workspace: pytorch#108645",
        "no engine for such shapes and types",
    ),
    "Unable to find a valid cuDNN algorithm to run convolution": (
        "gone with fewer processes on the GPU: marqo#101; with a smaller batch: yolov5#11250",
        "a GPU that the build has no kernels for: relationPrediction#37, also at a smaller batch",
    ),
    "cuDNN error: CUDNN_STATUS_NOT_SUPPORTED. This error may appear if you passed in a "
    "non-contiguous input.": (
        "no plan fits into what is left",
        "limits of cuDNN: batch norm above 1,024 or 65,535 examples, tensors of 2^31 elements: "
        "pytorch#1059, #1004, #4107, onnxruntime#15715",
    ),
    "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR": (
        "its libraries are loaded when first needed, for which there was no room: pytorch#81620",
        "a convolution to 262,144 channels: pytorch#77844",
    ),
    "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`": (
        "no room for the handle's workspace: tensorflow#9489",
        "an index beyond an embedding has broken the context: lm-evaluation-harness#1689",
    ),
}


@pytest.mark.parametrize("said", AMBIGUOUS)
def test_what_may_have_other_reasons_is_a_shortage_where_the_device_is_nearly_full(
    said, monkeypatch
):
    assert not is_out_of_memory(RuntimeError(said))
    free = 5
    for name, fake in {
        "is_available": lambda *at: True,
        "get_memory_info": lambda *at: (free, 100),
        "memory_reserved": lambda *at: 90,
        "memory_allocated": lambda *at: 88,
    }.items():
        monkeypatch.setattr(torch.accelerator, name, fake)
    assert is_out_of_memory(RuntimeError(said))
    free = 50
    assert not is_out_of_memory(RuntimeError(said))


NO_SHORTAGE = {
    ValueError("out of memory"): "user code's own words",
    RuntimeError("shapes differ"): "says what it is",
    RuntimeError("my model ran out of memory slots in its replay buffer"): "no memory of a device",
    RuntimeError("CUDA error: unspecified launch failure"): (
        "a kernel that died: hardware, driver, bad addresses: pytorch#74235, #49832, #39872"
    ),
    RuntimeError("CUDA error: an illegal memory access was encountered"): "a kernel's bug",
    RuntimeError("CUDA error: device-side assert triggered"): "an index or a target out of range",
    RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"): (
        "a kernel that died, with memory left: pytorch#17774"
    ),
    OSError(errno.ENOSPC, "No space left on device"): "a disk",
}


@pytest.mark.parametrize("error", NO_SHORTAGE, ids=str)
@pytest.mark.parametrize("full", [False, True])
def test_other_errors_are_none_however_full_the_device_is(error, full, monkeypatch):
    monkeypatch.setattr("batchfront.objectives.device.hardware._is_nearly_full", lambda: full)
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
    assert 2**26 < all_memory_bytes("cpu") < 2**45


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
    assert all_memory_bytes("cpu") == found


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> None:
    """1000 bytes, of which this process caches 300 and uses 100, and others hold 250."""
    for name, found in {
        "get_memory_info": (450, 1000),
        "memory_reserved": 300,
        "memory_allocated": 100,
    }.items():
        monkeypatch.setattr(torch.accelerator, name, lambda device=None, found=found: found)


def test_what_may_be_used_is_what_is_free_and_what_our_cache_would_hand_out(card):
    assert all_memory_bytes("cuda:0") == 1000
    assert usable_memory_bytes("cuda:0") == 450 + 200
    assert others_memory_bytes("cuda:0") == 250
    assert others_memory_bytes("cpu") == 0


@pytest.mark.parametrize("answers", [True, False])
def test_a_device_is_lost_when_it_answers_no_more(monkeypatch, answers):
    def synchronize(device: str) -> None:
        if not answers:
            raise torch.AcceleratorError("CUDA error: device-side assert triggered")

    monkeypatch.setattr(torch.accelerator, "synchronize", synchronize)
    error = RuntimeError("index out of range")
    assert is_device_lost(error, "cuda:0") is not answers
    assert not is_device_lost(error, "cpu")
    assert not is_device_lost(ValueError("of the user"), "cuda:0")
    assert not is_device_lost(torch.OutOfMemoryError("CUDA out of memory"), "cuda:0")


def test_a_lost_device_has_nothing_to_hand_over(monkeypatch):
    def empty() -> None:
        raise RuntimeError("CUDA error: device-side assert triggered")

    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "empty_cache", empty)
    hand_memory_over()


@pytest.mark.parametrize(
    ("command", "said", "found"),
    [
        ("sysctl", "Apple M3 Max\n", "Apple M3 Max"),
        ("lscpu", "Architecture: aarch64\nModel name:   Neoverse-V2\n", "Neoverse-V2"),
        ("lscpu", "Architecture: aarch64\n", None),
    ],
)
def test_chips_without_a_model_name_are_asked_for_theirs(monkeypatch, command, said, found):
    module = batchfront.objectives.device.hardware

    def output(name: str, *args: str) -> str:
        if name != command:
            raise FileNotFoundError(name)
        return said

    monkeypatch.setattr(module, "_output", output)
    other = platform.processor() or platform.machine()
    assert cpu_model(Path("no such file")) == (found or other)
