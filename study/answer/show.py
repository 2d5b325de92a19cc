"""The answer as people and machines read it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from batchfront.study.answer.branches import asked_for
from batchfront.study.answer.chance import chance_line, nothing_learned
from batchfront.study.answer.choice import Answer, SizeAdvice, answer_of
from batchfront.study.answer.confirm import (
    confirmation_json,
    confirmation_line,
    confirmation_of,
)
from batchfront.study.answer.known import Known, known_of
from batchfront.study.answer.model import LEVEL, SizeEstimate
from batchfront.study.answer.to_target import ToTarget
from batchfront.study.show import (
    human_bytes,
    human_seconds,
    metric_form,
    ratio,
    short,
    times_the,
    trials_word,
)
from batchfront.study.trials.costs import disturbed_line
from batchfront.study.trials.hardware import hardware_title, known_hardware, stored_costs
from batchfront.study.trials.yardstick import Objectives

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

FOR = {
    "metric": "If every bit counts",
    "fast": "In a hurry",
    "memory": "Short of memory",
}
MARK = "◀"  # of the size that is recommended


def answer_lines(study: Study, trials: Sequence[FrozenTrial]) -> list[str]:
    """The answer of a study in sentences, of each hardware in its turn; trials: its sound ones."""
    lines: list[str] = []
    if Objectives.of(study).metric is None:  # imported runs of which only time is known
        return lines
    for hardware, known in known_of(study, trials).items():
        lines += [f"On {hardware}:"] if hardware else []
        lines += sentences(answer_of(known), known)
    return lines + disturbed_lines(study)


def disturbed_lines(study: Study) -> list[str]:
    """Which probes of a study were disturbed, of each hardware in its turn."""
    told = (disturbed_line(stored_costs(study, id_)) for id_ in known_hardware(study))
    return [line for line in told if line is not None]


def answer_here(study: Study, trials: Sequence[FrozenTrial], hardware: str) -> Answer:
    """The answer for one hardware, by its id."""
    return answer_of(known_here(study, trials, hardware))


def known_here(study: Study, trials: Sequence[FrozenTrial], hardware: str) -> Known:
    """What is known on one hardware, by its id."""
    known = known_of(study, trials)
    return known[""] if "" in known else known[hardware_title(study, hardware)]


def sentences(answer: Answer, known: Known) -> list[str]:
    """The recommendation, what it is worth against the best, and what else there is."""
    chosen = answer.recommended
    if chosen is None or chosen.estimate is None:
        return [f"No recommendation yet: {answer.reason}."]
    form = answer_form(answer, known)
    lines = [chance_line(known, form)] if nothing_learned(answer, known) else []
    lines.append(_recommendation(chosen, chosen.estimate, known, form))
    confirmed = confirmation_of(chosen, known)
    if confirmed is not None:
        lines.append(confirmation_line(confirmed, form))
    if answer.best is not None and answer.best is not chosen:
        lines.append(_against_the_best(chosen, answer.best, known, form))
    for good_for, size in answer.alternatives.items():
        is_worth_it = not _reads_the_same(size, chosen, known, form)
        if is_worth_it if good_for == "metric" else size is not answer.best:
            lines.append(f"{FOR[good_for]}: {_in_short(size, chosen, known, form)}.")
    return lines


def answer_form(answer: Answer, known: Known) -> str:
    """The format of the metric's values wherever the answer is read: as fine as its tolerance."""
    shown = [size for size in (answer.recommended, answer.best) if size is not None]
    values = [value for size in shown for value in metric_of(size.shown, known)]
    grains = [tolerance_of(answer, known)]
    if answer.best is not None:  # a tolerance that was asked for may be wide
        between_seeds = known.yardstick.own_difference(answer.best.shown.between_seeds)
        grains.append(abs(float(between_seeds)))
    return metric_form(*values, digits=3, grain=min(filter(None, grains), default=0.0))


def tolerance_of(answer: Answer, known: Known) -> float:
    """The tolerance as a difference in the metric's own values."""
    return abs(float(known.yardstick.own_difference(answer.tolerance)))


def _reads_the_same(one: SizeAdvice, other: SizeAdvice, known: Known, form: str) -> bool:
    """Whether the expected metrics of two sizes are written alike."""
    first, second = (metric_of(size.shown, known)[0] for size in (one, other))
    return f"{first:{form}}" == f"{second:{form}}"


def so_far_forms(study: Study, trials: Sequence[FrozenTrial], hardware: str) -> list[str]:
    """The answer for one hardware on one line, the longest form first; nothing while there is none.

    `so far: batch size 64 at learning rate 0.21 (0.12 to 0.33), val_accuracy 0.976 (0.97 to 0.98)`.
    """
    known = known_here(study, trials, hardware)
    answer = answer_of(known)
    chosen = answer.recommended
    if chosen is None:
        return []
    found = chosen.shown
    metric = expected(found, known, answer_form(answer, known))
    rate = f"{found.learning_rate:.2g}"
    brackets = f"({best_rates(found)})"
    size, name = chosen.batch_size, known.yardstick.metric.name
    return [
        f"so far: batch size {size} at learning rate {rate} {brackets}, {name} {metric}"
        f"{_taking(chosen)}",
        f"so far: batch {size} lr {rate} {brackets}, {name} {metric}",
        f"so far: batch {size} lr {rate}, {name} {metric}",
        f"so far: batch {size} lr {rate}, {metric}",
        f"so far: batch {size} lr {rate}",
    ]


def _recommendation(size: SizeAdvice, found: SizeEstimate, known: Known, form: str) -> str:
    own = "".join(f", {name} {short(value)}" for name, value in _own_params(found, known).items())
    return (
        f"Train with batch size {size.batch_size} at learning rate {found.learning_rate:.2g} "
        f"({best_rates(found)}){own}: a fresh run is expected to reach "
        f"{known.yardstick.metric.name} {expected(found, known, form)}{_taking(size)}."
    )


def _own_params(found: SizeEstimate, known: Known) -> dict[str, Any]:
    """The task's own parameters that a run with them has."""
    return asked_for(found.params, known.branches, known.encoding)


def best_rates(found: SizeEstimate) -> str:
    """`0.12 to 0.33`; `at least 0.12` where the best rate may be above all that were tried."""
    if found.is_bounded_below and found.is_bounded_above:
        return f"{found.learning_rate_low:.2g} to {found.learning_rate_high:.2g}"
    if found.is_bounded_below:
        return f"at least {found.learning_rate_low:.2g}"
    if found.is_bounded_above:
        return f"at most {found.learning_rate_high:.2g}"
    return "no bounds found"


def _taking(size: SizeAdvice) -> str:
    parts = []
    if size.train_seconds is not None:
        parts.append(f"in {human_seconds(size.train_seconds)}")
    if size.peak_memory_bytes:  # 0 where nothing measures it
        parts.append(f"with {human_bytes(size.peak_memory_bytes)}")
    return "".join(f" {part}" for part in parts)


def expected(found: SizeEstimate, known: Known, form: str) -> str:
    """`0.976 (0.969 to 0.982)`: the mean, and the interval of one fresh run."""
    mean, low, high = metric_of(found, known)
    return f"{mean:{form}} ({low:{form}} to {high:{form}})"


def metric_of(found: SizeEstimate, known: Known) -> tuple[float, float, float]:
    """Expected, lowest and highest, in the metric's own values."""
    yardstick = known.yardstick
    least, most = found.fresh_run
    mean = yardstick.metric.possible(float(yardstick.own(1 - found.error)))
    low, high = yardstick.possible_ends(1 - most, 1 - least)
    return mean, float(low), float(high)


def _against_the_best(chosen: SizeAdvice, best: SizeAdvice, known: Known, form: str) -> str:
    lost = abs(float(known.yardstick.own_difference(chosen.error - best.error)))
    is_less = not _reads_the_same(chosen, best, known, form) and float(f"{lost:{form}}")
    off = f"{lost:{form}} from" if is_less else "as good as"
    size = best.batch_size
    return f"That is {off} the best expected, of batch size {size}{_share_of_time(chosen, best)}."


def _share_of_time(chosen: SizeAdvice, best: SizeAdvice) -> str:
    if not chosen.train_seconds or not best.train_seconds:
        return ""
    return f", in {ratio(chosen.train_seconds, best.train_seconds)} of its time"


def _in_short(size: SizeAdvice, chosen: SizeAdvice, known: Known, form: str) -> str:
    found = size.shown
    text = f"{size.batch_size} at {found.learning_rate:.2g}, {expected(found, known, form)}"
    if size.train_seconds and chosen.train_seconds:
        text += f", {times_the('time', size.train_seconds, chosen.train_seconds)}"
    if size.peak_memory_bytes and chosen.peak_memory_bytes:
        text += f", {times_the('memory', size.peak_memory_bytes, chosen.peak_memory_bytes)}"
    return text


def footnote(answer: Answer, known: Known) -> str:
    """How the recommendation was chosen."""
    tolerance, form = tolerance_of(answer, known), answer_form(answer, known)
    what = "as asked" if answer.is_named else "one deviation between seeds"
    return (
        f"{MARK} among the sizes surely within {tolerance:{form}} of the best ({what}); brackets: "
        f"where {LEVEL:.0%} of best rates and of fresh runs lie"
    )


def trial_lines(answer: Answer) -> list[str]:
    """Which trials the row of each size is of; the model has seen all of them."""
    return [f"{size.batch_size}: {trials_word(size.trials)}" for size in answer.sizes]


def answer_json(answer: Answer, known: Known) -> dict[str, Any]:
    """The answer for machines."""
    rows = {size.batch_size: _size_json(size, known) for size in answer.sizes}
    chosen, best = answer.recommended, answer.best
    return {
        "metric": known.yardstick.metric.name,
        "target": known.target,
        "recommended": None if chosen is None else rows[chosen.batch_size],
        "reason": answer.reason or None,
        "confirmed": None if chosen is None else confirmation_json(confirmation_of(chosen, known)),
        "best": None if best is None else best.batch_size,
        "tolerance": tolerance_of(answer, known),
        "alternatives": {name: size.batch_size for name, size in answer.alternatives.items()},
        "sizes": list(rows.values()),
    }


def _size_json(size: SizeAdvice, known: Known) -> dict[str, Any]:
    found = size.estimate
    mean, low, high = (None, None, None) if found is None else metric_of(found, known)
    return {
        "batch_size": size.batch_size,
        "learning_rate": None if found is None else found.learning_rate,
        "learning_rate_low": None if found is None else found.learning_rate_low,
        "learning_rate_high": None if found is None else found.learning_rate_high,
        "learning_rate_bounded_below": None if found is None else found.is_bounded_below,
        "learning_rate_bounded_above": None if found is None else found.is_bounded_above,
        "params": {} if found is None else _own_params(found, known),
        "expected_metric": mean,
        "metric_low": low,
        "metric_high": high,
        "train_seconds": size.train_seconds,
        "peak_memory_bytes": size.peak_memory_bytes,
        "epochs_to_target": _finite(size.to_target, "epochs"),
        "seconds_to_target": _finite(size.to_target, "seconds"),
        "n_runs": size.n_runs,
        "evidence": size.evidence,
        "trials": list(size.trials),
        "status": "not_shown" if found is None else "shown",
        "reason": size.reason or None,
    }


def _finite(to_target: ToTarget | None, name: str) -> float | None:
    """JSON has no infinity: null where the target is not reached, and where nobody knows."""
    found = None if to_target is None else getattr(to_target, name)
    return found if found is not None and math.isfinite(found) else None


def answers_json(answers: Mapping[str, tuple[Answer, Known]]) -> dict[str, Any]:
    """One object; where there are several hardwares, a list of them under `answers`."""
    found = [{"hardware": title, **answer_json(*pair)} for title, pair in answers.items()]
    if len(found) == 1:
        return {key: value for key, value in found[0].items() if key != "hardware"}
    return {"answers": found}
