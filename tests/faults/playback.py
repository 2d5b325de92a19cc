"""Recorded curves, played back, with a checkpoint after every epoch; nothing is trained.

What a curve says hangs together as in training: on a state that grows from epoch to epoch, on
random numbers, on parameters and seed. Whoever goes on from another state, or with other random
numbers, gets another curve. `PLAYBACK` in the environment says what befalls the runs.
"""

import os
import signal
from collections.abc import Callable, Iterator

import torch

from batchfront import Run, TrialParams

RECORDED = (0.31, 0.52, 0.61, 0.66, 0.69)
LOSSES = (2.0, 1.4, 1.1, 0.9, 0.8)
STEPS = 4  # an epoch
MEETING: list[Callable[[], None]] = []  # what is called once, within the second epoch of a trial


def objective(params: TrialParams, run: Run) -> None:
    """Play; probes have seed 0, and nothing befalls them."""
    for _ in played(params, run):
        pass


def played(params: TrialParams, run: Run) -> Iterator[None]:
    """Play, with a stop after every epoch."""
    befalls = os.environ.get("PLAYBACK", "") if params.seed else ""
    first, state = 0, torch.zeros(2, dtype=torch.float64)
    if run.restored is not None:
        first, state = run.restored["epoch"], run.restored["state"]
    run.begin(STEPS * params.epochs, baseline_loss=2.3, baseline_metric=0.1)
    size = params.batch_size
    run.told_cost(step_seconds=0.001 / size, peak_memory_bytes=1000 * size)
    if befalls == "full memory" and MEETING:
        MEETING.clear()  # it passes
        raise torch.OutOfMemoryError("CUDA out of memory: something else has it")
    for epoch in range(first, params.epochs):
        if epoch == 1:
            _befall(befalls)
        state = state + torch.rand(2, dtype=torch.float64) * params.learning_rate**0.1
        loss = LOSSES[epoch]
        if befalls == "diverges" and epoch == 1:
            loss = float("nan")
        for _ in range(STEPS):
            run.step(loss)
        run.report(RECORDED[epoch] + 0.01 * float(state[0]) + 0.001 * size)
        run.save({"epoch": epoch + 1, "state": state})
        yield


def _befall(what: str) -> None:
    if what == "raises":
        raise ValueError("no such data")
    if what == "dies":
        os._exit(9)
    if what.startswith("SIG"):
        os.kill(os.getpid(), getattr(signal, what))
    while MEETING and what == "meeting":
        MEETING.pop()()
