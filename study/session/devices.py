"""What a person should know of a machine's accelerators before a search."""

from __future__ import annotations

from batchfront.objectives.device.hardware import (
    all_memory_bytes,
    others_memory_bytes,
    usable_memory_bytes,
)
from batchfront.objectives.device.names import SPREADING, beside, why_no_accelerator
from batchfront.objectives.training.precision import is_emulated
from batchfront.study.plan.settings import StudySettings, recipe_of
from batchfront.study.show import counted, human_bytes

CROWDED = 0.2  # of an accelerator's memory, held by other processes, is worth a word


def device_notes(settings: StudySettings, device: str) -> list[str]:
    """Lines on why the CPU was taken, who else is on the GPU, and how workers share it.

    `device`: what the settings' name stands for here.
    """
    if device.startswith("cpu"):
        reason = why_no_accelerator() if settings.device == "auto" else None
        return [reason] if reason else []
    return [*_crowd(device), *_emulation(settings, device), *_queue(settings, device)]


def _crowd(device: str) -> list[str]:
    total, held = all_memory_bytes(device), others_memory_bytes(device)
    if held <= CROWDED * total:
        return []
    return [
        f"{device} has {human_bytes(usable_memory_bytes(device))} of {human_bytes(total)} free: "
        f"other processes hold {human_bytes(held)}, and batch sizes that do not fit beside them "
        "are left out"
    ]


def _emulation(settings: StudySettings, device: str) -> list[str]:
    emulated = [one for one in recipe_of(settings).precisions if is_emulated(one, device)]
    return [
        f"{device} computes {precision} by way of float32: it saves memory and no time"
        for precision in emulated
    ]


def _queue(settings: StudySettings, device: str) -> list[str]:
    n_workers, n_beside = settings.n_workers or 1, settings.trials_per_gpu
    if isinstance(n_beside, str):
        return []  # it is measured, and told then
    n_ranks = recipe_of(settings).data_parallel
    places = beside(device, n_ranks=n_ranks) if settings.device in SPREADING else (device,)
    if n_workers <= len(places) * n_beside:
        return []
    return [
        f"{n_workers} workers take turns on {', '.join(places)}, where "
        f"{counted(n_beside, 'trial')} at a time may run: a larger --trials-per-gpu lets more "
        "share one"
    ]
