"""The part of `Run` that another process can go on from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from batchfront.objectives.latched import Latched
from batchfront.objectives.meters.metered import Metered


class Resumable(Latched, Metered):
    """What the loop saves after an epoch, with what the run measured, is restored elsewhere."""

    def __init__(self) -> None:
        self.restored: dict[str, Any] | None = None
        """What an earlier process saved last, to be loaded before `begin`; else None."""
        self.keep: Callable[[dict[str, Any]], None] | None = None
        self.is_due: Callable[[], bool] = lambda: True
        """Whether `keep` wants this epoch; where epochs are short it does not want each."""
        self.keeps_if_asked = False
        """Set by a loop that is known to save an epoch where it is `asked_to_keep` it."""
        self.asked_to_keep = False
        self._earlier: dict[str, Any] | None = None  # our own state in that process

    def restore(self, kept: dict[str, Any]) -> None:
        """Go on, before the objective is called, from what another process gave to `keep`.

        Raises:
            KeyError, TypeError, ValueError: it is nothing that `keep` was ever given.
        """
        if not kept["loop"]:  # a loop would start over with the curve of another run
            raise ValueError("nothing of the training loop was saved")
        self._earlier, self.restored = kept["run"], kept["loop"]

    def save(self, state: Mapping[str, Any]) -> None:
        """Keep, after `report`, what the next epoch starts from: a crash then costs one epoch.

        Args:
            state: tensors, numbers, strings and lists, tuples, sets and dicts of them: the
                state_dict() of model, optimizer, scheduler and scaler, the epoch, and the state of
                generators of your own. NumPy's scalars come back as Python's numbers; arrays,
                deque, defaultdict, Path, datetime and torch.Generator as they were. With anything
                else the run is not kept, which is said once. The generators of torch, NumPy and
                Python are kept for you, and so is what the run has measured.
        """
        self.save_made(lambda: state)

    def save_made(self, make: Callable[[], Mapping[str, Any]]) -> None:
        """Do as `save`, with what `make` gives: it is called where that is going to be kept."""
        if self.keep is not None and self.latched is None and self.is_due():
            with self.validating():
                self.keep({"run": self._state(), "loop": dict(make())})
        self._raise_latched()  # after it: who leaves wants this epoch kept

    def _state(self) -> dict[str, Any]:
        """All of the run itself that changes from epoch to epoch."""
        raise NotImplementedError
