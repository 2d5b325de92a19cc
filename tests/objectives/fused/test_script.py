"""A traced graph in TorchScript does what it does in Python."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from batchfront.objectives.fused.recorder import recorded
from batchfront.objectives.fused.script import as_script


def many_kinds(x: Tensor, index: Tensor) -> Tensor:
    """Lists, booleans, kinds of numbers, infinity, tuples, constants, and a change in place."""
    constant = torch.tensor([1.0, 2.0, 4.0])
    value, place = x.max(dim=1)
    wide = functional.pad(x, [1, 1], value=-float("inf")).sort(dim=1).values[:, 2:]
    picked = wide[:, index].to(torch.float64).view([-1]) * 0.5
    x.mul_(constant)
    return picked.sum() + value.sum() + place.double().mean(dim=[0], keepdim=True) + x.var()


def steps(x: Tensor, index: Tensor) -> Tensor:
    image = x.view(1, 1, 3, 3)
    kernel = torch.full((2, 1, 2, 2), 0.5).requires_grad_()
    found = functional.max_pool2d(functional.conv2d(image, kernel), 2).square().sum()
    (slope,) = torch.autograd.grad(found, kernel)
    return slope.flatten()[index]


@pytest.mark.parametrize("function", [many_kinds, steps])
def test_it_gives_the_same_to_the_bit(function: Callable[..., Tensor]):
    x, index = torch.randn(3, 3), torch.tensor([1, 0])
    made = recorded(function, [x.clone(), index])
    script, python = as_script(made.graph, made.constants), made.in_python()
    for step in (script, script, python):  # what a step leaves behind changes no later one
        mine, theirs = x.clone(), x.clone()
        assert torch.equal(step(mine, index), function(theirs, index))
        assert torch.equal(mine, theirs)


def test_what_it_cannot_say_is_an_error_that_the_caller_can_handle():
    graph = recorded(lambda x: x + 1, [torch.zeros(2)]).graph
    node = next(n for n in graph.nodes if n.op == "call_function")
    given: Any = {3 + 1j}
    node.args = (node.args[0], *given)
    with pytest.raises(NotImplementedError, match="complex"):
        as_script(graph, {})
