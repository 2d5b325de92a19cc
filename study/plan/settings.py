"""What a user may set, from the command line or a TOML file, checked in one place."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from batchfront.objectives.datasets import DATA_DIR
from batchfront.objectives.length import UNITS
from batchfront.objectives.measurement import DIAGNOSTICS, ObjectiveError
from batchfront.objectives.meters.early_stopping import EarlyStopping, Ending
from batchfront.objectives.metric import Direction
from batchfront.objectives.number import EXACT, FINITE, SEED, SIZE, WHOLE, Number
from batchfront.objectives.training.recipe import PLAIN, Recipe
from batchfront.study.errors import StudyError
from batchfront.study.plan.budgets import Budgets
from batchfront.study.plan.choices import LAUNCHERS, LOGS, PRUNERS, SAMPLERS
from batchfront.study.plan.goal import MOST_TRIALS, USUAL_TRIALS, Goal
from batchfront.study.plan.parsers import AUTO, WORKERS
from batchfront.study.plan.sizes import is_powers
from batchfront.study.plan.space import (
    Scale,
    SearchSpace,
)

STORAGE_VARIABLE = "BATCHFRONT_STORAGE"  # environment: URLs may hold passwords
DEFAULT_STORAGE = "sqlite:///runs/batchfront.db"
DATA_VARIABLE = "BATCHFRONT_DATA"
FROM_VARIABLE = "BATCHFRONT_FROM"
TO_VARIABLE = "BATCHFRONT_TO"
SECONDS = Number(low=1e-9, high=1e9)
LONG = Number(low=1, high=EXACT, whole=True)  # examples, steps, tokens


def setting(
    words: str,
    *,
    group: str,
    verbs: str,
    default: Any = None,
    kind: str | None = None,
    number: Number | None = None,
) -> Any:
    """A field that is an option of these verbs.

    `kind`: of PARSERS, where it is no plain type. `number`: which ones it may be.
    """
    said: dict[str, Any] = {"words": words, "group": group, "verbs": tuple(verbs.split())}
    more = {"kind": kind, "number": number}
    said.update((name, value) for name, value in more.items() if value is not None)
    return field(default=default, metadata=said)


TRAINING = "run smallest probe record"
SEARCHING = "run smallest"
FILLING = "rates claims critical-batch"  # with --max-trials they train, too
TECHNIQUE_VERBS = ("run", "smallest", "probe")


@dataclass(frozen=True, kw_only=True)
class StudySettings:
    """One `run`, its values parsed. None means: what the study has stored, else the default."""

    task: str = setting(
        "a bundled task, path/to/mine.py[:name] or text:path.txt; default: digits",
        default="digits",
        group="task",
        verbs=f"{TRAINING} {FILLING}",
    )
    data_dir: str = setting(
        f"keeps downloaded data sets; default: ${DATA_VARIABLE}, else {DATA_DIR}",
        default=DATA_DIR,
        group="task",
        verbs=f"{TRAINING} {FILLING}",
    )
    study_name: str | None = setting(
        "default: named after the task", group="task", verbs="run smallest probe"
    )
    storage: str = setting(
        f"default: ${STORAGE_VARIABLE}, else {DEFAULT_STORAGE}",
        default=DEFAULT_STORAGE,
        group="workers",
        verbs="run smallest probe",
    )
    n_trials: int | str | None = setting(
        "the total to reach, whoever ran them, or auto: until more would gain little; default: 30, "
        "with a budget auto",
        group="search",
        verbs="run",
        kind="trials",
    )
    budget: float | None = setting(
        "training time of all runs together, like 90s, 20m or 1.5h: the search plans for it",
        group="search",
        verbs="run",
        kind="duration",
    )
    budget_total: float | None = setting(
        "the same with everything: probes, validation, and choosing what to run",
        group="search",
        verbs="run",
        kind="duration",
    )
    confirm: int | None = setting(
        "fresh seeds of what is recommended, run once the search has ended; default: none",
        group="search",
        verbs="run",
        number=Number(low=1, high=1000, whole=True),
    )
    n_workers: int | None = setting(
        "local processes, one thread each; default: 1, on Ray every GPU or CPU",
        group="workers",
        verbs=f"{SEARCHING} {FILLING}",
        number=WORKERS,
    )
    trials_per_gpu: int | str = setting(
        "trials that share a GPU, or auto: as many as are worth it; what is measured has it alone; "
        "default: 1",
        default=1,
        group="workers",
        verbs=SEARCHING,
        kind="sharing",
    )
    launcher: str = setting(
        f"{' or '.join(LAUNCHERS)}: where workers run; default: local",
        default="local",
        group="workers",
        verbs="run",
    )
    ray_address: str = setting(
        "of a running Ray cluster, host:port; default: auto",
        default="auto",
        group="workers",
        verbs="run",
    )
    sampler: str | None = setting(
        f"{', '.join(SAMPLERS)}; default: cost-aware", group="search", verbs="run"
    )
    warm_start: tuple[str, ...] | None = setting(
        "an earlier study of the same task: its name, or URL#NAME; may be repeated; default: none",
        group="search",
        verbs="run",
        kind="studies",
    )
    pruner: str | None = setting(
        f"{', '.join(PRUNERS)}, or path/to/mine.py:name; default: front",
        group="search",
        verbs="run",
    )
    pruner_risk: float | None = setting(
        "of front, front-paused: chance to stop a run of the final front; default: 0.02",
        group="search",
        verbs="run",
    )
    seed: int | None = setting(
        "of sampler and trials; default: 0",
        group="search",
        verbs=SEARCHING,
        number=SEED,
    )
    epochs: int | None = setting(
        "length of every run; default: the task's own",
        group="task",
        verbs=TRAINING,
        number=WHOLE,
    )
    examples: int | None = setting(
        "length of every run in training examples, in place of epochs",
        group="task",
        verbs=TRAINING,
        number=LONG,
    )
    steps: int | None = setting(
        "length of every run in optimizer steps: small batches see fewer examples",
        group="task",
        verbs=TRAINING,
        number=LONG,
    )
    tokens: int | None = setting(
        "length of every run in tokens, of a task that says how many an example has",
        group="task",
        verbs=TRAINING,
        number=LONG,
    )
    evaluations: int | None = setting(
        "points of every curve, at equal shares of a run; default: one each epoch",
        group="task",
        verbs=TRAINING,
        number=WHOLE,
    )
    device: str = setting(
        "cpu, cuda, cuda:1, mps or auto; default: auto",
        default="auto",
        group="task",
        verbs=f"{TRAINING} {FILLING}",
    )
    target: float | None = setting(
        "validation metric for epochs, examples, steps or tokens to target",
        group="budgets",
        verbs="run",
        number=FINITE,
    )
    diagnostics: tuple[str, ...] | None = setting(
        f"{', '.join(DIAGNOSTICS)}: of completed runs; default: none",
        group="task",
        verbs="run",
        kind="diagnostics",
    )
    early_stopping: EarlyStopping | str | None = setting(
        "end a run after N epochs without a better metric, or loss:N; none",
        group="task",
        verbs="run smallest",
        kind="early stopping",
    )
    report: str | None = setting(
        "last or best: the epoch whose metric is told; default: the task's, else last",
        group="task",
        verbs="run smallest",
    )
    batch_sizes: tuple[int, ...] | None = setting(
        "8:512 (powers of two), 24,48,96 or 16:128:16 (in steps); default: 1:512",
        group="search",
        verbs=TRAINING,
        kind="batch sizes",
    )
    learning_rates: tuple[float, float] | str | None = setting(
        "LOW:HIGH, one fixed rate, or auto: what lr-range suggests; default: 1e-4:3",
        group="search",
        verbs=TRAINING,
        kind="learning rates",
    )
    scale_rule: str | None = setting(
        "none, linear or sqrt: rates are base rates, scaled by the batch size",
        group="search",
        verbs="run smallest probe",
    )
    scale_reference: int | None = setting(
        "batch size at which they are not; default: 64",
        group="search",
        verbs="run smallest probe",
        number=SIZE,
    )
    timeout: float | None = setting(
        "seconds after which no new trial starts",
        group="workers",
        verbs=f"{SEARCHING} {FILLING}",
        number=Number(low=0.0, above=True, high=1e9),
    )
    max_memory: int | None = setting(
        "budget for a run's memory, like 2GiB: on a GPU for all that the device loses to it",
        group="budgets",
        verbs="run smallest probe",
        kind="bytes",
    )
    max_seconds: float | None = setting(
        "budget for a run's training time",
        group="budgets",
        verbs=SEARCHING,
        number=SECONDS,
    )
    max_trial_seconds: float | None = setting(
        "training time after which a run is ended, and infeasible",
        group="budgets",
        verbs=SEARCHING,
        number=SECONDS,
    )
    metric: str | None = setting(
        "of your own loop or a table: the name that it reports; default: what it declares",
        group="task",
        verbs="run smallest probe",
    )
    direction: Direction | None = setting(
        "maximize or minimize: of that metric",
        group="task",
        verbs="run smallest probe",
        kind="direction",
    )
    param: tuple[tuple[str, str], ...] | None = setting(
        "of objective(trial): batch_size=NAME or learning_rate=NAME, what it calls them; may be "
        "repeated",
        group="task",
        verbs=TRAINING,
        kind="names",
    )
    min_metric: float | None = setting(
        "a run that ends below it is infeasible",
        group="budgets",
        verbs="run",
        number=FINITE,
    )
    max_metric: float | None = setting(
        "a run that ends above it is infeasible: of what is minimized",
        group="budgets",
        verbs="run",
        number=FINITE,
    )
    min_accuracy: float | None = setting(
        "the older name of --min-metric", group="budgets", verbs="run", number=FINITE
    )
    compile: bool = setting(
        "compile the whole training step: worth it for small batches and long runs",
        default=False,
        group="task",
        verbs="run smallest probe",
    )
    grace: int | None = setting(
        "seconds after which a silent worker's trial goes to another; default: 60",
        group="workers",
        verbs=f"{SEARCHING} {FILLING}",
        number=Number(low=2, high=10**9, whole=True),
    )
    checkpoint_dir: str | None = setting(
        "default: beside an SQLite file or journal; none: lose started runs",
        group="workers",
        verbs=f"{SEARCHING} {FILLING}",
    )
    paused_gib: float = setting(
        "of front-paused: GiB of disk for paused runs, the most hopeless go first; default: 10",
        default=10.0,
        group="workers",
        verbs="run",
        number=Number(low=0, high=2**30),
    )
    fuse: str | int | None = setting(
        "runs asked for at one batch size, trained together: auto, off, or so many; default: off",
        kind="fuse",
        group="workers",
        verbs=f"{SEARCHING} record {FILLING}",
    )
    mixed_hardware: bool = setting(
        "let this hardware join a study timed on another: one front for each",
        default=False,
        group="workers",
        verbs="run",
    )
    accept_change: bool = setting(
        "go on although code, data, model or optimizer changed; the study records it",
        default=False,
        group="workers",
        verbs=f"{SEARCHING} {FILLING}",
    )
    log: tuple[str, ...] | None = setting(
        f"{', '.join(LOGS)}: write each trial's curve and values under runs/logs; default: none",
        group="workers",
        verbs="run",
        kind="words",
    )
    techniques: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `Recipe` that were named; each of them is an option, too."""
    given: Any = None
    """The task itself, where it was handed over from Python: `task` is then what it is called."""
    callbacks: tuple[Callable[..., object], ...] = ()
    """From Python: called with the Optuna study and each trial that has ended."""

    @property
    def lengths(self) -> dict[str, int]:
        """The length of a run that the user named, by its unit; more than one is refused."""
        given = {unit: getattr(self, unit) for unit in UNITS}
        return {unit: amount for unit, amount in given.items() if amount is not None}

    @property
    def most_trials(self) -> int:
        """The greatest number of trials."""
        if isinstance(self.n_trials, int):
            return self.n_trials
        return MOST_TRIALS if self.goal.is_auto else USUAL_TRIALS

    @property
    def goal(self) -> Goal:
        """What may end a search before that."""
        budget = self.budget_total if self.budget is None else self.budget
        return Goal(
            is_auto=self.n_trials == AUTO or (self.n_trials is None and budget is not None),
            budget=budget,
            is_total=self.budget_total is not None,
        )

    def budgets(self) -> Budgets:
        """The limits the user named."""
        return Budgets(
            max_memory_bytes=self.max_memory,
            max_seconds=self.max_seconds,
            max_trial_seconds=self.max_trial_seconds,
            min_metric=self.min_accuracy if self.min_metric is None else self.min_metric,
            max_metric=self.max_metric,
        )

    def ending(self, base: Ending) -> Ending:
        """`base` with what the user named in place of its own.

        Raises:
            StudyError: what no run could follow.
        """
        if isinstance(self.early_stopping, EarlyStopping):
            base = replace(base, early_stopping=self.early_stopping)
        elif self.early_stopping is not None:  # none, in words
            base = replace(base, early_stopping=None)
        if self.report is not None:
            base = replace(base, report=self.report)
        try:
            base.check()
        except ObjectiveError as error:
            raise StudyError(str(error)) from None
        return base

    def space(self, base: SearchSpace) -> SearchSpace:
        """`base` with the ranges the user named in place of its own."""
        rates = base.learning_rates
        sizes = base.batch_sizes if self.batch_sizes is None else self.batch_sizes
        if isinstance(self.learning_rates, tuple):  # neither left out nor AUTO
            rates = self.learning_rates
        scale = Scale(
            rule=base.scale.rule if self.scale_rule is None else self.scale_rule,
            reference=self.scale_reference or base.scale.reference,
        )
        exponents = base.exponents and is_powers(sizes)
        return replace(
            base, batch_sizes=sizes, learning_rates=rates, scale=scale, exponents=exponents
        )


def chosen_data_dir() -> Path:
    """The folder of downloaded data sets that the environment names, else the usual one."""
    return Path(os.environ.get(DATA_VARIABLE) or DATA_DIR)


def recipe_of(settings: StudySettings, base: Recipe = PLAIN) -> Recipe:
    """`base` with what the user named in place of its own.

    Raises:
        StudyError: what no run could do.
    """
    recipe = replace(base, **settings.techniques)
    try:
        recipe.check()
    except ObjectiveError as error:
        raise StudyError(str(error)) from None
    return recipe
