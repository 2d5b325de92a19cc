"""What a user may set of the task, and of the length of its runs."""

from __future__ import annotations

from dataclasses import dataclass, replace

from batchfront.objectives.datasets import DATA_DIR
from batchfront.objectives.length import UNITS
from batchfront.objectives.measurement import DIAGNOSTICS, ObjectiveError
from batchfront.objectives.meters.early_stopping import EarlyStopping, Ending
from batchfront.objectives.metric import Direction
from batchfront.objectives.number import EXACT, WHOLE, Number
from batchfront.study.errors import StudyError
from batchfront.study.plan.environment import DATA_VARIABLE
from batchfront.study.plan.setting import FILLING, TRAINING, setting

LONG = Number(low=1, high=EXACT, whole=True)  # examples, steps, tokens


@dataclass(frozen=True, kw_only=True)
class TaskSettings:
    """What is trained."""

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
    compile: bool = setting(
        "compile the whole training step: worth it for small batches and long runs",
        default=False,
        group="task",
        verbs="run smallest probe",
    )

    @property
    def lengths(self) -> dict[str, int]:
        """The length of a run that the user named, by its unit; more than one is refused."""
        given = {unit: getattr(self, unit) for unit in UNITS}
        return {unit: amount for unit, amount in given.items() if amount is not None}

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
