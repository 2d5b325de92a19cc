"""Studies whose trials are trained by several ranks: real processes, killed and signalled."""

from __future__ import annotations

import json
import os
import signal
import time

import pytest

from batchfront.study.cli.main import main
from batchfront.study.errors import StudyError
from batchfront.study.machine.slots import pinned_core
from batchfront.study.on_ray.session import check_ranks
from batchfront.study.opening.open import find_study
from batchfront.study.plan.agreement import AGREEMENT
from batchfront.study.plan.settings import StudySettings

from ..conftest import finish, spawn

# Rank 1 says who it is; rank 0 waits in trials (probes have seed 0) while `hold` is there.
TASK = """
    import os, time
    import torch
    from torch import distributed, nn
    from batchfront.objectives.task import Data, Task, sgd_momentum

    def data():
        x = torch.randn(120, 4, generator=torch.Generator().manual_seed(0))
        y = (x[:, 0] > 0).long()
        return Data(x_train=x[:60], y_train=y[:60], x_val=x[60:90], y_val=y[60:90],
                    x_test=x[90:], y_test=y[90:])

    def loss(output, y):
        rank = distributed.get_rank() if distributed.is_initialized() else None
        if rank == 1:
            with open("rank1", "w") as file:
                file.write(str(os.getpid()))
        while rank == 0 and torch.initial_seed() != 0 and os.path.exists("hold"):
            open("held", "w").close()
            time.sleep(0.01)
        return nn.functional.cross_entropy(output, y)

    task = Task(name="mine", data=data, model=lambda: nn.Linear(4, 2), loss=loss,
                optimizer=sgd_momentum, epochs=4)
"""
OPTIONS = ("run", "--task", "mine.py", "--data-parallel", "2", "--batch-sizes", "1:2",
           "--sampler", "random")  # fmt: skip


def _until(condition, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.05)


def _lives(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _held_rank(workdir) -> int:
    """Process id of rank 1, once it waits within a trial."""
    _until((workdir / "held").exists)
    (workdir / "held").unlink()
    _until(lambda: (workdir / "rank1").read_text().isdigit())
    return int((workdir / "rank1").read_text())


@pytest.mark.slow
def test_a_study_of_ranks_is_searched_and_resumed(workdir, write_task, rows, capsys):
    write_task(TASK)
    assert main([*OPTIONS, "--n-trials", "2"]) == 0
    said = capsys.readouterr().err
    assert "each trial is trained by 2 ranks together" in said
    assert "batch sizes 1..2 were cut to what data, memory and budgets allow: 2..2" in said
    first = rows("export")
    assert {(row["state"], row["batch_size"]) for row in first} <= {("COMPLETE", 2), ("PRUNED", 2)}
    study = find_study(StudySettings.storage, "mine.py:task")
    assert json.loads(study.user_attrs[AGREEMENT]["recipe"]) == {"data_parallel": 2}
    with pytest.raises(StudyError, match="Ray worker has one CPU or GPU for all ranks"):
        check_ranks(StudySettings(task="mine.py"))
    assert main([*OPTIONS[:3], "--n-trials", "3"]) == 0  # ranks and all as the study has them
    assert len(rows("export")) == 3


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="reads Linux's process table")
def test_a_killed_rank_fails_its_trial_and_no_rank_outlives_the_worker(workdir, write_task, rows):
    write_task(TASK)
    (workdir / "hold").touch()
    command = (*OPTIONS, "--n-trials", "40", "--epochs", "400", "--grace", "2")
    process = spawn(*command, cwd=workdir)
    os.kill(_held_rank(workdir), signal.SIGKILL)
    (workdir / "hold").unlink()  # rank 0 goes on to where it waits for the other
    _until(lambda: any(row["state"] == "FAIL" for row in rows("export")))
    (workdir / "hold").touch()
    (failed,) = [row for row in rows("export") if row["state"] == "FAIL"]
    assert (failed["fail_reason"], failed["reason"]) == (
        "error", "RankFailed: rank 1 died (SIGKILL)"
    )  # fmt: skip
    rank = _held_rank(workdir)  # of new ranks
    process.send_signal(signal.SIGTERM)
    (workdir / "hold").unlink()
    code, _, said = finish(process, timeout=20)
    assert code == 143, said
    _until(lambda: not _lives(rank), 5)
    assert any(row["state"] == "WAITING" for row in rows("export"))  # to be gone on with

    (workdir / "hold").touch()
    folder = workdir / "tmp"
    folder.mkdir()
    process = spawn(*command, cwd=workdir, TMPDIR=str(folder))
    rank = _held_rank(workdir)
    process.kill()
    finish(process)
    _until(lambda: not _lives(rank), 5)
    assert list(folder.glob("batchfront-ranks-*")) == []  # where they met


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs pinning")
def test_ranks_get_cores_of_their_own_or_none_is_pinned(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    allowed = os.sched_getaffinity(0)
    with pinned_core(n=len(allowed)) as spare:
        assert os.sched_getaffinity(0) | set(spare) == allowed
        assert len(os.sched_getaffinity(0)) == 1
    with pinned_core(n=len(allowed) + 1) as spare:
        assert (os.sched_getaffinity(0), spare) == (allowed, ())


def test_more_ranks_than_cores_is_said(workdir, write_task, monkeypatch, capsys):
    write_task(TASK)
    monkeypatch.setattr("batchfront.study.session.header.n_cores", lambda: 2)
    monkeypatch.setattr("batchfront.study.session.session.opened", _stop)
    assert main([*OPTIONS, "--n-workers", "2"]) == 130
    assert "4 ranks share 2 cores" in capsys.readouterr().err


def _stop(*args: object, **options: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("more", "said"),
    [(("--compile",), "knows nothing of"), (("--data-parallel", "100"), "choose fewer ranks")],
)
def test_what_ranks_cannot_do_is_refused_before_there_is_a_study(
    workdir, write_task, capsys, more, said
):
    write_task(TASK)
    assert main([*OPTIONS, *more]) == 2
    assert said in capsys.readouterr().err
    assert not (workdir / "runs").exists()
