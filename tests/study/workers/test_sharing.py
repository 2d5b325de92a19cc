"""How many trials share a GPU: by memory, and by what real processes do beside each other."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from batchfront.objectives.load import load_objective
from batchfront.study.cli.main import main
from batchfront.study.machine.interrupts import Interrupts
from batchfront.study.opening.planned import new_plan
from batchfront.study.plan.settings import StudySettings
from batchfront.study.session import aside, session
from batchfront.study.workers import sharing
from batchfront.study.workers.company import gains
from batchfront.study.workers.launch import Job
from batchfront.study.workers.sharing import Sharing, decided, most_that_fit, sharing_of

from ..conftest import study_of
from ..known import known_cost

DEVICE = """
    import fcntl
    import time

    HOST, BUSY = {host}, {busy}  # seconds of a step, on the process's own core and on the device
    SEEN = []

    def objective(params, run):
        '''A device that one process at a time can use, as a GPU without MPS.'''
        run.begin(100_000)
        SEEN or time.sleep({cold})  # of a process that has loaded no kernels yet
        SEEN.append(True)
        with open({lock!r}, "w") as device:
            for _ in range(100_000):
                time.sleep(HOST)
                fcntl.flock(device, fcntl.LOCK_EX)
                time.sleep(BUSY if params.batch_size < 64 else 3 * BUSY)
                fcntl.flock(device, fcntl.LOCK_UN)
                run.step(0.5)
        run.report(0.5)
"""


def job_of(task: str, **more: Any) -> Job:
    settings = StudySettings(task=task, batch_sizes=(8, 64))
    objective = load_objective(task, device="cpu")
    return Job(
        storage="sqlite:///none.db",
        task=task,
        plan=new_plan(settings, objective, "made", "cpu"),
        compiled=False,
        fingerprint=objective.fingerprint,
        deadline=None,
        checkpoints=None,
        **more,
    )


def planted(write_task: Any, *, host: float, busy: float, cold: float = 0.0) -> Job:
    lock = str(Path.cwd() / "device.lock")
    return job_of(write_task(DEVICE.format(host=host, busy=busy, lock=lock, cold=cold)))


@pytest.mark.slow
@pytest.mark.timed
def test_steps_that_wait_for_their_launches_gain_by_company(write_task):
    job = planted(write_task, host=0.009, busy=0.001)
    found = gains(job, 2, {8: 1.0, 64: 1.0}, Interrupts(), worth=1.1)
    assert 1.4 < found[2] < 2.15


@pytest.mark.slow
@pytest.mark.timed
@pytest.mark.parametrize("cold", [0.0, 1.5])
def test_steps_that_fill_the_device_gain_nothing_and_no_more_is_tried(write_task, cold):
    """Also where the one that comes last takes its time to begin."""
    job = planted(write_task, host=0.0001, busy=0.01, cold=cold)
    found = gains(job, 3, {8: 1.0}, Interrupts(), worth=1.1)
    assert set(found) == {1, 2}
    assert found[2] < 1.2


CROWDED = """
    import os
    import time

    HAS_IT = []

    def objective(params, run):
        '''The first process takes all of the memory.'''
        run.begin(100_000)
        if not os.path.exists("taken"):
            open("taken", "w").close()
            HAS_IT.append(True)
        if not HAS_IT:
            raise MemoryError("another one has it")
        for _ in range(100_000):
            time.sleep(0.001)
            run.step(0.5)
        run.report(0.5)
"""


@pytest.mark.slow
def test_a_process_that_fails_beside_others_ends_what_is_tried(write_task, capfd):
    """It says so by its silence: nobody is shown a traceback."""
    job = job_of(write_task(CROWDED))
    assert gains(job, 2, {8: 1.0}, Interrupts(), worth=1.1) == {1: 1.0}
    assert Path("taken").exists()
    assert "Traceback" not in capfd.readouterr().err


def test_a_signal_ends_it(write_task):
    interrupts = Interrupts()
    interrupts.request(15)
    job = planted(write_task, host=0.001, busy=0.0)
    assert gains(job, 2, {8: 1.0}, interrupts, worth=1.1) == {1: 1.0}


def costs(*needs: int | None) -> list[Any]:
    return [
        known_cost(8 * 2**i, device_memory_bytes=n_bytes, memory=1)
        for i, n_bytes in enumerate(needs)
    ]


@pytest.mark.parametrize(
    ("needs", "free", "fit"),
    [
        ((100, 300), 1000, 3),  # nine tenths of what is free
        ((100, 460), 1000, 1),
        ((100, 5000), 1000, 1),
        ((100, None), 10**9, 1),  # nobody knows
        ((), 10**9, 1),
    ],
)
def test_so_many_fit_as_the_largest_size_leaves_room_for(needs, free, fit):
    assert most_that_fit(costs(*needs), free) == fit


def test_a_validation_that_needs_more_than_training_has_to_fit_too():
    (cost,) = costs(100)
    more = replace(cost, evaluation_peak_bytes=cost.peak_memory_bytes + 300)
    assert most_that_fit([more], 1000) == 2


@pytest.mark.parametrize(
    ("found", "fit", "n", "said"),
    [
        ({1: 1.0, 2: 1.02}, 8, 1, "take turns on cuda:0: two beside each other do 1.02 times"),
        ({1: 1.0, 2: 1.9, 3: 2.8, 4: 3.6}, 4, 4, "4 trials share cuda:0: beside each other they do "
         "3.6 times as much as one; its memory holds no more"),
        ({1: 1.0, 2: 1.9, 3: 2.0}, 8, 2, "2 trials share cuda:0: beside each other they do 1.9 "
         "times as much as one; 3 do 2.0 times"),
        ({1: 1.0}, 8, 1, "could not be measured"),
    ],
)  # fmt: skip
def test_one_more_has_to_be_worth_it_and_the_line_says_why(found, fit, n, said):
    answer = decided(found, device="cuda:0", most=8, fit=fit)
    assert answer.n == n
    assert said in answer.why
    assert "\n" not in answer.why


@pytest.fixture
def one_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """One device with 1000 bytes free, for jobs whose plan says so."""
    monkeypatch.setattr(sharing, "usable_memory_bytes", lambda device: 1000)
    monkeypatch.setattr(sharing, "leave_device", lambda objective: None)
    monkeypatch.setattr(sharing, "measuring_turn", lambda *_: nullcontext())


@pytest.mark.usefixtures("one_gpu")
def test_what_is_measured_follows_workers_and_memory(write_task, monkeypatch):
    asked: list[tuple[int, dict[int, float]]] = []

    def measured(job, n, weights, interrupts, *, worth):
        asked.append((n, weights))
        return {1: 1.0, 2: 1.9}

    monkeypatch.setattr(sharing, "gains", measured)
    job = planted(write_task, host=0.0, busy=0.0)
    objective = load_objective(job.task, device="cpu")
    known = {cost.batch_size: cost for cost in costs(100, 100, 100, 300)}
    job = replace(job, plan=replace(job.plan, device="cuda:0", costs=known))
    assert sharing_of(job, objective, 8, Interrupts()).n == 2
    assert asked == [(3, {8: known[8].train_seconds, 64: known[64].train_seconds})]
    assert sharing_of(job, objective, 1, Interrupts()).why.endswith("each has one worker")
    tight = {**known, 64: replace(known[64], device_memory_bytes=600)}
    said = sharing_of(replace(job, plan=replace(job.plan, costs=tight)), objective, 8, Interrupts())
    assert said.why == (
        "trials take turns on cuda:0: 2 runs of batch size 64 take 1.17 KiB, and 0.977 KiB are free"
    )
    assert len(asked) == 1


def test_on_the_cpu_nothing_is_shared_and_the_study_is_the_same(workdir, rows, capsys):
    run = ("run", "--epochs", "2", "--batch-sizes", "64:128", "--sampler", "random")
    asked = ("--n-trials", "3", "--trials-per-gpu")
    assert main([*run, *asked, "auto"]) == 0
    assert "no GPU is shared: trials run on the CPU" in capsys.readouterr().err
    told = [(t["val_accuracy"], t["batch_size"]) for t in rows("export")]
    assert main([*run, *asked, "1", "--study-name", "one"]) == 0
    one = rows("export", "--study-name", "one")
    assert told == [(t["val_accuracy"], t["batch_size"]) for t in one]
    assert len(study_of("digits").trials) == 3
    assert main([*run, *asked, "many"]) == 2
    assert "or auto" in capsys.readouterr().err


def test_a_session_says_why_and_hands_the_number_on(workdir, monkeypatch, capsys):
    handed: list[int | str] = []

    def run_workers(job: Job, *rest: Any) -> None:
        handed.append(job.trials_per_gpu)
        real(job, *rest)

    real = session.run_workers
    monkeypatch.setattr(session, "run_workers", run_workers)
    monkeypatch.setattr(
        aside, "sharing_of", lambda *args: Sharing(n=3, why="3 trials share cuda:0: so it is")
    )
    run = ("run", "--epochs", "1", "--batch-sizes", "64", "--n-trials", "1", "--device", "cpu")
    assert main([*run, "--trials-per-gpu", "auto"]) == 0
    assert handed == [3]
    assert "3 trials share cuda:0: so it is" in capsys.readouterr().err
