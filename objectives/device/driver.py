"""What NVIDIA's driver says of a process, as `nvidia-smi` shows it: no other is part of it."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from functools import cache

LIBRARY = "libnvidia-ml.so.1"
MOST_PROCESSES = 512  # of one GPU


class _Process(ctypes.Structure):
    """`nvmlProcessInfo_t` of nvml.h, as drivers from 510 on have it (functions `_v3`)."""

    _fields_ = (
        ("pid", ctypes.c_uint),
        ("bytes", ctypes.c_ulonglong),
        ("gpu_instance", ctypes.c_uint),
        ("compute_instance", ctypes.c_uint),
    )


def own_memory_bytes(device: str) -> int | None:
    """All that this process holds of a GPU, its context included.

    None where nobody says: other makers, older drivers, slices of a GPU, and containers, which hide
    the numbers of processes from the driver's users.
    """
    if not device.startswith("cuda"):
        return None
    import torch

    with suppress(OSError, AttributeError, LookupError):  # no driver, an older one, no such GPU
        nvml = _nvml()
        handle = _handle(nvml, str(torch.cuda.get_device_properties(device).uuid))
        count, found = ctypes.c_uint(MOST_PROCESSES), (_Process * MOST_PROCESSES)()
        code = nvml.nvmlDeviceGetComputeRunningProcesses_v3(handle, ctypes.byref(count), found)
        own = [one.bytes for one in found[: count.value] if one.pid == os.getpid()]
        if code == 0 and own and own[0] < 2**63:  # else "not available"
            return int(own[0])
    return None


@cache
def _nvml() -> ctypes.CDLL:
    library = ctypes.CDLL(LIBRARY)
    if library.nvmlInit_v2() != 0:
        raise OSError("NVML does not begin")
    return library


def _handle(nvml: ctypes.CDLL, uuid: str) -> ctypes.c_void_p:
    handle, name = ctypes.c_void_p(), uuid if uuid.startswith("GPU-") else f"GPU-{uuid}"
    if nvml.nvmlDeviceGetHandleByUUID(name.encode(), ctypes.byref(handle)) != 0:
        raise LookupError(name)
    return handle
