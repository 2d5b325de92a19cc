"""What people read: tables, exports, the report page."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import optuna
import pytest

from batchfront.study.cli.main import main
from batchfront.study.findings.overview.board import FIGURE_POINTS, note, thinned_trials
from batchfront.study.findings.overview.report import report_html
from batchfront.study.opening.open import the_study
from batchfront.study.show import human_bytes, human_seconds, said, times_the
from batchfront.study.trials.attributes import ATTRIBUTES
from batchfront.study.trials.sound import sound_trials

STORAGE = "sqlite:///runs/batchfront.db"
KEYS = ["number", "batch_size", "learning_rate", "val_accuracy", "train_seconds"]

RANDOM = ("--sampler", "random")  # some of its runs diverge, whatever the probe measures
DIGITS = ("run", "--task", "digits", "--epochs", "3", "--batch-sizes", "16:256", "--n-trials", "12")
RUN = ("run", "--task", "planted.py", "--epochs", "3", "--n-trials", "15", *RANDOM)


@pytest.fixture
def planted(workdir, recorded, capsys) -> optuna.Study:
    recorded(workdir, *RUN)
    capsys.readouterr()
    return the_study(STORAGE, None)


def test_front_json_has_exactly_the_documented_keys(planted, rows):
    front = rows("front")
    assert front
    assert all(list(row) == [*KEYS, "peak_memory_bytes"] for row in front)
    completed = {t.number for t in planted.trials if t.state.name == "COMPLETE"}
    assert {row["number"] for row in front} <= completed
    assert all(row["batch_size"] in [2**k for k in range(10)] for row in front)


def test_front_csv_says_the_same_as_json(planted, rows, capsys):
    front = rows("front")
    assert main(["front", "--csv"]) == 0
    table = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [{k: float(v) for k, v in row.items()} for row in table] == front


def test_tables_fit_a_hundred_columns_and_carry_no_colour_in_a_pipe(planted, capsys):
    for verb in ("front", "ls"):
        assert main([verb]) == 0
        text = capsys.readouterr().out
        assert max(map(len, text.splitlines())) <= 100
        assert "\x1b" not in text


def test_the_run_says_its_header_and_outcome(workdir, capsys):
    assert main(RUN) == 0
    out, said = capsys.readouterr()
    assert out == "", "a run prints nothing for machines"
    for words in (
        "task planted.py:objective on cpu, 3 epochs",
        "storage sqlite:///runs/batchfront.db",
        "batch size 1..512 (powers of two) x learning rate 0.0001..3",
        "Pareto front: ",
        "15 trials: ",
        "stopped early (",
        "stopping early saved",
        "batchfront run --task planted.py --n-trials 30",
        "front ",
        " left",
    ):
        assert words in said


def test_export_lists_every_trial_with_verdict_and_curve(planted, rows, tmp_path, capsys):
    exported = rows("export")
    assert [row["number"] for row in exported] == list(range(15))
    assert set(ATTRIBUTES) < set(exported[0])
    for row in exported:
        assert row["val_accuracy"] is None or 0 <= row["val_accuracy"] <= 1
        assert (row["verdict"] == "completed") == (row["state"] == "COMPLETE")
    assert main(["export", "-o", str(tmp_path / "all.csv")]) == 0
    table = list(csv.DictReader((tmp_path / "all.csv").open()))
    assert [int(row["number"]) for row in table] == list(range(15))
    assert json.loads(table[-1]["metric_curve"] or "[]") == (exported[-1]["metric_curve"] or [])
    assert capsys.readouterr().out == ""


def test_the_report_is_one_page_without_the_network(planted):
    assert main(["report"]) == 0
    page = Path("runs/planted.py_objective.html").read_text()
    assert page.count('<div class="figure">') >= 3
    assert "<script src=" not in page
    assert "<link" not in page


def test_stored_text_is_escaped_in_the_report(workdir):
    name = "<script>alert('name')</script>"
    argv = ["run", "--task", "planted.py", "--epochs", "3", "--study-name", name]
    assert main([*argv, "--n-trials", "6"]) == 0
    study = the_study(STORAGE, name)
    study.trials[0].user_attrs["verdict"] = "</script><script>alert('verdict')</script>"
    page = report_html(
        study,
        sound_trials(study),
        foreign=None,
        note="</div><script>alert('note')</script>",
    )
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page


def test_the_report_begins_with_the_answer_and_its_figures(recorded, workdir, capsys):
    recorded(workdir, *DIGITS)
    capsys.readouterr()
    assert main(["advise"]) == 0
    sentence = " ".join(capsys.readouterr().out.split()).partition(": a fresh run")[0]
    assert main(["report", "-o", "r.html"]) == 0
    page = Path("r.html").read_text()
    assert sentence.startswith("Train with batch size ")
    at = [page.index(words) for words in (sentence, "What a batch size buys", "The front")]
    assert at == sorted(at)
    tiles = page.partition('class="tiles"')[2].partition("</dl>")[0]
    assert tiles.count("<dt>") == 4


def test_an_empty_front_is_said_not_crashed(write_task, capsys, rows):
    diverges = "def objective(params, run):\n    run.begin(9)\n    run.report(float('nan'))"
    assert main(["run", "--task", write_task(diverges), "--n-trials", "2"]) == 0
    assert rows("front") == []
    assert main(["report", "-o", "r.html"]) == 0
    assert "2 non_finite" in Path("r.html").read_text()


def test_the_dashboard_figure_stays_small():
    study = optuna.create_study(directions=["maximize", "minimize", "minimize"])
    space = {
        "log2_batch_size": optuna.distributions.IntDistribution(0, 9),
        "learning_rate": optuna.distributions.FloatDistribution(1e-4, 1.0, log=True),
    }
    for n in range(500):
        study.add_trial(
            optuna.trial.create_trial(
                params={"log2_batch_size": n % 10, "learning_rate": 0.001 + n / 1000},
                distributions=space,
                values=[0.5 if n else 0.9, 1.0 + n, 1.0],
            )
        )
    some = thinned_trials(study.trials)
    assert len(some) == FIGURE_POINTS
    assert {t.number for t in study.best_trials} <= {t.number for t in some}


def test_the_note_begins_with_the_newest_answer_until_somebody_edits_it(planted, capsys):
    from optuna_dashboard import get_note, save_note

    assert "Task **planted.py:objective**" in get_note(planted)
    assert note.__doc__
    assert main(["run", "--task", "planted.py", "--n-trials", "16", *RANDOM]) == 0
    assert get_note(planted).startswith(("Train with batch size ", "No recommendation yet"))
    save_note(planted, "mine")
    assert main(["run", "--task", "planted.py", "--n-trials", "17", *RANDOM]) == 0
    assert get_note(planted) == "mine"


@pytest.mark.parametrize(
    ("value", "said"), [(0, "0 B"), (999, "999 B"), (1536, "1.5 KiB"), (3 * 2**30, "3 GiB")]
)
def test_bytes_are_readable(value, said):
    assert human_bytes(value) == said


@pytest.mark.parametrize(
    ("value", "said"), [(4e-5, "40 µs"), (0.0123, "12.3 ms"), (7.5, "7.5 s"), (245, "4 min 05 s")]
)
def test_seconds_are_readable(value, said):
    assert human_seconds(value) == said


@pytest.mark.parametrize(
    ("a", "b", "said"),
    [
        (58.0, 0.2, "290 times the time"),
        (2.6, 2.0, "1.3 times the time"),
        (101, 100, "the same time"),
    ],
)
def test_how_many_times_more_is_readable(a, b, said):
    assert times_the("time", a, b) == said


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.9749, "0.9749"), (-0.02, "-0.0200"), (0.0, "0.0000"), (46.5, "46.500"),
     (24868.953, "24869"), (1.2345678e-5, "1.235e-05"), (3e7, "3e+07")],
)  # fmt: skip
def test_a_metric_is_shown_whatever_its_size(value, text):
    assert said("val_loss", value) == text
