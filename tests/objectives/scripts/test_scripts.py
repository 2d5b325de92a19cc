"""Functions written for Optuna join as they are."""

from __future__ import annotations

import json
import sys
import textwrap
from pathlib import Path

import optuna
import pytest
import torch

from batchfront.objectives.device.randomness import seed_everything
from batchfront.objectives.scripts.discover import Discovered, direction_in, discover
from batchfront.objectives.scripts.trial import ScriptTrial
from batchfront.study.cli.main import main
from batchfront.study.opening.open import the_study

SCRIPT = """
import optuna
import torch

X = torch.linspace(-1, 1, 96).reshape(-1, 1)

def objective(trial):
    bs = trial.suggest_categorical("bs", [8, 16, 32])
    lr = trial.suggest_float("lr", 0.001, 0.5, log=True)
    width = trial.suggest_int("model.width", 2, 8)
    trial.suggest_categorical("kind", ["only"])
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(1, width), torch.nn.Tanh(), torch.nn.Linear(width, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    for epoch in range(4):
        model.train()
        for x in X.split(bs):
            optimizer.zero_grad()
            loss = ((model(x) - 3 * x) ** 2).mean()
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            value = ((model(X) - 3 * X) ** 2).mean().item()
        trial.report(value, epoch)
        if trial.should_prune():
            raise optuna.TrialPruned
    return value

if __name__ == "__main__":
    study = optuna.create_study(direction="minimize")
    study.optimize(objective, n_trials=3)
"""  # noqa: E501
RUN = ("run", "--task", "script.py", "--n-trials", "6")


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes script.py into an empty folder, to be imported anew."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BATCHFRONT_STORAGE", raising=False)

    def script(text: str = SCRIPT) -> None:
        Path("script.py").write_text(textwrap.dedent(text))
        for name, module in list(sys.modules.items()):
            if getattr(module, "__file__", None) == str(tmp_path / "script.py"):
                del sys.modules[name]

    return script


def _study() -> optuna.Study:
    return the_study("sqlite:///runs/batchfront.db", None)


def test_a_script_is_searched_as_it_stands(write):
    write()
    assert main([*RUN]) == 0
    study = _study()
    assert study.metric_names == ["value", "train_seconds", "peak_memory_bytes"]
    assert [d.name for d in study.directions] == ["MINIMIZE"] * 3
    for trial in study.trials:
        assert set(trial.params) == {"batch_size", "learning_rate", "model_width"}
        assert trial.params["batch_size"] in (8, 16, 32)
        assert 0.001 <= trial.params["learning_rate"] <= 0.5
        if trial.state.name != "COMPLETE":
            continue
        assert trial.user_attrs["steps"] == 4 * 96 // trial.params["batch_size"]
        assert trial.values[1] > 0
        assert trial.values[2] > 0
        assert len(trial.user_attrs["metric_curve"]) == 4


@pytest.mark.parametrize("drops", [False, True])
def test_the_steps_of_an_epoch_are_those_of_its_loader(write, drops):
    n = 100
    text = SCRIPT.replace("1, 96)", f"1, {n})").replace("[8, 16, 32]", "[6, 16, 64]")
    write(text.replace("X.split(bs)", f"X[: {n} // bs * bs].split(bs)") if drops else text)
    assert main([*RUN, "--pruner", "none", "--sampler", "random"]) == 0
    for trial in _study().trials:
        if trial.state.name != "COMPLETE":
            continue
        batch_size, attributes = trial.params["batch_size"], trial.user_attrs
        taken = 4 * (n // batch_size if drops else -(-n // batch_size))
        assert attributes["steps"] == taken
        if not drops:
            assert attributes["total_steps"] == taken
            assert "own_clock" not in attributes


def test_the_values_of_a_trial_are_those_that_the_function_returns(write):
    write()
    assert main([*RUN]) == 0
    namespace: dict = {"__name__": "script"}
    exec(Path("script.py").read_text(), namespace)
    names = {"batch_size": "bs", "learning_rate": "lr", "model_width": "model.width"}
    trial = next(t for t in _study().trials if t.state.name == "COMPLETE")
    fixed = optuna.trial.FixedTrial(
        {names[n]: v for n, v in trial.params.items()} | {"kind": "only"}
    )
    seed_everything(trial.user_attrs["seed"])
    assert trial.values[0] == pytest.approx(namespace["objective"](fixed), rel=1e-6)


@pytest.mark.slow
def test_a_resume_does_not_run_the_script_again_to_see_it(write, monkeypatch, capsys):
    write(
        SCRIPT.replace(
            "def objective(trial):", "def objective(trial):\n    open('n', 'a').write('x')"
        )
    )
    assert main([*RUN]) == 0
    assert "script.py:objective was run once, at batch size 32" in capsys.readouterr().err
    before = len(Path("n").read_text())
    assert main([*RUN[:-1], "8"]) == 0
    assert len(Path("n").read_text()) == before + 2
    assert "was run once" not in capsys.readouterr().err


@pytest.mark.slow
def test_what_the_study_stops_should_be_pruned_and_is(write):
    note = "trial.number and open('ends', 'a').write(f'{lr}\\n')"  # probes have number 0
    write(SCRIPT.replace("return value", f"{note}\n    return value"))
    assert main([*RUN[:-1], "30", "--pruner", "median"]) == 0
    trials = _study().trials
    stopped = [t for t in trials if t.state.name == "PRUNED"]
    assert {t.user_attrs["verdict"] for t in stopped} >= {"pruned"}
    ends = {float(line) for line in Path("ends").read_text().splitlines()}
    assert {t.params["learning_rate"] for t in stopped} & ends == set()
    assert {t.params["learning_rate"] for t in trials if t.state.name == "COMPLETE"} <= ends


def test_a_loss_that_is_no_number_ends_the_run(write):
    write(SCRIPT.replace("loss = (", "loss = (1 if lr < 0.05 else float('nan')) * ("))
    assert main([*RUN[:-1], "12"]) == 0
    by_rate = {t.params["learning_rate"]: t.user_attrs["verdict"] for t in _study().trials}
    assert {v for rate, v in by_rate.items() if rate >= 0.05} == {"non_finite"}
    assert "completed" in {v for rate, v in by_rate.items() if rate < 0.05}


TUPLE = """
import optuna

def objective(trial):
    size, rate = trial.suggest_int("size", 5, 40), trial.suggest_float("rate", 1e-3, 1e-1)
    return rate, size * rate, 7.0
"""


@pytest.mark.slow
def test_of_several_values_one_is_the_metric_and_the_others_are_recorded(write):
    write(TUPLE)
    names = ["--param", "batch_size=size", "--param", "learning_rate=rate"]
    asked = ["--metric", "value_1", "--direction", "maximize"]
    assert main([*RUN, *names, *asked]) == 0
    study = _study()
    assert study.metric_names[0] == "value_1"
    for trial in study.trials:
        size, rate = trial.params["batch_size"], trial.params["learning_rate"]
        assert size in (8, 16, 32)
        assert trial.values[0] == pytest.approx(size * rate)
        assert trial.user_attrs["also"] == {"value_0": pytest.approx(rate), "value_2": 7.0}
    assert main(["run", "--task", "script.py", "--n-trials", "7"]) == 0, "names are stored"


GUARD = 'if __name__ == "__main__":\n    study'
BARE = SCRIPT.replace(GUARD, "study").replace("    study.opt", "study.opt")
OURS = "def objective(params, run): pass"


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        (TUPLE, ["--direction", "maximize"], "suggests size, rate: which of them is the batch"),
        (TUPLE, ["--param", "batch_size=sise"], "--param batch_size=sise is none of them"),
        (TUPLE, ["--param", "lr=rate"], "unknown param 'lr'"),
        (TUPLE, ["--param", "batch_size"], "wanted batch_size=NAME or learning_rate=NAME"),
        (SCRIPT.replace("return value", "return 'best'"), [], "returned 'best', wanted a num"),
        (SCRIPT.replace("optuna.create_study(dir", "make(dir"), [], "which way is what"),
        (BARE, [], "script.py runs its own study in line"),
        (BARE.replace("import optuna", "from optuna import Trial"), [], "runs its own study"),
        (OURS, ["--param", "batch_size=b"], "--param is for a function"),
    ],
)  # fmt: skip
def test_what_cannot_be_joined_is_said_in_one_line(write, capsys, text, options, said):
    write(text)
    assert main([*RUN, *options]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert said in error
    assert not Path("runs").exists()


def test_what_was_found_survives_being_stored():
    def function(trial):
        trial.suggest_float("lr", 0.1, 0.5, step=0.1)
        trial.suggest_int("batch_size", 4, 16, step=4)
        trial.suggest_categorical("layers", [(8,), (8, 8)])
        return 1.0

    found = discover(function, {}, name="function")
    assert Discovered.from_text(found.as_text()) == found
    assert json.loads(found.as_text())["points"] == 1
    assert found.suggested["batch_size"].choices == (4, 8, 12, 16)
    assert found.suggested["lr"].choices == pytest.approx((0.1, 0.2, 0.3, 0.4, 0.5))
    assert ScriptTrial({"layers": "(8, 8)"}, lambda value: False).suggest_categorical(
        "layers", [(8,), (8, 8)]
    ) == (8, 8)


def test_the_direction_is_read_where_the_text_can_be():
    assert direction_in("study = optuna.create_study(directions=['maximize', 'minimize'])") == (
        "maximize"
    )
    assert direction_in("study = create_study()") == "minimize"
    assert direction_in("create_study(directions=aims)") is None
    assert direction_in("lambda trial: 3, n_trials=2)") is None


def test_a_list_of_the_script_does_not_limit_what_the_study_searches():
    trial = ScriptTrial({"lr": 0.034, "bs": 48}, lambda value: False)
    assert trial.suggest_categorical("lr", [0.01, 0.1]) == 0.034
    assert trial.suggest_categorical("bs", [32, 64]) == 48


def test_a_suggestion_that_comes_later_is_said_and_not_searched():
    trial = ScriptTrial({"lr": 0.1}, lambda value: False)
    with pytest.warns(UserWarning, match="'momentum', which it did not when it was first run"):
        assert trial.suggest_float("momentum", 0.0, 0.8) == pytest.approx(0.4)


def test_torch_is_as_it_was_after_a_script():
    before = torch.Tensor.backward, torch.nn.Module.train
    discover(
        lambda trial: trial.suggest_float("lr", 0, 1) + trial.suggest_int("bs", 1, 2), {}, name="f"
    )
    assert (torch.Tensor.backward, torch.nn.Module.train) == before


BRANCHES = """
import optuna

def objective(trial):
    size = trial.suggest_categorical("batch_size", [8, 16, 32])
    rate = trial.suggest_float("lr", 1e-3, 1e-1, log=True)
    kind = trial.suggest_categorical("kind", ["deep", "flat"])
    if kind == "deep":
        trial.suggest_int("units_1", 4, 64)
        return 2.0 + rate
    return 1.0 + abs(rate - 0.01)

if __name__ == "__main__":
    optuna.create_study(direction="minimize").optimize(objective, n_trials=3)
"""


LATE = """
import optuna

def objective(trial):
    trial.suggest_categorical("batch_size", [8, 16, 32])
    trial.suggest_float("lr", 1e-3, 1e-1, log=True)
    if trial.number > 0 and trial.number % 2:
        raise optuna.TrialPruned
    return 1.0 + trial.suggest_float("late", 0.0, 1.0)

if __name__ == "__main__":
    optuna.create_study(direction="minimize").optimize(objective, n_trials=3)
"""


def test_a_run_that_was_stopped_has_taken_no_branch(write):
    write(LATE)
    assert main(["run", "--task", "script.py", "--n-trials", "8"]) == 0
    assert {t.state.name for t in _study().trials} == {"COMPLETE", "PRUNED"}
    assert not any("not_suggested" in t.user_attrs for t in _study().trials)


def test_the_answer_names_no_parameter_of_a_branch_that_is_not_taken(write, capsys):
    write(BRANCHES)
    assert main(["run", "--task", "script.py", "--n-trials", "12"]) == 0
    trials = [t for t in _study().trials if t.state.name == "COMPLETE"]
    assert {t.params["kind"] for t in trials} == {"deep", "flat"}
    for trial in trials:
        is_flat = trial.params["kind"] == "flat"
        assert trial.user_attrs.get("not_suggested") == (["units_1"] if is_flat else None)
    said = capsys.readouterr().err
    assert "kind flat" in said
    assert "units_1" not in said.partition("Train with")[2]
    assert main(["advise", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["recommended"]["params"] == {"kind": "flat"}
    assert main(["front", "--json"]) == 0
    for row in json.loads(capsys.readouterr().out):
        assert ("not_suggested" in row) == (row["kind"] == "flat")
    assert main(["run", "--task", "script.py", "--n-trials", "12", "--confirm", "2"]) == 0
    fresh = [t for t in _study().trials if t.user_attrs.get("purpose") == "confirm"]
    assert {t.params["kind"] for t in fresh} == {"flat"}, "a trial has a value of each"


@pytest.mark.parametrize(
    ("seen", "n_smaller", "steps", "at_64"),
    [
        (800, 2, 8, 14),  # two epochs of 400 examples: 3 batches of 128 and one of 16
        (5560, 60, 100, 200),  # 40 batches of 64 and 60 of 50, as of buckets: no epochs' ends
        (0, 0, 8, 16),
    ],
)
def test_steps_at_another_size_are_counted_by_what_epochs_leave_over(seen, n_smaller, steps, at_64):
    found = Discovered(
        names={}, suggested={}, n_values=1, points=2, steps=steps, batch_size=128,
        seen=seen, n_smaller=n_smaller,
    )  # fmt: skip
    assert found.steps_at(64) == at_64
    assert found.steps_at(128) == steps
