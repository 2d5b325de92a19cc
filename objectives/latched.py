"""The part of `Run` that ends it: a verdict stands, whatever the training loop does next."""

from __future__ import annotations

from batchfront.objectives.measurement import Stopped, Verdict


class Latched:
    """A verdict, once there is one, which is raised again wherever a loop goes on."""

    def __init__(self) -> None:
        self.latched: Stopped | None = None  # the verdict, once there is one

    @property
    def _completed(self) -> bool:
        return self.latched is None or self.latched.verdict is Verdict.COMPLETED

    def _stop(self, verdict: Verdict, reason: str) -> None:
        self.latched = Stopped(verdict, reason)
        self._raise_latched()

    def _raise_latched(self) -> None:
        # A new object each time: a raised one holds its frames, and with them the dead model, for
        # as long as the run is kept, which would falsify the memory baseline of the next run.
        if self.latched is not None:
            raise Stopped(self.latched.verdict, self.latched.reason)
