"""What a wall time belongs to: the device, its driver, torch and the threads."""

from __future__ import annotations

import errno
import gc
import os
import platform
import re
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

from batchfront.objectives.raised import kind_of, text_of

SHORTAGE = re.compile(
    # CUDA, HIP, MPS, XPU, drivers; but not "out of memory slots"
    r"out of memory(?=\s*(?:$|\n|[^\w\s])|\s+(?:\w+ing|while|when|on|in|at|for|error)\b)"
    r"|OOM when allocating|RESOURCE_EXHAUSTED|out of shared memory"
    r"|_ALLOC_FAILED|CUDA calloc"  # cuBLAS, cuDNN, cuSOLVER, cuSPARSE; NCCL
    r"|DefaultCPUAllocator|alloc_cpu\.cpp|Cannot allocate memory|bad_alloc",
    re.IGNORECASE,
)
NO_PLAN = re.compile(  # what libraries say, too, that tried all their ways and had room for none
    r"unable to find an engine|Unable to find a valid cuDNN algorithm"
    r"|CUDNN_STATUS_NOT_SUPPORTED|CUDNN_STATUS_INTERNAL_ERROR|CUBLAS_STATUS_NOT_INITIALIZED",
    re.IGNORECASE,
)
NEARLY_FULL = 0.1  # of an accelerator's memory is left: then the latter are taken for a shortage


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
    """The processor's name as the system gives it.

    Apple's chips and ARM servers go by one word elsewhere, whatever they are.
    """
    if cpuinfo.exists():
        names = re.findall(r"^model name\s*: (.+)$", cpuinfo.read_text(), re.MULTILINE)
        if names:
            return str(names[0])
    return _said_by_system() or platform.processor() or platform.machine()


def _said_by_system() -> str | None:
    """The processor's name from macOS or from util-linux; None where neither is there."""
    with suppress(OSError, subprocess.SubprocessError):
        return _output("sysctl", "-n", "machdep.cpu.brand_string").strip() or None
    with suppress(OSError, subprocess.SubprocessError):
        named = re.search(r"^Model name:\s*(\S.*)$", _output("lscpu"), re.MULTILINE)
        return named.group(1).strip() if named else None
    return None


def _output(*command: str) -> str:
    # Whatever language the machine speaks, the name of the field is this one.
    said = subprocess.run(  # noqa: S603, a command of ours
        command,
        capture_output=True,
        text=True,
        check=True,
        timeout=5,
        env={**os.environ, "LC_ALL": "C"},
    )
    return said.stdout


def nvidia_driver(version: Path = Path("/proc/driver/nvidia/version")) -> str:
    """The kernel driver's version, "unknown" where the system does not tell."""
    found = (
        re.search(r"Kernel Module.*?\s(\d+\.[\d.]+)", version.read_text())
        if version.exists()
        else None
    )
    return found.group(1) if found else "unknown"


def all_memory_bytes(device: str) -> int:
    """All memory of an accelerator, in bytes; of a CPU's machine, what is free."""
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


def usable_memory_bytes(device: str) -> int:
    """Memory that a model may take by now: what is free, and what this process's cache holds.

    Data that lives on an accelerator, its driver's context and other processes have had their part.
    """
    if device.startswith("cpu"):
        return all_memory_bytes(device)
    import torch

    free, _ = torch.accelerator.get_memory_info(device)
    return int(free) + _cached_bytes(device)


def others_memory_bytes(device: str) -> int:
    """What an accelerator's memory holds besides this process's tensors and cache; 0 on a CPU."""
    if device.startswith("cpu"):
        return 0
    import torch

    free, total = torch.accelerator.get_memory_info(device)
    return max(0, int(total) - int(free) - int(torch.accelerator.memory_reserved(device)))


def _cached_bytes(device: str | None = None) -> int:
    """What the allocator keeps of what nobody in this process uses any more."""
    import torch

    kept = torch.accelerator.memory_reserved(device) - torch.accelerator.memory_allocated(device)
    return int(kept)


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether a device or an allocator had no memory left, in whatever words that is said.

    Also where `raise ... from` hangs it on another error; one that was merely handled before
    (`__context__`) says nothing of this one.
    """
    while error is not None:
        if _says_so(error):
            return True
        error = error.__cause__
    return False


def is_device_lost(error: BaseException, device: str) -> bool:
    """Whether an accelerator answers this process no more, after an error of a kernel.

    An index that is out of range or a NaN where a probability is wanted stops a kernel by an
    assertion; every later call of the process fails then, whatever it asks for.
    """
    if device.startswith("cpu") or not isinstance(error, RuntimeError) or is_out_of_memory(error):
        return False
    import torch

    try:
        torch.accelerator.synchronize(device)
    except RuntimeError:
        return True
    return False


def _says_so(error: BaseException) -> bool:
    import torch

    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    if "ResourceExhausted" in kind_of(error):  # TensorFlow's
        return True
    if not isinstance(error, RuntimeError):
        return False
    said = text_of(error)
    return bool(SHORTAGE.search(said)) or (bool(NO_PLAN.search(said)) and _is_nearly_full())


def _is_nearly_full() -> bool:
    """Whether an accelerator has little memory left, besides what its cache would hand out."""
    import torch

    if not torch.accelerator.is_available():
        return False
    free, total = torch.accelerator.get_memory_info()
    return bool(free + _cached_bytes() < NEARLY_FULL * total)


def free_memory(error: Any) -> None:
    """Let go of what a failed run held: its tensors live in the frames of the traceback."""
    while error is not None:
        error.__traceback__ = None
        error = error.__context__
    hand_memory_over()


def hand_memory_over() -> None:
    """Give back what this process holds of an accelerator's memory and does not use.

    The allocator frees its own cache when memory runs short, and never another process's.
    """
    import torch

    gc.collect()
    if torch.accelerator.is_available():
        with suppress(RuntimeError):  # a device that is lost has nothing to give
            torch.accelerator.empty_cache()
