"""Batches of any shape: tensors in tuples, lists, dicts and dataclasses, to any depth."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from itertools import pairwise
from typing import Any

from batchfront.objectives.measurement import ObjectiveError

Split = Callable[[Any, int, int], Any]  # (batch, start, stop) -> these of its examples


def mapped(change: Callable[[Any], Any], tree: Any) -> Any:
    """The same tree with every leaf changed: whatever is no tuple, list, dict or dataclass."""
    if isinstance(tree, Mapping):
        found = {key: mapped(change, value) for key, value in tree.items()}
        return _like(tree, found)
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*(mapped(change, value) for value in tree))
    if isinstance(tree, list | tuple):
        return type(tree)(mapped(change, value) for value in tree)
    if is_dataclass(tree) and not isinstance(tree, type):
        changed = {f.name: mapped(change, getattr(tree, f.name)) for f in fields(tree)}
        return replace(tree, **changed)
    return change(tree)


def _like(tree: Any, found: dict[Any, Any]) -> Any:
    """A dict as one of the same class, where that takes one."""
    try:
        return type(tree)(found)
    except TypeError:
        return found


def leaves(tree: Any) -> Iterator[Any]:
    """All leaves, from left to right."""
    found: list[Any] = []
    mapped(found.append, tree)
    return iter(found)


def tensors(tree: Any) -> list[Any]:
    """The leaves that are tensors."""
    import torch

    return [leaf for leaf in leaves(tree) if isinstance(leaf, torch.Tensor)]


def moved(tree: Any, device: str) -> Any:
    """The tree on a device; objects of other kinds come along where they have `to`."""
    import torch

    def to(leaf: Any) -> Any:
        if isinstance(leaf, torch.Tensor):
            return leaf.to(device, non_blocking=True)
        return leaf.to(device) if hasattr(leaf, "to") else leaf

    return mapped(to, tree)


def joined(trees: Sequence[Any]) -> Any:
    """Batches of one shape as a single one: tensors are concatenated.

    Raises:
        ValueError, RuntimeError, KeyError: they differ in shape.
    """
    import torch

    first = trees[0]
    if isinstance(first, torch.Tensor):
        return torch.cat(list(trees))
    if isinstance(first, Mapping):
        return _like(first, {key: joined([tree[key] for tree in trees]) for key in first})
    if isinstance(first, list | tuple):
        if not tensors(first):
            return type(first)(leaf for tree in trees for leaf in tree)  # names, say
        return type(first)(joined(some) for some in zip(*trees, strict=True))
    return first


def n_examples(tree: Any) -> int:
    """The examples of a batch: the first dimension of its first tensor.

    Raises:
        ObjectiveError: it has no tensor with a first dimension.
    """
    for tensor in tensors(tree):
        if tensor.ndim > 0:
            return len(tensor)
    raise ObjectiveError(
        f"a batch is {described(tree)}, without a tensor whose first dimension counts its "
        "examples: collate it into tensors"
    )


def described(tree: Any) -> str:
    """A batch in words: the names or kinds of what it holds."""
    import torch

    if isinstance(tree, torch.Tensor):
        return f"a tensor {tuple(tree.shape)}"
    kind = type(tree).__name__
    if isinstance(tree, Mapping):
        return f"{kind} of {', '.join(map(str, tree))}"[:100]
    if isinstance(tree, list | tuple):
        return f"{kind} of {len(tree)}"
    return kind


def cut(tree: Any, start: int, stop: int, n: int) -> Any:
    """Examples `start` to `stop` of a batch of `n`; see `cut_by`."""
    return cut_by(slice(start, stop), tree, n)


def cut_by(part: slice, tree: Any, n: int) -> Any:
    """Some of a batch's `n` examples: of every tensor along its first dimension.

    A list of `n` things that are no batches of tensors, such as names or images of different
    sizes, is cut as a list.

    Raises:
        ObjectiveError: a tensor has another first dimension.
    """
    import torch

    is_list = isinstance(tree, list | tuple) and not hasattr(tree, "_fields") and len(tree) == n
    if is_list and not any(t.ndim > 0 and len(t) == n for t in tensors(tree)):
        return tree[part]
    if isinstance(tree, torch.Tensor):
        if tree.ndim == 0:
            return tree
        if len(tree) != n:
            raise ObjectiveError(
                f"a batch of {n} examples has a tensor {tuple(tree.shape)}, which cannot be cut "
                "along its first dimension: give split(batch, start, stop)"
            )
        return tree[part]
    if isinstance(tree, Mapping):
        return _like(tree, {key: cut_by(part, value, n) for key, value in tree.items()})
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*(cut_by(part, value, n) for value in tree))
    if isinstance(tree, list | tuple):
        return type(tree)(cut_by(part, value, n) for value in tree)
    if is_dataclass(tree) and not isinstance(tree, type):
        changed = {f.name: cut_by(part, getattr(tree, f.name), n) for f in fields(tree)}
        return replace(tree, **changed)
    return tree


class Nested:
    """A batch of `n` examples that is no single tensor, cut and counted as if it were one."""

    def __init__(self, tree: Any, n: int, split: Split | None = None) -> None:
        """`split`: how it is cut, where that is not along first dimensions."""
        self.tree, self._n, self._split = tree, n, split

    def __len__(self) -> int:
        return self._n

    def __getitem__(self, part: slice) -> Nested:
        start, stop, step = part.indices(self._n)
        n = len(range(start, stop, step))
        if self._split is None:
            return Nested(cut_by(part, self.tree, self._n), n)
        if step != 1:
            raise ObjectiveError("split cuts blocks of examples: choose --shards block")
        return Nested(self._split(self.tree, start, stop), n, self._split)

    def split(self, size: int) -> list[Nested]:
        """Parts of `size` examples, the last one perhaps of fewer."""
        return [self[start : start + size] for start in range(0, self._n, size)]

    def tensor_split(self, n_parts: int) -> list[Nested]:
        """So many parts, whose sizes differ by one at most, as `torch.Tensor.tensor_split` has."""
        if n_parts == 1:
            return [self]
        each, more = divmod(self._n, n_parts)
        ends = [each * k + min(k, more) for k in range(n_parts + 1)]
        return [self[start:stop] for start, stop in pairwise(ends)]

    def to(self, device: str, non_blocking: bool = True) -> Nested:
        """The same on a device."""
        return Nested(moved(self.tree, device), self._n, self._split)


def plain(batch: Any) -> Any:
    """A batch as its loader gave it."""
    return batch.tree if isinstance(batch, Nested) else batch


def by_example(batch: Any) -> list[Any]:
    """The tensors of a batch that have an entry for each of its examples."""
    found = tensors(plain(batch))
    return [tensor for tensor in found if tensor.ndim > 0 and len(tensor) == len(batch)]


def alone(batch: Any, entries: Sequence[Any]) -> Any:
    """One example as a batch of one; `entries`: its own, of what `by_example` gives."""
    if not isinstance(batch, Nested):
        return entries[0][None]
    own = {id(t): entry[None] for t, entry in zip(by_example(batch), entries, strict=True)}
    return Nested(mapped(lambda leaf: own.get(id(leaf), leaf), batch.tree), 1)
