"""A search of NePS in another process: what its rungs cost. NePS itself is not installed here."""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from batchfront.objectives.curves.table import read_table
from benchmarks.neps_peer import neps_runs
from tests.study.conftest import ROOT

TABLE = read_table(ROOT / "benchmarks" / "tables" / "wine_sgd.csv.gz")
LAST = TABLE.epochs


@pytest.fixture
def stand_in(tmp_path: Path) -> Path:
    """A program that speaks as `neps_server.py` does: two runs, and the first one goes on."""
    path = tmp_path / "python"
    path.write_text(
        dedent(f"""\
        #!{sys.executable}
        import json, sys
        asked = json.loads(sys.stdin.readline())
        run = {{"log2_batch_size": 3, "learning_rate": 0.01}}
        for told in ({{"id": "a", "before": None, "epochs": 2, **run}},
                     {{"id": "b", "before": None, "epochs": 2, **run}},
                     {{"id": "c", "before": "a", "epochs": asked["epochs"], **run}}):
            print(json.dumps(told), flush=True)
            with open({str(tmp_path / "told")!r}, "a") as file:
                file.write(sys.stdin.readline())
        """)
    )
    path.chmod(0o755)
    return path


def test_a_run_that_goes_on_is_the_same_run_and_costs_the_epochs_that_it_adds(stand_in):
    runs = neps_runs(TABLE, name="neps-moasha", seed=0, python=str(stand_in))
    first, other, again = (played for played, _ in itertools.islice(runs, 3))
    epoch = TABLE.epoch_seconds(8)
    assert [first.train_seconds, other.train_seconds] == pytest.approx([2 * epoch, 2 * epoch])
    assert again.train_seconds == pytest.approx((LAST - 2) * epoch)
    assert again.run is first.run
    assert [first.completed, other.completed, again.completed] == [False, False, True]


def test_it_is_told_the_error_after_its_epochs_and_the_cost_of_a_whole_run(stand_in, tmp_path):
    runs = neps_runs(TABLE, name="neps-moasha", seed=0, python=str(stand_in))
    (first, _), *_ = itertools.islice(runs, 2)
    error, seconds, peak = json.loads((tmp_path / "told").read_text().splitlines()[0])
    assert error == pytest.approx(1 - first.run.val_accuracy[1])
    assert (seconds, peak) == (LAST * TABLE.epoch_seconds(8), TABLE.peak_memory_bytes(8))
