"""One `smallest`: walks the ladder with the workers of this machine, then says what it shows."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from batchfront.objectives.parameter import usual_values
from batchfront.study.errors import StudyError
from batchfront.study.plan.parsers import AUTO, OFF
from batchfront.study.plan.plan import Plan
from batchfront.study.plan.settings import StudySettings
from batchfront.study.session.elsewhere import adapts, fuses
from batchfront.study.session.job import job_of
from batchfront.study.session.open_ended import run_agenda
from batchfront.study.session.opened import refuse_played_back
from batchfront.study.session.session import Session
from batchfront.study.show import counted, human_seconds
from batchfront.study.smallest.agenda import Agenda, n_asked
from batchfront.study.smallest.answer import Answer, Asking, answer_of, question_in
from batchfront.study.smallest.question import Question
from batchfront.study.smallest.rounds import WIDTH
from batchfront.study.smallest.tuning import ENOUGH
from batchfront.study.trials.attributes import is_finished
from batchfront.study.trials.growing import whole_runs
from batchfront.study.trials.sound import sound_trials

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from optuna import Study
    from optuna.trial import FrozenTrial
    from rich.console import Console

    from batchfront.objectives.objective import Objective
    from batchfront.objectives.parameter import Value

LONG_SECONDS = 60.0  # of training: who waits less need not be told how to wait less


class SmallestSession(Session):
    """Opens or creates the study as a search does; the protocol takes the sampler's place."""

    def __init__(self, settings: StudySettings, asking: Asking, console: Console) -> None:
        super().__init__(settings, console)
        self._asking = asking
        self.answer: Answer | None = None  # what run() found

    def _check(self, objective: Objective) -> None:
        super()._check(objective)
        refuse_played_back(
            objective, "import the table, then smallest --max-trials 0 judges what it holds"
        )
        if isinstance(self._settings.learning_rates, tuple):
            _check_rates(self._settings.learning_rates)

    def _begin(self, study: Study, plan: Plan, objective: Objective, *, is_new: bool) -> None:
        super()._begin(study, plan, objective, is_new=is_new)
        _check_rates(plan.space.learning_rates)

    def _say_resumed(self, trials: Sequence[FrozenTrial]) -> None:
        n_done = sum(map(is_finished, trials))
        if n_done:
            self._console.print(f"going on from {n_done} recorded trials")

    def _search(self, study: Study, plan: Plan, objective: Objective) -> int:
        question = self._question(plan, objective)
        agenda = Agenda(
            question=question,
            metric_names=plan.objectives,
            own=usual_values(objective.search),
            space=plan.space,
            adaptive=adapts(objective),
        )
        n_before = n_asked(agenda.rows(sound_trials(study)))
        if self._asking.max_trials is not None:
            agenda = replace(agenda, limit=n_before + self._asking.max_trials)
        self._say_price(plan, question, objective)
        if agenda.own:
            self._console.print(_own_line(agenda.own), soft_wrap=True)
        if plan.growth is not None:
            how = f"the schedule of this study is {plan.growth.schedule}"
            self._console.print(f"batch sizes are those that runs start with: {how}")
        with self._interrupts.installed():
            job = job_of(self._settings, plan, objective, devices=self._devices)
            job = replace(self._shared(job, objective), agenda=agenda)
            failure = run_agenda(
                job,
                objective,
                n_workers=self._settings.n_workers or 1,
                interrupts=self._interrupts,
                console=self._console,
            )
        trials = sound_trials(study)
        finished = [row for row in agenda.rows(trials) if row.finished]
        self.answer = answer_of(agenda.by(study).asked(trials), finished)
        if failure is not None:
            self._console.print(f"error: {failure}", style="red", soft_wrap=True)
            return 1
        return self._interrupts.exit_code

    def _question(self, plan: Plan, objective: Objective) -> Question:
        question = replace(question_in(plan.space, self._asking), hardware=plan.hardware)
        if plan.fuse == OFF or not fuses(objective):
            return question
        # Where it has to pay, the first run of the first size is to decide whether it does.
        return replace(question, fused={} if plan.fuse == AUTO else {question.start: True})

    def _say_price(self, plan: Plan, question: Question, objective: Objective) -> None:
        """What the walk down takes where every size counts: people should know before they wait."""
        n_runs = ENOUGH + question.needed
        if question.fused is not None:
            n_runs = WIDTH + question.n_seeds
        runs = whole_runs(plan.costs, plan.growth)
        a_size = {
            size: cost.train_seconds * n_runs
            for size, cost in runs.items()
            if size in question.sizes and size <= question.start and cost.train_seconds
        }
        if a_size:
            smallest, seconds = min(a_size), sum(a_size.values())
            self._console.print(
                f"about {human_seconds(seconds)} of training if all sizes down to "
                f"{smallest} count ({counted(n_runs, 'run')} each), "
                f"{human_seconds(a_size[smallest])} of it at {smallest}; "
                f"{_less(seconds, plan, question, objective)}what is recorded is not run again",
                soft_wrap=True,
            )


def _less(seconds: float, plan: Plan, question: Question, objective: Objective) -> str:
    """What training runs together takes off, or might."""
    if question.fused is not None:
        return "one by one, and a fraction of that where they are trained together; "
    is_tried = plan.device == "cpu" and seconds >= LONG_SECONDS
    if is_tried and fuses(objective):
        return "with --fuse auto maybe a fraction of that; "
    return ""


def _own_line(own: Mapping[str, Value]) -> str:
    """`every run has width=5, …`: there is one ladder, over batch sizes."""
    values = ", ".join(
        f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in own.items()
    )
    return f"every run has {values}, as it was probed: Parameter(..., usual=...) chooses others"


def _check_rates(rates: tuple[float, float]) -> None:
    low, high = rates
    if low == high:
        raise StudyError(
            f"the study has one learning rate, {low:g}, and smallest tunes it at every batch "
            "size: choose another --study-name, with a range of --learning-rates"
        )
