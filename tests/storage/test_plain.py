"""What a checkpoint may hold comes back equal; the rest is refused where it stands."""

from __future__ import annotations

import datetime
import random
import threading
from collections import Counter, OrderedDict, defaultdict, deque
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from batchfront.storage.checkpoint import Checkpoint
from batchfront.storage.plain import NotPlain, plain

WINDOW = deque([1, 2], maxlen=2)
TAKEN: dict[str, Any] = {
    "bytes": b"\x00a",
    "complex": 1j,
    "set": {1, 2},
    "counter": Counter("aab"),
    "ordered": OrderedDict(b=1, a=2),
    "integer keys": {1: [2], (3, 4): "x"},
    "huge number": 2**200,
    "torch dtype": torch.float16,
    "size": torch.Size([2, 3]),
    "path": Path("runs/model.pt"),
    "datetime": datetime.datetime(2024, 2, 29, 12, 0, 0, 1, tzinfo=datetime.UTC),
    "deque": WINDOW,
    "defaultdict": defaultdict(list, a=[1, deque([2])]),
    "no factory": defaultdict(None, a=1),
    "random state": random.Random(3).getstate(),
    "numpy generator": np.random.default_rng(3).bit_generator.state,
    "mersenne": np.random.Generator(np.random.MT19937(3)).bit_generator.state,
    "in itself": {"a": ({"b": [np.float64(0.5), {"c": WINDOW}]}, None)},
}


def loaded(tmp_path: Path, value: Any) -> Any:
    checkpoint = Checkpoint(tmp_path, {"trial": 1})
    checkpoint.save({"run": {}, "loop": {"x": value}})
    found = checkpoint.load()
    assert found is not None
    return found["loop"]["x"]


def same(a: Any, b: Any) -> bool:
    """Equal, of the same types, all the way down."""
    if isinstance(b, np.ndarray):
        return bool(a.dtype == b.dtype and a.shape == b.shape and (a == b).all())
    if type(a) is not type(b):
        return False
    if isinstance(b, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in b)
    if isinstance(b, list | tuple | deque):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", TAKEN)
def test_what_is_taken_comes_back_equal_and_of_its_type(tmp_path, kind):
    value = TAKEN[kind]
    expected = value
    if kind == "in itself":
        expected = {"a": ({"b": [0.5, {"c": WINDOW}]}, None)}
    assert same(loaded(tmp_path, value), expected)


def test_a_deque_keeps_its_length_and_a_defaultdict_its_default(tmp_path):
    window = loaded(tmp_path, WINDOW)
    window.append(3)
    assert list(window) == [2, 3]
    assert loaded(tmp_path, defaultdict(int))["new"] == 0


@pytest.mark.parametrize(
    "scalar",
    [np.float64(0.1), np.float32(0.1), np.int64(2**62), np.bool_(True), np.str_("x"), np.uint8(3)],
    ids=lambda scalar: type(scalar).__name__,
)
def test_a_numpy_scalar_comes_back_as_the_equal_python_value(tmp_path, scalar):
    found = loaded(tmp_path, scalar)
    assert found == scalar
    assert type(found) in (float, int, bool, str)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6.0).reshape(2, 3),
        np.array(0.5, dtype=np.float16),
        np.zeros((0, 4), dtype=np.uint32),
        np.asfortranarray(np.arange(6).reshape(2, 3)),
        np.array([True, False]),
        np.array(["a", "äöü"]),
        np.array([1 + 2j], dtype=">c16"),
        np.array(["2024-02-29"], dtype="datetime64[s]"),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_a_numpy_array_comes_back_the_same_and_can_be_written_to(tmp_path, array):
    found = loaded(tmp_path, array)
    assert same(found, array)
    assert found.flags.writeable


def test_a_generator_goes_on_where_it_was(tmp_path):
    generator = torch.Generator().manual_seed(4)
    torch.rand(3, generator=generator)
    again = loaded(tmp_path, generator)
    assert torch.equal(torch.rand(5, generator=again), torch.rand(5, generator=generator))


class Own:
    pass


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (lambda: 1, "function"),
        (threading.Lock(), "_thread.lock"),
        (Own(), f"{__name__}.Own"),
        (np.random.default_rng(0), "numpy.random._generator.Generator"),
        (np.array([Own()]), "numpy.ndarray"),
        (np.zeros(2, dtype=[("a", float)]), "numpy.ndarray"),
        (defaultdict(lambda: 1), "collections.defaultdict"),
        (torch.nn.Linear(1, 1), "torch.nn.modules.linear.Linear"),
        (range(3), "range"),
        (frozenset([1]), "frozenset"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_could_not_be_loaded_is_named_before_anything_is_written(tmp_path, value, kind):
    checkpoint = Checkpoint(tmp_path, {"trial": 1})
    checkpoint.save({"loop": 1})
    with pytest.raises(NotPlain) as caught:
        checkpoint.save({"loop": {"best": [0.5, {"x": value}]}})
    assert str(caught.value) == f"state['loop']['best'][1]['x'] is of type {kind}"
    assert checkpoint.load() == {"loop": 1}
    assert [path.name for path in tmp_path.iterdir()] == [checkpoint.path.name]


def test_what_is_plain_is_not_copied():
    """A model's state_dict has notes on it that a copy would lose, and is large."""
    state = {"model": torch.nn.BatchNorm1d(2).state_dict(), "deep": [{"x": (1, 2)}]}
    assert plain(state) is state
    changed = plain({**state, "loss": np.float64(1)})
    assert changed["model"] is state["model"]
