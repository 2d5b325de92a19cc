"""What optuna-dashboard shows beside its own charts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from batchfront.study.answer.choice import Answer, answer_of
from batchfront.study.answer.known import Known, known_of
from batchfront.study.answer.show import sentences
from batchfront.study.findings.overview.board_pages import save_figure, update_note
from batchfront.study.findings.overview.figures import best_per_batch_size
from batchfront.study.findings.page.curves import learning_curves
from batchfront.study.findings.page.panels import panels
from batchfront.study.findings.page.side import Side
from batchfront.study.findings.page.surface import search_map
from batchfront.study.plan.plan import Plan
from batchfront.study.trials.attributes import OBJECTIVES, is_feasible, measured_names
from batchfront.study.trials.hardware import by_hardware
from batchfront.study.trials.repeats import median_front
from batchfront.study.trials.sound import sound_trials
from batchfront.study.trials.yardstick import Objectives, is_minimized

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from optuna import Study
    from optuna.trial import FrozenTrial

NAME = "pareto-front-"  # + number: of what older versions put here, so that this takes its place
MAP, CURVES = "search-map-", "learning-curves-"  # + number
TITLES = {NAME: "What a batch size buys", MAP: "The search", CURVES: "Learning curves"}
HEIGHT = 440  # pixels: the dashboard cuts off what is higher
AXIS = 40  # pixels: labels and title of the axis below a figure
WIDTH = 340  # pixels of a figure for its legend, in a window of 1000
LINE, LETTER, SYMBOL = 20, 7, 45  # pixels of a legend: a line's height, and what an entry is wide
FIGURE_CURVES = 60
FIGURE_POINTS = 200  # the dashboard sends every figure again at each poll


def note(plan: Plan, trials: Sequence[FrozenTrial]) -> str:
    """What the study is and how to read it, in Markdown."""
    memory = "minimize, high-water live bytes of training"
    if OBJECTIVES[2] not in measured_names(trials, OBJECTIVES):
        memory = "not measured: nothing was allocated through torch"
    return (
        f"Task **{plan.task}**, device {plan.device}, {plan.length}, sampler "
        f"{plan.sampler}.\n\n"
        f"Space: {plan.space}.\n\n"
        f"Objectives: {plan.metric} ({plan.metric.direction}, last {plan.length.point}), "
        f"train_seconds (minimize, training steps only), peak_memory_bytes ({memory}).\n\n"
        "How to read it: COMPLETE trials ran to the end and compete for the Pareto front. PRUNED "
        "trials were stopped early and never do; their `verdict` and `reason` are in the user "
        "attributes."
    )


def note_of_imported(record: Mapping[str, Any], names: Sequence[str]) -> str:
    """What a study of recorded runs is and how to read it, in Markdown."""
    file, task = record["imported"]["file"], record["task"]
    aims = ", ".join(f"{n} ({'min' if is_minimized(n, names) else 'max'}imize)" for n in names)
    return (
        f"Runs recorded elsewhere, imported from **{escape(file)}**: task {escape(task)}.\n\n"
        f"Objectives: {aims}.\n\n"
        "How to read it: COMPLETE trials ran to the end. PRUNED trials did not, or failed on the "
        "way; their `verdict` and `reason` are in the user attributes."
    )


def publish(study: Study, text: str, names: Objectives) -> None:
    """Put the note, which begins with the answer, and a small figure on the study's page."""
    trials = sound_trials(study)
    known = known_of(study, trials) if names.metric is not None else {}
    answers = {title: (answer_of(one), one) for title, one in known.items()}
    update_note(study, text, "\n\n".join([*_answers(answers), text]))
    for number, (hardware, some) in enumerate(by_hardware(study, trials).items(), 1):
        where = f" on {escape(hardware)}" if hardware else ""
        for name, figure in _figures(some, names, *answers.get(hardware, (None, None))).items():
            figure.layout.template = None  # 7 kB that the page has of its own
            figure.update_layout(
                title={"text": f"{TITLES[name]}{where}", "x": 0.02, "font": {"size": 16}},
                height=HEIGHT,
                margin={"l": 60, "t": 80, "b": AXIS + legend_height(figure)},
            )
            save_figure(study, figure, name=f"{name}{number}")


def legend_height(figure: go.Figure) -> int:
    """The pixels that the legend below a figure takes: the dashboard's plotly makes no room for it.

    Entries are all as wide as the widest, as plotly sets them.
    """
    if figure.layout.showlegend is False:
        return 0
    names = [trace.name for trace in figure.data if trace.name and trace.showlegend is not False]
    if not names:
        return 0
    a_line = max(1, WIDTH // (SYMBOL + LETTER * max(map(len, names))))
    return LINE * math.ceil(len(names) / a_line)


def _answers(answers: Mapping[str, tuple[Answer, Known]]) -> list[str]:
    """The sentences of each hardware as paragraphs."""
    found = []
    for title, (answer, known) in answers.items():
        found += [f"On {escape(title)}:"] if title else []
        found += [escape(line, quote=False) for line in sentences(answer, known)]
    return found


def _figures(
    trials: list[FrozenTrial], names: Objectives, answer: Answer | None, known: Known | None
) -> dict[str, go.Figure]:
    """The figures of one hardware, small enough to be sent at each poll."""
    if answer is None or known is None or answer.recommended is None:
        return {NAME: best_per_batch_size(thinned_trials(trials, names), names)}
    sides = [Side(label="", answer=answer, known=known)]
    return {
        NAME: panels(sides, most_runs=FIGURE_POINTS).update_layout(showlegend=False),
        MAP: search_map(answer, known, most_runs=FIGURE_POINTS),
        CURVES: learning_curves(known, most=FIGURE_CURVES),
    }


def thinned_trials(
    trials: list[FrozenTrial], names: Sequence[str] = OBJECTIVES
) -> list[FrozenTrial]:
    """The front, and the newest of the other completed trials, FIGURE_POINTS in all."""
    front = median_front(trials, names)[:FIGURE_POINTS]
    numbers = {trial.number for trial in front}
    rest = [t for t in trials if is_feasible(t) and t.number not in numbers]
    room = FIGURE_POINTS - len(front)
    return front + (rest[-room:] if room else [])
