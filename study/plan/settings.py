"""What a user may set, from the command line or a TOML file, checked in one place."""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from batchfront.objectives.datasets import DATA_DIR
from batchfront.objectives.measurement import DIAGNOSTICS, ObjectiveError
from batchfront.objectives.meters.early_stopping import LAST_EPOCH, EarlyStopping, Ending
from batchfront.objectives.training.recipe import PLAIN, Recipe
from batchfront.study.errors import StudyError
from batchfront.study.plan.budgets import Budgets, parse_bytes
from batchfront.study.plan.recipe import SAME_NAMES
from batchfront.study.plan.space import (
    SCALE_RULES,
    Scale,
    SearchSpace,
    parse_batch_sizes,
    parse_learning_rates,
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
AUTO = "auto"  # learning rates
SAMPLERS = ("cost-aware", "tpe", "nsgaii", "nsgaiii", "gp", "qmc", "random", "grid")


@dataclass(frozen=True, kw_only=True)
class StudySettings:
    """One `run`. None means: what the study has stored, else the default."""

    task: str = "digits"
    """A bundled task, path/to/mine.py[:name], or text:path/to/file.txt."""
    data_dir: str = DATA_DIR
    """Of this machine: keeps the data sets that are downloaded."""
    study_name: str | None = None
    """Default: named after the task."""
    storage: str = DEFAULT_STORAGE
    n_trials: int = 30
    """The total the study should reach, whoever ran them."""
    n_workers: int | None = None
    """Local processes, one thread each; default 1. On Ray one for each GPU or CPU, default all."""
    launcher: str = "local"
    """One of LAUNCHERS: processes of this machine, or tasks of a Ray cluster that runs already."""
    ray_address: str = "auto"
    """Of the Ray cluster: host:port, or the one this machine belongs to."""
    sampler: str | None = None
    """One of SAMPLERS; default cost-aware."""
    pruner: str | None = None
    """One of PRUNERS, or path/to/mine.py:name; default front."""
    pruner_risk: float | None = None
    """Of the pruner front: probability that it stops a run of the final front; default 0.02."""
    seed: int | None = None
    """Of samplers and trials; default 0."""
    epochs: int | None = None
    """Default: the task's own."""
    device: str = "auto"
    target: float | None = None
    """Validation metric for epochs-to-target; no default."""
    diagnostics: str | None = None
    """Of completed runs: some of DIAGNOSTICS, with commas between them; default none."""
    early_stopping: str | None = None
    """Epochs without a better metric after which a run ends: 5; loss:5 for the validation loss;
    none; default: the task's own, else none."""
    report: str | None = None
    """last or best: the epoch whose metric is told; default: the task's own, else last."""
    batch_sizes: str | None = None
    """LOW:HIGH, powers of two; default 1:512."""
    learning_rates: str | None = None
    """LOW:HIGH, or auto: what a range test suggests; default 1e-4:3."""
    scale_rule: str | None = None
    """none, linear or sqrt: learning rates are base rates, scaled by batch size; default none."""
    scale_reference: int | None = None
    """Batch size at which the base rate is the learning rate; default 64."""
    timeout: float | None = None
    """Seconds after which no new trial starts."""
    max_memory: str | None = None
    """Budget for a run's peak memory: 512MiB, 2GiB; no default."""
    max_seconds: float | None = None
    """Budget for a run's training time; no default."""
    min_accuracy: float | None = None
    """Runs that end below it are infeasible (R2 for regression); no default."""
    compile: bool = False
    """Compile the whole training step; not for loops of your own."""
    grace: int | None = None
    """Seconds after which a silent worker's trial is given to another; default 60."""
    checkpoint_dir: str | None = None
    """Where runs are kept after each epoch, or none; default: beside an SQLite file or journal."""
    micro_batch_sizes: str | None = None
    """Examples of one forward and backward pass, 8 for all runs or LOW:HIGH to search; default: the
    whole batch."""
    precision: str | None = None
    """float32, bfloat16 or float16, or several to search: float32,bfloat16; default float32."""
    schedule: str | None = None
    """Of the batch size: constant, doubling or noise-scale; default constant."""
    rate_schedule: str | None = None
    """Of the learning rate: constant or cosine; default constant."""
    warmup_examples: int | None = None
    """Over which the learning rate rises; default 0."""
    beta2_half_life: float | None = None
    """Of Adam's second moment, in examples; default: the task's own beta2."""
    ghost_batch_size: int | None = None
    """Examples that share batch-norm statistics; default: the (micro) batch."""
    checkpoint_activations: bool | None = None
    """Compute activations again in the backward pass instead of keeping them."""
    data_parallel: int | None = None
    """Ranks that train one trial together; default 1."""
    shards: str | None = None
    """What each rank gets of a batch: striped or block; default striped."""
    mixed_hardware: bool = False
    """Let another hardware join: one front for each."""

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
        self.space(SearchSpace())
        self.budgets()
        recipe_of(self)
        self.asked_diagnostics()
        self.ending(LAST_EPOCH)

    def ending(self, base: Ending) -> Ending:
        """`base` with what the user named in place of its own.

        Raises:
            StudyError: what no run could follow.
        """
        try:
            if self.early_stopping is not None:
                base = replace(base, early_stopping=EarlyStopping.parse(self.early_stopping))
            if self.report is not None:
                base = replace(base, report=self.report)
            base.check()
        except ObjectiveError as error:
            raise StudyError(str(error)) from None
        return base

    def asked_diagnostics(self) -> tuple[str, ...] | None:
        """The diagnostics that were asked for, maybe none; None where nothing is said.

        Raises:
            StudyError: an unknown one.
        """
        if self.diagnostics is None:
            return None
        names = tuple(name.strip() for name in self.diagnostics.split(","))
        for name in names:
            check_choice("diagnostic", name, (*DIAGNOSTICS, "none"))
        return tuple(name for name in names if name != "none")

    def budgets(self) -> Budgets:
        """The limits the user named.

        Raises:
            StudyError: a limit that nothing could keep.
        """
        if self.max_seconds is not None and not self.max_seconds > 0:
            raise StudyError(f"max_seconds is {self.max_seconds:g}, wanted seconds above 0")
        if self.min_accuracy is not None and not self.min_accuracy <= 1:
            raise StudyError(f"min_accuracy is {self.min_accuracy:g}, wanted at most 1")
        return Budgets(
            max_memory_bytes=None if self.max_memory is None else parse_bytes(self.max_memory),
            max_seconds=self.max_seconds,
            min_metric=self.min_accuracy,
        )

    def space(self, base: SearchSpace) -> SearchSpace:
        """`base` with the ranges the user named in place of its own."""
        sizes, rates = base.batch_sizes, base.learning_rates
        if self.batch_sizes is not None:
            sizes = parse_batch_sizes(self.batch_sizes)
        if self.learning_rates not in (None, AUTO):
            rates = parse_learning_rates(self.learning_rates)
        scale = Scale(
            rule=base.scale.rule if self.scale_rule is None else self.scale_rule,
            reference=self.scale_reference or base.scale.reference,
        )
        return replace(base, batch_sizes=sizes, learning_rates=rates, scale=scale)


def chosen_data_dir() -> Path:
    """The folder of downloaded data sets that the environment names, else the usual one."""
    return Path(os.environ.get(DATA_VARIABLE) or DATA_DIR)


def check_choice(what: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise StudyError, with the nearest choice, unless `value` is one of them."""
    if value not in choices:
        near = get_close_matches(value, choices, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise StudyError(f"unknown {what} {value!r}: {hint}choose from {', '.join(choices)}")


def _at_least(name: str, value: int | None, low: int) -> None:
    if value is not None and value < low:
        raise StudyError(f"{name} is {value}, wanted at least {low}")


def with_file(settings: StudySettings, path: Path, given: set[str]) -> StudySettings:
    """Fill what the command line did not give from a TOML file.

    Raises:
        StudyError: unreadable file, unknown key, value of the wrong type.
    """
    try:
        table = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise StudyError(f"cannot read the config file {path}: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise StudyError(f"{path} is not valid TOML: {error}") from error
    known = {f.name: str(f.type) for f in fields(StudySettings)}
    for key, value in table.items():
        if key not in known:
            near = get_close_matches(key, known, n=1, cutoff=0)[0]
            raise StudyError(f"{path} has the unknown key {key!r}: the nearest known is {near!r}")
        table[key] = _typed(path, key, value, known[key])
    return replace(settings, **{k: v for k, v in table.items() if k not in given})


def _typed(path: Path, key: str, value: Any, annotation: str) -> Any:
    wanted: dict[str, tuple[type, ...]] = {
        "int": (int,), "float": (int, float), "str": (str,), "bool": (bool,)
    }  # fmt: skip
    kind = annotation.removesuffix(" | None")
    if type(value) not in wanted[kind]:  # exactly: True is no number here
        raise StudyError(f"{path}: {key} is {value!r}, wanted {kind}")
    return float(value) if kind == "float" else value


def recipe_of(settings: StudySettings, base: Recipe = PLAIN) -> Recipe:
    """`base` with what the user named in place of its own.

    Raises:
        StudyError: what no run could do.
    """
    given: dict[str, Any] = {name: getattr(settings, name) for name in SAME_NAMES}
    named = {name: value for name, value in given.items() if value is not None}
    if settings.precision is not None:
        named["precisions"] = tuple(part.strip() for part in settings.precision.split(","))
    if settings.micro_batch_sizes is not None:
        named["micro_batch_sizes"] = parse_batch_sizes(settings.micro_batch_sizes)
    recipe = replace(base, **named)
    try:
        recipe.check()
    except ObjectiveError as error:
        raise StudyError(str(error)) from None
    return recipe
