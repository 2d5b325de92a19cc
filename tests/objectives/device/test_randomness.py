"""The states of the global generators: read, put back, and those that older versions kept."""

from __future__ import annotations

import random
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from batchfront.objectives.device.randomness import (
    random_states,
    restore_random_states,
    seed_everything,
)


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    states = random_states("cpu")
    yield
    restore_random_states(states, "cpu")


def drawn() -> tuple[float, float, float, float]:
    return random.random(), random.gauss(0, 1), float(np.random.rand()), float(torch.rand(()))


def test_what_is_drawn_goes_on_from_the_states():
    seed_everything(3)
    random.gauss(0, 1)  # of which a second one is kept
    states = random_states("cpu")
    first = drawn()
    assert drawn() != first
    restore_random_states(states, "cpu")
    assert drawn() == first


def test_states_that_older_versions_kept_are_put_back():
    """Python's numbers were a tuple there."""
    states = random_states("cpu")
    version, numbers, gauss = states["python"]
    first = drawn()
    restore_random_states({**states, "python": (version, tuple(numbers.tolist()), gauss)}, "cpu")
    assert drawn() == first
