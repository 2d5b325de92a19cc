"""Studies of Optuna's, and tables whose columns have other names, become studies here."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest

from batchfront.study.cli.main import main
from batchfront.study.opening.open import the_study

PAST = "sqlite:///past.db"
MAPPED = ("--map", "learning_rate=lr", "--map", "batch_size=bs")


@pytest.fixture
def past(workdir) -> optuna.Study:
    """Six trials of a study of Optuna's: three complete, one pruned, failed and waiting."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(study_name="theirs", storage=PAST, direction="minimize")

    def objective(trial):
        bs, lr = trial.suggest_categorical("bs", [8, 24]), trial.suggest_float("lr", 1e-3, 1e-1)
        trial.set_user_attr("note", "x")
        if trial.number == 3:
            raise optuna.TrialPruned
        if trial.number == 4:
            raise RuntimeError("lost")
        return bs * lr

    study.optimize(objective, n_trials=5, catch=RuntimeError)
    study.enqueue_trial({"bs": 8, "lr": 0.01})
    return study


def _one_error(capsys) -> str:
    (line,) = [li for li in capsys.readouterr().err.splitlines() if li.startswith("error: ")]
    return line


def test_a_study_of_optunas_is_listed_and_imported(past, capsys, rows):
    assert main(["ls", "--storage", PAST]) == 0
    said = capsys.readouterr().out
    assert "'theirs' (6 trials) was made by Optuna: batchfront import sqlite:///past.db" in said
    (row,) = rows("ls", "--storage", PAST)
    assert (row["made_by"], row["n_trials"], row["n_complete"]) == ("Optuna", 6, 3)
    assert row["import"] == "batchfront import sqlite:///past.db --study-name theirs"
    assert main(["import", PAST, *MAPPED]) == 0
    assert "left out: 2 trials that did not end" in capsys.readouterr().err
    study = the_study("sqlite:///runs/batchfront.db", None)
    assert study.study_name == "theirs-imported"
    assert (study.metric_names, study.directions[0].name) == (["value"], "MINIMIZE")
    kept = [t for t in past.trials if t.state.name in ("COMPLETE", "PRUNED")]
    assert [t.state for t in study.trials] == [t.state for t in kept]
    for mine, theirs in zip(study.trials, kept, strict=True):
        assert mine.params["batch_size"] == theirs.params["bs"]
        assert mine.params["learning_rate"] == pytest.approx(theirs.params["lr"])
        assert mine.values == (None if theirs.values is None else pytest.approx(theirs.values))
        assert mine.user_attrs["note"] == "x"
    assert main(["import", PAST, *MAPPED]) == 0
    assert "is there already" in capsys.readouterr().err
    assert main(["ls", "--storage", "sqlite:///runs/batchfront.db"]) == 0
    assert "made by Optuna" not in capsys.readouterr().out


def test_several_values_get_the_meaning_that_they_are_given(workdir):
    aims = ["maximize", "minimize", "minimize"]
    study = optuna.create_study(study_name="three", storage=PAST, directions=aims)
    study.optimize(
        lambda t: (t.suggest_float("lr", 0.1, 0.5), 2.0, 1000 + t.suggest_int("bs", 1, 9)),
        n_trials=6,
    )
    values = ["val_accuracy=value_0", "train_seconds=value_1", "peak_memory_bytes=value_2"]
    maps = [word for name in values for word in ("--map", name)]
    assert main(["import", PAST, *MAPPED, *maps, "--as", "mine"]) == 0
    found = the_study("sqlite:///runs/batchfront.db", "mine")
    assert found.metric_names == ["val_accuracy", "train_seconds", "peak_memory_bytes"]
    assert [t.values for t in found.trials] == [t.values for t in study.trials]
    assert main(["advise", "--study-name", "mine"]) == 0


TABLE = "bs,rate,acc\n8,0.1,0.5\n16,0.1,0.75\n"
LIGHTNING = """epoch,step,train_loss,val_acc
0,11,0.9,
0,23,,0.5
1,35,0.4,
1,47,,0.75
"""


def test_columns_are_read_under_other_names_and_numbers_stand_for_all_rows(workdir):
    Path("mine.csv").write_text(TABLE)
    names = ["batch_size=bs", "learning_rate=rate", "val_accuracy=acc", "train_seconds=3.5"]
    maps = [word for name in names for word in ("--map", name)]
    assert main(["import", "mine.csv", *maps]) == 0
    study = the_study("sqlite:///runs/batchfront.db", "mine")
    assert [t.values for t in study.trials] == [[0.5, 3.5], [0.75, 3.5]]
    assert [t.params["batch_size"] for t in study.trials] == [8, 16]


def test_the_versions_of_lightnings_logger_are_curves_of_one_study(workdir):
    files = []
    for number, rate in enumerate((0.1, 0.2, 0.2)):
        folder = Path(f"version_{number}")
        folder.mkdir()
        Path(folder, "metrics.csv").write_text(LIGHTNING)
        Path(folder, "hparams.yaml").write_text(f"lr: {rate}\nbatch_size: 32\nwide:\n- 1\n")
        files.append(str(folder / "metrics.csv"))
    how = ["--metric", "val_acc", "--direction", "maximize", "--map", "learning_rate=lr"]
    assert main(["import", *files, *how, "--study-name", "past"]) == 0
    study = the_study("sqlite:///runs/batchfront.db", "past")
    assert [t.params["learning_rate"] for t in study.trials] == [0.1, 0.2, 0.2]
    assert [t.user_attrs["metric_curve"] for t in study.trials] == [[0.5, 0.75]] * 3
    assert [t.values[0] for t in study.trials] == [0.75] * 3


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (
            [PAST, "--map", "learning_rate=rate"],
            "--map learning_rate=rate: study 'theirs' has bs, lr",
        ),
        ([PAST, "--map", "lr"], "--map is 'lr', wanted OURS=THEIRS"),
        ([PAST, *MAPPED, "--map", "batch_size=8"], "--map batch_size is there twice"),
        (
            [PAST, "--study-name", "other"],
            "there is no study 'other' in sqlite:///past.db: there are",
        ),
        ([PAST, *MAPPED[:2]], "has no batch_size, but bs, learning_rate, value, note: --map batch"),
        ([PAST, "mine.csv"], "found mine.csv after a URL"),
        (
            ["mine.csv", "--map", "learning_rate=lr"],
            "--map learning_rate=lr: the table has bs, rate",
        ),
        (["mine.csv", "--as", "x"], "--as is for a URL"),
        (["none.csv", "--map", "a=b"], "cannot read the table none.csv: No such file"),
        (["sqlite:///none.db", *MAPPED], "none.db"),
    ],
)
def test_what_is_not_there_is_said_in_one_line(past, capsys, argv, said):
    Path("mine.csv").write_text(TABLE)
    assert main(["import", *argv]) == 2
    assert said in _one_error(capsys)
    assert not Path("runs/batchfront.db").exists()


def test_a_study_of_ours_is_copied_and_not_imported(past, capsys):
    assert main(["import", PAST, *MAPPED]) == 0
    url = "sqlite:///runs/batchfront.db"
    assert main(["import", url, "--study-name", "theirs-imported", *MAPPED]) == 2
    assert "is one of batchfront's: copy it" in _one_error(capsys)
    assert main(["import", url, *MAPPED]) == 2
    assert "none that Optuna alone has made" in _one_error(capsys)
