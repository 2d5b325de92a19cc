"""What `noise-scale` says: tables, what the numbers mean, and the same for machines."""

from __future__ import annotations

from math import isfinite, sqrt
from typing import TYPE_CHECKING, Any

from batchfront.objectives.gradients.noise_scale import LEVEL, NoiseScale
from batchfront.study.show import plain_table, short_number

if TYPE_CHECKING:
    from rich.table import Table

    from batchfront.study.probes.noise import EpochNoise, TaskNoise

METHODS = {"two_sizes": "two batch sizes", "per_example": "per example"}


def label(optimizer: str) -> str:
    """What a noise scale is, and is not, under the task's optimizer."""
    if optimizer.startswith("SGD("):
        return (
            f"under {optimizer} the noise scale estimates the critical batch size where the loss "
            "curves alike in all directions (arXiv:1812.06162); critical-batch measures it"
        )
    return (
        f"under {optimizer} the noise scale is not the critical batch size: Adam and its like "
        "rescale the gradient (arXiv:2505.23971); critical-batch measures it"
    )


def remarks(found: TaskNoise) -> list[str]:
    """What was refused and why, and the label."""
    refused = [
        f"epoch {at.epoch}, {METHODS[scale.method]}: not shown: {scale.reason}"
        for at in found.epochs
        for scale in at.scales
        if scale.reason
    ]
    coupled = [at.coupled for at in found.epochs if at.coupled][:1]
    lines = [
        f"per-example gradients are not defined here, two batch sizes do: {c}" for c in coupled
    ]
    return [*refused, *lines, label(found.optimizer)]


def scales_table(found: TaskNoise) -> Table:
    """One estimate a line."""
    columns = ("epoch", found.metric, "estimator", "noise scale", f"{LEVEL:.0%}", "|G|", "draws")
    table = plain_table("", [(name, "right") for name in columns])
    for at in found.epochs:
        for scale in at.scales:
            shown = scale.scale is not None
            table.add_row(
                str(at.epoch),
                "-" if at.metric is None else f"{at.metric:.4f}",
                METHODS[scale.method],
                short_number(scale.scale) if scale.scale is not None else "not shown",
                f"{_text(scale.low)} to {_text(scale.high)}" if shown else "-",
                short_number(sqrt(scale.square)) if shown else "-",
                str(scale.n_draws),
            )
    return table


def norms_table(at: EpochNoise) -> Table:
    """The distribution of gradient norms after one epoch, one batch size a line."""
    columns = ("batch size", "mean norm", "sd", "mean / largest size's", "draws")
    title = f"gradient norms at epoch {at.epoch}"
    table = plain_table(title, [(name, "right") for name in columns])
    for row in norm_rows(at):
        table.add_row(
            str(row["batch_size"]),
            *(short_number(row[key]) for key in ("mean", "sd", "ratio")),
            str(row["n_draws"]),
        )
    return table


def norm_rows(at: EpochNoise) -> list[dict[str, Any]]:
    """Moments by batch size; `ratio`: of the mean to that of the largest size."""
    largest = at.norms[max(at.norms)].mean if at.norms else 0.0
    return [
        {
            "epoch": at.epoch,
            "batch_size": size,
            "mean": moments.mean,
            "sd": moments.sd,
            "ratio": moments.mean / largest if largest else None,
            "n_draws": moments.n,
        }
        for size, moments in at.norms.items()
    ]


def as_json(found: TaskNoise) -> dict[str, Any]:
    """The answer for machines. `noise_scale` is null unless `status` is `shown`."""
    return {
        "task": found.name,
        "metric": found.metric,
        "optimizer": found.optimizer,
        "remarks": remarks(found),
        "rows": [_row(at, scale) for at in found.epochs for scale in at.scales],
        "norms": [row for at in found.epochs for row in norm_rows(at)],
    }


def _row(at: EpochNoise, scale: NoiseScale) -> dict[str, Any]:
    shown = scale.scale is not None
    return {
        "epoch": at.epoch,
        "val_metric": at.metric,
        "method": scale.method,
        "status": "shown" if shown else "not_shown",
        "reason": scale.reason,
        "noise_scale": scale.scale,
        "noise_scale_interval": [_plain(scale.low), _plain(scale.high)] if shown else None,
        "trace": scale.trace,
        "square": scale.square,
        "square_interval": [scale.square_low, scale.square_high],
        "n_draws": scale.n_draws,
    }


def _plain(bound: float | None) -> float | None:
    """JSON has no infinity."""
    return bound if bound is not None and isfinite(bound) else None


def _text(bound: float | None) -> str:
    plain = _plain(bound)
    return "no bound" if plain is None else short_number(plain)
