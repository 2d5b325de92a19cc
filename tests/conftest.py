"""Settings and helpers shared by all tests."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """As workers run: results of one seed are bitwise equal only for equal thread counts."""
    torch.set_num_threads(1)
