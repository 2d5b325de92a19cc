"""Notes and figures are stored as optuna-dashboard's own functions store them."""

from __future__ import annotations

from typing import Any

import optuna
import optuna_dashboard
import plotly.graph_objects as go
import pytest

from batchfront.study.findings.overview.board_pages import (
    LONGEST,
    save_figure,
    save_note,
    stored_note,
    update_note,
)


def _attributes(study: optuna.Study) -> dict[str, Any]:
    return dict(study._storage.get_study_system_attrs(study._study_id))


@pytest.mark.parametrize(
    "texts",
    [
        ["short"],
        ["x" * LONGEST, "y" * (LONGEST + 1)],
        ["long " * 2000, "short", "again"],
        ["line\nße", ""],
    ],
    ids=["one part", "full parts", "shorter", "none"],
)
def test_a_note_is_what_the_dashboard_writes_and_reads(texts):
    ours, theirs = optuna.create_study(), optuna.create_study()
    for text in texts:
        save_note(ours, text)
        optuna_dashboard.save_note(theirs, text)
        assert _attributes(ours) == _attributes(theirs)
        assert optuna_dashboard.get_note(ours) == stored_note(theirs) == text


def test_a_study_without_a_note_has_an_empty_one():
    assert stored_note(optuna.create_study()) == ""


def test_a_note_is_updated_until_somebody_has_edited_it():
    study = optuna.create_study()
    save_note(study, "of an older version")
    for text in ("first", "second"):
        update_note(study, "of an older version", text)
        assert stored_note(study) == text
    save_note(study, "edited")
    update_note(study, "of an older version", "third")
    assert stored_note(study) == "edited"


def test_a_figure_is_what_the_dashboard_writes_also_over_a_larger_one():
    ours, theirs = optuna.create_study(), optuna.create_study()
    for n_points in (1000, 10):
        figure = go.Figure(go.Scatter(x=list(range(n_points)), y=list(range(n_points))))
        save_figure(ours, figure, name="front-1")
        optuna_dashboard.save_plotly_graph_object(theirs, figure, graph_object_id="front-1")
        assert _attributes(ours) == _attributes(theirs)
    assert len(_attributes(ours)) > 2
