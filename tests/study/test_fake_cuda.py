"""What the fake GPUs take for a touch, held against torch's own sources."""

from __future__ import annotations

import inspect

import pytest
import torch

from tests.study.fake_cuda import ALLOCATOR, CUDA, FREE_OF_COST


@pytest.mark.parametrize("name", ["get_device_properties", "get_rng_state", "synchronize", "init"])
def test_these_make_a_context_by_themselves(name):
    assert "_lazy_init()" in inspect.getsource(getattr(torch.cuda, name))
    assert name in CUDA


@pytest.mark.parametrize(
    ("name", "by"), [("get_device_name", "properties"), ("get_device_capability", "properties")]
)
def test_these_make_one_by_another(name, by):
    assert f"get_device_{by}(" in inspect.getsource(getattr(torch.cuda, name))


@pytest.mark.parametrize("name", ["is_available", "device_count"])
def test_who_counts_devices_makes_none(name):
    for module in (torch.cuda, torch.accelerator):
        source = inspect.getsource(getattr(module, name))
        assert "_lazy_init()" not in source
        assert "_cuda_init" not in source
    assert name in FREE_OF_COST
    assert "poison fork" in str(torch.accelerator.device_count.__doc__)


def test_a_cache_that_is_not_there_is_emptied_without_making_one():
    source = inspect.getsource(torch.accelerator.empty_cache)
    assert "if not torch._C._accelerator_isAllocatorInitialized():\n        return" in source
    assert "empty_cache" in ALLOCATOR


def test_seeds_wait_for_a_context_in_place_of_making_one():
    assert "_lazy_call(cb, seed_all=True)" in inspect.getsource(torch.cuda.manual_seed_all)
    assert "if is_initialized()" in inspect.getsource(torch.cuda._lazy_call)
