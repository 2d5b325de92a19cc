"""What a search says when it ends, and how to go on from there."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchfront.objectives.datasets import DATA_DIR
from batchfront.storage.names import redacted
from batchfront.study.answer.show import answer_lines
from batchfront.study.commands import command, setting
from batchfront.study.findings.overview.summary import summary_lines
from batchfront.study.findings.overview.tables import front_table
from batchfront.study.plan.environment import DATA_VARIABLE, STORAGE_VARIABLE
from batchfront.study.plan.plan import Plan
from batchfront.study.plan.settings import StudySettings
from batchfront.study.search.ending import End
from batchfront.study.session.ending import end_line, n_finished, twice_line
from batchfront.study.session.nothing import nothing_line
from batchfront.study.show import counted
from batchfront.study.trials.attributes import is_finished, is_searched
from batchfront.study.trials.hardware import fronts_by_hardware
from batchfront.study.trials.sound import SoundTrials
from batchfront.study.trials.yardstick import Objectives, metric_in

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial
    from rich.console import Console


@dataclass(frozen=True, kw_only=True)
class Closing:
    """The last lines of a command that searches."""

    settings: StudySettings
    console: Console
    then: str | None = None  # what a person may do next, in place of commands to type

    def say_outcome(
        self,
        study: Study,
        end: End | None,
        plan: Plan | None,
        *,
        n_paused: int = 0,
        is_interrupted: Callable[[], bool],
    ) -> None:
        """What came out. `end`: the one that the search is at; None: it goes on another time.

        `n_paused`: runs that are to go on, and have not. `is_interrupted` is asked at the end: a
        front of many runs takes time.
        """
        say = self.console.print
        sound = SoundTrials()
        trials = sound.of(study)
        self._say_fronts(study, trials)
        foreign = sound.foreign_line(study)
        if foreign is not None:
            say(foreign, soft_wrap=True)
        n_done = sum(map(is_searched, trials))
        if end is not None and self.settings.goal.is_open:
            say(end_line(end, n_done), soft_wrap=True)
        twice = twice_line(study, plan) if end is not None and plan is not None else None
        if twice is not None:
            say(twice, soft_wrap=True)
        nothing = nothing_line(trials, metric_in(study), in_python=self.then is not None)
        if nothing is not None:
            say(nothing, soft_wrap=True)
        if is_interrupted():
            say(f"interrupted with {self.so_many(trials)}; run it again to resume")
        elif end is None:
            say(f"{self.so_many(trials)}; run it again to go on")
        elif n_paused:
            runs = counted(n_paused, "paused run")
            say(f"{runs} may still belong to the front; run it again to go on")
        else:
            then = self._next(study, more=nothing is None)
            say(f"next: {self.then or then}", soft_wrap=True)

    def _say_fronts(self, study: Study, trials: list[FrozenTrial]) -> None:
        """The front of each hardware, the answer, and what there is to know of the runs."""
        for hardware, front in fronts_by_hardware(study, trials).items():
            if front:
                width, names = self.console.width, Objectives.of(study)
                self.console.print(
                    front_table(front, names, hardware=hardware, among=trials, width=width)
                )
        for line in [*answer_lines(study, trials), *summary_lines(trials, metric_in(study))]:
            self.console.print(line)

    def so_many(self, trials: Sequence[FrozenTrial]) -> str:
        """`12 of 30 trials`, or `12 trials` where nobody knows how many there will be.

        Runs that no search asked for, as those of --confirm, are counted beside them.
        """
        n_done, n_all = sum(map(is_searched, trials)), sum(map(is_finished, trials))
        beside = f", and {n_all - n_done} beside the search" if n_all > n_done else ""
        if self.settings.goal.is_open:
            return counted(n_done, "trial") + beside
        return f"{n_done} of {counted(self.settings.most_trials, 'trial')}{beside}"

    def for_more(self, study: Study) -> str:
        """How to go on from an end."""
        goal, in_python = self.settings.goal, self.then is not None
        if goal.budget is not None:
            return "for more trials pass a larger budget"
        if not goal.is_open:
            return f"for more trials pass a larger {setting('n_trials', in_python=in_python)}"
        twice = setting("n_trials", 2 * n_finished(study), in_python=in_python)
        return f"for more trials pass {twice}"

    def _next(self, study: Study, *, more: bool) -> str:
        """What a person may do once the total is reached; `more`: more trials may help."""
        dashboard = command("dashboard", self._stored())
        report = command("report", self._named(study.study_name))
        if not more:
            return f"{dashboard} or {report}"
        return f"{dashboard}, {report}, or {command('run', self._more(study))}"

    def _more(self, study: Study) -> dict[str, object]:
        """The options that go on from here: what the person has to repeat."""
        ours, found = self.settings, dict[str, object]()
        if ours.launcher != StudySettings.launcher:
            found["launcher"] = ours.launcher
        if ours.task != StudySettings.task:
            found["task"] = ours.task
        if ours.data_dir not in (DATA_DIR, os.environ.get(DATA_VARIABLE)):
            found["data_dir"] = ours.data_dir
        where = self._stored() if ours.study_name is None else self._named(study.study_name)
        if ours.goal.budget is not None:
            name = "budget_total" if ours.goal.is_total else "budget"
            return {**found, **where, name: f"{2 * ours.goal.budget:g}s"}
        so_far = n_finished(study) if ours.goal.is_open else ours.most_trials
        return {**found, **where, "n_trials": 2 * so_far}

    def _named(self, study_name: str) -> dict[str, object]:
        return {"study_name": study_name, **self._stored()}

    def _stored(self) -> dict[str, object]:
        url = self.settings.storage
        usual = url in (StudySettings.storage, os.environ.get(STORAGE_VARIABLE))
        return {} if usual else {"storage": redacted(url)}
