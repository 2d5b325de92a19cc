"""Where something is measured nothing else of ours runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

from batchfront.objectives.device.names import devices_of
from batchfront.objectives.ranks.leading import ranks_on
from batchfront.objectives.training.recipe import n_ranks
from batchfront.study.machine.slots import pinned_core
from batchfront.study.machine.turns import Turn, device_turn, never

if TYPE_CHECKING:
    from batchfront.objectives.objective import Objective


@contextmanager
def measuring_alone(
    objective: Objective, device: str, *, ranks_stay: bool = False, takes_turn: bool = True
) -> Iterator[None]:
    """One thread, and on the CPU one core that no other worker uses; one for each rank.

    Likewise on CUDA, where small models wait for whoever launches their kernels.

    Accelerators are held as well, unless who is inside takes their turns by itself.

    What starts processes, as a training loop of your own may, is not pinned: they would share the
    core.
    The other ranks that are started inside end with it, unless they are to stay for the next time.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        shares = getattr(objective, "starts_processes", False)
        wanted = device.startswith(("cpu", "cuda")) and not shares
        with (
            pinned_core(wanted=wanted, n=n_ranks(objective)) as spare,
            ranks_on(objective, spare, stay=ranks_stay),
            measuring_turn(objective, device) if takes_turn else nullcontext(),
        ):
            yield
    finally:
        torch.set_num_threads(threads)


def measuring_turn(
    objective: Objective, device: str, give_up: Callable[[], bool] = never
) -> AbstractContextManager[Turn]:
    """The accelerators of an objective's ranks, for whoever measures on them."""
    return device_turn(devices_of(device, n_ranks(objective)), give_up)
