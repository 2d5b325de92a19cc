"""Which device to train on."""

from __future__ import annotations

from objectives.measurement import ObjectiveError


def resolve_device(name: str) -> str:
    """A torch device that is there: "auto" picks an accelerator when there is one.

    Raises:
        ObjectiveError: no such device on this machine.
    """
    import torch

    accelerator = torch.accelerator.current_accelerator(check_available=True)
    kind = accelerator.type if accelerator is not None else None
    count = torch.accelerator.device_count() if kind else 0
    there = ["cpu"] + [f"{kind}:{i}" for i in range(count)]
    if name == "auto":
        return there[-count] if count else "cpu"
    if name == kind:
        return f"{kind}:0"
    if name not in there:
        raise ObjectiveError(
            f"device {name!r} is not there: this machine has {', '.join(there)}; "
            "--device auto picks for you"
        )
    return name
