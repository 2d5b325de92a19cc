"""One `run`: open or create the study, launch workers, say what came out."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from batchfront.objectives.device.names import resolve_device
from batchfront.storage.checkpoint import check_checkpoint_folder
from batchfront.storage.open import check_place, readable_errors
from batchfront.study.answer.confirm import Confirming
from batchfront.study.answer.show import answer_here, so_far_forms
from batchfront.study.errors import RUN_AGAIN
from batchfront.study.machine.alone import measuring_alone
from batchfront.study.machine.interrupts import Interrupts
from batchfront.study.opening.planned import usual_space
from batchfront.study.plan.behaviour import code_notes
from batchfront.study.plan.goal import ALL_TRIALS
from batchfront.study.plan.length import asked_length
from batchfront.study.plan.parsers import AUTO, check_study_name
from batchfront.study.plan.plan import Plan
from batchfront.study.plan.settings import StudySettings
from batchfront.study.pruning.by_name import make_stop_rule
from batchfront.study.pruning.pausing import nothing_kept, to_go_on
from batchfront.study.quiet import quiet_optuna
from batchfront.study.search.ending import End
from batchfront.study.session.aside import Aside, Introduced, goes_aside, sharing_found
from batchfront.study.session.closing import Closing
from batchfront.study.session.devices import device_notes
from batchfront.study.session.ending import (
    end_of,
    limits_left,
    n_finished,
    said_before,
)
from batchfront.study.session.header import (
    header_lines,
    machine_notes,
    rank_lines,
    task_notes,
)
from batchfront.study.session.job import job_of
from batchfront.study.session.logs import Callback, loggers, telling
from batchfront.study.session.opened import loaded, opened, refuse_played_back
from batchfront.study.session.progress import Progress, Watcher, say_compiling
from batchfront.study.session.so_far import SoFar
from batchfront.study.session.tally import Counting
from batchfront.study.show import counted, one_line
from batchfront.study.trials.attributes import is_finished
from batchfront.study.trials.hardware import stored_costs
from batchfront.study.trials.sound import sound_trials
from batchfront.study.trials.yardstick import Objectives
from batchfront.study.workers.kept import Kept
from batchfront.study.workers.launch import Job
from batchfront.study.workers.team import WorkerDied, run_workers
from batchfront.study.workers.telling import RepeatedFailure

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial
    from rich.console import Console

    from batchfront.objectives.objective import Objective


class Session:
    """Everything a person sees of a search."""

    def __init__(
        self, settings: StudySettings, console: Console, *, then: str | None = None
    ) -> None:
        """`then`: what a person may do next, in place of commands to type."""
        self._settings = settings
        self._console = console
        self._closing = Closing(settings=settings, console=console, then=then)
        self._interrupts = Interrupts()
        self._callbacks: list[Callback] = []
        self._devices: tuple[str, ...] = ()  # where workers train; none: where this process would
        self.failure: Exception | None = None  # why run() returned 1
        self.end: End | None = None  # that the search was at when it returned

    def run(self) -> int:
        """Search until the total is reached; returns the exit code.

        Raises:
            StudyError, ObjectiveError, StorageError: what a user can mend.
        """
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        settings = self._settings
        device = resolve_device(settings.device)
        say_compiling(settings, self._console)
        if goes_aside(device, settings.n_workers or 1):
            return self._run_aside(device)
        objective = loaded(settings, device)
        self._introduce(objective, device, device_notes(settings, device))
        with quiet_optuna(), readable_errors(settings.storage):
            alone = (settings.n_workers or 1) == 1
            with measuring_alone(objective, device, ranks_stay=alone, takes_turn=False):
                study, plan, is_new = opened(
                    settings, objective, device=device, watch=Watcher(self._console)
                )
            self._begin(study, plan, objective, is_new=is_new)
            return self._search(study, plan, objective)

    def _run_aside(self, device: str) -> int:
        """The same, without touching the device: workers need all of it."""
        told: list[Introduced] = []

        def introduce(said: Introduced) -> None:
            told.append(said)
            self._introduce(said.objective, device, said.notes)

        with quiet_optuna(), readable_errors(self._settings.storage):
            aside = Aside(
                self._settings,
                device,
                introduce=introduce,
                watch=Watcher(self._console),
                say=partial(self._console.print, soft_wrap=True),
            )
            study, plan, is_new = aside.open()
            (said,) = told
            self._devices = said.devices
            self._begin(study, plan, said.objective, is_new=is_new)
            return self._search(study, plan, said.objective)

    def _introduce(self, objective: Objective, device: str, notes: Sequence[str]) -> None:
        """Check and say what there is to say before a study is opened; `notes`: on the device."""
        self._check(objective)  # before a database is made
        name = self._settings.study_name or objective.name
        self._callbacks = [*loggers(self._settings.log or (), name), *self._settings.callbacks]
        for line in rank_lines(objective, device, self._settings.n_workers or 1):
            self._console.print(line, soft_wrap=True)
        for note in [*notes, *machine_notes()]:
            self._console.print(f"note: {note}", soft_wrap=True)

    def _check(self, objective: Objective) -> None:
        """Raise StudyError for what cannot be run."""
        settings = self._settings
        check_study_name(settings.study_name or objective.name)
        settings.space(usual_space(objective)).cut_to(objective.batch_sizes)
        asked_length(settings, objective)
        check_place(settings.storage)
        if settings.confirm is not None:
            refuse_played_back(objective, "leave out --confirm")
        if settings.checkpoint_dir not in (None, "none"):
            check_checkpoint_folder(Path(settings.checkpoint_dir))

    def _begin(self, study: Study, plan: Plan, objective: Objective, *, is_new: bool) -> None:
        """Say what study it is.

        Raises:
            StudyError: it cannot be searched so.
        """
        say = self._console.print
        for line in header_lines(self._settings, plan, is_new=is_new):
            say(line)
        if is_new and n_finished(study):
            say("all trials of the study had failed: it is made anew, and keeps their numbers")
        else:
            self._say_resumed(sound_trials(study))
        for note in [*task_notes(objective, plan), *code_notes(study, objective)]:
            say(f"note: {note}", soft_wrap=True)

    def _say_resumed(self, trials: Sequence[FrozenTrial]) -> None:
        if any(map(is_finished, trials)):
            self._console.print(f"resuming: {self._closing.so_many(trials)} recorded")

    def _search(self, study: Study, plan: Plan, objective: Objective) -> int:
        from batchfront.study.findings.overview.board import note, publish

        self.end = end = end_of(study, plan)
        job = job_of(self._settings, plan, objective, devices=self._devices)
        n_paused = self._n_paused(study, job, objective)
        complete = end is not None and not n_paused
        if complete and self._confirming(study, plan) is None:
            self._console.print(f"nothing to do: {self._closing.for_more(study)}", soft_wrap=True)
            self._outcome(study, end, plan)
            return 0
        begun = time.monotonic()
        for line in said_before(study, plan):
            self._console.print(line, soft_wrap=True)
        if n_paused and end is not None:
            self._console.print(f"going on with {counted(n_paused, 'paused run')}")
        with self._interrupts.installed():
            job = job if complete else self._shared(job, objective)
            failure = None if complete else self._launch(study, objective, job)
            self.end = end = end if complete else end_of(study, plan)
            if failure is None and end is not None:
                failure = self._confirm(study, objective, job)
            n_paused = self._n_paused(study, job, objective)
            self._outcome(study, end, plan, n_paused=n_paused)
            publish(study, note(plan, sound_trials(study)), Objectives.of(study))
        done = end is not None and not n_paused
        if failure is not None and not (done and isinstance(failure, WorkerDied)):
            self.failure = failure
            self._console.print(one_line(f"error: {failure}"), style="red", soft_wrap=True)
            return 1
        late = plan.timeout is not None and time.monotonic() - begun >= plan.timeout
        return self._exit_code(asked=done or late)

    def _n_paused(self, study: Study, job: Job, objective: Objective) -> int:
        """The paused runs that are to go on, each as far as a budget affords it."""
        plan, folder = job.plan, job.checkpoints
        kept = None if folder is None else Kept(folder=folder, plan=plan, objective=objective)
        costs = stored_costs(study, plan.hardware) or plan.costs  # workers may have probed again
        rule, trials = make_stop_rule(plan, lambda: costs), sound_trials(study)
        due = to_go_on(
            rule,
            study,
            trials,
            limits=limits_left(study, trials, plan),
            is_kept=nothing_kept if kept is None else kept.has,
        )
        return len(due)

    def _exit_code(self, *, asked: bool) -> int:
        """The exit code when workers have ended; `asked`: at the total or a limit asked for."""
        if self._interrupts.signum is not None:
            return self._interrupts.exit_code
        return 0 if asked else RUN_AGAIN

    def _shared(self, job: Job, objective: Objective) -> Job:
        """The job with the number of trials that share a GPU, where that is to be found."""
        if job.trials_per_gpu != AUTO:
            return job
        n_workers = self._settings.n_workers or 1
        found = sharing_found(job, objective, n_workers, self._interrupts)
        self._console.print(found.why, soft_wrap=True)
        return replace(job, trials_per_gpu=found.n)

    def _confirming(self, study: Study, plan: Plan) -> Confirming | None:
        """The fresh runs of the recommendation that were asked for and are missing."""
        n_runs = self._settings.confirm
        if n_runs is None:
            return None
        trials = sound_trials(study)
        answer = answer_here(study, trials, plan.hardware)
        if answer.recommended is None:
            self._console.print(f"nothing to confirm: {answer.reason}", soft_wrap=True)
            return None
        agenda = Confirming.of(answer.recommended, plan.space, n_runs)
        return agenda if agenda.n_missing(trials) else None

    def _confirm(self, study: Study, objective: Objective, job: Job) -> Exception | None:
        """Run what is recommended again, with fresh seeds."""
        agenda = self._confirming(study, job.plan)
        if agenda is None or self._interrupts.signum is not None:
            return None
        n_missing = agenda.n_missing(sound_trials(study))
        size, rate = agenda.batch_size, agenda.learning_rate
        runs = counted(n_missing, "fresh run")
        self._console.print(f"confirming batch size {size} at learning rate {rate:.2g}: {runs}")
        plan = replace(job.plan, n_trials=n_finished(study) + n_missing, goal=ALL_TRIALS)
        return self._launch(study, objective, replace(job, plan=plan, agenda=agenda))

    def _launch(self, study: Study, objective: Objective, job: Job) -> Exception | None:
        plan, n_workers = job.plan, self._settings.n_workers or 1
        progress = Progress(
            self._console,
            n_trials=None if plan.goal.is_open else plan.n_trials,
            n_done=n_finished(study),
            tally=Counting(study, plan.hardware),
            length=plan.length,
            n_workers=n_workers,
            so_far=SoFar(lambda: so_far_forms(study, sound_trials(study), plan.hardware)),
        )
        with progress:
            try:
                emit = telling(progress, study, self._callbacks)
                run_workers(job, objective, n_workers, self._interrupts, emit)
            except (RepeatedFailure, WorkerDied) as failure:
                return failure
        return None

    def _outcome(
        self, study: Study, end: End | None, plan: Plan | None = None, *, n_paused: int = 0
    ) -> None:
        """Say what came out; `n_paused`: runs that are to go on, and have not."""
        self._closing.say_outcome(
            study,
            end,
            plan,
            n_paused=n_paused,
            is_interrupted=lambda: self._interrupts.signum is not None,
        )
