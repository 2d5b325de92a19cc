"""One self-contained HTML page: no network needed to read it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from html import unescape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchfront.objectives.length import Length
from batchfront.study.answer.choice import Answer, SizeAdvice, answer_of
from batchfront.study.answer.known import Known, known_of
from batchfront.study.answer.show import answer_form, best_rates, metric_of, sentences
from batchfront.study.findings.overview import figures
from batchfront.study.findings.overview.summary import summary_lines
from batchfront.study.findings.page.beside import (
    Beside,
    beside_of,
    check_comparable,
    drawn,
    side_of,
)
from batchfront.study.findings.page.choose import choose_of
from batchfront.study.findings.page.curves import learning_curves
from batchfront.study.findings.page.front import FrontTable, front_of
from batchfront.study.findings.page.measured import measured_rows
from batchfront.study.findings.page.panels import panels
from batchfront.study.findings.page.projections import pairs_of, projections
from batchfront.study.findings.page.side import Side
from batchfront.study.findings.page.spent import Spent, spent_of
from batchfront.study.findings.page.surface import search_map
from batchfront.study.findings.page.theme import THEMES
from batchfront.study.findings.page.units import words_of
from batchfront.study.plan.agreement import AGREEMENT, IMPORTED
from batchfront.study.plan.space import SearchSpace
from batchfront.study.show import counted, human_bytes, human_seconds
from batchfront.study.trials.attributes import VERDICT, is_feasible, is_finished
from batchfront.study.trials.hardware import (
    by_hardware,
    hardware_title,
    known_hardware,
    probing_seconds,
)
from batchfront.study.trials.repeats import median_front
from batchfront.study.trials.yardstick import Objectives, metric_in

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from optuna import Study
    from optuna.trial import FrozenTrial

TEMPLATES = Path(__file__).parents[1] / "page" / "templates"


@dataclass(frozen=True, kw_only=True)
class Tile:
    """A figure of the answer that is shown large."""

    what: str
    value: str
    more: str = ""


@dataclass(frozen=True, kw_only=True)
class Part:
    """What the page says of one hardware; figures are as plotly's JSON has them."""

    title: str
    front: FrontTable
    sentences: Sequence[str] = ()
    tiles: Sequence[Tile] = ()
    beside: Beside | None = None
    buys: Mapping[str, Any] | None = None
    choose: Mapping[str, Any] | None = None
    search: Sequence[Mapping[str, Any]] = ()
    spent: Sequence[Spent] = ()
    projections: Sequence[Mapping[str, Any]] = ()
    nothing: str = ""  # why there is no front


def report_html(
    study: Study,
    trials: Sequence[FrozenTrial],
    *,
    foreign: str | None,
    note: str,
    other: Side | None = None,
) -> str:
    """The page for one study, of its sound trials; everything that was stored is escaped.

    `foreign`: how many others were set aside. `other`: a study to show beside it.

    Raises:
        StudyError: the other cannot be compared with this one.
    """
    from jinja2 import Environment, FileSystemLoader
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    templates = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True)
    lines = [*summary_lines(trials, metric_in(study)), foreign or ""]

    def own(name: str) -> Markup:
        return Markup((TEMPLATES / name).read_text())  # noqa: S704, a file of ours

    return templates.get_template("page.html").render(
        name=study.study_name,
        facts=_facts(study.user_attrs[AGREEMENT]),
        parts=_parts(study, trials) if other is None else [_compared(study, trials, other)],
        lines=[line for line in lines if line],
        note=unescape(note).replace("**", ""),  # Markdown, escaped for the dashboard
        measured=measured_rows(study, trials),
        themes=THEMES,
        style=own("page.css"),
        script=own("page.js"),
        plotly=Markup(get_plotlyjs()),  # noqa: S704, once, for all figures
    )


def _parts(study: Study, trials: Sequence[FrozenTrial]) -> list[Part]:
    names = Objectives.of(study)
    known = known_of(study, trials) if names.metric is not None else {}
    probing = _probing(study)
    return [
        _part(title, some, names, known.get(title), probing=probing.get(title))
        for title, some in by_hardware(study, trials).items()
    ]


def _probing(study: Study) -> dict[str, float | None]:
    """What probing took on each hardware, by the title of its part."""
    ids = list(known_hardware(study))
    return {
        hardware_title(study, id_) if len(ids) > 1 else "": probing_seconds(study, id_)
        for id_ in ids
    }


def _compared(study: Study, trials: Sequence[FrozenTrial], other: Side) -> Part:
    """The one part of a study with another beside it."""
    here = side_of(study, trials)
    check_comparable(here, other)
    ((title, some),) = by_hardware(study, trials).items()
    probing = _probing(study).get(title)
    part = _part(title, some, here.known.names, here.known, probing=probing)
    sides = drawn([here, other])
    buys = plain(panels(sides)) if sides else part.buys
    return replace(part, beside=beside_of(here, other), buys=buys)


def _part(
    title: str,
    trials: Sequence[FrozenTrial],
    names: Objectives,
    known: Known | None,
    *,
    probing: float | None,
) -> Part:
    answer = None if known is None else answer_of(known)
    choose = None
    front = median_front(trials, names)
    said, tiles = [], []
    buys = figures.best_per_batch_size(trials, names) if any(map(is_feasible, trials)) else None
    search = [figures.heat_map(trials, names)] if any(map(is_finished, trials)) else []
    if known is not None and answer is not None:
        said = sentences(answer, known)
        if answer.recommended is not None:
            tiles = tiles_of(answer, answer.recommended, known)
            buys = panels([Side(label="", answer=answer, known=known)])
            choose = choose_of(answer, known)
            search = [search_map(answer, known), learning_curves(known)]
    return Part(
        title=title,
        sentences=said,
        tiles=tiles,
        buys=None if buys is None else plain(buys),
        choose=choose,
        search=[plain(figure) for figure in search],
        front=front_of(front, names, among=trials),
        spent=spent_of(trials, probing=probing),
        projections=[
            plain(projections(trials, names, [pair]))
            for pair in (pairs_of(trials, names) if front else [])
        ],
        nothing="" if front else _why_nothing(trials),
    )


def _why_nothing(trials: Sequence[FrozenTrial]) -> str:
    """What has come of the runs of a study without a front."""
    ended = Counter(
        str(trial.user_attrs.get(VERDICT, "failed")).replace("_", " ")
        for trial in trials
        if is_finished(trial)
    )
    why = ", ".join(f"{n} {verdict}" for verdict, n in ended.most_common()) or "none has ended"
    return (
        "There is no front, and no batch size to compare: no run completed within the study's "
        f"limits ({why})."
    )


def tiles_of(answer: Answer, chosen: SizeAdvice, known: Known) -> list[Tile]:
    """The three or four figures of a recommendation."""
    found = chosen.shown
    mean, low, high = metric_of(found, known)
    form = answer_form(answer, known)
    tiles = [
        Tile(what="batch size", value=str(chosen.batch_size), more=f"rests on {chosen.evidence}"),
        Tile(
            what="learning rate",
            value=f"{found.learning_rate:.2g}",
            more=best_rates(found),
        ),
        Tile(
            what=f"expected {words_of(known.yardstick.metric.name)}",
            value=f"{mean:{form}}",
            more=f"{low:{form}} to {high:{form}}",
        ),
    ]
    if chosen.train_seconds is not None:
        memory = chosen.peak_memory_bytes
        more = f"with {human_bytes(memory)} of memory" if memory else ""
        tiles.append(
            Tile(what="training time", value=human_seconds(chosen.train_seconds), more=more)
        )
    return tiles


def plain(figure: go.Figure) -> dict[str, Any]:
    """The figure as JSON has it, without plotly's own template: the page has two of its own."""
    figure.layout.template = None
    found: dict[str, Any] = json.loads(figure.to_json())
    return found


def _facts(record: Mapping[str, Any]) -> str:
    """What the study is about, in a line."""
    facts = [f"task {record['task']}"]
    if IMPORTED in record:
        runs = counted(record[IMPORTED]["runs"], "run")
        facts.append(f"{runs} imported from {record[IMPORTED]['file']}")
    else:
        facts.append(str(SearchSpace.from_dict(record["space"])))
    length = Length.from_record(record)
    if length is not None:
        facts.append(str(length))
    return " · ".join(facts)
