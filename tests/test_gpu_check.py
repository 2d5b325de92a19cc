"""The check of GPUs, dry: that it tells good from bad, and that its parts run."""

from __future__ import annotations

import pytest

from benchmarks.gpu_check import drive
from benchmarks.gpu_check.__main__ import main
from benchmarks.gpu_check.rows import FAILED, OK, Row, judged, rows_in, table


def test_rows_are_found_between_other_lines():
    rows = [judged(True, "good", "a | b"), judged(False, "bad", 3)]
    printed = "\n".join(["noise", rows[0].line(), "ROWS of noise", rows[1].line()])
    assert rows_in(printed) == rows
    said = table(rows, device="Fast GPU")
    assert "| good | a / b |" in said
    assert "1 ok, 1 FAIL, 0 skipped" in said


@pytest.mark.parametrize(("verdict", "code"), [(OK, 0), (FAILED, 1)])
def test_a_row_that_fails_is_in_the_exit_code(monkeypatch, capsys, tmp_path, verdict, code):
    row = Row(check="peak", verdict=verdict, what="told peak", found="1 MiB")
    monkeypatch.setattr(drive.Driver, "run", lambda driver, names: [row])
    assert main(["--device", "cpu", "--out", str(tmp_path / "out")]) == code
    assert f"| peak | {verdict} | told peak | 1 MiB |" in capsys.readouterr().out
    assert (tmp_path / "out" / "table.md").exists()


def test_a_check_that_ends_in_an_error_or_takes_too_long_fails(monkeypatch, tmp_path):
    driver = drive.Driver(device="cpu", folder=tmp_path, seconds=100)
    monkeypatch.setattr(drive, "NAMES", ("nothing",))
    started = driver._start("nothing")  # argparse refuses the name
    assert started is not None
    (row,) = driver._finish(started, 60)
    assert (row.check, row.verdict) == ("nothing", FAILED)
    started = driver._start("environment")
    assert started is not None
    driver._slow = 1
    rows = driver._finish(started, 0.0)
    assert [row.verdict for row in rows][-1] == FAILED
    assert rows[-1].what == "took too long"


def test_without_time_a_check_is_skipped_and_says_so(tmp_path):
    rows = drive.Driver(device="cpu", folder=tmp_path, seconds=1).run(["peak", "resume"])
    assert [(row.check, row.verdict) for row in rows] == [("peak", "skip"), ("resume", "skip")]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["environment", "device", "assertion", "speed", "compiled"])
def test_a_dry_run_on_the_cpu_finds_nothing_wrong(tmp_path, capsys, name):
    assert main(["--device", "cpu", "--only", name, "--out", str(tmp_path)]) == 0
    said = (tmp_path / "table.md").read_text()
    assert f"| {FAILED} |" not in said
    assert f"| {name} |" in said
