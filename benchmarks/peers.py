"""Searches of other houses, to be compared with: BoTorch's qNEHVI and Syne Tune's MOASHA."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from batchfront.objectives.curves.table import RecordedRun, Table
from batchfront.study.plan.budgets import Budgets
from batchfront.study.plan.limits import Limits
from batchfront.study.search.samplers import PerTrialSampler, ProjectedSampler
from batchfront.study.trials.attributes import derive_seed
from batchfront.study.trials.costs import SizeCost
from benchmarks.playback import Played

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler


def known_limits(table: Table) -> Limits:
    """What a probe would have told of a table."""
    costs = {
        size: SizeCost(
            batch_size=size,
            step_seconds=table.epoch_seconds(size),
            peak_memory_bytes=table.peak_memory_bytes(size),
            predicted_peak_memory_bytes=None,
            total_steps=table.epochs,
        )
        for size in table.batch_sizes
    }
    return Limits(costs=costs, budgets=Budgets(), failed_size=None, device_bytes=2**40)


def botorch_sampler(seed: int) -> BaseSampler:
    """qNEHVI; sees stopped trials as completed with the worst metric, for it ignores PRUNED ones.

    Its first question compiles C++ into TORCH_EXTENSIONS_DIR: give that a folder of its own.
    """
    from optuna_integration import BoTorchSampler
    from optuna_integration.botorch.botorch import qnehvi_candidates_func

    def make(number: int) -> BaseSampler:
        return BoTorchSampler(candidates_func=qnehvi_candidates_func, seed=number)

    return ProjectedSampler(PerTrialSampler(make, seed=seed))


def moasha_runs(table: Table, *, seed: int) -> Iterator[tuple[Played, float]]:
    """Runs one after the other, each with the seconds spent asking.

    MOASHA draws at random and stops at its rungs.
    """
    from syne_tune.backend.trial_status import Trial

    moasha = _moasha(table, seed)
    for number in itertools.count():
        before = time.perf_counter()
        config = moasha.suggest().config
        asked = time.perf_counter() - before
        trial = Trial(trial_id=number, config=config, creation_time=None)
        moasha.on_trial_add(trial)
        luck = derive_seed(seed, number, purpose="trial")
        run = table.nearest(2 ** config["log2_batch_size"], config["learning_rate"], luck)
        epochs = _followed(moasha, trial, table, run)
        seconds = table.epoch_seconds(run.batch_size) * epochs
        completed = run.is_finite and epochs == table.epochs
        yield Played(run=run, completed=completed, train_seconds=seconds), asked


def _moasha(table: Table, seed: int) -> Any:
    import numpy as np
    from syne_tune.config_space import loguniform, randint
    from syne_tune.optimizer.schedulers.multiobjective.moasha import MOASHA

    rates = [rate for size in table.batch_sizes for rate in table.learning_rates(size)]
    ends = (table.batch_sizes[0].bit_length() - 1, table.batch_sizes[-1].bit_length() - 1)
    np.random.seed(seed)  # it draws brackets and parameters from the global generator
    return MOASHA(
        {"log2_batch_size": randint(*ends), "learning_rate": loguniform(min(rates), max(rates))},
        metrics=["error", "seconds", "bytes"],
        time_attr="epoch",
        max_t=table.epochs,
        random_seed=seed,
    )


def _followed(moasha: Any, trial: Any, table: Table, run: RecordedRun) -> int:
    """Epochs until it is stopped. Time and memory are known, so they are told at every rung."""
    for epoch, value in enumerate(run.val_accuracy, 1):
        result = {
            "epoch": epoch,
            "error": 1 - value if math.isfinite(value) else 1e9,
            "seconds": table.epoch_seconds(run.batch_size) * table.epochs,
            "bytes": table.peak_memory_bytes(run.batch_size),
        }
        if moasha.on_trial_result(trial, result) == "STOP":
            return epoch
    return len(run.val_accuracy)
