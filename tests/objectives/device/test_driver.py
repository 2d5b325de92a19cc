"""What the driver says of a process, asked of a library that C makes as nvml.h declares it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from batchfront.objectives.device import driver
from batchfront.objectives.device.driver import own_memory_bytes

UUID = "1234"
NVML = """
    #include <string.h>
    typedef struct {{
        unsigned int pid;
        unsigned long long usedGpuMemory;
        unsigned int gpuInstanceId;
        unsigned int computeInstanceId;
    }} nvmlProcessInfo_t;
    static int device;
    int nvmlInit_v2(void) {{ return 0; }}
    int nvmlDeviceGetHandleByUUID(const char *uuid, void **handle) {{
        *handle = &device;
        return strcmp(uuid, "GPU-{uuid}") == 0 ? 0 : 6;  /* not found */
    }}
    int {name}(void *handle, unsigned int *count, nvmlProcessInfo_t *found) {{
        if (handle != &device || *count < 2) return 2;
        nvmlProcessInfo_t all[2] = {{{{1, 3ULL << 30, -1, -1}}, {{{pid}, {used}ULL, -1, -1}}}};
        memcpy(found, all, sizeof all);
        *count = 2;
        return 0;
    }}
"""
ASKED = "nvmlDeviceGetComputeRunningProcesses_v3"


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    """Makes a library that answers, and sees that it is asked."""
    if shutil.which("cc") is None:
        pytest.skip("needs a C compiler")
    properties = SimpleNamespace(uuid=UUID)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)

    def make(*, pid: int, used: int, uuid: str = UUID, name: str = ASKED) -> None:
        source, made = tmp_path / "nvml.c", tmp_path / "libnvidia-ml.so.1"
        source.write_text(NVML.format(pid=pid, used=used, uuid=uuid, name=name))
        subprocess.run(["cc", "-shared", "-fPIC", "-o", made, source], check=True)
        monkeypatch.setattr(driver, "LIBRARY", str(made))

    driver._nvml.cache_clear()
    yield make
    driver._nvml.cache_clear()


def test_a_process_is_told_what_it_holds_itself(library):
    library(pid=os.getpid(), used=5 * 2**30)
    assert own_memory_bytes("cuda:0") == 5 * 2**30, "and not what process 1 holds"
    assert own_memory_bytes("cpu") is None


@pytest.mark.parametrize(
    "answer",
    [
        {"pid": 2, "used": 5},  # a container has numbers of its own
        {"pid": os.getpid(), "used": 2**64 - 1},  # "not available"
        {"pid": os.getpid(), "used": 5, "uuid": "of another GPU"},
        {"pid": os.getpid(), "used": 5, "name": "nvmlDeviceGetComputeRunningProcesses"},  # older
    ],
)
def test_nothing_is_told_where_nobody_knows(library, answer):
    library(**answer)
    assert own_memory_bytes("cuda:0") is None


def test_nothing_is_told_without_a_driver(monkeypatch):
    monkeypatch.setattr(driver, "LIBRARY", "libno-such-driver.so.1")
    driver._nvml.cache_clear()
    assert own_memory_bytes("cuda:0") is None
