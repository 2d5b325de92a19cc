"""The whole answer: judged from rows, shown to people and machines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from batchfront.objectives.parameter import usual_values
from batchfront.study.errors import StudyError
from batchfront.study.plan.agreement import AGREEMENT, IMPORTED
from batchfront.study.plan.space import SearchSpace
from batchfront.study.show import counted
from batchfront.study.smallest.advice import Advice, Frozen, advice, frozen
from batchfront.study.smallest.agenda import evidence_rows
from batchfront.study.smallest.evidence import SizeRuns, also_reach, evidence, mean
from batchfront.study.smallest.ladder import Walk, walk
from batchfront.study.smallest.question import ADAPTIVE, Question, check_question
from batchfront.study.smallest.rate_model import error_of
from batchfront.study.smallest.sensitivity import (
    GROWING,
    Neighbour,
    adaptive,
    neighbours,
    scores_on_test,
)
from batchfront.study.smallest.single import SingleRuns, single_runs
from batchfront.study.smallest.size import SizeState
from batchfront.study.trials.attributes import fused_sizes
from batchfront.study.trials.rows import RunRow
from batchfront.study.trials.sound import sound_trials
from batchfront.study.trials.yardstick import Objectives, Yardstick, standard

if TYPE_CHECKING:
    from optuna import Study


@dataclass(frozen=True, kw_only=True)
class Asking:
    """What a person asks for."""

    target: float | None
    within: float | None
    n_seeds: int = 10
    max_trials: int | None = None  # of this call

    def check(self) -> None:
        """Raise StudyError for a question without an answer."""
        check_question(self.target, self.within, self.n_seeds)
        if self.max_trials is not None and self.max_trials < 0:
            raise StudyError(f"max_trials is {self.max_trials}, wanted at least 0")

    def of(self, sizes: Sequence[int], learning_rates: tuple[float, float]) -> Question:
        """The question at these batch sizes."""
        return Question(
            target=self.target,
            within=self.within,
            n_seeds=self.n_seeds,
            sizes=tuple(sizes),
            learning_rates=learning_rates,
        )


def question_in(space: SearchSpace, asking: Asking) -> Question:
    """The question at the sizes of a space; base rates become what they are at the start."""
    question = asking.of(space.batch_sizes, space.learning_rates)
    low, high = space.learning_rates
    factor = space.scale.factor(question.start)
    return replace(question, learning_rates=(low * factor, high * factor))


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The answer to a question, with all that it rests on."""

    question: Question
    found: Walk
    table: list[SizeRuns]
    advised: Advice | None
    frozen: Frozen | None
    around: list[Neighbour]
    adaptive: Neighbour | None  # the answer, with a batch that grows with the noise
    single: SingleRuns | None = None  # what a table of single runs says, where nothing is shown


def answer_of(question: Question, rows: Sequence[RunRow]) -> Answer:
    """What the rows say."""
    every = rows
    rows = [row for row in every if row.purpose != ADAPTIVE]
    found = walk(question, rows)
    no_answer = found.answer is None and found.at_most is None
    table = evidence(rows, found, question.hardware, question.yardstick)
    return Answer(
        question=question,
        found=found,
        table=table,
        advised=advice(rows, table, found),
        frozen=frozen(rows, found, question),
        around=neighbours(question, rows, found),
        adaptive=adaptive(every, found),
        single=single_runs(question, rows) if question.is_recorded and no_answer else None,
    )


def recorded_answer(study: Study, asking: Asking) -> Answer:
    """The answer from what is recorded, whoever ran it and whatever for.

    Raises:
        StudyError: the study holds no runs, no metric, or playbacks of the same few runs.
    """
    record, names = study.user_attrs[AGREEMENT], Objectives.of(study)
    if "table" in record:
        raise StudyError(
            f"study {study.study_name!r} plays recorded runs back, the same ones over and over: "
            "import the table and judge that"
        )
    space = SearchSpace.from_dict(record["space"]) if IMPORTED not in record else None
    own = usual_values(space.search) if space is not None else {}
    trials = sound_trials(study)
    yardstick = names.yardstick(trials)
    known = evidence_rows(standard(trials, yardstick), names, own)
    rows = [row for row in known if row.finished]
    if not any(row.metric is not None for row in rows):
        raise StudyError(
            f"study {study.study_name!r} holds no completed run with a metric: run smallest"
        )
    if space is not None:
        question = question_in(space, asking).measured_by(yardstick)
        question = replace(question, fused=fused_sizes(study) or None)
        return answer_of(replace(_here(question, rows), is_recorded=True), rows)
    rates = [row.learning_rate for row in rows]
    sizes = sorted({row.batch_size for row in rows})
    question = asking.of(sizes, (min(rates), max(rates))).measured_by(yardstick)
    answer = answer_of(replace(question, is_recorded=True), rows)
    missing = answer.found.missing
    if missing is None:
        return answer
    found = replace(answer.found, remedy=_to_record(missing, rows, asking.n_seeds))
    if not missing.fresh:
        why = f"batch size {missing.batch_size} is not decided: {_without_seeds(missing, rows)}"
        found = replace(found, reason=why)
    return replace(answer, found=found)


def _without_seeds(missing: SizeState, rows: Sequence[RunRow]) -> str:
    """Why the recorded runs of a size cannot judge it."""
    mine = [row for row in rows if row.batch_size == missing.batch_size]
    n_rates = counted(len({row.learning_rate for row in mine}), "learning rate")
    return f"{counted(len(mine), 'run')} at {n_rates}, and at none of them did two seeds end"


def _to_record(missing: SizeState, rows: Sequence[RunRow], n_seeds: int) -> str:
    """What to record where a size is not decided and nothing can be run."""
    size, rate = missing.batch_size, missing.learning_rate
    if not missing.fresh:
        ended = [row for row in rows if row.batch_size == size and row.metric is not None]
        best = min(ended, key=error_of, default=None)
        at = "" if best is None else f" at its best rate, {best.learning_rate:.2g},"
        return f"record {n_seeds} seeds of it{at} where these come from"
    if rate is None or missing.bracketed:
        return f"record more seeds of {size} where these come from, or ask for fewer --seeds"
    beyond = any(r.batch_size == size and r.learning_rate > rate for r in rows)
    where = "smaller" if beyond else "larger"
    return f"record runs of {size} at {where} learning rates than {rate:.2g} where these come from"


def _here(question: Question, rows: Sequence[RunRow]) -> Question:
    """The question on the hardware of most runs: time and memory of two are not to be mixed."""
    hardware = Counter(row.hardware for row in rows).most_common(1)[0][0]
    return replace(question, hardware=hardware)


def as_json(answer: Answer) -> dict[str, Any]:
    """The answer for machines: `answer` is a size or null, `status` shown or not_shown."""
    found, around, by = answer.found, answer.around, answer.question.yardstick
    own = found.state(found.answer)
    return {
        "answer": found.answer,
        "status": "not_shown" if found.answer is None else "shown",
        "confirmed": own is not None and own.confirmed is True,
        "at_most": found.at_most,
        "also_reach": [size.batch_size for size in also_reach(answer.table, found)],
        "reason": found.reason or None,
        "remedy": found.remedy or None,
        "metric": by.metric.name,
        "target": None if found.target is None else by.own(found.target),
        "n_seeds": answer.question.n_seeds,
        "ladder": [asdict(size) for size in answer.table],
        "advice": None if answer.advised is None else asdict(answer.advised),
        "frozen": None if answer.frozen is None else asdict(answer.frozen),
        "sensitivity": [_neighbour(one, by) for one in around],
        "adaptive": None if answer.adaptive is None else _adaptive(answer.adaptive, by),
        "test": scores_on_test(found, around),
        "single_runs": None if answer.single is None else asdict(answer.single),
    }


def _adaptive(one: Neighbour, by: Yardstick) -> dict[str, Any]:
    return {**_neighbour(one, by), "schedule": GROWING, "last_batch_sizes": one.last_sizes}


def _neighbour(one: Neighbour, by: Yardstick) -> dict[str, Any]:
    known = [run.metric for run in one.runs if run.metric is not None]
    return {
        "batch_size": one.batch_size,
        "learning_rate": one.learning_rate,
        "n_seeds": len(one.outcomes),
        "n_reached": sum(one.outcomes),
        "mean_metric": by.own(mean(known)) if known else None,
        "worst_metric": by.own(min(known)) if known else None,
        "n_spikes": mean([run.n_spikes for run in one.runs if run.n_spikes is not None]),
        "n_stopped": one.n_stopped,
        "trials": [run.number for run in one.runs],
    }
