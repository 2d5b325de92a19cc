"""Leaves out of a recorded step what changes nothing: a small model's steps are mostly calls.

What `vmap` and autograd make of a step looks at the same memory in the same way again and again
(`expand` to the shape that is there, a transpose of a transpose), makes a zero anew at every step,
and computes what nobody takes. No number is computed otherwise than before.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.fx import Graph, Node

PLACE = "place"  # in a node's meta: where its tensor lies, a `Place`
FIXED = "fixed"  # the tensor, of one number, that it makes of nothing


@dataclass(frozen=True)
class Place:
    """Where a tensor lies, and what it looks like; two that are equal hold the same numbers."""

    memory: Node  # that made the memory
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int
    dtype: torch.dtype
    bits: tuple[bool, bool]  # to be conjugated, to be negated


def lean(graph: Graph, constants: dict[str, Tensor]) -> None:
    """Leave out of a graph what changes nothing; there are more constants then."""
    if not any(_reshapes(node) for node in graph.nodes):
        _merge_views(graph)
    _fix(graph, constants)
    for node in reversed(list(graph.nodes)):
        if node.op in ("call_function", "get_attr") and not node.users and not _acts(node):
            graph.erase_node(node)


def _merge_views(graph: Graph) -> None:
    """One view stands for all that look at the same memory in the same way."""
    first: dict[Place, Node] = {}
    for node in list(graph.nodes):
        place = node.meta.get(PLACE)
        if place is None or _acts(node):
            continue
        other = first.setdefault(place, node)
        if other is not node:
            node.replace_all_uses_with(other)
            graph.erase_node(node)


def _fix(graph: Graph, constants: dict[str, Tensor]) -> None:
    """Make single numbers once and for all, unless somebody writes into them."""
    written = {memory for node in graph.nodes for memory in _writes_into(node)}
    for n, node in enumerate(list(graph.nodes)):
        value = node.meta.get(FIXED)
        if value is None or _acts(node) or node in written:
            continue
        constants[f"fixed_{n}"] = value
        with graph.inserting_before(node):
            constant = graph.create_node("get_attr", f"fixed_{n}")
        node.replace_all_uses_with(constant)
        graph.erase_node(node)


def _writes_into(node: Node) -> list[Node]:
    """What made the memory that a node writes into."""
    if _writes_untold(node):
        return [one.meta[PLACE].memory for one in node.all_input_nodes]
    schema = _schema(node)
    if schema is None or not schema.is_mutable:
        return []
    by_name = {
        **dict(zip((one.name for one in schema.arguments), node.args, strict=False)),
        **node.kwargs,
    }
    kinds = {one.name: one.alias_info for one in schema.arguments}
    into = [
        value for name, value in by_name.items() if kinds[name] is not None and kinds[name].is_write
    ]
    return [one.meta[PLACE].memory for one in _nodes(into)]


def _nodes(value: Any) -> list[Node]:
    from torch.fx import Node

    if isinstance(value, list | tuple):
        return [node for one in value for node in _nodes(one)]
    return [value] if isinstance(value, Node) else []


def _acts(node: Node) -> bool:
    """Whether it does something besides giving a result."""
    import torch

    if node.op != "call_function" or node.target is operator.getitem:
        return False
    if _writes_untold(node):
        return True
    tags = getattr(node.target, "tags", ())
    return _schema(node).is_mutable or torch.Tag.nondeterministic_seeded in tags


def _writes_untold(node: Node) -> bool:
    """Whether it is a batch norm: its running statistics are written, and its schema has it not."""
    import torch

    aten = torch.ops.aten
    packet = getattr(node.target, "overloadpacket", None)
    return packet in (aten.native_batch_norm, aten.cudnn_batch_norm, aten.miopen_batch_norm)


def _reshapes(node: Node) -> bool:
    """Whether it makes a tensor look at its memory in another way, in place."""
    import torch

    return torch.Tag.inplace_view in getattr(node.target, "tags", ())


def _schema(node: Node) -> Any:
    return getattr(node.target, "_schema", None)
