"""A task whose data is loaded tells how long it waits, wherever its cost is told."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from batchfront.study.cli.main import main
from batchfront.study.findings.overview.costs import advice_lines, costs_table
from batchfront.study.trials.costs import SizeCost, from_stored, to_stored

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"


def said(capsys: Any, *argv: str) -> str:
    capsys.readouterr()
    assert main([*argv]) == 0
    return str(capsys.readouterr().out)


def test_the_share_is_in_probe_front_and_export(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    task = ["--task", str(EXAMPLES / "segmentation.py"), "--batch-sizes", "32:64"]
    assert main(["run", *task, "--epochs", "2", "--n-trials", "2"]) == 0
    for cost in json.loads(said(capsys, "probe", *task, "--epochs", "2", "--json")):
        rest = cost["step_seconds_without_waiting"] / cost["step_seconds"]
        assert 0 < cost["data_wait_share"] == pytest.approx(1 - rest)
    for row in json.loads(said(capsys, "front", "--json")):
        assert 0 < row["data_wait_share"] < 1
    for row in csv.DictReader(io.StringIO(said(capsys, "export"))):
        assert 0 < float(row["data_wait_share"]) < 1


def of(**changes: Any) -> SizeCost:
    given = {
        "batch_size": 8,
        "step_seconds": 0.01,
        "peak_memory_bytes": 1000,
        "predicted_peak_memory_bytes": None,
        "total_steps": 10,
    }
    return SizeCost(**{**given, **changes})


def test_a_loader_that_limits_a_size_is_named():
    waiting, memory = of(data_wait_share=0.6), of()
    assert "up to 60% of a step at size 8 is waiting for data" in " ".join(
        advice_lines({8: waiting})
    )
    assert "waiting" not in " ".join(advice_lines({8: memory}))
    assert len(costs_table({8: waiting}).columns) == len(costs_table({8: memory}).columns) + 1


def test_costs_of_older_studies_have_no_share():
    (row,) = to_stored({8: of(data_wait_share=0.6)})
    del row["data_wait_share"]
    assert from_stored([row]) == {8: of()}
