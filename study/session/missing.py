"""Runs what a finding lacks, with the workers of this machine."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from batchfront.study.findings.missing.runs import Missing, Verb, n_asked
from batchfront.study.findings.missing.show import missing_line
from batchfront.study.findings.overview.board import note, publish
from batchfront.study.plan.plan import Plan
from batchfront.study.plan.settings import StudySettings
from batchfront.study.session.job import job_of
from batchfront.study.session.open_ended import run_agenda
from batchfront.study.session.opened import refuse_played_back
from batchfront.study.session.session import Session
from batchfront.study.show import one_line
from batchfront.study.trials.attributes import is_finished
from batchfront.study.trials.sound import sound_trials
from batchfront.study.trials.yardstick import Objectives

if TYPE_CHECKING:
    from collections.abc import Sequence

    from optuna import Study
    from optuna.trial import FrozenTrial
    from rich.console import Console

    from batchfront.objectives.objective import Objective


class MissingSession(Session):
    """Resumes the study as a search does; what is missing takes the sampler's place."""

    def __init__(
        self,
        settings: StudySettings,
        console: Console,
        *,
        verb: Verb,
        target: float | None,
        max_trials: int,
    ) -> None:
        super().__init__(settings, console)
        self._verb, self._target, self._max_trials = verb, target, max_trials

    def _check(self, objective: Objective) -> None:
        super()._check(objective)
        refuse_played_back(objective, "leave out --max-trials")

    def _say_resumed(self, trials: Sequence[FrozenTrial]) -> None:
        n_done = sum(map(is_finished, trials))
        self._console.print(f"going on from {n_done} recorded trials")

    def _search(self, study: Study, plan: Plan, objective: Objective) -> int:
        names = Objectives.of(study)
        agenda = Missing(
            verb=self._verb,
            target=self._target,
            names=names,
            space=plan.space,
            hardware=plan.hardware,
        )
        trials = sound_trials(study)
        gaps = agenda.gaps(study, trials)
        if not gaps:
            self._console.print("nothing is missing that more runs would show")
            return 0
        self._console.print(missing_line(gaps), soft_wrap=True)
        agenda = replace(agenda, limit=n_asked(trials) + self._max_trials)
        job = job_of(self._settings, plan, objective, devices=self._devices)
        job = replace(job, agenda=agenda)
        with self._interrupts.installed():
            failure = run_agenda(
                job,
                objective,
                n_workers=self._settings.n_workers or 1,
                interrupts=self._interrupts,
                console=self._console,
            )
            publish(study, note(plan, sound_trials(study)), names)
        if failure is not None:
            self._console.print(one_line(f"error: {failure}"), style="red", soft_wrap=True)
            return 1
        return self._interrupts.exit_code
