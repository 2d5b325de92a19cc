"""What an imported study says of itself, and what happens when something goes on from it."""

from __future__ import annotations

import io
import os
import shutil
import signal
import time
from typing import Any

import pytest

from batchfront.objectives.curves.columns import KNOWN
from batchfront.storage.open import open_storage
from batchfront.study.cli.main import main
from batchfront.study.opening.open import the_study
from batchfront.study.plan.agreement import AGREEMENT, IMPORTED
from batchfront.study.transfer import importing
from tests.study.conftest import finish, stored
from tests.study.processes import Command
from tests.study.tables import CURVES, DATA, STORAGE, TO_TARGET, imported


def test_the_study_says_what_it_came_from_and_not_where_it_lay(workdir, few):
    folder = workdir / "private-folder"
    folder.mkdir()
    shutil.copy(few, folder / "r.csv")
    study = imported(folder / "r.csv")
    record = study.user_attrs[AGREEMENT]
    assert record[IMPORTED]["file"] == "r.csv"
    assert record[IMPORTED]["format"] == "runs"
    assert len(record[IMPORTED]["digest"]) == 16
    text = stored(workdir / "runs" / "batchfront.db")
    assert "r.csv" in text
    assert "private-folder" not in text


def test_nothing_trains_in_an_imported_study(workdir, capsys):
    imported(CURVES, "--study-name", "mine")
    for verb in ("run", "probe"):
        capsys.readouterr()
        assert main([verb, "--task", "planted.py", "--study-name", "mine"]) == 2
        said = capsys.readouterr().err
        assert "was imported from digits_curves.csv: there is nothing to train" in said
        assert "choose another --study-name" in said
    assert len(the_study(STORAGE, "mine").trials) == 18


def test_a_copy_of_an_imported_study_is_equal(workdir, few, rows, capsys):
    imported(few)
    target = f"journal:///{workdir}/copy.log"
    assert main(["copy", "--from", STORAGE, "--to", target]) == 0
    assert "batchfront front --study-name" in capsys.readouterr().err
    assert rows("export", "--storage", target) == rows("export")
    assert rows("front", "--storage", target) == rows("front")


def test_the_same_file_again_is_nothing_to_do_and_another_is_refused(workdir, few, capsys):
    imported(few, "--study-name", "mine")
    capsys.readouterr()
    assert main(["import", str(few), "--study-name", "mine"]) == 0
    assert "is there already, as study 'mine': nothing to do" in capsys.readouterr().err
    assert main(["import", str(CURVES), "--study-name", "mine"]) == 2
    said = capsys.readouterr().err
    assert "another study 'mine', of 13 trials: choose another --study-name" in said
    assert len(the_study(STORAGE, "mine").trials) == 13


def test_a_search_is_not_overwritten(workdir, capsys):
    run = ("run", "--task", "planted.py", "--epochs", "1", "--n-trials", "1")
    assert main([*run, "--batch-sizes", "64", "--study-name", "mine"]) == 0
    assert main(["import", str(CURVES), "--study-name", "mine"]) == 2
    assert "another study 'mine', of 1 trial:" in capsys.readouterr().err


def test_an_import_cut_off_is_no_study_and_is_completed_by_the_same_command(
    workdir, few, capsys, monkeypatch
):
    def die(*args: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(importing, "check_whole", die)
        assert main(["import", str(few)]) == 130
    assert main(["ls", "--json"]) == 0
    assert capsys.readouterr().out == "[]\n"
    assert main(["front", "--study-name", few.stem]) == 2
    assert "give the copy (or import) command again" in capsys.readouterr().err
    study = imported(few)
    assert len(study.trials) == 13


@pytest.mark.slow
def test_an_import_killed_in_the_middle_is_completed(workdir):
    log = workdir / "there.log"
    argv = ("import", str(TO_TARGET), "--storage", f"journal:///{log}")
    process = Command(*argv, cwd=workdir)
    while not log.exists() or log.read_bytes().count(b'{"op_code":4') < 5:
        assert process.poll() is None
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGKILL)
    finish(process)
    assert 0 < log.read_bytes().count(b'{"op_code":4') < 130
    (found,) = open_storage(f"journal:///{log}", mode="reader").get_all_studies()
    assert AGREEMENT not in found.user_attrs
    assert main(argv) == 0
    assert len(the_study(f"journal:///{log}", None).trials) == 130


def test_an_export_can_be_imported_again(workdir, rows, capsys):
    imported(CURVES)
    assert main(["export", "-o", "again.csv"]) == 0
    assert main(["import", "again.csv"]) == 0
    first, second = (
        rows("export", "--study-name", CURVES.stem),
        rows("export", "--study-name", "again"),
    )
    names = ("batch_size", "learning_rate", "seed", "val_accuracy", "train_seconds", "train_loss")
    assert [[r[n] for n in names] for r in first] == [[r[n] for n in names] for r in second]


def test_every_column_that_is_read_is_documented():
    text = (DATA.parents[1] / "docs" / "import.md").read_text()
    missing = [name for name in KNOWN if f"`{name}`" not in text]
    assert not missing
    assert io.StringIO(text).readline().startswith("# ")
