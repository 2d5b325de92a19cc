"""How long a single run may train before it is ended."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class TimeLimit:
    """The most training seconds of a run, counted as they would be told."""

    seconds: float
    step_seconds: float | None = None
    """Of each step, where a probe knows them: then no other work on the machine ends a run. None:
    the run's own clock counts."""

    def words(self, spent: float) -> str:
        """Why a run was ended."""
        return f"it had trained for {spent:.3g} s, and max_trial_seconds is {self.seconds:g}"
