"""What a user may set, from the command line or a TOML file, checked in one place."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from batchfront.objectives.datasets import DATA_DIR
from batchfront.objectives.measurement import DIAGNOSTICS, ObjectiveError
from batchfront.objectives.meters.early_stopping import LAST_EPOCH, EarlyStopping, Ending
from batchfront.objectives.training.recipe import PLAIN, Recipe
from batchfront.study.errors import StudyError
from batchfront.study.plan.budgets import Budgets
from batchfront.study.plan.parsers import check_choice
from batchfront.study.plan.space import (
    SCALE_RULES,
    Scale,
    SearchSpace,
)

STORAGE_VARIABLE = "BATCHFRONT_STORAGE"  # environment: URLs may hold passwords
DEFAULT_STORAGE = "sqlite:///runs/batchfront.db"
DATA_VARIABLE = "BATCHFRONT_DATA"
FROM_VARIABLE = "BATCHFRONT_FROM"
TO_VARIABLE = "BATCHFRONT_TO"
PRUNERS = (
    "front", "median", "percentile", "halving", "hyperband", "threshold", "patient", "wilcoxon",
    "none",
)  # fmt: skip
LAUNCHERS = ("local", "ray")
SAMPLERS = ("cost-aware", "tpe", "nsgaii", "nsgaiii", "gp", "qmc", "random", "grid")


def setting(
    words: str, *, group: str, verbs: str, default: Any = None, kind: str | None = None
) -> Any:
    """A field that is an option of these verbs; `kind`: of PARSERS, where it is no plain type."""
    said = {"words": words, "group": group, "verbs": tuple(verbs.split())}
    return field(default=default, metadata=said if kind is None else {**said, "kind": kind})


TRAINING = "run smallest probe record"
SEARCHING = "run smallest"
TECHNIQUE_VERBS = ("run", "smallest", "probe")


@dataclass(frozen=True, kw_only=True)
class StudySettings:
    """One `run`, its values parsed. None means: what the study has stored, else the default."""

    task: str = setting(
        "a bundled task, path/to/mine.py[:name] or text:path.txt; default: digits",
        default="digits",
        group="task",
        verbs=TRAINING,
    )
    data_dir: str = setting(
        f"keeps downloaded data sets; default: ${DATA_VARIABLE}, else {DATA_DIR}",
        default=DATA_DIR,
        group="task",
        verbs=TRAINING,
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
    n_trials: int = setting(
        "the total to reach, whoever ran them; default: 30",
        default=30,
        group="search",
        verbs="run",
    )
    n_workers: int | None = setting(
        "local processes, one thread each; default: 1, on Ray every GPU or CPU",
        group="workers",
        verbs=SEARCHING,
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
    pruner: str | None = setting(
        f"{', '.join(PRUNERS)}, or path/to/mine.py:name; default: front",
        group="search",
        verbs="run",
    )
    pruner_risk: float | None = setting(
        "of front: chance to stop a run of the final front; default: 0.02",
        group="search",
        verbs="run",
    )
    seed: int | None = setting("of sampler and trials; default: 0", group="search", verbs=SEARCHING)
    epochs: int | None = setting("default: the task's own", group="task", verbs=TRAINING)
    device: str = setting(
        "cpu, cuda, cuda:1, mps or auto; default: auto",
        default="auto",
        group="task",
        verbs=TRAINING,
    )
    target: float | None = setting(
        "validation metric for epochs-to-target", group="budgets", verbs="run"
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
    batch_sizes: tuple[int, int] | None = setting(
        "LOW:HIGH, powers of two; default: 1:512",
        group="search",
        verbs=TRAINING,
        kind="batch sizes",
    )
    learning_rates: tuple[float, float] | str | None = setting(
        "LOW:HIGH, or auto: what lr-range suggests; default: 1e-4:3",
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
    )
    timeout: float | None = setting(
        "seconds after which no new trial starts", group="workers", verbs=SEARCHING
    )
    max_memory: int | None = setting(
        "budget for a run's peak memory, like 2GiB",
        group="budgets",
        verbs=SEARCHING,
        kind="bytes",
    )
    max_seconds: float | None = setting(
        "budget for a run's training time", group="budgets", verbs=SEARCHING
    )
    min_accuracy: float | None = setting(
        "a run that ends below it is infeasible", group="budgets", verbs="run"
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
        verbs=SEARCHING,
    )
    checkpoint_dir: str | None = setting(
        "default: beside an SQLite file or journal; none: lose started runs",
        group="workers",
        verbs=SEARCHING,
    )
    mixed_hardware: bool = setting(
        "let this hardware join a study timed on another: one front for each",
        default=False,
        group="workers",
        verbs="run",
    )
    accept_change: bool = setting(
        "go on although the training code was changed; the study records it",
        default=False,
        group="workers",
        verbs=SEARCHING,
    )
    techniques: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `Recipe` that were named; each of them is an option, too."""

    def check(self) -> None:
        """Raise StudyError for values that no study could use."""
        _at_least("n_trials", self.n_trials, 1)
        _at_least("n_workers", self.n_workers, 1)
        _at_least("epochs", self.epochs, 1)
        _at_least("seed", self.seed, 0)
        if self.seed is not None and self.seed >= 2**31:
            raise StudyError(f"seed is {self.seed}, wanted less than 2**31")
        _at_least("grace", self.grace, 2)
        if self.checkpoint_dir is not None and not self.checkpoint_dir.strip():
            raise StudyError("checkpoint_dir is empty, wanted a folder, or none")
        if not self.data_dir.strip():
            raise StudyError("data_dir is empty, wanted a folder")
        if self.timeout is not None and not self.timeout > 0:
            raise StudyError(f"timeout is {self.timeout:g}, wanted seconds above 0")
        if self.target is not None and not self.target <= 1:
            raise StudyError(f"target is {self.target:g}, wanted a fraction of at most 1")
        check_choice("launcher", self.launcher, LAUNCHERS)
        if self.sampler is not None:
            check_choice("sampler", self.sampler, SAMPLERS)
        if self.pruner is not None and ":" not in self.pruner:
            check_choice("pruner", self.pruner, (*PRUNERS, "path/to/mine.py:name"))
        if self.pruner_risk is not None and not 0 < self.pruner_risk < 1:
            raise StudyError(f"pruner_risk is {self.pruner_risk:g}, wanted between 0 and 1")
        if self.study_name is not None and not self.study_name.strip():
            raise StudyError("study_name is empty, wanted a name")
        if self.study_name is not None and not self.study_name.isprintable():
            raise StudyError(f"study_name is {self.study_name!r}, wanted one printable line")
        if self.scale_rule is not None:
            check_choice("scale_rule", self.scale_rule, tuple(SCALE_RULES))
        _at_least("scale_reference", self.scale_reference, 1)
        if self.scale_reference is not None and self.scale_rule in (None, "none"):
            raise StudyError("scale_reference is for a scale rule: give --scale-rule too")
        if self.max_seconds is not None and not self.max_seconds > 0:
            raise StudyError(f"max_seconds is {self.max_seconds:g}, wanted seconds above 0")
        if self.min_accuracy is not None and not self.min_accuracy <= 1:
            raise StudyError(f"min_accuracy is {self.min_accuracy:g}, wanted at most 1")
        recipe_of(self)
        self.ending(LAST_EPOCH)

    def budgets(self) -> Budgets:
        """The limits the user named."""
        return Budgets(
            max_memory_bytes=self.max_memory,
            max_seconds=self.max_seconds,
            min_metric=self.min_accuracy,
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
        sizes, rates = base.batch_sizes, base.learning_rates
        if self.batch_sizes is not None:
            sizes = self.batch_sizes
        if isinstance(self.learning_rates, tuple):  # neither left out nor AUTO
            rates = self.learning_rates
        scale = Scale(
            rule=base.scale.rule if self.scale_rule is None else self.scale_rule,
            reference=self.scale_reference or base.scale.reference,
        )
        return replace(base, batch_sizes=sizes, learning_rates=rates, scale=scale)


def chosen_data_dir() -> Path:
    """The folder of downloaded data sets that the environment names, else the usual one."""
    return Path(os.environ.get(DATA_VARIABLE) or DATA_DIR)


def _at_least(name: str, value: int | None, low: int) -> None:
    if value is not None and value < low:
        raise StudyError(f"{name} is {value}, wanted at least {low}")


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
