"""What `noise-scale` measures: a training run of ours, looked at after chosen epochs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from batchfront.objectives.device.hardware import is_out_of_memory
from batchfront.objectives.device.names import resolve_device
from batchfront.objectives.gradients.noise_scale import (
    LARGE,
    N_DRAWS,
    SIZES,
    Moments,
    NoiseScale,
    measure_per_example,
    measure_two_sizes,
    noise_scale,
    norm_moments,
)
from batchfront.objectives.load import load_objective
from batchfront.objectives.measurement import ObjectiveError, TrialParams
from batchfront.objectives.objective import CustomLoop
from batchfront.objectives.parameter import usual_values
from batchfront.objectives.probes.models_after import models_after
from batchfront.objectives.raised import Halted, words_of
from batchfront.study.errors import StudyError
from batchfront.study.machine.alone import measuring_alone
from batchfront.study.plan.environment import chosen_data_dir

if TYPE_CHECKING:
    from batchfront.objectives.gradients.draws import Gradients
    from batchfront.objectives.objective import Objective
    from batchfront.objectives.training.objective import TaskObjective

TRAINED_EPOCHS = (0, 1, 5)  # looked at where a learning rate is given and no epochs are


@dataclass(frozen=True, kw_only=True)
class NoiseSettings:
    """What to look at."""

    task: str
    device: str = "auto"
    epochs: tuple[int, ...] | None = None  # 0: the initial model
    batch_size: int = 64  # of the run that leads there
    learning_rate: float | None = None
    seed: int = 0  # of the run and of the draws
    n_draws: int = N_DRAWS  # for each estimate
    n_norms: int = 0  # draws of each batch size for the distribution of norms; 0: none

    @property
    def looked_at(self) -> tuple[int, ...]:
        """Epochs, also by default."""
        return self.epochs or ((0,) if self.learning_rate is None else TRAINED_EPOCHS)


@dataclass(frozen=True, kw_only=True)
class EpochNoise:
    """One epoch."""

    epoch: int
    metric: float | None  # on the validation split; None before training
    scales: list[NoiseScale]  # by two sizes, and by examples where that is defined
    coupled: str  # why it is not; "" where it is
    norms: Mapping[int, Moments]  # by batch size


@dataclass(frozen=True, kw_only=True)
class TaskNoise:
    """All epochs of one run."""

    name: str
    metric: str
    optimizer: str
    epochs: list[EpochNoise]


def check(settings: NoiseSettings) -> None:
    """Raise StudyError for what cannot be run."""
    for name, value, least in (
        ("--batch-size", settings.batch_size, 1),
        ("--n-draws", settings.n_draws, 2),
        ("--norms", settings.n_norms, 0),
        ("--epochs", min(settings.looked_at), 0),
    ):
        if value < least:
            raise StudyError(f"{name} is {value}, wanted at least {least}")
    rate, last = settings.learning_rate, max(settings.looked_at)
    if rate is None and last > 0:
        raise StudyError(f"to train to epoch {last}, give --learning-rate; or --epochs 0")
    if rate is not None and not 0 < rate < float("inf"):
        raise StudyError(f"--learning-rate is {rate:g}, wanted a number above 0")


def measure(settings: NoiseSettings, *, begin: Callable[[int], Callable[[int], None]]) -> TaskNoise:
    """Train to the epochs asked for and draw gradients there.

    Args:
        settings: what to look at.
        begin: given how many draws there will be, returns what is told of those done.

    Raises:
        StudyError: settings that cannot be run, an objective that hands over no model.
        ObjectiveError: the task, or its training, fails.
    """
    check(settings)
    device = resolve_device(settings.device)
    loaded = load_objective(settings.task, device=device, data_dir=chosen_data_dir())
    objective = with_model(loaded, settings.task, verb="noise-scale")
    objective.loss.check_splits("noise-scale")
    params = _params(settings, objective, device)
    least, most = objective.batch_sizes
    sizes = [size for size in SIZES if least <= size <= (most or 1)]
    each = 2 * settings.n_draws + len(sizes) * settings.n_norms  # two estimators
    watch = begin(each * len(set(settings.looked_at)))
    try:
        with measuring_alone(objective, device):  # as trials run: else it were another run
            found = [
                _at(epoch, metric, objective.gradients(model), sizes, settings, watch)
                for epoch, model, metric in models_after(objective, params, settings.looked_at)
            ]
    except (ObjectiveError, Halted):
        raise
    except BaseException as error:  # user code may raise anything
        hint = f"; {LARGE} examples are taken at once" if is_out_of_memory(error) else ""
        raise ObjectiveError(f"{objective.name} fails: {words_of(error)}{hint}") from error
    return TaskNoise(
        name=objective.name,
        metric=str(objective.metric),
        optimizer=objective.fingerprint["optimizer"],
        epochs=found,
    )


def with_model(objective: Objective, spec: str, *, verb: str) -> TaskObjective:
    """Raises StudyError for an objective that hands over no model, as `verb` needs."""
    from batchfront.objectives.training.objective import TaskObjective

    if isinstance(objective, TaskObjective):
        return objective
    what = "a training loop of your own" if isinstance(objective, CustomLoop) else "recorded curves"
    raise StudyError(
        f"{spec} is {what}, and {verb} needs the model itself: give a Task (model, data, loss)"
    )


def _params(settings: NoiseSettings, objective: TaskObjective, device: str) -> TrialParams:
    least, n_train = objective.batch_sizes
    if n_train is not None and settings.batch_size > n_train:
        raise StudyError(
            f"--batch-size is {settings.batch_size}, wanted at most the {n_train} training examples"
        )
    if settings.batch_size < least:
        raise StudyError(
            f"--batch-size is {settings.batch_size}, wanted at least {least}: batch norm has no "
            "variance in one example"
        )
    return TrialParams(
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate or 0.0,  # 0 where nothing is trained
        epochs=max(settings.looked_at),
        seed=settings.seed,
        device=device,
        extra=usual_values(objective.search),
    )


def _at(
    epoch: int,
    metric: float | None,
    gradients: Gradients,
    sizes: Sequence[int],
    settings: NoiseSettings,
    watch: Callable[[int], None],
) -> EpochNoise:
    import torch

    generator = torch.Generator().manual_seed(settings.seed)
    torch.manual_seed(settings.seed)  # of dropout
    given: dict[str, Any] = {"generator": generator, "watch": watch}
    n = settings.n_draws
    pairs = {"two_sizes": measure_two_sizes(gradients, n_draws=n, **given)}
    coupled = gradients.coupled()
    if coupled:
        watch(n)
    else:
        pairs["per_example"] = measure_per_example(gradients, n_draws=n, **given)
    norms = norm_moments(gradients, sizes, n_draws=settings.n_norms, **given)
    return EpochNoise(
        epoch=epoch,
        metric=metric,
        scales=[noise_scale(draws, method=method) for method, draws in pairs.items()],
        coupled=coupled,
        norms=norms if settings.n_norms else {},
    )
