"""Cores and devices held by one process at a time."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from batchfront import CustomLoop
from batchfront.study.machine.alone import measuring_alone
from batchfront.study.machine.slots import pinned_core

from ..conftest import ROOT

HOLD = """
import os, sys, time
from batchfront.study.machine.slots import pinned_core
with pinned_core():
    print(*sorted(os.sched_getaffinity(0)), flush=True)
    time.sleep(60)
"""

pytestmark = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs pinning")


@pytest.fixture(autouse=True)
def _own_locks(tmp_path, monkeypatch):
    """Studies that run beside the tests hold cores too."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)


def _holder() -> tuple[subprocess.Popen, set[int]]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ.copy(),
    )
    return process, {int(core) for core in process.stdout.readline().split()}


def test_workers_get_distinct_cores_and_none_is_pinned_when_all_are_taken():
    allowed = os.sched_getaffinity(0)
    holders = [_holder() for _ in allowed]
    try:
        cores = [pinned for _, pinned in holders]
        assert all(len(pinned) == 1 for pinned in cores)
        assert set().union(*cores) == allowed
        with pinned_core():
            assert os.sched_getaffinity(0) == allowed
        holders[0][0].kill()
        holders[0][0].wait()
        with pinned_core():
            assert os.sched_getaffinity(0) == cores[0], "a killed holder frees its core"
        assert os.sched_getaffinity(0) == allowed
    finally:
        for process, _ in holders:
            process.kill()
            process.communicate()


def test_trials_are_measured_on_one_thread():
    torch.set_num_threads(2)
    with measuring_alone(CustomLoop(function=print), "cpu"):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize(("device", "pins"), [("cpu", True), ("cuda:0", True), ("mps", False)])
def test_whoever_computes_or_launches_kernels_has_a_core_to_itself(device, pins):
    loop = CustomLoop(function=lambda params, run: None)
    object.__setattr__(loop, "starts_processes", False)
    allowed = os.sched_getaffinity(0)
    with measuring_alone(loop, device, takes_turn=False):
        assert len(os.sched_getaffinity(0)) == (1 if pins else len(allowed))
    assert os.sched_getaffinity(0) == allowed
