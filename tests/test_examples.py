"""The worked examples run."""

from __future__ import annotations

import importlib.util
import re
import runpy
import sys
import types
from pathlib import Path

import optuna
import pytest

from batchfront.study.cli.main import main
from batchfront.study.opening.open import the_study

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


REACHED = {  # a good value of the metric; with its sign turned where less is better
    "wine": 0.9,
    "own_loop": 0.9,
    "images": 0.9,
    "segmentation": 0.7,
    "multilabel": 0.7,
    "regression": -0.6,
}
NEW = ("images", "segmentation", "multilabel", "regression")  # of at most 30 lines


@pytest.mark.slow
@pytest.mark.parametrize("name", REACHED)
def test_an_example_fills_a_study(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    argv = ["run", "--task", str(EXAMPLES / f"{name}.py"), "--batch-sizes", "16:64"]
    assert main([*argv, "--epochs", "5", "--n-trials", "6", "--learning-rates", "0.01:0.1"]) == 0
    study = the_study("sqlite:///runs/batchfront.db", None)
    assert [t.state.name for t in study.trials] == ["COMPLETE"] * 6
    sign = 1 if study.directions[0].name == "MAXIMIZE" else -1
    assert max(sign * t.values[0] for t in study.trials) > REACHED[name]


@pytest.mark.parametrize("name", NEW)
def test_an_example_is_short(name):
    assert len((EXAMPLES / f"{name}.py").read_text().splitlines()) <= 30


@pytest.mark.slow
def test_a_table_with_few_positives_is_searched_by_auc(tmp_path, monkeypatch):
    pytest.importorskip("pandas")
    monkeypatch.chdir(tmp_path)
    path = EXAMPLES / "rare_table.py"
    assert len(path.read_text().splitlines()) <= 30
    argv = ["run", "--task", str(path), "--batch-sizes", "32,100", "--epochs", "2"]
    assert main([*argv, "--n-trials", "4", "--learning-rates", "0.003:0.03"]) == 0
    study = the_study("sqlite:///runs/batchfront.db", None)
    assert study.metric_names[0] == "val_auc"
    assert max(t.values[0] for t in study.trials if t.values) > 0.9
    assert {t.params["batch_size"] for t in study.trials} <= {32, 100}
    data = runpy.run_path(str(path))["task"].data()
    shares = [float(y.float().mean()) for y in (data.y_train, data.y_val, data.y_test)]
    assert shares == pytest.approx([0.05] * 3, abs=0.01)
    assert max(shares) - min(shares) < 1 / len(data.y_val)  # as equal as whole rows can be


@pytest.mark.slow
def test_the_language_model_is_trained_for_so_many_tokens(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = EXAMPLES / "language.py"
    assert len(file.read_text().splitlines()) <= 30
    argv = ["run", "--task", str(file), "--batch-sizes", "16:32", "--learning-rates", "0.01:0.05"]
    assert main([*argv, "--tokens", "19200", "--n-trials", "3"]) == 0
    trials = the_study("sqlite:///runs/batchfront.db", None).trials
    assert [t.state.name for t in trials] == ["COMPLETE"] * 3
    assert {t.user_attrs["run_length"]["tokens_per_example"] for t in trials} == {32}
    assert min(t.values[0] for t in trials) < 2.9  # nats; characters alone have 3.2


@pytest.mark.slow
def test_the_language_model_comes_below_two_nats_in_less_than_an_epoch(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    argv = ["run", "--task", str(EXAMPLES / "language.py"), "--tokens", "200000", "--target", "2.0"]
    size = ["--batch-sizes", "32", "--learning-rates", "0.018:0.024", "--n-trials", "2"]
    assert main([*argv, *size, "--pruner", "none"]) == 0
    trials = the_study("sqlite:///runs/batchfront.db", None).trials
    assert max(t.values[0] for t in trials) < 2.0
    needed = [t.user_attrs["tokens_to_target"] for t in trials]
    assert all(100_000 < tokens <= 200_000 for tokens in needed)


def test_a_script_of_optuna_joins_as_it_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    argv = ["run", "--task", str(EXAMPLES / "optuna_script.py"), "--metric", "val_accuracy"]
    assert main([*argv, "--batch-sizes", "64,128", "--n-trials", "4"]) == 0
    trials = the_study("sqlite:///runs/batchfront.db", None).trials
    assert max(t.values[0] for t in trials if t.values) > 0.85
    assert {"weight_decay", "dropout"} <= set(trials[0].params)
    assert not Path("past.db").exists(), "its own study is not run"


JOINED = {  # what needs a package that not everybody has
    "lightning_digits": ("lightning", ["16:64", "0.001:0.03"]),
    "transformers_tiny": ("transformers", ["8:32", "0.003:0.03"]),
    "accelerate_loop": ("accelerate", ["16:64", "0.001:0.03"]),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", JOINED)
def test_a_trainer_of_another_library_fills_a_study(name, tmp_path, monkeypatch):
    package, (sizes, rates) = JOINED[name]
    pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)
    argv = ["run", "--task", str(EXAMPLES / f"{name}.py"), "--batch-sizes", sizes]
    assert main([*argv, "--learning-rates", rates, "--n-trials", "4"]) == 0
    trials = the_study("sqlite:///runs/batchfront.db", None).trials
    assert [t.state.name for t in trials] == ["COMPLETE"] * 4
    assert max(t.values[0] for t in trials) > 0.85


HUB = EXAMPLES / "optunahub"


def _load_local_module(package: str, *, registry_root: str):
    """As OptunaHub does it, which is not installed here."""
    path = Path(registry_root, package, "__init__.py")
    spec = importlib.util.spec_from_file_location(package.replace("/", "_"), path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("package", ["samplers/cost_aware", "pruners/front"])
def test_a_package_for_optunahub_is_whole_and_its_example_runs(package, monkeypatch, capsys):
    hub = types.SimpleNamespace(load_local_module=_load_local_module)
    monkeypatch.setitem(sys.modules, "optunahub", hub)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    readme = (HUB / package / "README.md").read_text()
    said = dict(re.findall(r"^(\w+): (.+)$", readme.split("---")[1], re.MULTILINE))
    assert set(said) == {"author", "title", "description", "tags", "optuna_versions", "license"}
    assert package.split("/")[0].removesuffix("s") in said["tags"]
    assert optuna.__version__ in said["optuna_versions"]
    for name in _load_local_module(package, registry_root=str(HUB)).__all__:
        assert f"- `{name}(" in readme
    runpy.run_path(str(HUB / package / "example.py"), run_name="__main__")
    assert len(capsys.readouterr().out.splitlines()) >= 3


def test_every_example_has_a_test():
    others = {"rare_table", "language", "optuna_script", *JOINED}  # with tests of their own
    assert {p.stem for p in EXAMPLES.glob("*.py")} == set(REACHED) | others
