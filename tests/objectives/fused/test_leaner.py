"""A recorded step, and what is left out of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from batchfront.objectives.fused.leaner import lean
from batchfront.objectives.fused.recorder import Recorded, recorded
from batchfront.objectives.fused.script import as_script


def leaned(function: Callable[..., Tensor], *given: Tensor) -> Recorded:
    made = recorded(function, [one.clone() for one in given])
    lean(made.graph, made.constants)
    return made


def operators(made: Recorded) -> list[str]:
    return [str(node.target) for node in made.graph.nodes if node.op == "call_function"]


def assert_same(made: Recorded, function: Callable[..., Tensor], *given: Tensor) -> None:
    """Assert that it does what the function does, whoever runs it, and does so again."""
    for step in (as_script(made.graph, made.constants), made.in_python()):
        for _ in range(2):
            mine, theirs = ([one.clone() for one in given] for _ in "ab")
            assert torch.equal(step(*mine), function(*theirs))
            assert all(torch.equal(a, b) for a, b in zip(mine, theirs, strict=True))


def looks_again(x: Tensor) -> Tensor:
    same = x.expand(3, 4).view(3, 4).t().t()
    return (same.t() @ same) * torch.full((), 2.0)


def takes_nothing_of_it(x: Tensor) -> Tensor:
    x.exp().sum()
    return x + 1


def counts_up(x: Tensor) -> Tensor:
    count = torch.zeros(())
    count.add_(x.sum())
    return x * count


def reshapes_in_place(x: Tensor) -> Tensor:
    same = x.view(4, 3)
    x.t_()
    return (same @ x) + x.t().sum()


def writes_between(x: Tensor) -> Tensor:
    before = x.view(12)[:4].clone()
    part = x.view(12)[:4]
    part.mul_(3.0)
    return before + x.view(12)[:4]


def writes_into_a_constant(x: Tensor) -> Tensor:
    total = torch.tensor([1.0, 2.0, 3.0])
    total += x.sum(dim=1)
    return total


FUNCTIONS = [
    looks_again,
    takes_nothing_of_it,
    counts_up,
    reshapes_in_place,
    writes_between,
    writes_into_a_constant,
]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_nothing_that_is_computed_changes(function):
    x = torch.randn(4, 3) if function is reshapes_in_place else torch.randn(3, 4)
    assert_same(leaned(function, x), function, x)


def test_what_changes_nothing_is_left_out():
    x = torch.randn(3, 4)
    assert operators(leaned(looks_again, x)) == [
        "aten.t.default",
        "aten.mm.default",
        "aten.mul.Tensor",
    ]
    assert operators(leaned(takes_nothing_of_it, x)) == ["aten.add.Tensor"]


def test_a_number_that_is_written_into_is_made_at_every_step():
    assert "aten.zeros.default" in operators(leaned(counts_up, torch.randn(3, 4)))


def test_what_batch_norm_writes_is_neither_left_out_nor_made_once():
    def keeps_statistics(x: Tensor) -> Tensor:
        mean, variance = torch.zeros(1), torch.ones(1)
        torch.native_batch_norm(x.reshape(-1, 1), None, None, mean, variance, True, 0.5, 1e-5)
        return x * mean + variance

    step = leaned(keeps_statistics, torch.randn(3, 4)).in_python()  # TorchScript trusts the schema
    for _ in range(2):
        x = torch.randn(3, 4)
        assert torch.equal(step(x), keeps_statistics(x))


def test_a_step_that_looks_at_a_value_cannot_be_recorded():
    with pytest.raises(RuntimeError, match="depends on a value"):
        recorded(lambda x: x * x.sum().item(), [torch.ones(3)])
