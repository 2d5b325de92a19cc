"""A device that answers this process no more, after a kernel's assertion."""

from __future__ import annotations

import io
import os
from types import SimpleNamespace

import pytest

from batchfront.study.cli.main import main
from batchfront.study.workers import team, telling

TASK = """
    import os
    from pathlib import Path
    def objective(params, run):
        run.begin(10)
        if {condition}:
            Path("lost").touch()
            raise RuntimeError("CUDA error: device-side assert triggered")
        for _ in range(10):
            run.step(0.5)
        with open("pids", "a") as file:
            print(os.getpid(), file=file)
        run.report(0.5)
"""
RUN = ("run", "--epochs", "1", "--sampler", "random", "--checkpoint-dir", "none")


@pytest.fixture(autouse=True)
def _assertions_lose_the_device(monkeypatch):
    """In this process; one that replaces it finds the device as it is."""

    def is_lost(error: BaseException, device: str) -> bool:
        return "device-side assert" in str(error)

    monkeypatch.setattr(telling, "is_device_lost", is_lost)


def test_it_costs_one_trial_and_another_process_goes_on(rows, write_task):
    once = 'not run.holds_batch_size and not Path("lost").exists()'
    task = write_task(TASK.format(condition=once))
    assert main([*RUN, "--task", task, "--n-trials", "4"]) == 0
    states = [row["state"] for row in rows("export")]
    assert sorted(states) == ["COMPLETE", "COMPLETE", "COMPLETE", "FAIL"]
    with open("pids") as file:
        pids = {int(line) for line in file}
    assert pids - {os.getpid()}, "trials after the lost one ran elsewhere"


def test_workers_go_to_devices_in_turn(monkeypatch):
    started: list[str] = []

    class Process:
        def __init__(self, *, target: object, args: tuple, name: str) -> None:
            started.append(args[0].plan.device)

        def start(self) -> None:
            pass

    places = ("cuda:0", "cuda:2")
    monkeypatch.setattr(team, "replace", lambda one, **new: SimpleNamespace(**{**vars(one), **new}))
    context = SimpleNamespace(Pipe=lambda duplex: (None, io.BytesIO()), Process=Process)
    monkeypatch.setattr(team.multiprocessing, "get_context", lambda kind: context)
    job = SimpleNamespace(plan=SimpleNamespace(device="cuda:0"), devices=places)
    crew = team.Team(job, 3, SimpleNamespace(), print)
    for place in crew._places:
        crew._start(place)
    assert started == ["cuda:0", "cuda:2", "cuda:0"]
