"""The figure of what a batch size buys."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from batchfront.study.answer.choice import SizeAdvice, answer_of
from batchfront.study.answer.known import known_of
from batchfront.study.findings.page import panels as page
from batchfront.study.findings.page.panels import panels
from batchfront.study.findings.page.side import Side
from batchfront.study.findings.page.units import unit_of
from batchfront.study.opening.open import the_study
from batchfront.study.trials.sound import sound_trials

DIGITS = ("run", "--task", "digits", "--epochs", "3", "--batch-sizes", "16:256", "--n-trials", "12")


@pytest.fixture
def side(workdir, recorded) -> Side:
    recorded(workdir, *DIGITS)
    study = the_study("sqlite:///runs/batchfront.db", None)
    (known,) = known_of(study, sound_trials(study)).values()
    return Side(label="", answer=answer_of(known), known=known)


def test_the_recommendation_is_marked_through_all_panels(side):
    figure = panels([side])
    (line,) = figure.layout.shapes
    chosen = side.answer.recommended
    assert isinstance(chosen, SizeAdvice)
    assert line.x0 == line.x1 == chosen.batch_size
    assert (line.yref, line.y0, line.y1) == ("paper", 0, 1)


def test_all_completed_runs_are_points_and_hovering_names_trials(side):
    _, runs, expected, *_ = panels([side]).data
    completed = [row for row in side.known.rows if row.metric is not None]
    assert list(runs.y) == [row.metric for row in completed]
    assert all(
        f"trial {row.number}<" in text for row, text in zip(completed, runs.text, strict=True)
    )
    shown = [size for size in side.answer.sizes if size.estimate is not None]
    for size, text in zip(shown, expected.text, strict=True):
        assert all(str(number) in text.rpartition("trials ")[2] for number in size.trials)


def test_a_size_that_hardly_learns_does_not_squeeze_the_axis(side):
    last = side.answer.sizes[-1]
    bad = replace(last, estimate=replace(last.shown, log_error=math.log(0.9), deviation=0.05))
    answer = replace(side.answer, sizes=[*side.answer.sizes[:-1], bad])
    low, high = panels([replace(side, answer=answer)]).layout.yaxis.range
    (_, _, expected, *_) = panels([side]).data
    assert low > 0.2
    assert low < max(expected.y) < high


def test_an_arrow_stands_where_the_best_rate_may_lie_beyond_what_was_tried(side):
    first, *others = side.answer.sizes
    opened = replace(first.shown, is_bounded_below=True, is_bounded_above=False)
    closed = [
        replace(size, estimate=replace(size.shown, is_bounded_below=True, is_bounded_above=True))
        for size in others
        if size.estimate is not None
    ]
    sizes = [replace(first, estimate=opened), *closed]
    figure = panels([replace(side, answer=replace(side.answer, sizes=sizes))])
    (arrows,) = (trace for trace in figure.data if isinstance(trace.marker.symbol, tuple))
    assert arrows.x == (first.batch_size,)
    assert arrows.y == (opened.learning_rate_high,)
    assert arrows.marker.symbol == ("triangle-up",)
    rates = next(trace for trace in figure.data if trace.error_y.array is not None)
    assert f"(at least {opened.learning_rate_low:.2g})" in rates.text[0]


def test_two_studies_have_a_colour_and_a_mark_each(side):
    figure = panels([replace(side, label="<b>one"), replace(side, label="two")])
    assert len(figure.layout.shapes) == 2
    assert {trace.line.color for trace in figure.data if trace.mode == "lines+markers"} == set(
        page.SIDES
    )
    assert all("<b>one" not in (trace.name or "") for trace in figure.data)


@pytest.mark.parametrize(
    ("name", "values", "title"),
    [
        ("train_seconds", [0.04, 1.8], "training time (ms)"),
        ("train_seconds", [None, 2.0, 300.0], "training time (s)"),
        ("train_seconds", [7300.0], "training time (h)"),
        ("peak_memory_bytes", [120_000.0], "peak memory (KiB)"),
        ("peak_memory_bytes", [], "peak memory (B)"),
        ("val_loss", [0.1], "validation loss"),
    ],
)
def test_a_column_has_one_unit(name, values, title):
    assert unit_of(name, values).title == title
