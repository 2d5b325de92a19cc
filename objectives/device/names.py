"""Which device to train on."""

from __future__ import annotations

from batchfront.objectives.measurement import ObjectiveError


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


def devices_of(device: str, n_ranks: int) -> tuple[str, ...]:
    """The device of every rank: the CPU for all, or a GPU each from `device` on.

    Raises:
        ObjectiveError: there are not so many.
    """
    kind, _, first = device.partition(":")
    if n_ranks == 1 or kind == "cpu":
        return (device,) * n_ranks
    import torch

    if kind != "cuda":
        raise ObjectiveError(
            f"--data-parallel {n_ranks} is for cpu and cuda, not for {device}: leave it out, or "
            "choose --device cpu"
        )
    there = torch.cuda.device_count() - int(first or 0)
    if there < n_ranks:
        raise ObjectiveError(
            f"--data-parallel {n_ranks} takes a GPU for each rank, and from {device} on there are "
            f"{there}: choose fewer ranks, or --device cpu"
        )
    return tuple(f"cuda:{int(first or 0) + rank}" for rank in range(n_ranks))
