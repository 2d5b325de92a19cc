"""`batchfront.Study`: a study from Python, in a script or in a notebook."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchfront.study.api import plots
from batchfront.study.api.console import console_here
from batchfront.study.api.look import (
    LookedAt,
    answer_text,
    answers,
    look_at,
    page_of,
    size_rows,
)
from batchfront.study.api.table import as_table
from batchfront.study.errors import StudyError
from batchfront.study.machine.folder import check_working_folder
from batchfront.study.plan.checks import check_settings
from batchfront.study.plan.options import option_named, settings_from, with_environment
from batchfront.study.plan.settings import StudySettings

if TYPE_CHECKING:
    import optuna
    import plotly.graph_objects as go

    from batchfront.study.answer.choice import Preference

NEXT = "study.advise(), study.plot_batch_sizes(), study.report('page.html')"


class Study:
    """A search of batch size and learning rate, and what it found.

    Nothing is read or written before `run()`, or a question, is called. What another process has
    stored under the same name is the same study.
    """

    def __init__(
        self,
        task: Any = "digits",
        *,
        batch_sizes: str | int | Sequence[int] | None = None,
        learning_rates: str | float | tuple[float, float] | None = None,
        n_trials: int | str | None = None,
        storage: str | None = None,
        study_name: str | None = None,
        callbacks: Sequence[Callable[..., object]] = (),
        **options: Any,
    ) -> None:
        """Say what is to be searched.

        Args:
            task: a `Task`, a function that returns one, or `objective(params, run)`; or, as after
                `--task`, the name of a bundled one or the path of a file.
            batch_sizes: "16:512" (powers of two), or a list of them.
            learning_rates: the lowest and the highest, one fixed rate, or "auto".
            n_trials: the total to reach, or "auto": until more trials would gain little; default:
                30, with `budget="20m"` "auto".
            storage: a URL; default: $BATCHFRONT_STORAGE, else runs/batchfront.db.
            study_name: default: named after the task.
            callbacks: called as `callback(study, trial)` after each trial that `run()` has ended,
                as Optuna calls its own; one that fails costs no trial.
            options: any other option of `batchfront run`, such as `epochs=5`, `n_workers=2`,
                `max_memory="2GiB"`.

        Raises:
            StudyError: an unknown option, or a value that no study could use.
        """
        asked = {
            "batch_sizes": batch_sizes,
            "learning_rates": learning_rates,
            "n_trials": n_trials,
            "storage": storage,
            "study_name": study_name,
            **options,
        }
        given = {
            name: option_named(name, "Study got the unknown option").valued(value)
            for name, value in asked.items()
            if value is not None
        }
        self._settings = StudySettings(
            **settings_from(with_environment(given)), **_named(task), callbacks=tuple(callbacks)
        )
        check_settings(self._settings)
        check_working_folder()

    @property
    def name(self) -> str:
        """The name under which the study is stored."""
        from batchfront.study.opening.open import study_name_of

        return study_name_of(self._settings)

    @property
    def optuna(self) -> optuna.Study:
        """The Optuna study below, to be read."""
        return self._look().study

    def run(self) -> Study:
        """Run trials until the study has `n_trials`; called again, it goes on.

        Ctrl-C, or the notebook's interrupt, hands the trial back: the next call goes on with it.

        Raises:
            StudyError, ObjectiveError, StorageError: what can be mended.
            KeyboardInterrupt: after Ctrl-C, once all is stored.
        """
        from batchfront.study.api.search import search

        _ended(*search(self._settings, console_here(), then=NEXT))
        return self

    def advise(self, *, prefer: Preference = "fast", within: float | None = None) -> Any:
        """Print which batch size and learning rate to train with; returns a row for each size.

        Args:
            prefer: "fast", "memory" or "metric": what to choose by among the good sizes.
            within: how far from the best a size may be expected, in the metric.
        """
        found = answers(self._look(), prefer=prefer, within=within)
        console = console_here()
        for line in answer_text(found):
            console.print(line, soft_wrap=True)
        return as_table(size_rows(found))

    def recommended(self) -> dict[str, Any] | None:
        """The row of `advise()` to train with: batch_size, learning_rate; None: none yet."""
        rows = size_rows(answers(self._look(), prefer="fast", within=None))
        return next((row for row in rows if row["recommended"]), None)

    def costs(self, *, again: bool = False) -> dict[int, tuple[float, float]]:
        """Seconds and bytes of a whole run by batch size, of a few steps each.

        A study that has measured them here says what it knows, unless `again`.
        """
        from batchfront.study.session.probe import probe_costs

        settings = replace(self._settings, study_name=self.name)
        found = probe_costs(settings, console_here(), again=again).values()
        return {
            cost.batch_size: (cost.train_seconds, float(cost.peak_memory_bytes or 0))
            for cost in found
            if cost.train_seconds is not None
        }

    def front(self) -> Any:
        """The Pareto front, a row for each trial."""
        from batchfront.study.findings.overview.tables import front_rows
        from batchfront.study.trials.hardware import fronts_by_hardware

        looked = self._look()
        fronts = fronts_by_hardware(looked.study, looked.trials)
        return as_table(front_rows(fronts, looked.names, looked.trials))

    def plot_batch_sizes(self) -> go.Figure:
        """What each batch size buys: metric, best learning rate, time and memory."""
        return plots.batch_sizes_figure(self._look())

    def plot_front(self) -> go.Figure:
        """The front, projected on pairs of objectives."""
        return plots.front_figure(self._look())

    def plot_surface(self) -> go.Figure:
        """The expected metric over batch size and learning rate, with all runs."""
        return plots.surface_figure(self._look())

    def smallest(
        self,
        *,
        target: float | None = None,
        within: float | None = None,
        seeds: int = 10,
        max_trials: int | None = None,
    ) -> dict[str, Any] | None:
        """Find the smallest batch size that still reaches a target; prints it, with its evidence.

        Args:
            target: the metric that a run must end at, or better.
            within: in its place, so much worse than the best that is known.
            seeds: nine of ten must reach it.
            max_trials: of this call; 0 judges what is recorded.

        Returns:
            What `batchfront smallest --json` prints: `answer` is the size, or None where it is not
            shown.
        """
        from batchfront.study.api.search import find_smallest, show_smallest
        from batchfront.study.smallest.answer import Asking, as_json

        asking = Asking(target=target, within=within, n_seeds=seeds, max_trials=max_trials)
        asking.check()
        console = console_here()
        settings = replace(self._settings, study_name=self.name)
        code, answer = find_smallest(settings, asking, console)
        _ended(code, None)
        if answer is None:
            return None
        show_smallest(answer, console)
        return as_json(answer)

    def report(self, path: str | Path) -> Path:
        """Write one self-contained HTML page; returns its path."""
        from batchfront.storage.files import replace_text

        replace_text(Path(path), page_of(self._look()))
        return Path(path)

    def _look(self) -> LookedAt:
        return look_at(self._settings.storage, self.name)

    def __repr__(self) -> str:
        return f"Study({self.name!r}, n_trials={self._settings.most_trials})"


def _ended(code: int, why: Exception | None) -> None:
    """Raise where a search was interrupted, or cannot go on."""
    if code == 128 + signal.SIGINT:
        raise KeyboardInterrupt
    if code == 1:
        raise StudyError(str(why or "the study cannot go on: the error stands above")) from why


def _named(task: Any) -> dict[str, Any]:
    """The settings of a task: its name, and itself where it was handed over."""
    from batchfront.objectives.spec import name_of

    if isinstance(task, str | Path):
        return {"task": str(task)}
    return {"task": name_of(task), "given": task}
