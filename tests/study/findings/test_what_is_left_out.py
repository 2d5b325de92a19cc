"""What has nothing to show is left out, and numbers are as fine as what they tell apart."""

from __future__ import annotations

import io
from copy import deepcopy
from dataclasses import replace

import optuna
import pytest
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial
from rich.console import Console

from batchfront.study.answer.choice import Answer, answer_of
from batchfront.study.answer.known import Known, known_of
from batchfront.study.answer.show import answer_form, sentences
from batchfront.study.answer.table import answer_table
from batchfront.study.cli.main import main
from batchfront.study.findings.overview.board_pages import stored_note
from batchfront.study.findings.overview.figures import heat_map
from batchfront.study.findings.overview.report import report_html, tiles_of
from batchfront.study.findings.overview.tables import front_table
from batchfront.study.findings.page.front import front_of
from batchfront.study.findings.page.panels import Side, panels
from batchfront.study.findings.page.projections import pairs_of
from batchfront.study.opening.open import the_study
from batchfront.study.show import metric_form
from batchfront.study.trials.attributes import OBJECTIVES
from batchfront.study.trials.sound import sound_trials

RUN = ("run", "--task", "digits", "--epochs", "3", "--batch-sizes", "16:256", "--n-trials", "12")


@pytest.fixture
def study(workdir, recorded) -> optuna.Study:
    recorded(workdir, *RUN)
    return the_study("sqlite:///runs/batchfront.db", None)


@pytest.fixture
def known(study) -> Known:
    (found,) = known_of(study, sound_trials(study)).values()
    return found


def _without_memory(known: Known) -> tuple[Answer, Known]:
    costs = {size: replace(cost, peak_memory_bytes=0.0) for size, cost in known.costs.items()}
    found = replace(known, costs=costs)
    return answer_of(found), found


def _text(table, width=100):
    console = Console(width=width, file=io.StringIO())
    console.print(table)
    return console.file.getvalue()


def test_memory_that_nothing_measured_is_not_said(known):
    answer, found = _without_memory(known)
    said = " ".join(sentences(answer, found))
    assert "Train with batch size" in said
    assert " 0 B" not in said
    assert "memory" not in said
    assert "memory" not in _text(answer_table(answer, found, width=100))
    assert all("memory" not in tile.more for tile in tiles_of(answer, answer.recommended, found))


def test_memory_that_nothing_measured_has_no_panel_and_hovering_does_not_name_it(known):
    answer, found = _without_memory(known)
    figure = panels([Side(label="", answer=answer, known=found)])
    assert not any("memory" in note.text for note in figure.layout.annotations)
    assert figure.layout.yaxis3.type == "log"
    assert "yaxis4" not in figure.layout
    assert not any(" B<" in text for trace in figure.data for text in trace.text or ())
    whole = panels([Side(label="", answer=answer_of(known), known=known)])
    assert "peak memory (KiB)" in {note.text for note in whole.layout.annotations}


def test_memory_that_nothing_measured_is_in_no_table_and_no_projection(study):
    trials = [deepcopy(trial) for trial in sound_trials(study) if trial.values]
    assert len(pairs_of(trials, OBJECTIVES)) == 3
    for trial in trials:
        trial.values = [*trial.values[:2], 0.0]
    assert pairs_of(trials, OBJECTIVES) == [(1, 0)]
    assert not any("memory" in head for head in front_of(trials, OBJECTIVES).head)
    assert "memory" not in _text(front_table(trials, OBJECTIVES))


def test_a_page_without_completed_runs_says_why_and_draws_nothing_empty(study):
    stopped = [trial for trial in sound_trials(study) if trial.state.name == "COMPLETE"]
    for trial in stopped:
        trial.state, trial.values = TrialState.PRUNED, None
        trial.user_attrs = {**trial.user_attrs, "verdict": "non_finite"}
    page = report_html(study, stopped, foreign=None, note="")
    assert f"no run completed within the study&#39;s limits ({len(stopped)} non finite)" in page
    assert "What a batch size buys" not in page
    assert "<thead>" not in page
    assert [trace.name for trace in heat_map(stopped, OBJECTIVES).data if trace.name] == [
        "best per cell",
        "stopped",
    ]


def test_runs_that_confirm_are_drawn_with_a_mark_of_their_own(known, study):
    fresh = [trial for trial in sound_trials(study) if trial.values][:3]
    figure = panels([Side(label="", answer=answer_of(known), known=replace(known, fresh=fresh))])
    (marks,) = (trace for trace in figure.data if trace.name == "fresh runs that confirm")
    assert list(marks.y) == [trial.values[0] for trial in fresh]
    assert all(f"trial {t.number}<" in text for t, text in zip(fresh, marks.text, strict=True))
    none = panels([Side(label="", answer=answer_of(known), known=known)])
    assert not any(trace.name == "fresh runs that confirm" for trace in none.data)


@pytest.mark.parametrize(
    ("values", "grain", "texts"),
    [
        ((24868.953, 21962.754), 1589.0, ["24869", "21963"]),
        ((8.954e8, 1.0649e9), 2.84e7, ["8.95e+08", "1.06e+09"]),
        ((94.491, 86.934), 1.3, ["94.5", "86.9"]),
        ((0.9761, 0.9689), 0.003, ["0.976", "0.969"]),
        ((0.99981, 0.99979), 0.00004, ["0.99981", "0.99979"]),
        ((24868.953, 21962.754), 0.0, ["24869", "21963"]),
    ],
)
def test_values_have_the_digits_that_tell_apart_what_differs(values, grain, texts):
    form = metric_form(*values, digits=3, grain=grain)
    assert [f"{value:{form}}" for value in values] == texts


def test_an_alternative_that_reads_the_same_is_not_offered(known):
    answer = answer_of(known)
    chosen = answer.recommended
    assert chosen is not None
    twin = replace(chosen, batch_size=7)
    alike = replace(answer, best=twin, alternatives={"metric": twin})
    said = sentences(alike, known)
    assert any("as good as the best expected, of batch size 7" in line for line in said)
    assert not any(line.startswith("If every bit counts") for line in said)
    worse = replace(twin, estimate=replace(twin.shown, log_error=twin.shown.log_error - 1))
    other = replace(answer, best=worse, alternatives={"metric": worse})
    assert answer_form(other, known)
    assert any(line.startswith("If every bit counts: 7") for line in sentences(other, known))


NAMES = ("n_layers", "dropout_probability", "weight_decay", "units_in_the_last_layer")


@pytest.mark.parametrize("width", [60, 80, 100, 160])
def test_further_parameters_break_no_word_and_go_where_there_is_no_room(width):
    space = {"batch_size": IntDistribution(1, 512), "learning_rate": FloatDistribution(1e-4, 3)}
    some = dict.fromkeys(NAMES, FloatDistribution(0, 1))
    trials = [
        create_trial(
            values=[0.9, 1.0, 8330.0],
            params={"batch_size": 16, "learning_rate": 0.1, **dict.fromkeys(given, 0.5)},
            distributions=space | {name: some[name] for name in given},
            constraints={"stopped": 0.0},
        )
        for given in (NAMES, NAMES[:1])
    ]
    text = _text(front_table(trials, OBJECTIVES, width=width), width)
    assert max(map(len, text.splitlines())) <= width
    assert "8.13 KiB" in text
    words = set(text.replace("_", " ").replace(",", " ").replace(":", " ").split())
    assert {"trial", "size", "rate"} <= words
    assert ("no room for" in text) == (width < 100)
    assert "None" not in text


LOOP = """
def objective(params, run):
    run.begin(params.epochs * (64 // params.batch_size))
    for epoch in range(params.epochs):
        for _ in range(64 // params.batch_size):
            run.step(1 / (1 + params.learning_rate))
        run.report(0.5 + 0.01 * epoch)
"""


def test_memory_that_nothing_measured_is_in_no_probe_no_claim_and_no_note(workdir, capsys):
    (workdir / "untorched.py").write_text(LOOP)
    made = ("--task", "untorched.py", "--batch-sizes", "4:16", "--epochs", "4")
    assert main(["run", *made, "--n-trials", "6"]) == 0
    study = the_study("sqlite:///runs/batchfront.db", None)
    assert {t.values[2] for t in study.trials if t.values} == {0.0}
    assert "peak_memory_bytes (not measured" in stored_note(study)
    for argv in (["probe", *made], ["claims"]):
        capsys.readouterr()
        assert main(argv) == 0
        text = " ".join(capsys.readouterr().out.split())
        assert "0 B" not in text
        assert "peak memory" not in text
    assert "memory grows with batch size: nothing measured memory" in text
    assert main(["probe", "--largest", *made]) == 2
    assert "nothing measures the memory of this task" in capsys.readouterr().err
