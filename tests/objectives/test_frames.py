"""Tables with columns of numbers and categories, made into tasks."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from batchfront import Parameter, Task
from batchfront.objectives.measurement import ObjectiveError, Verdict
from tests.objectives.conftest import ready, train

pd = pytest.importorskip("pandas")

N = 400


def table(**columns: Any) -> Any:
    """Numbers with gaps, categories with gaps, and a target that follows from them."""
    draw = np.random.default_rng(0)
    size = np.where(draw.random(N) < 0.1, np.nan, draw.normal(100, 20, N))
    colour = draw.choice(["red", "green", None], N)
    price = 5000 + 30 * np.nan_to_num(size, nan=100) + 900 * (colour == "red")
    known = {"size": size, "colour": colour, "price": price, "dear": price > 8300}
    return pd.DataFrame({**known, **columns})


def y_of(values: Any) -> torch.Tensor:
    frame = table(y=values).drop(columns=["price", "dear"])
    return Task.from_frame(frame, target="y").data().y_train


@pytest.mark.parametrize(
    ("values", "n_classes"),
    [
        (["a", "b"] * 200, 2),
        ([True, False] * 200, 2),
        ([0.0, 1.0, 2.0, 5.0] * 100, 4),
        (pd.Categorical(["x", "y", "z", "x"] * 100), 3),
        (pd.array([3, 7] * 200, dtype="Int64"), 2),
        (range(400), 0),
        (np.linspace(0, 1, 400), 0),
    ],
)
def test_what_is_learned_is_found_from_the_target(values, n_classes):
    y = y_of(values)
    if n_classes:
        assert (y.dtype, y.shape) == (torch.int64, (240,))
        assert set(y.tolist()) == set(range(n_classes))
    else:
        assert (y.dtype, y.shape) == (torch.float32, (240, 1))


def test_a_target_may_be_said_to_be_a_quantity():
    frame = table(y=[1, 2, 3, 4] * 100)
    assert Task.from_frame(frame, target="y").metric == "accuracy"
    task = Task.from_frame(frame, target="y", classes=False)
    assert task.metric == "r2"
    assert set(task.data().y_train.flatten().tolist()) == {1.0, 2.0, 3.0, 4.0}


def test_what_is_learned_of_columns_is_learned_from_the_training_split_alone():
    def data(frame: Any) -> Any:
        return Task.from_frame(frame, target="price", drop=["dear"]).data()

    frame = table(price=np.arange(N) + 0.5)  # which tells one row from another
    before = data(frame)
    trained = np.isin(frame["price"], before.y_train.numpy())
    assert trained.sum() == 240
    frame.loc[~trained, "size"] = 1e6
    frame.loc[~trained, "colour"] = "never seen"
    assert torch.equal(data(frame).x_train, before.x_train)
    assert not torch.equal(data(frame).x_val, before.x_val)
    size = before.x_train[:, 0]
    assert abs(float(size.mean())) < 1e-5, "standard values of the training split"
    assert float(size.std(unbiased=False)) == pytest.approx(1, abs=1e-5)
    assert before.x_train.shape[1] == 5  # the size, that it was missing, and three colours


def test_splits_follow_from_the_seed_and_give_every_class_its_share():
    rare = table(y=["rare" if n % 20 == 0 else "common" for n in range(N)])
    data = [Task.from_frame(rare, target="y", seed=seed).data() for seed in (0, 0, 1)]
    assert torch.equal(data[0].x_train, data[1].x_train)
    assert not torch.equal(data[0].x_train, data[2].x_train)
    for one in data:
        sizes = [len(getattr(one, f"y_{split}")) for split in ("train", "val", "test")]
        assert sizes == [240, 80, 80]
        counts = [int(getattr(one, f"y_{split}").sum()) for split in ("train", "val", "test")]
        assert counts == [12, 4, 4]


def test_a_regression_answers_in_the_units_of_its_target():
    task = Task.from_frame(table(), target="price", drop=["dear"])
    objective = ready(task)
    torch.manual_seed(0)
    with torch.inference_mode():
        assert float(task.model()(task.data().x_val).mean()) == pytest.approx(8300, rel=0.1)
    measured = train(objective, batch_size=16, learning_rate=0.01, epochs=15).result()
    assert measured.verdict is Verdict.COMPLETED
    assert measured.metric > 0.9


def test_a_csv_is_read_as_its_frame(tmp_path):
    frame = table().drop(columns="dear")
    frame.to_csv(tmp_path / "t.csv", index=False)
    given = Task.from_frame(frame, target="price").data()
    for path in (tmp_path / "t.csv", str(tmp_path / "t.csv")):
        read = Task.from_frame(path, target="price").data()
        torch.testing.assert_close(read.x_train, given.x_train)
        torch.testing.assert_close(read.y_test, given.y_test)


def test_a_model_of_ones_own_is_told_the_numbers_of_inputs_and_outputs_and_can_be_searched():
    def build(n_inputs: int, n_outputs: int, width: int) -> torch.nn.Module:
        hidden = torch.nn.Linear(n_inputs, width)
        return torch.nn.Sequential(hidden, torch.nn.Tanh(), torch.nn.Linear(width, n_outputs))

    search = {"width": Parameter(low=4, high=16)}
    for target, drop in (("dear", ["price"]), ("price", ["dear"])):
        task = Task.from_frame(table(), target=target, drop=drop, model=build, search=search)
        measured = train(ready(task), extra={"width": 5}).result()
        assert measured.verdict is Verdict.COMPLETED


BAD: dict[str, tuple[Any, dict[str, Any], str]] = {
    "no target": (table, {"target": "prise"}, "no column 'prise': did you mean 'price'"),
    "empty": (lambda: table()[:0], {"target": "price"}, "has 0 rows"),
    "few rows": (lambda: table()[:4], {"target": "price"}, "has 4 rows, wanted at least 10"),
    "a gap in the target": (table, {"target": "size"}, "is missing in .* of 400 rows"),
    "an empty column": (
        lambda: table(nothing=[None] * N), {"target": "price"}, "'nothing' has no value at all",
    ),
    "one class": (lambda: table(y="a"), {"target": "y"}, "is 'a' in every row"),
    "nothing to learn from": (
        lambda: table()[["price"]], {"target": "price"}, "no column to learn from",
    ),
    "two columns of a name": (
        lambda: table().rename(columns={"size": "dear"}), {"target": "price"}, "two columns named",
    ),
    "times": (
        lambda: table(when=pd.Timestamp(0)), {"target": "price"}, "'when' holds datetime",
    ),
    "infinite": (lambda: table(x=np.inf), {"target": "price"}, "cannot be prepared: ValueError"),
    "words as a quantity": (
        table, {"target": "colour", "classes": False}, "is missing in|is no number in every row",
    ),
    "no column to drop": (table, {"target": "price", "drop": ["x"]}, "no column 'x'"),
    "no frame": (lambda: [1, 2], {"target": "price"}, "got list, wanted a pandas DataFrame"),
    "no file": (lambda: "gone.csv", {"target": "price"}, "'gone.csv' is not there"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_table_that_nothing_can_be_learned_from_is_refused_in_a_line(name):
    make, options, said = BAD[name]
    with pytest.raises(ObjectiveError, match=said) as refused:
        Task.from_frame(make(), **options)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b'a,b\n"1,2\n'])
def test_a_file_that_is_no_table_is_refused_in_a_line(tmp_path, content):
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(ObjectiveError, match="cannot be read") as refused:
        Task.from_frame(path, target="a")
    assert "\n" not in str(refused.value)


def test_who_has_no_pandas_is_told_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ObjectiveError, match=r"pip install 'batchfront\[frames\]'"):
        Task.from_frame(Path("t.csv"), target="a")
