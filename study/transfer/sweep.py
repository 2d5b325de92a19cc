"""Sweeps a grid of batch sizes and learning rates into a table that can be played back."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from batchfront.objectives.curves.write import TableFile
from batchfront.objectives.device.names import resolve_device
from batchfront.objectives.length import Length
from batchfront.objectives.load import load_objective
from batchfront.objectives.measurement import ObjectiveError, TrialParams
from batchfront.objectives.parameter import usual_values
from batchfront.objectives.raised import words_of
from batchfront.objectives.training.recipe import PLAIN
from batchfront.study.errors import StudyError
from batchfront.study.machine.alone import measuring_alone
from batchfront.study.plan.length import asked_length, fitting, with_evaluations
from batchfront.study.plan.parsers import AUTO, OFF
from batchfront.study.plan.settings import StudySettings, recipe_of
from batchfront.study.plan.space import SearchSpace
from batchfront.study.probes.prober import Prober
from batchfront.study.session.progress import Watcher
from batchfront.study.show import counted
from batchfront.study.transfer.recorder import Recorder
from batchfront.study.trials.costs import Costs, SizeCost
from batchfront.study.workers.even import even_share

if TYPE_CHECKING:
    from rich.console import Console

    from batchfront.objectives.curves.table import Key, Table
    from batchfront.objectives.objective import Objective
    from batchfront.study.transfer.recorder import Curve


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Every batch size with every learning rate and seed."""

    batch_sizes: list[int]
    learning_rates: list[float]
    seeds: list[int]

    def points(self) -> list[Key]:
        """The points in the order of their runs: by seed, so that an unfinished sweep is even.

        Where runs are trained together, all of a size come with its first.
        """
        return [
            (b, r, s) for s in self.seeds for b in self.batch_sizes for r in self.learning_rates
        ]


def make_grid(space: SearchSpace, *, n_rates: int, n_seeds: int) -> Grid:
    """The batch sizes, and learning rates evenly spaced in their logarithm, ends included.

    Raises:
        StudyError: fewer than one of either.
    """
    for name, value in (("n_rates", n_rates), ("n_seeds", n_seeds)):
        if value < 1:
            raise StudyError(f"{name} is {value}, wanted at least 1")
    low, high = map(math.log, space.learning_rates)
    steps = [low + (high - low) * i / max(n_rates - 1, 1) for i in range(n_rates)]
    # As a table writes them, so that a resumed sweep finds what it has.
    rates = sorted({float(f"{math.exp(step):.6g}") for step in steps})
    return Grid(
        batch_sizes=list(space.batch_sizes), learning_rates=rates, seeds=list(range(n_seeds))
    )


def record(
    settings: StudySettings, out: Path | None, *, n_rates: int, n_seeds: int, console: Console
) -> tuple[Path, int]:
    """Record what is missing of the grid; returns the file and how many runs it holds.

    Raises:
        StudyError, ObjectiveError: what a user can mend; what is recorded stays.
    """
    _check(settings)
    device = resolve_device(settings.device)
    objective = load_objective(
        settings.task,
        device=device,
        data_dir=Path(settings.data_dir),
        names=dict(settings.param or ()),
    )
    length = asked_length(settings, objective)
    space = fitting(settings.space(SearchSpace()), length, objective.batch_sizes)
    grid = make_grid(space, n_rates=n_rates, n_seeds=n_seeds)
    file = TableFile(
        path=out or Path("runs") / f"{Path(objective.name).stem}-curves.csv",
        task=objective.name,
        optimizer=objective.fingerprint.get("optimizer", "unknown"),
        length=_in_rows(with_evaluations(length, space)),
    )
    try:
        with file.locked(), measuring_alone(objective, device):
            say = partial(console.print, soft_wrap=True)
            recorder = Recorder(objective, settings.fuse or OFF, say=say)
            return file.path, _record_missing(recorder, file, grid, device, console)
    except OSError as error:
        raise StudyError(f"cannot write {file.path}: {error.strerror}") from error


def _check(settings: StudySettings) -> None:
    """Raise StudyError for what a table cannot hold: it has a rate and a batch size a run."""
    if settings.learning_rates == AUTO:
        raise StudyError("a table needs its learning rates: --learning-rates LOW:HIGH")
    if recipe_of(settings) != PLAIN or settings.scale_rule not in (None, "none"):
        raise StudyError("a table does not say by which technique it was trained: leave it out")


def _in_rows(length: Length) -> Length:
    """The same in whole numbers, as a column of a table has it.

    Raises:
        StudyError: nobody knows how many examples an epoch has.
    """
    if length.is_plain or length.unit != "epochs":
        return length
    if length.examples is None:
        raise StudyError(
            f"a row of a table is an epoch, or a number of examples, and {length} are neither "
            "where the loop alone knows its data: give --examples"
        )
    return replace(length, unit="examples", amount=length.examples)


def _record_missing(
    recorder: Recorder, file: TableFile, grid: Grid, device: str, console: Console
) -> int:
    """Returns how many runs the file holds then."""
    objective = recorder.objective
    table, points = file.open(), grid.points()
    missing = [key for key in points if table is None or key not in table.runs]
    console.print(
        f"recording {objective.name} into {file.path}: {len(missing)} of "
        f"{counted(len(points), 'run')} of {file.length} missing"
    )
    prober = Prober(objective, length=file.length, device=device, rate=min(grid.learning_rates))
    sizes = sorted({size for size, _, _ in missing})
    costs = _costs(prober, sizes, table, file.length.points, console)
    possible = [key for key in missing if key[0] in costs]
    _sweep(recorder, file, possible, costs, device, console)
    return len(possible) + (0 if table is None else len(table.runs))


def _costs(
    prober: Prober, sizes: list[int], table: Table | None, n_points: int, console: Console
) -> Costs:
    """One time and memory for all runs of a size: the table's, where it has them."""
    recorded = {} if table is None else {b: table for b in table.batch_sizes if b in sizes}
    probed = prober.sizes([size for size in sizes if size not in recorded], Watcher(console))
    costs = {size: cost for size, cost in probed.items() if cost.step_seconds is not None}
    for size in sorted(set(probed) - set(costs)):
        why = probed[size].error or "does not fit into memory"
        console.print(f"batch size {size} is left out: {why}", soft_wrap=True)
    for size, known in recorded.items():
        costs[size] = SizeCost(
            batch_size=size,
            step_seconds=known.epoch_seconds(size),
            total_steps=n_points,  # one "step" an epoch: only their product counts here
            peak_memory_bytes=known.peak_memory_bytes(size),
            predicted_peak_memory_bytes=None,
        )
    return costs


def _sweep(
    recorder: Recorder,
    file: TableFile,
    keys: list[Key],
    costs: Costs,
    device: str,
    console: Console,
) -> None:
    from rich.progress import Progress

    most = {size: recorder.most(costs[size].peak_memory_bytes, device) for size, _, _ in keys}
    with Progress(console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task("recording", total=len(keys))
        for group in _groups(keys, most):
            params = [_params(key, recorder.objective, file.length, device) for key in group]
            size = group[0][0]
            seconds = costs[size].train_seconds or 0.0
            curves = recorder.curves(params, most=most[size], seconds=seconds)
            found = zip(group, curves, strict=False)
            for key in _written(found, file, costs):
                progress.advance(bar)
                progress.update(bar, description=f"recording {key[0]}")


def _groups(keys: list[Key], most: dict[int, int]) -> Iterator[list[Key]]:
    """All runs of a batch size, of all seeds, in as few groups as can be; those of one alone."""
    waiting: dict[int, list[Key]] = {}
    for key in keys:
        waiting.setdefault(key[0], []).append(key)
    for key in keys:
        size = key[0]
        if most[size] == 1:
            yield [key]
            continue
        while waiting[size]:
            n = even_share(len(waiting[size]), most[size])
            group, waiting[size] = waiting[size][:n], waiting[size][n:]
            yield group


def _written(
    found: Iterable[tuple[Key, Curve | BaseException]], file: TableFile, costs: Costs
) -> Iterator[Key]:
    """Write curves down, also beside a run that failed; returns whose they are.

    Raises:
        ObjectiveError: a run failed.
    """
    failed: tuple[Key, BaseException] | None = None
    for key, curve in found:
        if isinstance(curve, BaseException):
            failed = failed or (key, curve)
            continue
        cost = costs[key[0]]
        seconds = (cost.train_seconds or 0.0) / file.length.points
        file.add(key, curve, seconds=seconds, peak=cost.peak_memory_bytes or 0)
        yield key
    if failed is None:
        return
    (size, rate, seed), error = failed
    if isinstance(error, ObjectiveError):
        raise error
    raise ObjectiveError(
        f"batch size {size}, learning rate {rate:g}, seed {seed} failed, the runs before "
        f"it are recorded: {words_of(error)}"
    ) from error


def _params(key: Key, objective: Objective, length: Length, device: str) -> TrialParams:
    size, rate, seed = key
    return TrialParams.over(
        length,
        batch_size=size,
        learning_rate=rate,
        seed=seed,
        device=device,
        extra=usual_values(objective.search),
    )
