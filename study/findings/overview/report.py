"""One self-contained HTML page: no network needed to read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from batchfront.study.findings.overview import figures
from batchfront.study.findings.overview.tables import front_cells, summary_lines
from batchfront.study.plan.agreement import AGREEMENT, IMPORTED
from batchfront.study.plan.space import SearchSpace
from batchfront.study.trials.attributes import OBJECTIVES, own_params
from batchfront.study.trials.front import pareto_front
from batchfront.study.trials.hardware import by_hardware
from batchfront.study.trials.sound import foreign_line, sound_trials

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 1100px; padding: 0 1rem;
  color: #111827; }
h1 { margin-bottom: 0; } .facts { color: #475569; margin-top: .3rem; }
table { border-collapse: collapse; } th, td { padding: .3rem .9rem; text-align: right; }
th { border-bottom: 2px solid #cbd5e1; } td { border-bottom: 1px solid #e2e8f0; }
.note { white-space: pre-wrap; background: #f8fafc; padding: .8rem 1rem; font-size: .9rem; }
"""


def report_html(study: Study, *, note: str) -> str:
    """The page for one study; everything that was stored is escaped."""
    from plotly.offline import get_plotlyjs

    names = study.metric_names or OBJECTIVES
    trials = sound_trials(study)
    record: dict[str, Any] = study.user_attrs[AGREEMENT]
    lines = [*summary_lines(trials), foreign_line(study) or ""]
    parts = [
        f"<h1>{escape(study.study_name)}</h1>",
        f'<p class="facts">{escape(_facts(record))}</p>',
        *(f"<p>{escape(line)}</p>" for line in lines if line),
        f'<div class="note">{escape(note)}</div>' if note else "",
    ]
    for hardware, some in by_hardware(study, trials).items():
        parts.append(f"<h2>{escape(hardware)}</h2>" if hardware else "")
        parts.append(_front_html(pareto_front(some, names), names))
        parts += _figures_html(some, names)
    script = f"<script>{get_plotlyjs()}</script>"  # once, for all figures
    title = escape(study.study_name)
    return (
        "<!doctype html>\n"
        f'<html lang="en"><head><meta charset="utf-8"><title>{title}: batchfront</title>'
        f"<style>{STYLE}</style>{script}</head><body>{''.join(parts)}</body></html>\n"
    )


def _facts(record: Mapping[str, Any]) -> str:
    """What the study is about, in a line."""
    facts = [f"task {record['task']}"]
    if IMPORTED in record:
        facts.append(f"{record[IMPORTED]['runs']} runs imported from {record[IMPORTED]['file']}")
    else:
        facts.append(str(SearchSpace.from_dict(record["space"])))
    if record["epochs"]:
        facts.append(f"{record['epochs']} epochs")
    return " · ".join(facts)


def _front_html(front: Sequence[FrozenTrial], names: Sequence[str]) -> str:
    own = own_params(front)
    head = "".join(
        f"<th>{escape(h)}</th>"
        for h in ("trial", "batch size", "learning rate", *own, *map(figures.axis_title, names))
    )
    body = [
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"
        for cells in front_cells(front, names)
    ]
    return f"<h2>Pareto front</h2><table><tr>{head}</tr>{''.join(body)}</table>"


def _figures_html(trials: Sequence[FrozenTrial], names: Sequence[str]) -> list[str]:
    makers = [figures.best_per_batch_size, figures.heat_map]
    if len(names) > 1:  # imported runs may have one objective only, or two
        makers.insert(0, figures.projections)
    if len(names) == len(OBJECTIVES):
        makers.insert(0, figures.front_3d)
    return [make(trials, names).to_html(full_html=False, include_plotlyjs=False) for make in makers]
