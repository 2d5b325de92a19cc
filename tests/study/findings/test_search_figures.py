"""The figures of how a study searched: its map, its learning curves, its seconds."""

from __future__ import annotations

import json
import re
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest

from batchfront.study.answer.choice import answer_of
from batchfront.study.answer.known import known_of
from batchfront.study.cli.main import main
from batchfront.study.findings.overview.board import CURVES, MAP, NAME, _figures
from batchfront.study.findings.page.curves import learning_curves
from batchfront.study.findings.page.projections import projections
from batchfront.study.findings.page.spent import spent_of
from batchfront.study.findings.page.surface import search_map
from batchfront.study.opening.open import the_study
from batchfront.study.show import human_seconds
from batchfront.study.trials.hardware import known_hardware, probing_seconds
from batchfront.study.trials.sound import sound_trials
from batchfront.study.trials.yardstick import Objectives

RUN = ("run", "--task", "digits", "--epochs", "5", "--batch-sizes", "16:512", "--n-trials", "14")
RANDOM = ("--seed", "1", "--sampler", "random")  # some of its runs are stopped


@pytest.fixture
def trials(workdir, recorded):
    recorded(workdir, *RUN, *RANDOM)
    return sound_trials(the_study("sqlite:///runs/batchfront.db", None))


@pytest.fixture
def known(trials):
    (found,) = known_of(the_study("sqlite:///runs/batchfront.db", None), trials).values()
    return found


@pytest.mark.slow
def test_every_run_is_on_the_map_and_stops_are_told_apart(known):
    figure = search_map(answer_of(known), known)
    verdicts = {row.verdict for row in known.rows if row.metric is None}
    assert verdicts
    names = {trace.name for trace in figure.data}
    assert {f"stopped: {verdict}".replace("_", " ") for verdict in verdicts} <= names
    runs = [trace for trace in figure.data if trace.name.startswith(("completed", "stopped"))]
    assert sum(len(trace.x) for trace in runs) == len(known.rows)
    assert {"best learning rates", "recommended"} <= names


def test_the_curves_of_all_runs_are_drawn_and_stopped_ones_end_in_a_cross(known):
    *lines, ends = learning_curves(known).data
    rows = [row for row in known.rows if row.curve]
    assert [int(line.name) for line in lines] == sorted({row.batch_size for row in rows})
    assert sum(value is None for line in lines for value in line.y) == len(rows)
    stopped = [row for row in rows if row.metric is None]
    assert list(ends.y) == [row.curve[-1] for row in stopped]
    assert all(f"trial {row.number}:" in text for row, text in zip(stopped, ends.text, strict=True))


def test_of_many_curves_some_are_drawn_and_the_figure_says_so(known):
    figure = learning_curves(known, most=5)
    assert sum(value is None for line in figure.data[:-1] for value in line.y) == 5
    assert "(5 of " in figure.layout.title.text


def test_the_seconds_are_those_that_were_measured(trials):
    bars = {one.what: one for one in spent_of(trials, probing=1.5)}
    assert {"in runs that completed", "in runs that were stopped early"} <= set(bars)
    assert max(one.share for one in bars.values()) == 100
    n_stopped = sum(trial.state.name == "PRUNED" for trial in trials)
    assert bars["in runs that were stopped early"].text.endswith(f", {n_stopped} runs")


def test_what_probing_took_is_stored_and_is_on_the_page(trials):
    study = the_study("sqlite:///runs/batchfront.db", None)
    (hardware,) = known_hardware(study)
    seconds = probing_seconds(study, hardware)
    assert seconds is not None
    assert seconds > 0
    assert main(["report", "-o", "page.html"]) == 0
    page = Path("page.html").read_text()
    assert "in probes before the search" in page
    assert human_seconds(seconds) in page


def test_the_projections_show_the_better_part_of_the_front(trials):
    names = Objectives.of(the_study("sqlite:///runs/batchfront.db", None))
    front = [deepcopy(trial) for trial in trials if trial.values][:4]
    told = ([0.97, 3.0, 4e5], [0.96, 2.0, 3e5], [0.95, 1.5, 2e5], [0.2, 0.1, 1e5])
    for trial, values in zip(front, told, strict=True):
        trial.values = values
    low, high = projections(front, names).layout.yaxis.range
    assert 0.9 < low < 0.95
    assert 0.97 < high < 1.0


def test_the_projections_are_in_units_that_people_read(trials):
    names = Objectives.of(the_study("sqlite:///runs/batchfront.db", None))
    figure = projections(trials, names)
    completed = [trial for trial in trials if trial.values]
    low, high = figure.layout.yaxis.range
    assert low < max(trial.values[0] for trial in completed) < high
    assert figure.layout.xaxis.title.text in ("training time (ms)", "training time (µs)")
    assert figure.layout.xaxis2.title.text == "peak memory (KiB)"
    shown = max(x for trace in figure.data[:2] for x in trace.x)
    slowest = max(trial.values[1] for trial in completed)
    assert shown in (pytest.approx(1e3 * slowest), pytest.approx(1e6 * slowest))


def test_the_colours_of_curves_are_seen_on_a_dark_page(known):
    lines = [trace.line.color for trace in learning_curves(known).data if trace.mode == "lines"]
    for color in lines:
        red, green, blue = (int(part) for part in re.findall(r"\d+", color))
        brightness = 0.299 * red + 0.587 * green + 0.114 * blue  # ITU-R BT.601
        assert brightness > 60, "the page is at 22"


def test_the_dashboard_has_panels_map_and_curves_and_all_of_them_are_small(
    dashboard_figures, known
):
    many = replace(known, rows=list(known.rows) * 80)  # over a thousand
    names = Objectives.of(the_study("sqlite:///runs/batchfront.db", None))
    figures = _figures([], names, answer_of(known), many)
    assert list(figures) == [NAME, MAP, CURVES]
    for name, figure in figures.items():
        figure.layout.template = None
        assert len(figure.to_json()) < 80_000, name
    assert main([*RUN[:-1], "15", *RANDOM]) == 0  # one more, which ends with figures
    study = the_study("sqlite:///runs/batchfront.db", None)
    stored = study._storage.get_study_system_attrs(study._study_id)
    for name in figures:
        parts = [key for key in stored if key.startswith(f"dashboard:plot_data:{name}1:")]
        drawn = json.loads("".join(stored[key] for key in sorted(parts, key=len)))
        named = [t["name"] for t in drawn["data"] if t.get("showlegend", True) and t.get("name")]
        n_lines = 0 if name == NAME else -(-len(named) // 3)
        assert drawn["layout"]["margin"]["b"] >= 40 + 20 * n_lines, "room for axis and legend"
