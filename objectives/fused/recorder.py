"""Records what a function of tensors does, operator by operator, as a graph.

`make_fx` does that for any purpose, and takes many times as long as the function itself: it keeps
proxies, fake copies and the lines of source that every operator comes from, of which nothing is
needed here. As with it, what is recorded is what torch calls once `vmap` and autograd are done.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.fx import Graph, GraphModule, Node
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary

from batchfront.objectives.fused.leaner import FIXED, PLACE, Place

aten = torch.ops.aten
UNSAID = (aten._unsafe_view.default,)  # views of whose schema that cannot be told


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """Operators in the order in which they are called, and the tensors that nobody gives them."""

    graph: Graph
    constants: dict[str, Tensor]

    def in_python(self) -> GraphModule:
        """The function, as Python takes it."""
        return GraphModule(self.constants, self.graph)


def recorded(function: Callable[..., Tensor], given: Sequence[Tensor]) -> Recorded:
    """The graph of the operators that a function calls; it is called, and may change `given`.

    Raises:
        RuntimeError: what it does depends on values.
    """
    recorder = Recorder(given)
    with recorder:
        found = function(*given)
    return recorder.ended(found)


class Recorder(TorchDispatchMode):
    """Notes every operator that is called inside."""

    def __init__(self, given: Sequence[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's annotation
        self._graph = Graph()
        self._constants: dict[str, Tensor] = {}
        self._nodes: Any = WeakTensorKeyDictionary()  # tensor -> node
        for n, tensor in enumerate(given):
            self._keep(tensor, self._graph.placeholder(f"given_{n}"))

    def ended(self, found: Tensor) -> Recorded:
        """All that was recorded, as a function that returns what was `found`."""
        self._graph.output(self._node(found))
        return Recorded(graph=self._graph, constants=self._constants)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is aten.lift_fresh.default:  # or a constant might be written into at every step
            func = aten.lift_fresh_copy.default
        found = func(*args, **(kwargs or {}))
        named = self._named(list(args)), self._named(dict(kwargs or {}))
        node = self._graph.call_function(func, tuple(named[0]), named[1])
        if isinstance(found, Tensor):
            self._keep(found, node, of=_looks_at(func, args))
            if found.numel() == 1 and not node.all_input_nodes:
                node.meta[FIXED] = found
        elif isinstance(found, list | tuple):
            for n, one in enumerate(found):
                if isinstance(one, Tensor):
                    part = self._graph.call_function(operator.getitem, (node, n))
                    self._keep(one, part, of=_looks_at(func, args))
        elif found is not None:
            raise RuntimeError(f"what it does depends on a value, by {func}")
        return found

    def _keep(self, tensor: Tensor, node: Node, *, of: Tensor | None = None) -> None:
        """Note which node makes a tensor; `of`: the one whose memory it looks at."""
        memory = node if of is None else self._node(of).meta[PLACE].memory
        node.meta[PLACE] = Place(
            memory=memory,
            shape=tuple(tensor.shape),
            stride=tensor.stride(),
            offset=int(tensor.storage_offset()),
            dtype=tensor.dtype,
            bits=(tensor.is_conj(), tensor.is_neg()),
        )
        if tensor not in self._nodes:  # what is changed in place goes on by its old name
            self._nodes[tensor] = node

    def _node(self, tensor: Tensor) -> Node:
        """The node that makes a tensor; of one that nobody has made here, a constant."""
        if tensor not in self._nodes:
            name = f"constant_{len(self._constants)}"
            self._constants[name] = tensor
            self._keep(tensor, self._graph.create_node("get_attr", name))
        found: Node = self._nodes[tensor]
        return found

    def _named(self, value: Any) -> Any:
        """The same with nodes in the place of tensors."""
        if isinstance(value, Tensor):
            return self._node(value)
        if isinstance(value, list | tuple):
            return [self._named(one) for one in value]
        if isinstance(value, dict):
            return {name: self._named(one) for name, one in value.items()}
        return value


def _looks_at(func: Any, args: Sequence[Any]) -> Tensor | None:
    """The tensor whose memory the results of an operator show."""
    if not args or not isinstance(args[0], Tensor):
        return None
    alias = func._schema.arguments[0].alias_info
    return args[0] if func in UNSAID or alias is not None else None
