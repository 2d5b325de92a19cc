"""What the loss of a batch has to do with that of its parts is looked at, and followed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from batchfront.objectives.constant import constant_loss
from batchfront.objectives.gradients.draws import Gradients
from batchfront.objectives.loading.examples import Tensors
from batchfront.objectives.loss import COUNTED, MEAN, SUM, WHOLE, Loss, as_loss, looked_at
from batchfront.objectives.measurement import ObjectiveError
from batchfront.objectives.task import Data
from batchfront.objectives.training.batches import RAGGED
from batchfront.objectives.training.objective import TaskObjective
from batchfront.objectives.training.recipe import Recipe
from batchfront.objectives.training.step import gradient
from tests.objectives.conftest import made_data, made_regression, made_task, train

WEIGHTS = torch.tensor([0.1, 0.9, 3.0])


def summed(output: Tensor, y: Tensor) -> Tensor:
    return nn.functional.cross_entropy(output, y, reduction="sum")


def weighted(output: Tensor, y: Tensor) -> Tensor:
    return nn.functional.cross_entropy(output, y, weight=WEIGHTS.to(output))


def smoothed(output: Tensor, y: Tensor) -> Tensor:
    return nn.functional.cross_entropy(output, y, label_smoothing=0.2)


def ignoring(output: Tensor, y: Tensor) -> Tensor:
    return nn.functional.cross_entropy(output, y, ignore_index=1)


def pairs(output: Tensor, y: Tensor) -> Tensor:
    return (torch.cdist(output, output) * (y[:, None] == y[None])).mean()


def counted(output: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    weights = WEIGHTS.to(output)
    return nn.functional.cross_entropy(output, y, weight=weights, reduction="sum"), weights[y].sum()


def of_sigmoid(output: Tensor, y: Tensor) -> Tensor:
    return nn.functional.binary_cross_entropy(
        torch.sigmoid(output), (y[:, None] == torch.arange(3)).float()
    )


def picky(output: Tensor, y: Tensor) -> Tensor:
    if not ((output >= 0) & (output <= 1)).all():
        raise ValueError("no probabilities")
    return output.sum(dim=1).mean()


def zeros() -> nn.Module:
    """Finds all examples alike before it is trained."""
    model = nn.Linear(5, 3)
    nn.init.zeros_(model.weight)
    nn.init.zeros_(model.bias)
    return model


@pytest.mark.parametrize(
    ("loss", "kind", "ignored"),
    [
        (nn.functional.cross_entropy, MEAN, ()),
        (smoothed, MEAN, ()),
        (of_sigmoid, MEAN, ()),
        (picky, MEAN, ()),
        (summed, SUM, ()),
        (weighted, WHOLE, ()),
        (ignoring, WHOLE, (1,)),
        (pairs, WHOLE, ()),
        (counted, COUNTED, ()),
    ],
)
@pytest.mark.parametrize("model", [zeros, lambda: nn.Sequential(nn.Linear(5, 3), nn.Sigmoid())])
def test_a_loss_is_told_by_a_batch_and_its_parts(loss, kind, ignored, model):
    data = made_data()
    found = looked_at(loss, model(), data.x_train, data.y_train, classes=True)
    assert (found.kind, found.ignored) == (kind, ignored)


def test_a_mean_is_one_in_16_bits_too():
    data, model = made_data(), nn.Linear(5, 3).bfloat16()
    x = data.x_train.bfloat16()
    for loss, kind in ((nn.functional.cross_entropy, MEAN), (summed, SUM), (weighted, WHOLE)):
        assert looked_at(loss, model, x, data.y_train, classes=True).kind == kind


def test_the_weight_of_a_class_of_one_example_is_seen():
    data = made_data((3000, 30, 30))
    y = torch.zeros(3000, dtype=torch.int64)
    y[1234] = 2
    assert looked_at(weighted, zeros(), data.x_train, y, classes=True).kind == WHOLE


@pytest.mark.parametrize("loss", [nn.functional.cross_entropy, summed, counted, smoothed])
@pytest.mark.parametrize("micro", [1, 3, 8, 32])
def test_micro_batches_add_up_to_the_gradient_of_the_batch(loss, micro):
    data, torch_state = made_data(), torch.get_rng_state()
    torch.manual_seed(0)
    model, x, y = nn.Linear(5, 3).double(), data.x_train[:32].double(), data.y_train[:32]
    torch.set_rng_state(torch_state)
    told = looked_at(loss, model, x, y, classes=True)
    expected_loss = told(model(x), y)
    expected = torch.autograd.grad(expected_loss, list(model.parameters()))
    recipe = Recipe(micro_batch_sizes=(micro, micro))
    found = gradient(model, told, x, y, recipe=recipe, device="cpu")
    torch.testing.assert_close(found, expected_loss.detach())
    torch.testing.assert_close([p.grad for p in model.parameters()], list(expected))


@pytest.mark.parametrize(
    ("recipe", "option"),
    [
        (Recipe(micro_batch_sizes=(4, 4)), "--micro-batch-sizes"),
        (Recipe(data_parallel=2), "--data-parallel"),
        (Recipe(schedule="noise-scale"), "--schedule noise-scale"),
    ],
)
@pytest.mark.parametrize("loss", [weighted, ignoring, pairs])
def test_what_splits_a_batch_is_refused_where_nobody_knows_what_parts_weigh(loss, recipe, option):
    with pytest.raises(ObjectiveError, match=f"so {option} would follow another gradient") as said:
        TaskObjective(made_task(loss=loss), name="t", device="cpu", recipe=recipe)
    assert "\n" not in str(said.value)
    assert TaskObjective(made_task(loss=loss), name="t", device="cpu").loss.kind == WHOLE


def baseline_of(loss: Callable[..., Any], size: int, **task: Any) -> tuple[float, float]:
    """What a run is told of the best constant predictor."""
    objective = TaskObjective(made_task(loss=loss, **task), name="t", device="cpu")
    run = train(objective, batch_size=size, epochs=1)
    guard = run._begun()
    return guard._course.baseline, objective._baseline_metric


def test_the_baseline_of_a_sum_is_that_of_the_batch():
    mean, _ = baseline_of(nn.functional.cross_entropy, 20)
    for size in (1, 20, 1000):
        assert baseline_of(summed, size)[0] == pytest.approx(mean * min(size, 100), rel=1e-5)
    sizes = TaskObjective(
        made_regression(loss=lambda out, y: nn.functional.mse_loss(out, y, reduction="sum")),
        name="t",
        device="cpu",
    )
    plain = TaskObjective(made_regression(), name="t", device="cpu")
    assert sizes._baseline_loss == pytest.approx(2 * plain._baseline_loss, rel=1e-5)  # 2 targets


def padded() -> Data:
    """Class 1 of three became padding that the loss ignores, marked as torch's default does."""
    data = made_data()
    marked = {k: torch.where(v == 1, -100, v) if k[0] == "y" else v for k, v in vars(data).items()}
    return Data(**marked)


def uneven() -> Data:
    """Three classes of very unequal size."""
    data = made_data()
    y = torch.tensor([0] * 70 + [1] * 25 + [2] * 5)
    return replace(data, y_train=y)


@pytest.mark.parametrize(
    "loss", [nn.functional.cross_entropy, smoothed, ignoring, weighted, summed, counted, of_sigmoid]
)
def test_the_baseline_is_the_least_loss_of_any_constant(loss):
    """Against a simplex search over the three logits, which knows nothing of slopes."""
    data = uneven()
    y = data.y_train

    def of(logits: Any) -> float:
        found = loss(torch.tensor(logits, dtype=torch.float32).expand(len(y), 3), y)
        return float(found[0] / found[1] if isinstance(found, tuple) else found)

    least = minimize(of, [0.0, 0.0, 0.0], method="Nelder-Mead").fun
    made = TaskObjective(made_task(data=uneven, loss=loss), name="t", device="cpu")
    found = made.loss.of_batch(made._baseline_loss, len(y))
    assert found == pytest.approx(least, rel=1e-3)


VALUES = torch.randn(2001, generator=torch.Generator().manual_seed(0)).exp()
RARE = (torch.arange(2000) % 100 == 0).float()


@pytest.mark.parametrize(
    ("loss", "y"),
    [
        *((loss, VALUES * size) for loss in (F.l1_loss, F.huber_loss) for size in (1e-2, 1.0, 1e4)),
        (F.mse_loss, VALUES + 273),
        (F.binary_cross_entropy_with_logits, RARE),
    ],
)
def test_the_baseline_of_values_is_the_least_loss_whatever_their_size(loss, y):
    """Against every quantile of the targets, and every logit."""
    values = torch.cat([y.quantile(torch.linspace(0, 1, 501)), y.mean(0, keepdim=True)])
    tried = torch.linspace(-7, 7, 501) if y is RARE else values
    least = min(float(loss(constant.expand_as(y), y)) for constant in tried)
    found = constant_loss(as_loss(loss), y.mean(dim=0, keepdim=True), y, part=512)
    assert found == pytest.approx(least, rel=1e-3)


def test_log_probabilities_have_the_baseline_of_logits():
    """The larger they are, the lower their loss: only those of one distribution are outputs."""
    task = made_task(
        data=uneven,
        model=lambda: nn.Sequential(nn.Linear(5, 3), nn.LogSoftmax(dim=1)),
        loss=nn.NLLLoss(weight=WEIGHTS),
    )
    found = TaskObjective(task, name="t", device="cpu")._baseline_loss
    logits = TaskObjective(made_task(data=uneven, loss=weighted), name="t", device="cpu")
    assert found == pytest.approx(logits._baseline_loss, rel=1e-3)


def test_a_loss_that_falls_for_ever_keeps_the_baseline_of_the_shares():
    def boundless(output: Tensor, y: Tensor) -> Tensor:
        return -output.gather(1, y[:, None]).mean()

    made = TaskObjective(made_task(data=uneven, loss=boundless), name="t", device="cpu")
    shares = torch.bincount(uneven().y_train) / 100
    assert made._baseline_loss == pytest.approx(float(-(shares * shares.log()).sum()), rel=1e-3)


def test_targets_that_the_loss_ignores_do_not_count_as_right_or_wrong():
    data = padded()
    objective = TaskObjective(made_task(data=padded), name="t", device="cpu")
    assert objective.loss == Loss(of=nn.functional.cross_entropy, kind=WHOLE, ignored=(-100,))
    kept = data.y_train[data.y_train >= 0]
    shares = torch.bincount(kept, minlength=3) / len(kept)
    assert objective._baseline_metric == pytest.approx(float(shares.max()))
    model = nn.Linear(5, 3)
    right = model(data.x_val).argmax(dim=1) == data.y_val
    expected = float(right.sum()) / int((data.y_val >= 0).sum())
    assert objective.score(model, Tensors(data.x_val, data.y_val)) == pytest.approx(expected)


def test_a_study_of_an_older_version_takes_every_loss_for_a_mean():
    recipe = Recipe(micro_batch_sizes=(4, 4))
    older = TaskObjective(
        made_task(loss=weighted), name="t", device="cpu", recipe=recipe, batches=RAGGED
    )
    assert older.loss == Loss(of=weighted)


@pytest.mark.parametrize("loss", [summed, counted])
def test_a_gradients_noise_is_that_of_the_mean(loss):
    data = made_data()
    torch.manual_seed(0)
    model, indices = nn.Linear(5, 3), torch.arange(40)
    told = looked_at(loss, model, data.x_train, data.y_train, classes=True)
    found = [
        Gradients(model, told, Tensors(data.x_train, data.y_train), device="cpu", part=part).square(
            indices
        )
        for part in (None, 7)
    ]
    output, y = model(data.x_train[:40]), data.y_train[:40]
    mean = told(output, y) / (40 if loss is summed else 1)
    grads = torch.autograd.grad(mean, list(model.parameters()))
    assert found == pytest.approx([sum(float(g.square().sum()) for g in grads)] * 2, rel=1e-5)
