"""How the trials of a study ended, in words, and what speaks against its figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from batchfront.objectives.metric import Metric
from batchfront.study.show import counted, human_seconds
from batchfront.study.trials.attributes import (
    CONSTANT_METRIC,
    MEMORY_OFF,
    OWN_CLOCK,
    PREDICTED,
    REASON,
    VERDICT,
    is_finished,
)
from batchfront.study.trials.costs import TIME_OFF

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

FELT_SECONDS = 0.05  # by which a run may differ from its probe without a word
LEAST_RATIO = 0.0005  # of measured to known seconds: what is less is stored as none at all


def summary_lines(trials: Sequence[FrozenTrial], metric: Metric) -> list[str]:
    """How many trials completed or stopped early, why, what that saved, and what is in doubt."""
    finished = [t for t in trials if is_finished(t)]
    refused = sum(bool(t.user_attrs.get(PREDICTED)) for t in trials)
    not_run = f"not run: {counted(refused, 'proposal')}, known not to fit or to break a budget"
    return [
        *_ended_lines(finished),
        *([not_run] if refused else []),
        *_doubt_lines(finished, metric),
    ]


def _ended_lines(finished: Sequence[FrozenTrial]) -> list[str]:
    states = Counter(t.state.name for t in finished)
    stopped = [t for t in finished if t.state.name == "PRUNED"]
    why = Counter(str(t.user_attrs.get(VERDICT)) for t in stopped)
    reasons = f" ({', '.join(f'{n} {verdict}' for verdict, n in why.most_common())})" if why else ""
    lines = [
        f"{counted(len(finished), 'trial')}: {states['COMPLETE']} completed, "
        f"{states['PRUNED']} stopped early{reasons}, {states['FAIL']} failed"
    ]
    failures = Counter(
        str(t.user_attrs.get(REASON)) for t in finished if t.state.name == "FAIL"
    ).most_common(1)
    if failures:
        lines.append(f"most frequent failure: {failures[0][0].splitlines()[0][:200]}")
    planned = [t for t in stopped if "planned_train_seconds" in t.user_attrs]
    if planned:
        spent = sum(t.user_attrs.get("measured_seconds", 0.0) for t in finished)
        saved = sum(map(saved_seconds, planned))
        lines.append(
            f"stopping early saved {human_seconds(saved)} of training; "
            f"{human_seconds(spent)} were spent"
        )
    return lines


def _doubt_lines(finished: Sequence[FrozenTrial], metric: Metric) -> list[str]:
    """What speaks against the figures."""

    def runs_with(attribute: str) -> int:
        return sum(attribute in t.user_attrs for t in finished)

    lines = []
    if n := runs_with(OWN_CLOCK):
        lines.append(
            f"{counted(n, 'run')} reported fewer training steps than announced: times are "
            "those of their own clocks, and the divergence guard saw little of them"
        )
    if _none_beats_the_constant(finished, metric):
        lines.append(
            "no run is better than a constant prediction: what is trained does not learn, or its "
            "metric does not show it, and the front says nothing"
        )
    if n := sum(map(_is_felt, finished)):
        lines.append(
            f"{counted(n, 'run')} took over {TIME_OFF:.0%} more or less time than their probe: "
            "is the device shared or throttled, or slow after each checkpoint (--checkpoint-dir "
            "none shows it)? the front uses the probe's times"
        )
    if n := runs_with(MEMORY_OFF):
        lines.append(
            f"{counted(n, 'run')} took another peak of memory than their probe: the front uses "
            "the probe's; probe --again measures anew"
        )
    return lines


def _is_felt(trial: FrozenTrial) -> bool:
    """Whether it took another time than its probe, and by more than what nobody feels.

    The first steps of each epoch are slow, since validation has emptied the caches.
    """
    off, measured = (trial.user_attrs.get(name) for name in ("time_off", "measured_seconds"))
    if off is None or measured is None:
        return off is not None
    known = measured / max(1 + off, LEAST_RATIO)  # by the probe
    return bool(abs(off) * known > FELT_SECONDS)


def saved_seconds(trial: FrozenTrial) -> float:
    """What its run would have taken more; a run on a busy machine may have taken longer anyway."""
    spent = trial.user_attrs.get("measured_seconds", 0.0)
    return max(0.0, float(trial.user_attrs["planned_train_seconds"] - spent))


def _none_beats_the_constant(trials: Sequence[FrozenTrial], metric: Metric) -> bool:
    """Whether all completed runs end at or below the metric of a constant prediction."""
    known = [t for t in trials if t.values and CONSTANT_METRIC in t.user_attrs]
    return bool(known) and not any(
        metric.is_better(t.values[0], t.user_attrs[CONSTANT_METRIC]) for t in known
    )
