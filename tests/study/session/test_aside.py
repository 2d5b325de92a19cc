"""A launcher leaves the device to others: it loads and probes in processes that have ended."""

from __future__ import annotations

import os
import pickle
import signal
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from batchfront.objectives.load import load_objective
from batchfront.objectives.metric import Metric
from batchfront.study.cli.main import main
from batchfront.study.errors import RUN_AGAIN
from batchfront.study.session import aside, session
from batchfront.study.session.aside import goes_aside
from batchfront.study.session.elsewhere import Elsewhere, adapts, fuses
from batchfront.study.trials.hardware import all_probing_seconds
from batchfront.study.workers import apart, team
from batchfront.study.workers.apart import Died
from tests.study.fake_cuda import NAME, Machine, lives, plug_in

from ..conftest import study_of

RUN = (
    "run", "--task", "mine.py", "--study-name", "mine", "--epochs", "1", "--sampler", "random",
    "--batch-sizes", "4:16", "--checkpoint-dir", "none", "--n-workers", "2", "--n-trials", "4",
)  # fmt: skip

TASK = """
    import os, signal, time
    from pathlib import Path
    import torch

    def lose():
        def synchronize(*args):
            raise RuntimeError("CUDA error: device-side assert triggered")
        torch.accelerator.synchronize = synchronize
        synchronize()

    def die():
        os.kill(os.getpid(), signal.SIGKILL)

    def wait():
        Path("waits").write_text(str(os.getpid()))
        time.sleep(60)

    def objective(params, run):
        run.begin(10)
        if run.holds_batch_size and run.measures_memory:  # a probe, and not of epochs' ends
            with open("probes", "a") as file:
                print(os.getpid(), params.batch_size, file=file)
            {at_a_probe}
        for _ in range(10):
            run.step(0.5)
        run.report(0.5 + 0.001 * params.batch_size)
"""


@pytest.fixture
def machine(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """One with two GPUs, which this process must not touch."""
    return plug_in(monkeypatch, team, apart)


@pytest.fixture
def on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The launcher leaves the CPU alone too, as it does a GPU."""
    for module in (session, aside):
        monkeypatch.setattr(module, "goes_aside", lambda device, n_workers: n_workers > 1)


@pytest.fixture
def no_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes before them is looked at alone."""
    monkeypatch.setattr(session, "run_workers", lambda *args: None)


def write(at_a_probe: str = "pass") -> None:
    Path("mine.py").write_text(textwrap.dedent(TASK.format(at_a_probe=at_a_probe)))


def probes() -> list[list[int]]:
    """The sizes that each process has probed, in order."""
    found: dict[str, list[int]] = {}
    for line in Path("probes").read_text().splitlines():
        pid, size = line.split()
        found.setdefault(pid, []).append(int(size))
    return list(found.values())


def costs() -> dict[int, dict[str, Any]]:
    attributes = study_of("mine").user_attrs
    (rows,) = (rows for name, rows in attributes.items() if name.startswith("batchfront_costs:"))
    return {row["batch_size"]: row for row in rows}


@pytest.mark.parametrize(
    ("device", "n_workers", "aside"),
    [("cuda:0", 2, True), ("cuda:1", 1, False), ("cpu", 8, False), ("mps:0", 2, False)],
)
def test_only_a_launcher_that_trains_nothing_itself_has_to_leave_a_gpu(device, n_workers, aside):
    assert goes_aside(device, n_workers) is aside


@pytest.mark.usefixtures("no_workers")
def test_the_launcher_never_touches_the_device_nor_when_it_resumes(machine, capfd):
    write()
    assert main([*RUN, "--device", "cuda:0", "--trials-per-gpu", "auto"]) == RUN_AGAIN
    assert "2 trials share cuda:0: beside each other" in capfd.readouterr().err
    assert len(machine.pids) == 2, "one has opened the study, one has looked how many may share"
    assert main([*RUN]) == RUN_AGAIN
    assert len(machine.pids) == 3
    assert os.getpid() not in machine.pids
    attributes = study_of("mine").user_attrs
    (fingerprint,) = (v for k, v in attributes.items() if k.startswith("batchfront_hardware"))
    assert fingerprint["gpu"] == NAME
    assert costs()[4]["device_memory_bytes"] > 0
    assert len(probes()) == 1


@pytest.mark.slow
def test_who_touched_the_device_has_ended_when_workers_begin(machine, monkeypatch):
    run_workers, before = session.run_workers, set[int]()

    def seen(*args: Any) -> None:
        before.update(machine.pids)
        assert before, "somebody has probed"
        assert not machine.living
        run_workers(*args)

    monkeypatch.setattr(session, "run_workers", seen)
    write()
    assert main([*RUN]) == 0
    assert len(machine.pids - before) == 2, "workers"
    assert os.getpid() not in machine.pids
    assert [trial.state.name for trial in study_of("mine").trials] == ["COMPLETE"] * 4


def test_one_that_did_not_go_aside_would_be_caught(machine, monkeypatch, capfd):
    monkeypatch.setattr(session, "goes_aside", lambda *args: False)
    write()
    assert main([*RUN]) == 2
    assert "the launcher touches the device" in capfd.readouterr().err


@pytest.mark.slow
@pytest.mark.usefixtures("on_the_cpu")
def test_records_are_those_of_a_launcher_that_probes_by_itself(workdir, monkeypatch):
    write()
    assert main([*RUN]) == 0
    apart_from_it = study_of("mine")
    assert str(os.getpid()) not in Path("probes").read_text()
    monkeypatch.setattr(session, "goes_aside", goes_aside)
    assert main([*RUN, "--study-name", "here"]) == 0
    assert str(os.getpid()) in Path("probes").read_text()
    here = study_of("here")
    timed = ("step_seconds", "data_wait_share", "disturbed")

    def record(study: Any) -> dict[str, Any]:
        found = dict(study.user_attrs)
        for name, value in study.user_attrs.items():
            if name.startswith("batchfront_costs"):
                found[name] = [{k: v for k, v in r.items() if k not in timed} for r in value]
        return {k: v for k, v in found.items() if not k.startswith(NOT_COMPARED)}

    assert record(apart_from_it) == record(here)
    assert {**told(apart_from_it)} == {**told(here)}


@pytest.mark.slow
@pytest.mark.usefixtures("on_the_cpu")
def test_the_smallest_batch_is_walked_to_from_there_too(workdir, capfd):
    """What it asks of an objective besides is known of one elsewhere."""
    sizes = ("--batch-sizes", "32:64", "--epochs", "2", "--learning-rates", "0.01:0.5")
    asked = ("--target", "0.5", "--max-trials", "2", "--n-workers", "2", "--fuse", "auto")
    assert main(["smallest", "--task", "digits", *sizes, *asked]) == 0
    assert len(study_of("digits").trials) == 2
    assert "Traceback" not in capfd.readouterr().err


NOT_COMPARED = (  # what differs between any two studies
    "batchfront_identity", "batchfront_probing_seconds", "dashboard", "batchfront_note",
)  # fmt: skip


def told(study: Any) -> dict[int, Any]:
    return {trial.number: (trial.params, trial.values[0]) for trial in study.trials}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "how"),
    [
        ("die", "the probe of batch size 8 failed (its process died by SIGKILL"),
        ("lose", "cuda:0 answers no more since a probe of batch size 8 failed"),
    ],
)
@pytest.mark.usefixtures("no_workers")
def test_a_process_that_is_lost_costs_one_probe_and_is_told_in_one_line(machine, capfd, what, how):
    once = "lambda: Path('slept').exists() or (Path('slept').touch(), time.sleep(1))"
    write(f"{{4: {once}, 8: {what}}}.get(params.batch_size, bool)()")
    assert main([*RUN]) == RUN_AGAIN
    said = capfd.readouterr().err
    (line,) = (line for line in said.splitlines() if "answers no more" in line or "SIGKILL" in line)
    assert line.startswith(f"note: {how}")
    assert "mend" not in line
    assert line.endswith("another process goes on")
    assert "Traceback" not in said
    assert probes() == [[4, 8], [16, 4, 16]], "what was measured is not measured again"
    assert how.rpartition("(")[2] in costs()[8]["error"]
    assert costs()[8]["step_seconds"] is None
    assert costs()[4]["step_seconds"] > 0
    assert costs()[16]["step_seconds"] > 0
    assert all_probing_seconds(study_of("mine")) > 1, "of both processes"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "said"),
    [
        (TASK.format(at_a_probe="die()"), "was to open the study on cuda:0 ended when batch size"),
        ("import os; os.kill(os.getpid(), 9)", "was to load the task on cuda:0 ended (its process"),
    ],
    ids=["at every probe", "when it is loaded"],
)
def test_a_task_that_ends_its_process_again_and_again_is_refused_in_one_line(
    machine, workdir, capfd, text, said
):
    Path("mine.py").write_text(textwrap.dedent(text))
    assert main([*RUN]) == 2
    (error,) = (line for line in capfd.readouterr().err.splitlines() if "error:" in line)
    assert said in error
    assert not (workdir / "runs").exists()


@pytest.mark.usefixtures("machine")
def test_what_cannot_be_run_is_refused_as_ever(workdir, capfd):
    write()
    assert main([*RUN, "--batch-sizes", "0:8"]) == 2
    assert main([*RUN, "--task", "nothing.py"]) == 2
    assert main([*RUN, "--compile"]) == 2
    said = capfd.readouterr().err
    assert "nothing.py" in said
    assert "compile inside your loop" in said
    assert "Traceback" not in said
    assert not (workdir / "runs").exists()


def _interrupt_when(path: Path, signum: int) -> None:
    end = time.monotonic() + 30
    while not (path.exists() and path.read_text()) and time.monotonic() < end:
        time.sleep(0.02)
    os.kill(os.getpid(), signum)


@pytest.mark.usefixtures("on_the_cpu")
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_reaches_the_process_that_probes(workdir, capfd, signum, code):
    write("wait()")
    waits = Path("waits")
    sender = threading.Thread(target=_interrupt_when, args=(waits, signum))
    sender.start()
    assert main([*RUN]) == code
    sender.join()
    said = capfd.readouterr().err
    assert said.splitlines()[-1] == (
        f"ended by {signal.Signals(signum).name}: give the same command again"
    )
    assert "Traceback" not in said
    assert not lives(int(waits.read_text()))
    assert not (workdir / "runs").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("machine", "no_workers")
def test_who_was_to_measure_how_many_share_may_die(monkeypatch, capfd):
    def dies(*args: Any, **options: Any) -> Any:
        if args[0] is aside.sharing_there:
            raise Died("by SIGKILL (out of memory?)")
        return apart.apart(*args, **options)

    monkeypatch.setattr(aside, "apart", dies)
    write()
    assert main([*RUN, "--device", "cuda:0", "--trials-per-gpu", "auto"]) == RUN_AGAIN
    assert (
        "trials take turns on cuda:0: the process that was to measure how many could share it died "
        "by SIGKILL"
    ) in capfd.readouterr().err.replace("\n", " ")


@pytest.mark.parametrize("task", ["digits", "planted.py"])
def test_what_is_said_of_an_objective_elsewhere_is_what_it_says_of_itself(workdir, task):
    objective = load_objective(task, device="cpu")
    found: Any = pickle.loads(pickle.dumps(Elsewhere.of(objective)))
    known = set(vars(found)) - {"metric", "can_adapt", "can_fuse", "search"}
    for name in known:
        if hasattr(objective, name):
            assert getattr(found, name) == getattr(objective, name), name
    assert set(found.search) == set(objective.search)
    metric = objective.metric
    assert isinstance(metric, Metric)
    assert str(found.metric) == str(metric)
    for asked in (adapts, fuses):
        assert asked(found) is asked(objective) is (task == "digits")
