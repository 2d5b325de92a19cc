"""Changed training code is refused by what it does; a comment is no change."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from batchfront.objectives.source import sources
from batchfront.study.cli.main import main
from batchfront.study.opening.open import the_study
from batchfront.study.plan.agreement import AGREEMENT
from batchfront.study.plan.behaviour import ACCEPTED, changes

STORAGE = "sqlite:///runs/batchfront.db"
TASK = """
import torch
from torch import nn
from torch.nn import functional as F
from batchfront import Data, Task

def data():
    g = torch.Generator().manual_seed(0)
    y = torch.randint(0, 3, (64,), generator=g)
    x = torch.randn(64, 8, generator=g) + y[:, None]
    return Data(x_train=x, y_train=y, x_val=x, y_val=y, x_test=x, y_test=y)

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(8, 16), nn.Linear(16, 3)

    def forward(self, x):
        return self.b(torch.relu(self.a(x)))

def loss(output, y):
    return F.cross_entropy(output, y)

task = Task(name="t", data=data, model=Net, loss=loss, optimizer=torch.optim.SGD, epochs=1)
"""
LOOP = """
from net import accuracy

def objective(params, run):
    run.begin(10, baseline_loss=1.0)
    for _ in range(10):
        run.step(0.5)
    run.report(accuracy())
"""
NET = "def accuracy():\n    return 0.75\n"
RUN = ["run", "--batch-sizes", "16", "--sampler", "random", "--pruner", "none", "--epochs", "1"]


def _run(n: int, *more: str) -> int:
    """As in a process of its own: what was imported from this folder is read anew."""
    for name, module in list(sys.modules.items()):
        if Path(getattr(module, "__file__", None) or "/").is_relative_to(Path.cwd()):
            del sys.modules[name]
    return main([*RUN, "--task", "mine.py", "--n-trials", str(n), *more])


@pytest.fixture(scope="module")
def first_trial(tmp_path_factory) -> Path:
    """Where a study of `TASK` with one trial is kept, once a test has made it."""
    return tmp_path_factory.mktemp("begun") / "runs"


@pytest.fixture
def begun(workdir, first_trial) -> Path:
    """A folder with `TASK` and its study, which has one trial."""
    (workdir / "mine.py").write_text(TASK)
    if first_trial.exists():
        shutil.copytree(first_trial, workdir / "runs", dirs_exist_ok=True)
    else:
        assert _run(1) == 0
        shutil.copytree(workdir / "runs", first_trial)
    return workdir


EDITS = {
    "loss body": ("F.cross_entropy(output, y)", "F.cross_entropy(output, y) * 10"),
    "label smoothing": ("(output, y)\n\n", "(output, y, label_smoothing=0.3)\n\n"),
    "class weights": ("(output, y)\n\n", "(output, y, weight=torch.tensor([1.0, 5.0, 9.0]))\n\n"),
    "forward pass": ("torch.relu", "torch.sin"),
}
PARTS = {
    "loss (of a fixed batch ": EDITS["loss body"],
    "model (its outputs of a fixed batch)": EDITS["forward pass"],
    "model (its first weights)": ("16, 3)\n", "16, 3)\n        nn.init.ones_(self.b.bias)\n"),
    "model (its parameters)": ("16", "32"),
    "gradients (": ("relu(self.a(x))", "relu(self.a(x)).detach()"),
    "data": ("manual_seed(0)", "manual_seed(1)"),
    "optimizer (SGD(), now Adam())": ("optim.SGD", "optim.Adam"),
    "scheduler (its learning rates)": (
        "epochs=1",
        "scheduler=lambda o, total_steps: torch.optim.lr_scheduler.StepLR(o, 1), epochs=1",
    ),
    "training code (it draws": (
        "F.cross_entropy(output, y)",
        "F.cross_entropy(output, y) + __import__('os').urandom(1)[0]",
    ),
}


def edited(name: str = "loss body") -> str:
    old, new = EDITS[name]
    text = TASK.replace(old, new)
    assert text != TASK
    return text


@pytest.mark.parametrize("name", EDITS)
def test_a_task_whose_code_does_something_else_is_not_resumed(begun, name, capsys):
    (begun / "mine.py").write_text(edited(name))
    assert _run(2) == 2
    said = capsys.readouterr().err
    assert "was made with other " in said
    assert "--accept-change" in said
    assert len(the_study(STORAGE, None).trials) == 1


@pytest.mark.parametrize("part", PARTS)
def test_the_part_that_was_changed_is_named_and_may_be_accepted(begun, part, capsys):
    text = TASK.replace(*PARTS[part])
    assert text != TASK
    (begun / "mine.py").write_text(text)
    capsys.readouterr()
    assert _run(2) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert f"was made with other {part}" in said
    assert ";" not in said  # what follows from it is not said
    assert said.endswith("--study-name, or go on with --accept-change, which records it")
    assert _run(2, "--accept-change") == 0
    assert f"trials from 1 on ran with other {part}" in capsys.readouterr().err.replace("\n", " ")
    assert _run(3) == 0


def test_another_metric_is_named_once_and_no_change_of_code(begun, capsys):
    (begun / "mine.py").write_text(TASK.replace("epochs=1", "epochs=1, metric='loss'"))
    capsys.readouterr()
    assert _run(2, "--accept-change") == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert "other metric (val_accuracy maximized to 1 at best, now val_loss minimized): " in said


@pytest.mark.parametrize("older", [1, pytest.param(2, marks=pytest.mark.slow), 3])
def test_studies_of_older_formats_name_the_part_and_take_a_change(begun, older, capsys):
    study = the_study(STORAGE, None)
    dropped = {"behaviour", *(("architecture", "loss") if older == 1 else ())}
    record = {k: v for k, v in study.user_attrs[AGREEMENT].items() if k not in dropped}
    study.set_user_attr(AGREEMENT, {**record, "format": older})
    assert _run(2) == 0
    text = TASK.replace("def loss", "def other").replace("loss=loss", "loss=other")
    (begun / "mine.py").write_text(text.replace("16", "32"))
    capsys.readouterr()
    assert _run(3) == 2
    loss = "" if older == 1 else "; loss (loss, now other)"
    assert f"other model (its parameters){loss}: results" in capsys.readouterr().err
    assert _run(3, "--accept-change") == 0
    assert _run(4) == 0
    (begun / "mine.py").write_text(text)
    assert _run(5) == 2


def test_a_task_that_only_looks_different_is_resumed(begun):
    text = TASK.replace("    return F.cross", "    # as usual\n    return F.cross")
    text = text.replace("def loss(", "def my_loss(").replace("loss=loss", "loss=my_loss")
    (begun / "mine.py").write_text("# mine\n" + text)
    assert _run(2) == 0


def test_an_accepted_change_is_recorded_and_told_from_then_on(begun, capsys):
    (begun / "mine.py").write_text(edited())
    assert _run(2, "--accept-change") == 0
    (entry,) = the_study(STORAGE, None).user_attrs[ACCEPTED]
    assert entry["from_trial"] == 1
    capsys.readouterr()
    assert _run(3) == 0  # the change is the study's now
    assert "trials from 1 on ran with other " in capsys.readouterr().err
    (begun / "mine.py").write_text(TASK)
    assert _run(4) == 2


def test_a_loop_of_ones_own_is_compared_with_the_neighbours_it_imports(
    workdir, capsys, monkeypatch
):

    (workdir / "mine.py").write_text(LOOP)
    (workdir / "net.py").write_text(NET)
    assert _run(1) == 0
    (workdir / "net.py").write_text('"""A net."""\n' + NET.replace(":\n", ":  # three quarters\n"))
    (workdir / "mine.py").write_text("# mine\n" + LOOP)
    assert _run(2) == 0
    (workdir / "net.py").write_text(NET.replace("0.75", "0.5"))
    assert _run(3) == 2
    assert "was made with other code (net.py is changed): " in capsys.readouterr().err


def test_neighbours_are_found_however_they_are_imported(tmp_path):
    for name, text in {
        "mine.py": "import a\nfrom pkg import b\ndef f():\n    from pkg.sub import deep\n",
        "a.py": "import os, torch\n",
        "unused.py": "",
        "pkg/__init__.py": "",
        "pkg/b.py": "from . import c\nfrom .sub import other\n",
        "pkg/c.py": "",
        "pkg/sub/__init__.py": "",
        "pkg/sub/deep.py": "from ..c import x\n",
        "pkg/sub/other.py": "",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text(text)
    found = sources(tmp_path / "mine.py")
    everything = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*.py")}
    assert set(found) == everything - {"unused.py"}


def test_numbers_that_differ_in_the_last_digits_are_the_same():
    before = {"loss": 1.0, "gradient_norms": [1.0, 0.0, None]}
    assert changes(before, {"loss": 1.0004, "gradient_norms": [0.9996, 0.0, None]}) == []
    assert changes(before, {"loss": 1.01, "gradient_norms": [1.0, 0.0, None]}) != []
    assert changes(before, {"loss": 1.0, "gradient_norms": [1.0, 0.1, None]}) == [
        "gradients (1 of 3)"
    ]


def test_another_version_of_torch_is_said_and_not_refused(begun, monkeypatch, capsys):
    import torch

    (begun / "mine.py").write_text(edited())
    monkeypatch.setattr(torch, "__version__", "9.9.0")
    capsys.readouterr()
    assert _run(2, "--mixed-hardware") == 0
    assert "maybe by its version (torch" in capsys.readouterr().err


def test_a_model_that_keeps_its_weights_from_run_to_run_is_refused(workdir, capsys):
    shared = TASK.replace("model=Net", "model=lambda: NET").replace(
        "def loss", "NET = Net()\n\ndef loss"
    )
    (workdir / "mine.py").write_text(shared)
    assert _run(1) == 2
    assert "model() returns the same tensor 'a.weight' at every call" in capsys.readouterr().err
    frozen = shared.replace("NET = Net()", "NET = Net().requires_grad_(False)").replace(
        "lambda: NET", "lambda: nn.Sequential(NET, nn.Linear(3, 3))"
    )
    (workdir / "mine.py").write_text(frozen)
    assert _run(1) == 0


@pytest.mark.parametrize(
    ("shared", "refused"),
    [
        ("nn.BatchNorm1d(8, affine=False)", True),  # its statistics move with every batch
        ("nn.BatchNorm1d(8, affine=False).eval().requires_grad_(False)", True),  # train() too
        ("nn.BatchNorm1d(8, affine=False, track_running_stats=False)", False),  # has no buffers
        ("Scaled()", False),  # a constant
    ],
)
def test_buffers_may_be_shared_as_long_as_they_stay_what_they_are(workdir, capsys, shared, refused):
    scaled = """
class Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.ones(8))
        self.register_buffer("none", torch.empty(0))

    def forward(self, x):
        return x - self.mean

SHARED = SHARED_MODULE

"""
    text = TASK.replace("def loss", scaled.replace("SHARED_MODULE", shared) + "def loss")
    text = text.replace("model=Net", "model=lambda: nn.Sequential(SHARED, Net())")
    (workdir / "mine.py").write_text(text)
    assert _run(1) == (2 if refused else 0)
    assert ("returns the same tensor '0.running_mean'" in capsys.readouterr().err) is refused


def test_lazy_modules_are_made_anew_each_time(workdir):
    lazy = "model=lambda: nn.Sequential(nn.LazyLinear(8), nn.LazyBatchNorm1d(), Net())"
    (workdir / "mine.py").write_text(TASK.replace("model=Net", lazy))
    assert _run(1) == 0


@pytest.mark.parametrize("noise", ["numpy.random.rand()", "random.random()"])
def test_random_numbers_of_numpy_and_python_are_no_change(workdir, noise):
    text = "import numpy, random\n" + TASK.replace(
        "return F.cross_entropy(output, y)", f"return F.cross_entropy(output, y) * (1 + {noise})"
    )
    (workdir / "mine.py").write_text(text)
    assert _run(1) == 0
    assert _run(2) == 0


def test_code_that_no_seed_reaches_is_compared_by_its_text(workdir, capsys):
    text = "import os\n" + TASK.replace(
        "return F.cross_entropy(output, y)",
        "return F.cross_entropy(output, y) * (1 + os.urandom(1)[0])",
    )
    (workdir / "mine.py").write_text(text)
    assert _run(1) == 0
    assert _run(2) == 0
    (workdir / "mine.py").write_text(
        text.replace("def loss", "def other").replace("=loss", "=other")
    )
    assert _run(3) == 2
    assert "was made with other loss" in capsys.readouterr().err
