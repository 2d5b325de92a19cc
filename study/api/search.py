"""A search, wherever its workers run."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from batchfront.study.plan.settings import StudySettings
    from batchfront.study.smallest.answer import Answer, Asking


def search(
    settings: StudySettings, console: Console, *, then: str | None = None
) -> tuple[int, Exception | None]:
    """Run trials until the study has as many as the settings say.

    Returns the exit code, and why it is 1.

    `then`: what is said that a person may do next, in place of commands to type.

    Raises:
        StudyError, ObjectiveError, StorageError: what can be mended.
    """
    from batchfront.study.session.session import Session

    if settings.launcher == "ray":
        from batchfront.study.on_ray.session import RaySession

        session: Session = RaySession(settings, console)
        return session.run(), session.failure
    session = Session(settings, console, then=then)
    return session.run(), session.failure


def find_smallest(
    settings: StudySettings, asking: Asking, console: Console
) -> tuple[int, Answer | None]:
    """The exit code, and the smallest batch size that reaches what is asked, with its evidence.

    Where no trial may be run, what is recorded is judged.
    """
    if asking.max_trials == 0:
        from batchfront.study.opening.open import the_study
        from batchfront.study.smallest.answer import recorded_answer
        from batchfront.study.trials.sound import foreign_line

        study = the_study(settings.storage, settings.study_name)
        foreign = foreign_line(study)
        if foreign is not None:
            console.print(foreign, soft_wrap=True)
        return 0, recorded_answer(study, asking)
    from batchfront.study.smallest.session import SmallestSession

    session = SmallestSession(settings, asking, console)
    return session.run(), session.answer


def show_smallest(answer: Answer, console: Console, *, trials: bool = False) -> None:
    """Print the answer with its tables; `trials`: and the numbers of those that they are of."""
    from batchfront.study.smallest import show as words

    found, by, say = answer.found, answer.question.yardstick, console.print
    say(words.answer_line(answer.table, found, answer.question.sizes[0], by), soft_wrap=True)
    if answer.single is not None:
        say(words.single_line(answer.single), soft_wrap=True)
    if answer.advised is not None:
        say(words.advice_line(found, answer.advised), soft_wrap=True)
    if answer.table:
        say(words.ladder_table(answer.table, found.target, by))
        say(words.price_table(answer.table, answer.advised))
        say(words.stability_table(answer.table))
    if answer.around:
        say(words.sensitivity_table(answer.around, answer.adaptive, by))
    for line in words.more_lines(answer.table, found, answer.frozen, answer.around, by):
        say(line, soft_wrap=True)
    for line in words.trial_lines(answer.table, answer.around) if trials else []:
        say(line, soft_wrap=True)
