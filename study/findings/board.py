"""What optuna-dashboard shows beside its own charts, and the server itself."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from study.comparable import by_hardware
from study.create import Plan
from study.findings.figures import front_3d
from study.findings.front import pareto_front
from study.trials import is_feasible

if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import BaseStorage
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


def publish(study: Study, plan: Plan) -> None:
    """Put the note and a small 3-D front on the study's page."""
    from optuna_dashboard import save_note, save_plotly_graph_object

    if not stored_note(study):  # people edit it in the dashboard: never overwrite
        save_note(study, note(plan))
    groups = by_hardware(study, study.get_trials(deepcopy=False))
    for number, (hardware, trials) in enumerate(groups.items(), 1):
        figure = front_3d(thinned_trials(trials), plan.metric_names)
        figure.layout.template = None  # 7 kB that the page has of its own
        if hardware:
            figure.update_layout(title=f"Pareto front on {escape(hardware)}")
        save_plotly_graph_object(study, figure, graph_object_id=f"pareto-front-{number}")


def thinned_trials(trials: list[FrozenTrial]) -> list[FrozenTrial]:
    """The front, and the newest of the other completed trials, FIGURE_POINTS in all."""
    front = pareto_front(trials)[:FIGURE_POINTS]
    numbers = {trial.number for trial in front}
    rest = [t for t in trials if is_feasible(t) and t.number not in numbers]
    room = FIGURE_POINTS - len(front)
    return front + (rest[-room:] if room else [])


def serve(storage: BaseStorage, *, host: str, port: int) -> None:
    """Serve optuna-dashboard until interrupted; OSError when the port is taken."""
    from optuna_dashboard import run_server

    run_server(storage, host=host, port=port)


def stored_note(study: Study) -> str:
    """The note as it stands now, "" when there is none."""
    from optuna_dashboard import get_note

    body: Any = get_note(study)
    return str(body or "")
