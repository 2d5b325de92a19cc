"""What a test does in the middle of a trial that runs in its own process."""

from __future__ import annotations

from collections.abc import Callable

in_a_trial: list[Callable[[], None]] = []  # each is called once, by the next epoch of a trial


def happen() -> None:
    """Called by objectives of tests after an epoch."""
    while in_a_trial:
        in_a_trial.pop()()
