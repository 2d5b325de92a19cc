"""What a wall time belongs to: the device, its driver, torch and the threads."""

from __future__ import annotations

import gc
import os
import platform
import re
from pathlib import Path
from typing import Any


def hardware(device: str) -> dict[str, str]:
    """Fingerprint of whatever training speed depends on; equal fingerprints are comparable."""
    import torch

    found = {"device": device.partition(":")[0], "cpu": cpu_model(), "torch": torch.__version__}
    if device.startswith("cpu"):
        return {**found, "threads": "1"}  # as every CPU worker runs
    if device.startswith("cuda"):
        found["gpu"] = torch.cuda.get_device_name(device)
        found["driver"] = nvidia_driver()
    return found


def cpu_model(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's name as the system gives it."""
    if cpuinfo.exists():
        names = re.findall(r"^model name\s*: (.+)$", cpuinfo.read_text(), re.MULTILINE)
        if names:
            return str(names[0])
    return platform.processor() or platform.machine()


def nvidia_driver(version: Path = Path("/proc/driver/nvidia/version")) -> str:
    """The kernel driver's version, "unknown" where the system does not tell."""
    found = (
        re.search(r"Kernel Module.*?\s(\d+\.[\d.]+)", version.read_text())
        if version.exists()
        else None
    )
    return found.group(1) if found else "unknown"


def device_memory_bytes(device: str) -> int:
    """Memory that training may use at all: the accelerator's, or what the machine has free."""
    if not device.startswith("cpu"):
        import torch

        return int(torch.accelerator.get_memory_info(device)[1])
    free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        kilobytes = re.search(r"^MemAvailable:\s+(\d+)", meminfo.read_text(), re.MULTILINE)
        free = int(kilobytes.group(1)) * 1024 if kilobytes else free
    group = Path("/sys/fs/cgroup/memory.max")  # a container's limit
    if group.exists() and (text := group.read_text().strip()).isdigit():
        free = min(free, int(text))
    return free


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device or the CPU allocator had no memory left."""
    import torch

    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    said = str(error)
    return isinstance(error, RuntimeError) and (
        "DefaultCPUAllocator" in said or "out of memory" in said.lower()
    )


def free_memory(error: Any) -> None:
    """Let go of what a failed run held: its tensors live in the frames of the traceback."""
    import torch

    while error is not None:
        error.__traceback__ = None
        error = error.__context__
    gc.collect()
    if torch.accelerator.is_available():
        torch.accelerator.empty_cache()
