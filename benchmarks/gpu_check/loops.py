"""Training loops that break on purpose."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from batchfront import Run, TrialParams

NOTE = "BATCHFRONT_CHECK_NOTE"  # a file for what a loop has seen
Hurt = Callable[[int], None]  # given the epoch, before its first update


def _train(params: TrialParams, run: Run, hurt: Hurt) -> None:
    torch.manual_seed(params.seed)
    x = torch.randn(256, 16, device=params.device)
    y = x[:, :4].argmax(dim=1)
    model = nn.Linear(16, 4).to(params.device)
    optimizer = torch.optim.SGD(model.parameters(), lr=params.learning_rate)
    n_steps = max(1, len(x) // params.batch_size)
    run.begin(params.epochs * n_steps)
    for epoch in range(params.epochs):
        for step in range(n_steps):
            part = slice(step * params.batch_size, (step + 1) * params.batch_size)
            optimizer.zero_grad()
            loss = cross_entropy(model(x[part]), y[part])
            if step == 0:
                hurt(epoch)
            loss.backward()
            optimizer.step()
            run.step(loss)
        with run.validating():
            accuracy = float((model(x).argmax(1) == y).float().mean())
        run.report(accuracy)


def out_of_memory(params: TrialParams, run: Run) -> None:
    """Runs out of memory from batch size 64 on, holding 256 MiB at that moment."""
    is_cuda = params.device.startswith("cuda")

    def hurt(epoch: int) -> None:
        if epoch != 1 or params.batch_size < 64 or run.holds_batch_size:
            return
        held = torch.ones(2**26, device=params.device)
        if is_cuda:
            torch.empty(10**13, dtype=torch.uint8, device=params.device)
        raise torch.OutOfMemoryError(f"CUDA out of memory (made up, beside {held.nbytes} bytes)")

    if is_cuda:
        with Path(os.environ[NOTE]).open("a") as note:
            print(torch.cuda.memory_allocated(params.device), file=note)
    _train(params, run, hurt)


def assertion(params: TrialParams, run: Run) -> None:
    """Trips a device-side assertion, once in the whole study."""

    def hurt(epoch: int) -> None:
        note = Path(os.environ[NOTE])
        if epoch != 1 or run.holds_batch_size or note.exists():
            return
        note.touch()
        if not params.device.startswith("cuda"):
            raise RuntimeError("made up")
        index = torch.tensor([10_000_000], device=params.device)
        torch.zeros(4, device=params.device)[index].sum().item()

    _train(params, run, hurt)
