"""Which device to train on."""

from __future__ import annotations

from batchfront.objectives.measurement import ObjectiveError

SPREADING = ("auto", "cuda")  # names that mean any GPU of the machine


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


def make_current(device: str) -> None:
    """Let a GPU be the one that code means which names none: pinned memory, `tensor.cuda()`."""
    if device.startswith("cuda"):
        import torch

        torch.cuda.set_device(device)


def beside(device: str, *, n_ranks: int = 1) -> tuple[str, ...]:
    """Where workers may train: that device, and the other GPUs of its kind on this machine.

    Args:
        n_ranks: GPUs that each worker takes, from its own on; others are not listed.
    """
    if not device.startswith("cuda"):
        return (device,)
    import torch

    first, kind = int(device.partition(":")[2] or 0), torch.cuda.get_device_name(device)
    count = torch.cuda.device_count()
    alike = [i for i in range(first, count) if torch.cuda.get_device_name(i) == kind]
    if n_ranks > 1:
        alike = [i for i in range(first, count, n_ranks) if i + n_ranks <= count]
    return tuple(f"cuda:{i}" for i in alike)


def why_no_accelerator() -> str | None:
    """Why "auto" takes the CPU though torch was built for a GPU; None where it should.

    Asked after `resolve_device`.
    """
    import torch

    built_for = torch.version.cuda
    if built_for is None or torch.accelerator.is_available():
        return None
    try:
        torch.cuda.init()
        said = "it sees no GPU"
    except (RuntimeError, AssertionError) as error:
        said = str(error).partition(". ")[0].strip().rstrip(".")
    return f"torch is built for CUDA {built_for} and trains on the CPU: {said}"


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
