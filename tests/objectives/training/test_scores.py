"""Metrics of a task: scikit-learn's figures, however the split is cut."""

from __future__ import annotations

import sys

import pytest
import torch
from sklearn import metrics as sklearn
from torch import nn

from batchfront.objectives.load import load_objective
from batchfront.objectives.loading.examples import Tensors
from batchfront.objectives.loss import Loss
from batchfront.objectives.measurement import ObjectiveError
from batchfront.objectives.metric import Metric, as_metric
from batchfront.objectives.training.scores import Scorer

N = 101


def scored(metric, output, y, part=7, loss=nn.functional.cross_entropy, also=()):
    scorer = Scorer(
        metric=as_metric(metric),
        also=tuple(map(as_metric, also)),
        loss=Loss(of=loss),
        device="cpu",
    )
    return scorer.of(nn.Identity(), Tensors(output, y), part=part, precision="float32")


def of_classes(n_classes, seed=0):
    draw = torch.Generator().manual_seed(seed)
    y = torch.randint(n_classes, (N,), generator=draw)
    output = torch.randn(N, n_classes, generator=draw) + nn.functional.one_hot(y, n_classes)
    return output, y


def f1(output, y):
    return sklearn.f1_score(y, output.argmax(1), average="macro")


ORACLES = {
    "val_f1": f1,
    "val_auc": lambda out, y: sklearn.roc_auc_score(y, out.softmax(1), multi_class="ovr"),
    "val_iou": lambda out, y: sklearn.jaccard_score(y, out.argmax(1), average="macro"),
    "val_perplexity": lambda out, y: nn.functional.cross_entropy(out, y).exp(),
    "val_loss": nn.functional.cross_entropy,
}


@pytest.mark.parametrize("name", ORACLES)
@pytest.mark.parametrize("part", [7, N])
def test_a_metric_by_name_is_the_usual_one(name, part):
    output, y = of_classes(3)
    found = scored(name, output, y, part=part)
    assert found == {name: pytest.approx(float(ORACLES[name](output, y)), rel=1e-4)}


def test_two_outputs_are_scored_as_a_probability():
    output, y = of_classes(2)
    wanted = sklearn.roc_auc_score(y, output.softmax(1)[:, 1])
    assert scored("auc", output, y)["val_auc"] == pytest.approx(wanted, rel=1e-5)


def test_one_output_with_targets_like_it_is_binary():
    output, y = of_classes(2)
    one, target = (output[:, 1:] - output[:, :1]), y[:, None].float()
    wanted = sklearn.average_precision_score(y, one[:, 0])
    assert scored("map", one, target)["val_map"] == pytest.approx(wanted, rel=1e-4)


def test_several_labels_are_averaged_over_them():
    draw = torch.Generator().manual_seed(0)
    output = torch.randn(N, 4, generator=draw)
    y = (output + torch.randn(N, 4, generator=draw) > 0).float()
    wanted = sklearn.average_precision_score(y, output, average="macro")
    assert scored("map", output, y)["val_map"] == pytest.approx(wanted, rel=1e-4)


def test_all_metrics_come_from_one_pass_over_the_split():
    class Counting(nn.Module):
        n = 0

        def forward(self, x):
            self.n += 1
            return x

    output, y = of_classes(3)
    model = Counting()
    scorer = Scorer(
        metric=as_metric("accuracy"),
        also=tuple(map(as_metric, ("f1", "loss"))),
        loss=Loss(of=nn.functional.cross_entropy),
        device="cpu",
    )
    found = scorer.of(model, Tensors(output, y), part=N, precision="float32")
    assert set(found) == {"val_accuracy", "val_f1", "val_loss"}
    assert model.n == 1


def test_a_function_of_all_outputs_sees_all_of_them_at_once():
    output, y = of_classes(3)
    metric = Metric("val_f1", f1)
    assert scored(metric, output, y, part=5)["val_f1"] == pytest.approx(f1(output, y))


def test_a_torchmetrics_metric_is_updated_and_left_as_it_was():
    from torchmetrics.classification import MulticlassAccuracy

    output, y = of_classes(3)
    given = MulticlassAccuracy(num_classes=3, average="micro")
    metric = Metric("val_top1", given)
    assert metric.maximize
    wanted = scored("accuracy", output, y)["val_accuracy"]
    assert scored(metric, output, y)["val_top1"] == pytest.approx(wanted)
    assert given.update_count == 0


def test_a_loop_of_ones_own_gets_model_and_loader_and_may_say_more():
    def evaluate(model, loader):
        right = sum(int((model(x).argmax(1) == y).sum()) for x, y in loader)
        return {"val_top1": right / N, "val_n": N}

    output, y = of_classes(3)
    found = scored(Metric("val_top1", evaluate), output, y)
    assert found["val_top1"] == pytest.approx(scored("accuracy", output, y)["val_accuracy"])
    assert found["val_n"] == N


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda output, y: 1 / 0, "metric val_mine fails: ZeroDivisionError"),
        (lambda output, y: "much", "metric val_mine fails: ValueError"),
        (lambda model, loader: {"val_other": 1}, "evaluate returned val_other, wanted"),
        (lambda model, loader: None, "evaluate returned None, wanted a dict with 'val_mine'"),
    ],
)
def test_a_metric_that_fails_is_named(function, said):
    with pytest.raises(ObjectiveError, match=said):
        scored(Metric("val_mine", function), *of_classes(3))


TASK = """
import torch
from torch import nn
from batchfront import Data, Metric, Task

def data():
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(90, 4, generator=draw)
    y = x.sum(1, keepdim=True) + 3
    return Data(x_train=x[:50], y_train=y[:50], x_val=x[50:70], y_val=y[50:70],
                x_test=x[70:], y_test=y[70:])

task = Task(name="t", data=data, model=lambda: nn.Linear(4, 1), loss=nn.L1Loss(),
            optimizer=torch.optim.SGD, metric={metric}, also=["r2", "loss"], epochs=3)
"""


def loaded(tmp_path, metric):
    path = tmp_path / f"{abs(hash(metric))}.py"
    path.write_text(TASK.replace("{metric}", metric))
    return load_objective(str(path), device="cpu")


def test_the_constant_predictor_is_scored_by_the_same_metric(tmp_path):
    objective = loaded(tmp_path, "'mae'")
    y = objective._source.look.y_train
    assert objective._baseline_metric == pytest.approx(float((y - y.mean()).abs().mean()), rel=1e-5)


def test_a_task_reports_its_metric_and_the_others(tmp_path):
    from batchfront.objectives.measurement import TrialParams
    from batchfront.objectives.run import Run, carry_out

    objective = loaded(tmp_path, "'mae'")
    run = Run(metric=objective.metric, measure_memory=False)
    params = TrialParams(batch_size=5, learning_rate=0.3, epochs=3, seed=0, device="cpu")
    carry_out(objective, params, run)
    measured = run.result()
    assert measured.metric == pytest.approx(measured.also["val_loss"]), "its loss is that error"
    assert measured.metric < measured.baseline_metric
    assert set(measured.also) == {"val_r2", "val_loss"}
    assert len(measured.also_curves["val_r2"]) == 3


def test_a_metric_that_nobody_can_compute_is_refused_with_the_words_there_are(tmp_path):
    with pytest.raises(ObjectiveError, match="'val_top5', which our loop cannot compute: wanted"):
        loaded(tmp_path, "'val_top5'")
    with pytest.raises(ObjectiveError, match="two metrics named val_r2"):
        loaded(tmp_path, "'r2'")


def test_a_metric_that_fails_is_said_when_the_task_is_loaded(tmp_path):
    with pytest.raises(ObjectiveError, match="metric val_mine fails: ZeroDivisionError"):
        loaded(tmp_path, "__import__('batchfront').Metric('val_mine', lambda o, y: 1 / 0)")


def test_a_percent_where_a_fraction_is_meant_is_said_when_the_task_is_loaded(tmp_path):
    percent = "__import__('batchfront').Metric('val_pc', lambda o, y: 61.0, bound=1)"
    with pytest.raises(ObjectiveError, match="got val_pc=61, wanted at most 1"):
        loaded(tmp_path, percent)


def test_without_torchmetrics_its_words_say_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchmetrics", None)
    with pytest.raises(ObjectiveError, match=r"val_mae needs torchmetrics: pip install"):
        loaded(tmp_path, "'mae'")
