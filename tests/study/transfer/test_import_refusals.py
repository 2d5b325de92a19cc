"""Tables that are not imported: one clear line, and nothing is written."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from batchfront.study.cli.main import main
from tests.study.tables import TO_TARGET

HEAD = "batch_size,learning_rate,seed,val_accuracy,train_seconds"
EPOCHS = "batch_size,learning_rate,seed,epoch,val_accuracy,train_seconds"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "line 1: the file is empty"),
        (HEAD, "runs.csv holds no runs"),
        ("batch_size;learning_rate\n8;0.1", "line 1: the columns are not separated by commas"),
        ("batch_size|learning_rate\n8|0.1", "line 1: the columns are not separated by commas"),
        ("batch_size learning_rate\n8 0.1", "line 1: the columns are not separated by commas"),
        ('batch_size;learning_rate;"a, b"', "line 1: the columns are not separated by commas"),
        ("batch_size;learning_rate;a,b\n", "line 1: the columns are not separated by commas"),
        ("sep=,\n" + HEAD + "\n8,0.1,0,0.9,3", "line 1: it is a note for spreadsheets: delete"),
        ("batch_size,lr,val_accuracy\n8,1,1", "lacks the columns learning_rate: rename 'lr' to"),
        ("Batch Size,learning_rate,val_accuracy", "rename 'Batch Size' to batch_size"),
        ("batch_size,learning_rate,acc\n8,1,1", "lacks an outcome, one of val_accuracy, "),
        ("batch_size,learning_rate,acc\n8,1,1", "rename 'acc' to val_accuracy"),
        ("batch_size,learning_rate,val_acuracy\n8,1,1", "rename 'val_acuracy' to val_accuracy"),
        (HEAD + ",seed\n", "line 1: there are two columns seed"),
        (HEAD + ",\n", "line 1: column 6 has no name: name it or leave it out"),
        (HEAD + ",val_r2\n", "wanted one metric"),
        (HEAD + "\n8,0.1,0,0.9,3\n8,0.1,1,0.9", "line 3: 4 cells under 5 columns"),
        (HEAD + "\n8,fast,0,0.9,3", "line 2: learning_rate is 'fast', wanted a number"),
        (HEAD + "\n8,nan,0,0.9,3", "line 2: learning_rate is nan, wanted a number above 0"),
        (HEAD + "\n8,-0.1,0,0.9,3", "learning_rate is -0.1, wanted a number above 0"),
        (HEAD + "\n8,0,0,0.9,3", "learning_rate is 0, wanted a number above 0"),
        (HEAD + "\n0,1,0,0.9,3", "batch_size is 0, wanted a whole number of at least 1"),
        (HEAD + "\n8.5,1,0,0.9,3", "batch_size is 8.5, wanted a whole number"),
        (HEAD + "\n,1,0,0.9,3", "line 2: batch_size is blank"),
        (HEAD + "\n8,1,-1,0.9,3", "seed is -1, wanted a whole number of at least 0"),
        (HEAD + "\n8,1,0,97.5,3", "val_accuracy is 97.5, wanted a number of at most 1"),
        (HEAD + "\n8,1,0,97.5,3", ": 91.2% is written 0.912"),
        (HEAD + "\n8,1,0,91.2%,3", "val_accuracy is '91.2%', wanted a number of at most 1, or nan"),
        (HEAD + "\n8,1,0,91.2%,3", ": 91.2% is written 0.912"),
        (HEAD + "\n8,1,0,N/A,3", "val_accuracy is 'N/A', wanted a number of at most 1, or nan\n"),
        (HEAD + '\n8,"0,01",0,0.9,3', "learning_rate is '0,01', wanted a number above 0: write a"),
        (
            HEAD + '\n"1,024",1,0,0.9,3',
            "batch_size is '1,024', wanted a whole number of at least 1",
        ),
        (HEAD + "\n8,1,0,\N{MINUS SIGN}0.5,3", "or nan: it has a MINUS SIGN"),
        (HEAD + "\n1\xa0024,1,0,0.5,3", "of at least 1: it has a NO-BREAK SPACE"),
        (HEAD + "\nAverage,,,0.9,3", "line 2: batch_size is 'Average', wanted a whole number"),
        (
            HEAD + f"\n{10**20 - 1},1,0,0.9,3",
            f"is {10**20 - 1}, wanted a whole number of at least 1 ",
        ),
        (HEAD + f"\n{10**20 - 1},1,0,0.9,3", f" and at most {2**53}"),
        (HEAD + "\n8,1,1.2345678901234568e+18,0.9,3", "of at least 0 with all its digits"),
        (HEAD + "\n8,1,0,0.9,inf", "train_seconds is inf, wanted a number above 0"),
        (HEAD + "\n8,1,0,0.9,0", "train_seconds is 0, wanted a number above 0"),
        (HEAD + "\n8,1,0,0.9,3\n8,1,1,,3", "line 3: val_accuracy is blank"),
        (HEAD + "\n8,1,0,0.9,3\n8,1,1,0.9,", "line 3: train_seconds is blank"),
        (HEAD + "\n8,1,0,,\n", "all outcomes are blank"),
        (
            HEAD + "\n8,1,0,0.9,3\n\n8,1,0,0.8,3",
            "line 4: batch size 8, learning rate 1, seed 0 is there twice, first on line 2",
        ),
        (HEAD + ",verdict\n8,1,0,0.9,3,died", "line 2: verdict is 'died', wanted one of"),
        (HEAD + ",diverged\n8,1,0,0.9,3,maybe", "diverged is 'maybe', wanted true or false"),
        (HEAD + ',note\n8,1,0,0.9,3,"open', "line 2: unexpected end of data"),
        (HEAD + ",task\n8,1,0,1,3,a\n8,1,1,1,3,b", "line 3: task is b after a"),
        (HEAD + ",steps,file_steps\n8,1,0,1,3,1,2", "steps would be kept as file_steps"),
        (EPOCHS + "\n8,1,0,1,0.9,3\n8,1,0,1,0.9,4", "line 3: epoch 1 of batch size 8, learning"),
        (EPOCHS + "\n8,1,0,1,0.9,3\n8,1,0,3,0.9,4", "line 3: epoch 3 of batch size 8, learning"),
        (EPOCHS + "\n8,1,0,20,0.9,3", "planned epochs of a whole run go into a column epochs"),
        (EPOCHS + "\n8,1,0,,0.9,3", "line 2: epoch is blank"),
        (EPOCHS + "\n8,1,0,0,0.9,3", "epoch is 0, wanted a whole number of at least 1: number"),
        (EPOCHS + "\n8,1,0,0.5,0.9,3", "epoch is 0.5, wanted a whole number of at least 1: number"),
        (EPOCHS + "\n8,1,0,1,0.9,3\n8,1,0,2,0.9,2", "line 3: train_seconds falls from 3 to 2"),
        (EPOCHS + "\n8,1,0,1,0.9,3\n8,1,0,2,,4", "line 3: val_accuracy is blank"),
        (
            EPOCHS + "\n8,1,0,1,0.9,3\n8,1,0,2,0.9,4\n8,1,1,1,0.9,3",
            "line 4: batch size 8, learning rate 1, seed 1 ends after epoch 1 of 2",
        ),
    ],
)
def test_a_bad_table_is_one_clear_line_and_writes_nothing(table, capsys, text, said):
    Path("runs.csv").write_text(text, encoding="utf-8")
    assert main(["import", "runs.csv"]) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.err.startswith("error: runs.csv")
    assert len(captured.err.splitlines()) == 1
    assert captured.out == ""
    assert not Path("runs").exists()


def test_files_that_are_no_tables_are_refused(workdir, capsys):
    Path("latin.csv").write_bytes(HEAD.encode() + b",note\n8,1,0,1,3,ok\n8,1,1,1,3,gr\xf6\xdfe\n")
    Path("wide.csv").write_text(HEAD + "\n8,1,0,1,3\n", encoding="utf-16-le")
    Path("cut.csv.gz").write_bytes(gzip.compress(TO_TARGET.read_bytes())[:200])
    Path("folder.csv").mkdir()
    for name, said in (
        ("latin.csv", "latin.csv line 3: not UTF-8"),
        ("wide.csv", "wide.csv line 1: not UTF-8"),
        ("cut.csv.gz", "cannot read the table cut.csv.gz"),
        ("folder.csv", "Is a directory"),
        ("absent.csv", "No such file"),
    ):
        assert main(["import", name]) == 2
        captured = capsys.readouterr()
        assert said in captured.err
        assert len(captured.err.splitlines()) == 1
    assert not Path("runs").exists()
