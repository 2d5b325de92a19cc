"""A run whose storage is deleted under it."""

from __future__ import annotations

import time
from typing import Any

import pytest

from batchfront.storage.open import open_storage
from batchfront.study.cli.main import main
from batchfront.study.opening.open import the_study
from batchfront.study.workers import launch

from ..conftest import finish
from ..processes import Command


def _n_running(url: str) -> int:
    return sum(trial.state.name == "RUNNING" for trial in the_study(url, None).trials)


@pytest.mark.parametrize(
    ("url", "n_workers"), [("sqlite:///lost/study.db", "1"), ("journal:///lost/study.log", "2")]
)
def test_workers_of_a_deleted_file_end_with_one_line_and_make_no_new_one(workdir, url, n_workers):
    (workdir / "hold").touch()
    worker = Command("run", "--task", "planted.py", "--sampler", "random", "--batch-sizes", "4:8",
                   "--n-trials", "9", "--n-workers", n_workers, "--storage", url,
                   cwd=workdir)  # fmt: skip
    while not (workdir / "held").exists() or _n_running(url) < int(n_workers):
        assert worker.poll() is None  # one that has yet to open the file would make another
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


@pytest.mark.parametrize("kind", ["sqlite", "journal"])
def test_a_file_deleted_just_before_a_worker_opens_it_is_told_and_not_made_again(
    workdir, monkeypatch, capsys, kind
):
    file = workdir / "lost" / "study.file"

    def too_late(url: str, *, mode: Any) -> Any:
        file.unlink()
        return open_storage(url, mode=mode)

    monkeypatch.setattr(launch, "open_storage", too_late)
    url = f"{kind}:///lost/study.file"
    asked = ["run", "--task", "digits", "--batch-sizes", "64:128", "--epochs", "1"]
    assert main([*asked, "--storage", url]) == 2
    assert "is not there any more: it was deleted" in capsys.readouterr().err
    assert not file.exists()
