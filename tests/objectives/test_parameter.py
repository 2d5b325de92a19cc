"""What a task lets the search vary besides batch size and learning rate."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from batchfront.objectives.load import load_objective
from batchfront.objectives.measurement import ObjectiveError, TrialParams
from batchfront.objectives.objective import CustomLoop
from batchfront.objectives.parameter import Parameter, check_search, usual_values
from batchfront.objectives.run import Run
from batchfront.objectives.task import Task
from batchfront.objectives.tasks.digits import digits
from batchfront.objectives.training.objective import TaskObjective


def wide(width: int = 4, depth: int = 1) -> nn.Module:
    hidden = [layer for _ in range(depth - 1) for layer in (nn.Linear(width, width), nn.ReLU())]
    return nn.Sequential(nn.Linear(64, width), nn.ReLU(), *hidden, nn.Linear(width, 10))


WIDTH = Parameter(low=8, high=128, log=True)
DECAY = Parameter(low=0.0, high=0.5, bears_cost=False)


def _task(**changes) -> Task:
    search = {"width": WIDTH, "weight_decay": DECAY}
    given = {"model": wide, "optimizer": torch.optim.AdamW, "epochs": 1, "search": search}
    return replace(digits(), **{**given, **changes})


def _train(objective: TaskObjective, **extra) -> Run:
    run = Run(metric=objective.metric)
    params = TrialParams(
        batch_size=64, learning_rate=0.01, epochs=1, seed=0, device="cpu", extra=extra
    )
    with run:
        objective(params, run)
    return run


def test_model_and_optimizer_are_given_the_values_they_name():
    seen = []

    def optimizer(parameters, lr, weight_decay):
        parameters = list(parameters)
        seen.append((len(parameters[0]), weight_decay))
        return torch.optim.AdamW(parameters, lr=lr, weight_decay=weight_decay)

    objective = TaskObjective(_task(optimizer=optimizer), name="wide", device="cpu")
    seen.clear()
    _train(objective, width=16, weight_decay=0.25)
    assert set(seen) == {(16, 0.25)}


def test_a_wider_model_takes_more_memory():
    objective = TaskObjective(_task(), name="wide", device="cpu")
    narrow, broad = (
        _train(objective, width=width, weight_decay=0.1).result().peak_memory_bytes
        for width in (8, 128)
    )
    assert broad > 4 * narrow


def test_probes_and_predictions_use_the_usual_value():
    assert usual_values({"width": WIDTH, "weight_decay": DECAY}) == {
        "width": 32,
        "weight_decay": 0.25,
    }
    search = {"width": Parameter(low=8, high=128, usual=100), "weight_decay": DECAY}
    small = TaskObjective(_task(), name="wide", device="cpu")
    large = TaskObjective(_task(search=search), name="wide", device="cpu")
    assert large.predict_peak_bytes(4) > 2 * small.predict_peak_bytes(4)


def test_a_loop_of_your_own_finds_the_values_in_its_params():
    seen = {}

    def loop(params, run):
        seen.update(params.extra)

    search = {"clip": Parameter(choices=(0.1, 1.0))}
    objective = CustomLoop(function=loop, search=search)
    params = TrialParams(
        batch_size=1, learning_rate=1.0, epochs=1, seed=0, device="cpu", extra={"clip": 0.1}
    )
    with Run(metric="val_accuracy") as run:
        objective(params, run)
    assert seen == {"clip": 0.1}


@pytest.mark.parametrize(
    ("name", "parameter", "says"),
    [
        ("learning_rate", DECAY, "name that is taken"),
        ("weight decay", DECAY, "no identifier"),
        ("width", 64, "is int, wanted a Parameter"),
        ("width", Parameter(), "wanted low below high, or choices"),
        ("width", Parameter(low=8, high=8), "wanted low below high"),
        ("width", Parameter(low=0, high=8, log=True), "low end above 0"),
        ("width", Parameter(low=0, high=float("inf")), "wanted low below high"),
        ("width", Parameter(choices=(8,)), "at least two different"),
        ("width", Parameter(choices=(8, 8)), "at least two different"),
        ("width", Parameter(low=1, high=2, choices=(8, 16)), "both choices and a range"),
        ("width", Parameter(choices=((1,), (2,))), "wanted strings, numbers or booleans"),
        ("width", Parameter(choices=(8, 16), usual=4), "which is none of"),
        ("width", Parameter(low=8, high=16, usual=4), "which is not within"),
        ("width", Parameter(low=8, high=16, usual=9.5), "wanted a whole number"),
        ("width", Parameter(low=0, high=1, usual=True), "which is not within"),
        ("width", Parameter(low="8", high=16), "wanted low below high"),
        ("width", Parameter(low=float("nan"), high=16), "wanted low below high"),
        ("width", Parameter(choices=("relu")), "wanted strings, numbers or booleans"),
        ("width", Parameter(choices=([1], [2])), "wanted strings, numbers or booleans"),
        ("width", Parameter(choices=(1.0, float("nan"))), "wanted strings, numbers or booleans"),
        ("width", Parameter(choices=(1, 2), usual=True), "which is none of"),
    ],
)
def test_what_cannot_be_searched_is_said(name, parameter, says):
    with pytest.raises(ObjectiveError, match=says):
        check_search({name: parameter}, task="wide")


def test_a_parameter_that_nobody_takes_is_an_error():
    with pytest.raises(ObjectiveError, match="nobody takes the searched parameter 'widht'"):
        TaskObjective(_task(search={"widht": WIDTH}), name="wide", device="cpu")


def test_a_searched_task_is_not_compiled():
    with pytest.raises(ObjectiveError, match="run without --compile"):
        TaskObjective(_task(), name="wide", device="cpu", compiled=True)


def test_a_loop_with_a_bad_search_is_refused(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "from batchfront import CustomLoop\n"
        "from batchfront import Parameter\n"
        "def loop(params, run): pass\n"
        "objective = CustomLoop(function=loop, search={'lr': Parameter(low=1, high=2)})\n"
    )
    with pytest.raises(ObjectiveError, match="'lr' has a name that is taken"):
        load_objective(str(path), device="cpu")


@pytest.mark.parametrize("parameter", [WIDTH, DECAY, Parameter(choices=("a", "b"), usual="b")])
def test_what_is_stored_comes_back(parameter):
    assert Parameter.from_dict(parameter.as_dict()) == parameter
