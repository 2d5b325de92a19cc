"""Ranks that train one run together: the run of one process, and no rank left behind."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed
from torch.distributed import distributed_c10d

from batchfront.objectives.device.hardware import is_out_of_memory
from batchfront.objectives.device.names import devices_of
from batchfront.objectives.length import Length
from batchfront.objectives.load import load_objective
from batchfront.objectives.measurement import (
    Measurement,
    ObjectiveError,
    Stopped,
    TrialParams,
    Verdict,
)
from batchfront.objectives.probes.cost import probe
from batchfront.objectives.ranks.processes import _leave_group
from batchfront.objectives.ranks.shards import n_in, own_part
from batchfront.objectives.run import Run, carry_out
from batchfront.objectives.training import schedules
from batchfront.objectives.training.batches import EXACT, RAGGED
from batchfront.objectives.training.objective import TaskObjective
from batchfront.objectives.training.recipe import SHARDS, Recipe
from tests.objectives.training.test_resume import assert_same_weights, cut_after, timeless, uncut

from ..conftest import made_task

N_TRAIN = 50
TASK = """
    import torch
    from torch import distributed, nn

    from batchfront import Parameter
    from batchfront.objectives.task import Data, Task, sgd_momentum

    def data():
        x = torch.randn(90, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        y = (x[:, 0] * x[:, 1] + x[:, 2] > 0).long()
        return Data(x_train=x[:50], y_train=y[:50], x_val=x[50:70], y_val=y[50:70],
                    x_test=x[70:], y_test=y[70:])

    class Model(nn.Module):
        def __init__(self, kind):
            super().__init__()
            self.kind = kind
            self.first, self.last = nn.Linear(6, 32), nn.Linear(32, 2)
            UNUSED
            self.norm = nn.BatchNorm1d(32) if kind == "noisy" else nn.Identity()
            self.register_buffer("mean", torch.zeros(6))
            self.double()

        def forward(self, x):
            on_rank_1 = distributed.is_initialized() and distributed.get_rank() == 1
            if self.training and on_rank_1 and self.kind == "starves":
                raise MemoryError("nothing left")
            if self.training and on_rank_1 and self.kind == "greedy":
                x = x + torch.zeros(1000, 6, dtype=x.dtype)[:1]
            if self.training and self.kind == "remembers":
                self.mean.lerp_(x.mean(dim=0), 0.1)
            x = x - self.mean
            x = torch.relu(self.norm(self.first(x)))
            if self.kind == "noisy":
                x = torch.dropout(x, 0.3, self.training)
            return self.last(x)

    KINDS = ("plain", "noisy", "remembers", "greedy", "starves")
    task = Task(name="made", data=data, model=Model, loss=nn.functional.cross_entropy,
                optimizer=sgd_momentum, search={"kind": Parameter(choices=KINDS)})
"""
WEIGHTED = """
    def weighted(output, y):
        weights = torch.where(y == 1, 9.0, 1.0).double()
        each = nn.functional.cross_entropy(output, y, reduction="none")
        return (weights * each).sum(), weights.sum()
"""
OPPOSITE = """
    import multiprocessing

    if multiprocessing.parent_process() is not None:  # another rank
        from batchfront.objectives.training import schedules

        schedules.MIN_STEPS = 1
        schedules.is_noisy = lambda *args, **options: FOUND
"""
CLIPPED_AT = 0.5  # norms of gradients that lie above
PARAMS = TrialParams(
    batch_size=16, learning_rate=0.05, epochs=3, seed=7, device="cpu", extra={"kind": "plain"}
)


def of_kind(kind: str, **changes: Any) -> TrialParams:
    return replace(PARAMS, extra={"kind": kind}, **changes)


@pytest.fixture(scope="module")
def task_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("task") / "mine.py"
    path.write_text(textwrap.dedent(TASK.replace("UNUSED", "pass")))
    return str(path)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as workers run
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def alone(task_file: str) -> Any:
    return load_objective(task_file, device="cpu")


@pytest.fixture(scope="module")
def paired(task_file: str) -> Iterator[Any]:
    """Two ranks, started once for most of these tests."""
    objective: Any = load_objective(task_file, device="cpu", recipe=Recipe(data_parallel=2))
    yield objective
    objective.member.ranks.end()


def assert_same_run(
    a: tuple[Measurement, dict[str, Any]], b: tuple[Measurement, dict[str, Any]]
) -> None:
    assert a[0].metric_curve == b[0].metric_curve
    assert a[0].train_loss == pytest.approx(b[0].train_loss, rel=1e-12)
    for name, value in a[1]["loop"]["model"].items():
        torch.testing.assert_close(value, b[1]["loop"]["model"][name], rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("shards", SHARDS)
@pytest.mark.parametrize("n_ranks", [1, 2, 3, 5])
@pytest.mark.parametrize("least", [1, 2])
def test_every_example_of_a_batch_has_one_rank_and_ranks_differ_by_one_at_most(
    shards, n_ranks, least
):
    for n in range(1, 13):
        parts = [
            own_part(n, rank=rank, n_ranks=n_ranks, shards=shards, least=least)
            for rank in range(n_ranks)
        ]
        owned = [list(range(n))[part] for part in parts if part is not None]
        assert sorted(chain.from_iterable(owned)) == list(range(n))
        sizes = [len(some) for some in owned]
        assert sizes == [n_in(part) for part in parts if part is not None]
        assert max(sizes) - min(sizes) <= 1
        assert min(sizes) >= min(n, least)
        assert len(owned) == n_ranks or n < least * n_ranks


def test_blocks_lie_together_and_stripes_alternate():
    parts = {
        how: [list(range(7))[own_part(7, rank=r, n_ranks=2, shards=how)] for r in range(2)]
        for how in SHARDS
    }
    assert parts == {
        "striped": [[0, 2, 4, 6], [1, 3, 5]],
        "block": [[0, 1, 2, 3], [4, 5, 6]],
    }


@pytest.mark.parametrize(
    "batch_size",
    [N_TRAIN, 16, 3, 7],  # one step an epoch; even and uneven parts
)
def test_a_run_of_two_ranks_is_the_run_of_one_process(alone, paired, batch_size):
    params = replace(PARAMS, batch_size=batch_size)
    assert_same_run(uncut(paired, params), uncut(alone, params))


@pytest.mark.parametrize(
    "kind", ["noisy", pytest.param("remembers", marks=pytest.mark.slow)]
)  # dropout and batch norm; a buffer
def test_a_run_goes_on_from_its_checkpoint_bit_for_bit(paired, kind):
    params = of_kind(kind)
    (whole, kept), (resumed, kept_again) = uncut(paired, params), cut_after(paired, 2, params)
    same_result(resumed, whole)
    assert_same_weights(kept, kept_again)


def test_statistics_of_batch_norm_are_marked_as_those_of_a_rank(paired):
    measured, _ = uncut(paired, of_kind("noisy"))
    assert measured.techniques == {"statistics_batch_size": 8, "batch_norm_micro": True}
    assert "batch_norm_micro" not in uncut(paired, PARAMS)[0].techniques


def same_result(found: Measurement, expected: Measurement) -> None:
    """Equal but for times; gloo's own threads let go of a buffer a little sooner or later."""
    assert found.peak_memory_bytes == pytest.approx(expected.peak_memory_bytes, rel=0.5)
    same_peak = replace(found, peak_memory_bytes=expected.peak_memory_bytes)
    assert timeless(same_peak) == timeless(expected)


class StoppedAt(Run):
    """Gets its verdict after one step, wherever in an epoch that is."""

    def __init__(self, n_steps: int) -> None:
        super().__init__()
        self.n_steps = n_steps

    def step(self, loss: Any) -> None:
        super().step(loss)
        if self._steps == self.n_steps:
            self._stop(Verdict.DIVERGED, "test")


@pytest.mark.slow
def test_a_verdict_stops_all_ranks_at_once_and_the_same_ranks_train_the_next_run(paired):
    expected, _ = uncut(paired, PARAMS)
    pids = paired.member.ranks.pids
    diverging = replace(PARAMS, learning_rate=1e6, epochs=200)
    at_an_epoch = Run(should_stop=lambda curve: None if len(curve) < 2 else _pruned())
    for run, params, verdicts in (
        (StoppedAt(5), PARAMS, {Verdict.DIVERGED}),  # of 3 steps an epoch
        (StoppedAt(6), PARAMS, {Verdict.DIVERGED}),
        (StoppedAt(5), of_kind("noisy"), {Verdict.DIVERGED}),  # forward passes change buffers
        (at_an_epoch, PARAMS, {Verdict.PRUNED}),
        (Run(), diverging, {Verdict.DIVERGED, Verdict.NON_FINITE}),
    ):
        carry_out(paired, params, run)
        assert run.result().verdict in verdicts
        assert run.result().steps < 3 * params.epochs
        assert paired.member.ranks.pids == pids
    same_result(uncut(paired, PARAMS)[0], expected)
    assert paired.member.ranks.pids == pids


def _pruned() -> Stopped:
    return Stopped(Verdict.PRUNED, "test")


def test_a_probe_ends_before_the_run_and_the_largest_peak_counts(paired):
    def cost(kind: str) -> Any:
        return probe(paired, of_kind(kind, epochs=1000), metric=paired.metric, seconds=0.01)

    plain, greedy = cost("plain"), cost("greedy")
    assert plain.total_steps == 1000 * 50 // 16
    assert greedy.peak_memory_bytes >= 1000 * 6 * 8 > plain.peak_memory_bytes


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="reads Linux's list of sockets")
def test_ranks_listen_on_the_loopback_interface_only(paired):
    uncut(paired, PARAMS)
    listening = {}  # by socket: address
    for table in ("tcp", "tcp6"):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            _, local, _, state, *rest = line.split()
            if state == "0A":
                listening[f"socket:[{rest[5]}]"] = local.partition(":")[0]
    ours = set()
    for pid in (os.getpid(), *paired.member.ranks.pids):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            if link.is_symlink() and (name := os.readlink(link)) in listening:
                ours.add(listening[name])
    assert ours == {"0100007F"}  # 127.0.0.1


@pytest.mark.slow
def test_what_another_rank_raises_is_told_and_new_ranks_take_its_place(paired):
    pids = paired.member.ranks.pids
    with pytest.raises(MemoryError, match="rank 1: MemoryError: nothing left") as caught:
        carry_out(paired, of_kind("starves"), Run())
    assert is_out_of_memory(caught.value)
    assert uncut(paired, PARAMS)[0].verdict is Verdict.COMPLETED
    assert not set(pids) & set(paired.member.ranks.pids)


def test_batches_have_an_example_for_each_rank_and_batch_norm_two(task_file, tmp_path):
    four = Recipe(data_parallel=4)
    assert load_objective(task_file, device="cpu", recipe=four).batch_sizes == (4, N_TRAIN)
    path = tmp_path / "mine.py"
    path.write_text(textwrap.dedent(TASK.replace("UNUSED", "kind = 'noisy'")))
    assert load_objective(str(path), device="cpu", recipe=four).batch_sizes == (8, N_TRAIN)


def test_ranks_that_cannot_be_are_refused(task_file, monkeypatch):
    with pytest.raises(ObjectiveError, match="too many for the 50 training examples"):
        load_objective(task_file, device="cpu", recipe=Recipe(data_parallel=51))
    with pytest.raises(ObjectiveError, match="for cpu and cuda, not for mps"):
        devices_of("mps:0", 2)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert devices_of("cuda:1", 2) == ("cuda:1", "cuda:2")
    with pytest.raises(ObjectiveError, match="from cuda:2 on there are 1"):
        devices_of("cuda:2", 2)
    unnamed = TaskObjective(made_task(), name="made", device="cpu", recipe=Recipe(data_parallel=2))
    with pytest.raises(ObjectiveError, match="load_objective"):
        unnamed(PARAMS, Run())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("loss", "batches"),
    # By the older rule batches of 7 leave one example, of which one rank has none.
    [("weighted", EXACT), ("nn.functional.cross_entropy", RAGGED)],
)
def test_blocks_micro_batches_clipping_unused_parameters_and_empty_ranks_change_nothing(
    paired, tmp_path, loss, batches
):
    paired.member.ranks.end()  # a process has one group at a time
    path = tmp_path / "mine.py"
    text = TASK.replace("UNUSED", "self.spare = nn.Linear(3, 3)")
    text = text.replace("loss=nn.functional.cross_entropy", f"loss={loss}")
    text = text.replace("    KINDS", WEIGHTED + "    KINDS")
    path.write_text(textwrap.dedent(text))
    clipped = Recipe(clip_grad_norm=CLIPPED_AT)
    recipe = replace(clipped, data_parallel=2, shards="block", micro_batch_sizes=(4, 4))
    objective: Any = load_objective(str(path), device="cpu", recipe=recipe, batches=batches)
    single = load_objective(str(path), device="cpu", recipe=clipped, batches=batches)
    try:
        for batch_size in (16, 7):
            params = replace(PARAMS, batch_size=batch_size)
            found, expected = uncut(objective, params), uncut(single, params)
            assert_same_run(found, expected)
            share = expected[0].techniques["clipped_share"]
            assert found[0].techniques["clipped_share"] == share
            assert share > 0
        (measured, _) = uncut(objective, PARAMS)
        assert measured.techniques["micro_batch_size"] == 4
    finally:
        objective.member.ranks.end()


@pytest.mark.parametrize(("backend", "how"), [("nccl", "abort"), ("gloo", "destroy")])
def test_a_group_of_gpus_is_aborted_since_its_end_would_wait_for_dead_ranks(
    monkeypatch, backend, how
):
    done: list[str] = []
    named = f"cpu:gloo,cuda:{backend}"
    monkeypatch.setattr(distributed_c10d, "_abort_process_group", lambda: done.append("abort"))
    monkeypatch.setattr(distributed, "get_backend_config", lambda: named)
    monkeypatch.setattr(distributed, "destroy_process_group", lambda: done.append("destroy"))
    _leave_group()
    assert done == [how]


@pytest.mark.slow
@pytest.mark.parametrize("noisy", [True, False])
def test_rank_0_decides_alone_whether_the_batch_grows(paired, tmp_path, monkeypatch, noisy):
    """The others would find the opposite, as may be where sums differ in the last bit."""
    paired.member.ranks.end()  # a process has one group at a time
    monkeypatch.setattr(schedules, "MIN_STEPS", 1)
    monkeypatch.setattr(schedules, "is_noisy", lambda *args, **options: noisy)
    path = tmp_path / "mine.py"
    text = TASK.replace("UNUSED", "pass") + OPPOSITE.replace("FOUND", str(not noisy))
    path.write_text(textwrap.dedent(text))
    recipe = Recipe(data_parallel=2, schedule="noise-scale")
    objective: Any = load_objective(str(path), device="cpu", recipe=recipe)
    try:
        _, kept = uncut(objective, replace(PARAMS, batch_size=4))
    finally:
        objective.member.ranks.end()
    assert kept["loop"]["sizes"] == {"sizes": [4, 8, 16] if noisy else [4, 4, 4]}


@pytest.mark.slow
@pytest.mark.parametrize("unit", ["examples", "steps"])
def test_ranks_are_evaluated_between_epochs_as_one_process_is(alone, paired, unit):
    amount = 130 if unit == "examples" else 9
    length = Length(unit=unit, amount=amount, evaluations=4)
    params = of_kind("plain", length=length)
    assert_same_run(uncut(paired, params), uncut(alone, params))
    assert_same_run(cut_after(paired, 2, params), uncut(alone, params))


@pytest.mark.slow
def test_a_probe_of_ranks_goes_on_past_the_end_of_a_short_run(paired):
    params = of_kind("plain", length=Length(unit="steps", amount=2, evaluations=2))
    cost = probe(paired, params, metric="val_accuracy", seconds=0.01)
    assert (cost.total_steps, cost.step_seconds > 0) == (2, True)
