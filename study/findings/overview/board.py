"""What optuna-dashboard shows beside its own charts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from batchfront.study.findings.overview.figures import best_per_batch_size, front_3d
from batchfront.study.plan.plan import Plan
from batchfront.study.trials.attributes import MINIMIZED, OBJECTIVES, is_feasible
from batchfront.study.trials.front import pareto_front
from batchfront.study.trials.hardware import by_hardware
from batchfront.study.trials.sound import sound_trials

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

FIGURE_POINTS = 200  # the dashboard sends every figure again at each poll


def note(plan: Plan) -> str:
    """What the study is and how to read it, in Markdown."""
    return (
        f"Task **{plan.task}**, device {plan.device}, {plan.epochs} epochs, sampler "
        f"{plan.sampler}.\n\n"
        f"Space: {plan.space}.\n\n"
        f"Objectives: {plan.metric_names[0]} (maximize, last epoch), train_seconds (minimize, "
        "training steps only), peak_memory_bytes (minimize, high-water live bytes of training).\n\n"
        "How to read it: COMPLETE trials ran to the end and compete for the Pareto front. PRUNED "
        "trials were stopped early and never do; their `verdict` and `reason` are in the user "
        "attributes. `log2_batch_size` 5 means batch size 32."
    )


def note_of_imported(record: Mapping[str, Any]) -> str:
    """What a study of recorded runs is and how to read it, in Markdown."""
    names, file, task = record["objectives"], record["imported"]["file"], record["task"]
    aims = ", ".join(f"{n} ({'minimize' if n in MINIMIZED else 'maximize'})" for n in names)
    return (
        f"Runs recorded elsewhere, imported from **{escape(file)}**: task {escape(task)}.\n\n"
        f"Objectives: {aims}.\n\n"
        "How to read it: COMPLETE trials ran to the end. PRUNED trials did not, or failed on the "
        "way; their `verdict` and `reason` are in the user attributes."
    )


def publish(study: Study, text: str, names: Sequence[str]) -> None:
    """Put the note and a small figure on the study's page."""
    from optuna_dashboard import save_note, save_plotly_graph_object

    if not stored_note(study):  # people edit it in the dashboard: never overwrite
        save_note(study, text)
    draw = front_3d if len(names) == len(OBJECTIVES) else best_per_batch_size
    groups = by_hardware(study, sound_trials(study))
    for number, (hardware, trials) in enumerate(groups.items(), 1):
        figure = draw(thinned_trials(trials, names), names)
        figure.layout.template = None  # 7 kB that the page has of its own
        if hardware:
            figure.update_layout(title=f"Pareto front on {escape(hardware)}")
        save_plotly_graph_object(study, figure, graph_object_id=f"pareto-front-{number}")


def thinned_trials(
    trials: list[FrozenTrial], names: Sequence[str] = OBJECTIVES
) -> list[FrozenTrial]:
    """The front, and the newest of the other completed trials, FIGURE_POINTS in all."""
    front = pareto_front(trials, names)[:FIGURE_POINTS]
    numbers = {trial.number for trial in front}
    rest = [t for t in trials if is_feasible(t) and t.number not in numbers]
    room = FIGURE_POINTS - len(front)
    return front + (rest[-room:] if room else [])


def stored_note(study: Study) -> str:
    """The note as it stands now, "" when there is none."""
    from optuna_dashboard import get_note

    body: Any = get_note(study)
    return str(body or "")
