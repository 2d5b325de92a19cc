"""A traced graph as TorchScript: its interpreter calls an operator in a third of Python's time."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor
    from torch.fx import Graph, Node

Step = Callable[..., "Tensor"]
ANNOTATED = {  # kinds of lists that TorchScript cannot tell from their elements
    "List[int]": "List[int]",
    "List[Optional[Tensor]]": "List[Optional[Tensor]]",
    "List[float]": "List[float]",
    "List[bool]": "List[bool]",
}


def as_script(graph: Graph, constants: Mapping[str, Tensor]) -> Step:
    """The same function of the same tensors, in TorchScript.

    Raises:
        RuntimeError, NotImplementedError: it has something that TorchScript does not know.
    """
    import torch

    source, names = source_of(graph)
    step = torch.jit.CompilationUnit(source).step
    fixed = [constants[name] for name in names]
    return lambda *tensors: step(*tensors, *fixed)


def source_of(graph: Graph) -> tuple[str, list[str]]:
    """The source of a function `step`, and the constants it takes after what the graph takes."""
    taken, body, constants = [], [], []
    for node in graph.nodes:
        if node.op == "placeholder":
            taken.append(f"{node.name}: Tensor")
        elif node.op == "get_attr":
            constants.append((node.name, str(node.target)))
        elif node.op == "output":
            body.append(f"return {_written(node.args[0])}")
        else:
            body.append(f"{node.name} = {_called(node)}")
    taken += [f"{name}: Tensor" for name, _ in constants]
    lines = "\n".join(f"    {line}" for line in body)
    return f"def step({', '.join(taken)}) -> Tensor:\n{lines}\n", [one for _, one in constants]


def _called(node: Node) -> str:
    if node.target is operator.getitem:
        return f"{_written(node.args[0])}[{node.args[1]}]"
    schema = getattr(node.target, "_schema", None)
    if schema is None:
        raise NotImplementedError(f"{node.target} is no operator")
    kinds = {argument.name: str(argument.type) for argument in schema.arguments}
    names = list(kinds)
    words = [
        _written(value, kinds[name]) for name, value in zip(names, node.args, strict=False)
    ] + [f"{name}={_written(value, kinds[name])}" for name, value in node.kwargs.items()]
    return f"torch.ops.{schema.name.replace('::', '.')}({', '.join(words)})"


def _written(value: Any, kind: str = "") -> str:
    """A value as source; `kind`: of the argument, as its operator's schema has it."""
    import torch
    from torch.fx import Node

    if isinstance(value, Node):
        return value.name
    if isinstance(value, list | tuple):
        return _listed(value, kind)
    if isinstance(value, torch.device):
        return f"torch.device({str(value)!r})"
    if isinstance(value, float):
        return f"float({str(value)!r})" if value in (float("inf"), -float("inf")) else repr(value)
    known = (bool, int, str, type(None), torch.dtype, torch.layout, torch.memory_format)
    if not isinstance(value, known) or value != value:
        raise NotImplementedError(f"a value of {type(value).__name__}")
    return repr(value)


def _listed(values: Sequence[Any], kind: str) -> str:
    text = f"[{', '.join(map(_written, values))}]"
    known = next((word for word in ANNOTATED if word in kind), None)
    return text if known is None else f"torch.jit.annotate({ANNOTATED[known]}, {text})"
