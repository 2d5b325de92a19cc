"""The device, as studies know it."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.gpu_check.bench import Bench, mib
from benchmarks.gpu_check.rows import Row, info, judged


def check(bench: Bench) -> Iterator[Row]:
    """Name, driver, memory."""
    import torch

    from batchfront.objectives.device.hardware import (
        all_memory_bytes,
        hardware,
        usable_memory_bytes,
    )
    from batchfront.objectives.device.names import beside, resolve_device

    found = hardware(bench.device)
    taken = resolve_device("auto")
    yield info("torch, device", f"{torch.__version__}, {found.get('gpu', found['cpu'])}")
    yield judged(bench.device == taken or not bench.is_cuda, "auto takes the GPU", taken)
    if not bench.is_cuda:
        return
    known = found["driver"] != "unknown"
    yield judged(
        known, "the fingerprint knows GPU and driver", f"{found['gpu']}, {found['driver']}"
    )
    total, usable = all_memory_bytes(bench.device), usable_memory_bytes(bench.device)
    yield info("memory in MiB: all, usable", f"{mib(total)}, {mib(usable)}")
    yield info("GPUs that workers spread over", ", ".join(beside(bench.device)))
    native, tf32 = torch.cuda.is_bf16_supported(False), torch.backends.cudnn.allow_tf32
    yield info("native bfloat16, TF32 convolutions", f"{native}, {tf32}")
