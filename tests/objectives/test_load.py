"""Objectives by name: bundled, or from a file of one's own."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

import pytest

from batchfront.objectives.measurement import Verdict
from batchfront.study.show import one_line
from tests.objectives.conftest import LOOP, load, refused, train

ROOT = Path(__file__).resolve().parents[2]
TASK = """
    import torch
    from batchfront import Data, Task

    def data():
        x, y = torch.randn(20, 4), torch.arange(20) % 2
        return Data(x_train=x, y_train=y, x_val=x, y_val=y, x_test=x, y_test=y)

    def make(**changes):
        given = dict(
            name="whatever", data=data, model=lambda: torch.nn.Linear(4, 2),
            loss=torch.nn.functional.cross_entropy, optimizer=torch.optim.SGD, epochs=7,
        )
        return Task(**{**given, **changes})
"""


@pytest.mark.parametrize(
    ("spec", "near"),
    [("digit", "'digits'"), ("diabetis", "'diabetes'"), ("digits_cnn", "'digits-cnn'")],
)
def test_an_unknown_task_is_refused_with_a_suggestion(spec, near):
    assert f"did you mean {near}?" in refused(spec)


@pytest.mark.parametrize("spec", ["imagenet", "", "mine", "mine.txt", "digits:mlp"])
def test_an_unknown_task_is_refused_with_those_there_are(spec):
    said = refused(spec)
    assert f"unknown task {spec!r}" in said
    assert "bundled are digits, digits-cnn, diabetes;" in said
    assert "mnist[-cnn|-resnet], fashion-mnist[-cnn|-resnet], cifar10[-mlp|-resnet];" in said
    assert one_line(said) == said, "nothing of it is cut"


@pytest.mark.parametrize("spec", ["nowhere.py", "nowhere.py:task", "/no/where.py"])
def test_a_missing_file_is_refused_with_where_it_was_looked_for(spec):
    assert f"is not there (looked from {Path.cwd()})" in refused(spec)


def test_a_missing_name_is_refused_with_those_the_file_defines(write):
    said = refused(f"{write(LOOP)}:task")
    assert said == "mine.py has no 'task'; it defines objective"


def test_a_file_without_a_default_name_is_refused(write):
    assert refused(write("a = 1")) == "mine.py has no 'task' or 'objective'; it defines a"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import nothing_of_this_name", "ModuleNotFoundError: No module named"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("raise SystemExit(2)", "SystemExit: 2"),  # as argparse does
        ("def broken(:", "SyntaxError: invalid syntax"),
    ],
)
def test_a_file_that_fails_on_import_is_refused_with_its_error(write, text, said):
    file = write(text)
    assert f"task file 'mine.py' fails on import: {said}" in refused(file)
    file.write_text(textwrap.dedent(LOOP))  # mended
    assert load(file).name == "mine.py:objective"


def test_a_function_of_one_argument_has_to_suggest(write):
    assert "suggests nothing, wanted objective(trial) that" in refused(write("task = lambda a: 3"))


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("3", "int"),
        ("lambda a, b, c: None", "function"),
        ("lambda: 3", "int"),
    ],
)
def test_a_value_that_is_no_objective_is_refused(write, value, kind):
    assert f"mine.py:task is {kind}, wanted a Task" in refused(write(f"task = {value}"))


@pytest.mark.parametrize(
    "made", ["task = make()", "task = make", "def task(size=3):\n    return make()"]
)
def test_a_task_may_be_an_instance_or_a_function_that_makes_it(write, made):
    objective = load(write(TASK, made))
    assert (objective.name, str(objective.metric)) == ("mine.py:task", "val_accuracy")
    assert (objective.batch_sizes, objective.default_epochs) == ((1, 20), 7)
    assert set(objective.fingerprint) >= {"data", "model", "optimizer"}
    assert train(objective).result().verdict is Verdict.COMPLETED


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ("task = make(model=lambda: torch.nn.Linear(3, 2))", "RuntimeError: mat1 and mat2"),
        ("task = make(data=lambda: 1 / 0)", "ZeroDivisionError"),
        ("def task():\n    raise OSError('no data')", "OSError: no data"),
    ],
)
def test_a_task_that_fails_is_refused_with_its_error(write, made, said):
    assert f"task 'mine.py:task' fails: {said}" in refused(write(TASK, made))


def test_a_neighbour_can_be_imported(write):
    write("HALF = 0.5", name="my_neighbour.py")
    loop = LOOP.replace("0.5", "HALF")
    assert train(load(write("from my_neighbour import HALF", loop))).result().metric == 0.5


def test_a_neighbour_hides_no_module_of_python(write, monkeypatch):
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    write("1 / 0", name="colorsys.py")
    loop = LOOP.replace("0.5", "rgb_to_hsv(0.5, 0.5, 0.5)[2]")
    assert train(load(write("from colorsys import rgb_to_hsv", loop))).result().metric == 0.5


@pytest.mark.parametrize("name", ["storage", "objectives", "study", "batchfront"])
def test_a_neighbour_may_have_the_name_of_a_part_of_ours(write, name, monkeypatch):
    """In a folder `storage/` or a file `objectives.py`, which the task file imports."""
    ours = name == "batchfront"
    if not ours:
        monkeypatch.setitem(sys.modules, name, None)  # so that it is as before in the end
        del sys.modules[name]
        monkeypatch.setattr(sys, "path", elsewhere())
    write("HALF = 0.5", name=f"{name}.py")
    mine = [LOOP] if ours else [f"from {name} import HALF", LOOP.replace("0.5", "HALF")]
    assert train(load(write(*mine))).result().metric == 0.5


@pytest.mark.parametrize("installed", [True, False], ids=["checkout", "installed"])
def test_an_import_of_version_0_7_ends_in_a_line_with_the_new_one(write, monkeypatch, installed):
    if not installed:
        monkeypatch.setattr(sys, "path", elsewhere())
    said = refused(write("import math\nfrom objectives.task import Data, Task", LOOP))
    now = "`from objectives.task import Data, Task` is now `from batchfront import Data, Task`"
    assert said.endswith(f"line 2: {now}")
    assert "objectives" not in sys.modules


def elsewhere() -> list[str]:
    """As where nobody works in the checkout."""
    return [path for path in sys.path if Path(path or ".").resolve() != ROOT]


@pytest.mark.parametrize("name", ["json.py", "torch.py", "my.dotted.py", "two words.py"])
def test_a_file_may_be_called_anything(write, name):
    import json

    assert train(load(write(LOOP, name=name))).result().metric == 0.5
    assert sys.modules["json"] is json


def test_files_of_one_name_in_two_folders_are_two_objectives(write):
    first = load(write(LOOP, name="a/mine.py"))
    second = load(write(LOOP.replace("0.5", "0.75"), name="b/mine.py"))
    assert [train(objective).result().metric for objective in (first, second)] == [0.5, 0.75]


def test_a_file_is_imported_once(write):
    file = write("print('imported')", LOOP)
    assert load(file).function is load(f"{file}:objective").function
