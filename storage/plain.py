"""What a checkpoint can hold: tensors, plain values, and a few more kinds in the guise of these.

`torch.load(weights_only=True)` executes nothing that a file names, and so takes tensors, numbers,
strings, lists, tuples, sets and dicts alone. NumPy's scalars become Python's numbers for good. The
other kinds of `_kinds` are written as a dict of one key, and are themselves again when loaded.
"""

from __future__ import annotations

import copy
import functools
import io
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

MARK = "batchfront:kind"  # beside "value", in such a dict
ATOMS = {type(None), bool, int, float, complex, str, bytes}
FACTORIES: dict[str, Callable[[], Any]] = {
    "int": int, "float": float, "str": str, "list": list, "dict": dict, "set": set, "tuple": tuple,
}  # fmt: skip


class NotPlain(TypeError):
    """A value that could be saved, and never be loaded again."""

    def __init__(self, keys: tuple[Any, ...], value: object) -> None:
        self.keys = keys  # from the outside in
        kind = type(value)
        self.kind = f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
        super().__init__(f"{shown(keys)} is of type {self.kind}")


def shown(keys: tuple[Any, ...]) -> str:
    """Where a value stands, as it is written in Python: `state['best'][0]`."""
    return "state" + "".join(f"[{key!r}]" for key in keys)


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A type of values, and how they are written with plain ones."""

    type: type
    write: Callable[[Any], Any]  # raises where this one value cannot be
    read: Callable[[Any], Any]


@functools.cache
def _kinds() -> dict[str, Kind]:
    """The kinds that are not plain but are taken, by name."""
    import datetime
    import pathlib

    import numpy as np
    import torch

    return {
        "array": Kind(type=np.ndarray, write=_array_written, read=_array_read),
        "deque": Kind(
            type=deque,
            write=lambda value: [list(value), value.maxlen],
            read=lambda written: deque(written[0], maxlen=written[1]),
        ),
        "defaultdict": Kind(
            type=defaultdict,
            write=lambda value: [_factory_name(value.default_factory), dict(value)],
            read=lambda written: defaultdict(FACTORIES.get(written[0]), written[1]),
        ),
        "path": Kind(type=pathlib.Path, write=str, read=pathlib.Path),
        "datetime": Kind(
            type=datetime.datetime,
            write=datetime.datetime.isoformat,
            read=datetime.datetime.fromisoformat,
        ),
        "generator": Kind(
            type=torch.Generator,
            write=lambda value: [str(value.device), value.get_state()],
            read=lambda written: _generator(*written),
        ),
    }


def plain(value: Any, keys: tuple[Any, ...] = ()) -> Any:
    """The value itself where it is plain throughout, else one that is written with plain values.

    Raises:
        NotPlain: there is a value in it that could not be loaded again.
    """
    import numpy as np

    if type(value) in ATOMS:
        return value
    if isinstance(value, np.generic):
        number = value.item()
        return plain(number, keys) if not isinstance(number, np.generic) else _tried(value, keys)
    for name, kind in _kinds().items():
        if isinstance(value, kind.type):
            try:
                written = kind.write(value)
            except (TypeError, ValueError):
                raise NotPlain(keys, value) from None
            return {MARK: name, "value": plain(written, keys)}
    return _within(value, keys)


def _within(value: Any, keys: tuple[Any, ...]) -> Any:
    """What holds others; itself, with all that is noted on it, unless one of these changes."""
    if type(value) in (dict, OrderedDict):
        parts = [(plain(k, (*keys, k)), plain(part, (*keys, k))) for k, part in value.items()]
        if all(k is a and v is b for (k, v), (a, b) in zip(parts, value.items(), strict=True)):
            return value
        changed = copy.copy(value)  # an OrderedDict of torch's has attributes
        changed.clear()
        changed.update(parts)
        return changed
    if type(value) in (list, tuple, set):
        items = [plain(item, (*keys, number)) for number, item in enumerate(value)]
        return value if _same(items, value) else type(value)(items)
    return _tried(value, keys)


def _same(items: Iterable[Any], others: Iterable[Any]) -> bool:
    return all(a is b for a, b in zip(items, others, strict=True))


def _tried(value: Any, keys: tuple[Any, ...]) -> Any:
    """A value of a type that we do not know: saved and loaded, since torch's list has the say."""
    import torch

    if isinstance(value, torch.Tensor):
        return value
    try:
        torch.save(value, file := io.BytesIO())
        file.seek(0)
        torch.load(file, weights_only=True)
    except Exception:  # what pickling raises has no common type
        raise NotPlain(keys, value) from None
    return value


def itself(value: Any) -> Any:
    """What `plain` was given, from what it returned."""
    if type(value) in (dict, OrderedDict):
        if set(value) == {MARK, "value"}:
            return _kinds()[value[MARK]].read(itself(value["value"]))
        value.update({key: itself(part) for key, part in value.items()})
        return value
    if type(value) in (list, tuple):
        items = [itself(item) for item in value]
        return value if _same(items, value) else type(value)(items)
    return value


def _array_written(array: Any) -> list[Any]:
    """Type, shape and bytes; ValueError where these are not all of it."""
    import numpy as np
    import torch

    if type(array) is not np.ndarray or array.dtype.kind not in "biufcSUMm":
        raise ValueError("objects, records, or more than an array")
    flat = np.frombuffer(array.tobytes(), dtype=np.uint8)
    return [array.dtype.str, list(array.shape), torch.from_numpy(flat.copy())]


def _array_read(written: list[Any]) -> Any:
    import numpy as np

    kind, shape, flat = written
    return np.frombuffer(flat.numpy().tobytes(), dtype=np.dtype(kind)).reshape(shape).copy()


def _factory_name(factory: Any) -> str:
    if factory is None:
        return ""
    name = getattr(factory, "__name__", "")
    if FACTORIES.get(name) is not factory:
        raise ValueError("a function of one's own")
    return str(name)


def _generator(device: str, state: Any) -> Any:
    import torch

    generator = torch.Generator(device)
    generator.set_state(state)
    return generator
