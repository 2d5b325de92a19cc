"""A run whose storage is deleted under it."""

from __future__ import annotations

import time

import pytest

from ..conftest import finish, spawn


@pytest.mark.parametrize(
    ("url", "n_workers"), [("sqlite:///lost/study.db", "1"), ("journal:///lost/study.log", "2")]
)
def test_workers_of_a_deleted_file_end_with_one_line_and_make_no_new_one(workdir, url, n_workers):
    (workdir / "hold").touch()
    worker = spawn("run", "--task", "planted.py", "--sampler", "random", "--batch-sizes", "4:8",
                   "--n-trials", "9", "--n-workers", n_workers, "--storage", url,
                   cwd=workdir)  # fmt: skip
    while not (workdir / "held").exists():
        assert worker.poll() is None
        time.sleep(0.05)
    file = workdir / url.removeprefix("sqlite:///").removeprefix("journal:///")
    for path in (workdir / "lost").glob("study*"):
        path.unlink()
    (workdir / "hold").unlink()
    code, out, err = finish(worker)
    assert (code, out) == (2, "")
    said = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(said) == 1, err
    assert "was deleted" in said[0]
    assert "Traceback" not in err
    assert not file.exists()
