"""The largest batch size that fits, against machines whose memory is known."""

from __future__ import annotations

import json
import textwrap

import pytest

from batchfront.study.cli.main import main
from batchfront.study.errors import StudyError
from batchfront.study.probes.largest import DATA, LOOP, MEMORY, MOST_RUNS, WITHIN, find_largest
from batchfront.study.trials.costs import SizeCost


class Machine:
    """Peaks of `offset + slope * size`, which an allocator refuses from `memory` on."""

    def __init__(self, *, offset=10_000, slope=777.0, memory=10**15, examples=None, fails=None,
                 beyond=None):  # fmt: skip
        self.beyond = beyond  # the peak, what a device loses
        self.offset, self.slope, self.memory = offset, slope, memory
        self.examples, self.fails = examples, fails
        self.runs: list[int] = []

    def peak(self, size: int) -> int:
        return round(self.offset + self.slope * min(size, self.examples or size))

    def measure(self, size: int) -> SizeCost:
        self.runs.append(size)
        out = self.peak(size) > self.memory
        error = "ValueError: no" if self.fails is not None and size >= self.fails else None
        none = out or error is not None
        return SizeCost(
            batch_size=size,
            step_seconds=None if none else 1.0,
            peak_memory_bytes=None if none else self.peak(size),
            predicted_peak_memory_bytes=None,
            total_steps=None if none else 9,
            error=error,
            device_memory_bytes=None if none or not self.beyond else self.peak(size) + self.beyond,
        )


def found(machine, *, predict=lambda size: None, budget=10**9, most=None, least=1):
    return find_largest(
        predict=predict, measure=machine.measure, least=least, most=most, budget_bytes=budget,
        budget="as asked for", of_device=machine.beyond is not None,
    )  # fmt: skip


def true_largest(machine, budget):
    return int((min(budget, machine.memory) - machine.offset) / machine.slope)


@pytest.mark.parametrize("slope", [777.0, 123_456.0, 9e7])
@pytest.mark.parametrize("budget", [10**8, 10**9, 7 * 10**9])
@pytest.mark.parametrize("off", [0.7, 1.0, 1.4], ids=["too low", "right", "too high"])
def test_a_prediction_is_confirmed_by_a_run_or_mended_by_a_few(slope, budget, off):
    machine = Machine(slope=slope)
    true = true_largest(machine, budget)

    def predict(size: int) -> int:
        return round(off * machine.peak(size))

    if predict(1) > budget:
        with pytest.raises(StudyError, match="is predicted to take"):
            found(machine, predict=predict, budget=budget)
        return
    answer = found(machine, predict=predict, budget=budget)
    assert answer.batch_size <= true < max(WITHIN * answer.batch_size, answer.batch_size + 1)
    assert answer.peak_memory_bytes == machine.peak(answer.batch_size) <= budget
    assert answer.predicted
    assert answer.limited_by == MEMORY
    assert answer.n_runs == len(machine.runs) <= (1 if off == 1 else 4)


@pytest.mark.parametrize("memory", [10**6, 10**8, 3 * 10**8])
def test_without_a_prediction_runs_find_it(memory):
    for limit in ({"memory": memory}, {}):
        machine = Machine(slope=4321.0, **limit)
        answer = found(machine, budget=10**9 if limit else memory)
        true = true_largest(machine, memory)
        assert answer.batch_size <= true < WITHIN * answer.batch_size
        assert not answer.predicted
        assert answer.n_runs <= MOST_RUNS


def test_an_allocator_that_refuses_what_was_predicted_to_fit_is_believed():
    machine = Machine(memory=5 * 10**8)
    answer = found(machine, predict=machine.peak, budget=10**9)
    true = true_largest(machine, 5 * 10**8)
    assert answer.batch_size <= true < WITHIN * answer.batch_size


def test_the_data_may_end_before_the_memory():
    for predict in (Machine().peak, lambda size: None):
        answer = found(Machine(), predict=predict, most=1079)
        assert (answer.batch_size, answer.limited_by) == (1079, DATA)
        assert "all 1,079 training examples" in answer.lines()[0]


def test_a_loop_whose_memory_no_longer_grows_is_not_followed_for_ever():
    machine = Machine(examples=500)
    answer = found(machine)
    assert answer.limited_by == LOOP
    assert max(machine.runs) < 500 * 8 * 9
    assert "no more memory" in answer.lines()[0]


@pytest.mark.parametrize("known", [True, False], ids=["predicted", "runs alone"])
def test_a_budget_on_a_device_has_to_hold_what_lies_beyond_the_peak(known):
    machine = Machine(slope=123_456.0, beyond=4 * 10**8)
    answer = found(machine, predict=machine.peak if known else lambda size: None)
    true = true_largest(machine, 6 * 10**8)
    assert answer.batch_size <= true < WITHIN * answer.batch_size
    assert answer.device_memory_bytes == answer.peak_memory_bytes + 4 * 10**8 <= 10**9
    assert "and the device loses" in answer.lines()[0]
    assert len(machine.runs) <= (3 if known else MOST_RUNS)


def test_a_device_whose_context_alone_takes_the_budget_fits_nothing():
    machine = Machine(beyond=2 * 10**9)
    with pytest.raises(StudyError, match="no run of 2 sizes fitted"):
        found(machine, predict=machine.peak, least=2)
    assert min(machine.runs) == 2, "no batch of one was tried, which the task cannot train with"


def test_what_fits_nowhere_or_fails_otherwise_is_said():
    for predict in (Machine().peak, lambda size: None):
        with pytest.raises(StudyError, match="not even batch size 1 fits into"):
            found(Machine(), predict=predict, budget=9_000)
    with pytest.raises(StudyError, match="cannot be run: ValueError: no"):
        found(Machine(fails=4))


LOOP_FILE = """
import torch
from torch import nn

def objective(params, run):
    model = nn.Linear(256, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=params.learning_rate)
    run.begin(params.epochs * 8, baseline_loss=2.0)
    for _ in range(params.epochs):
        for _ in range(8):
            x = torch.randn(params.batch_size, 256)
            loss = nn.functional.cross_entropy(model(x), torch.zeros(len(x), dtype=torch.int64))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            run.step(loss)
        run.report(0.5)
"""


def test_the_verb_says_it_in_words_and_in_json(workdir, capsys):
    asked = ["probe", "--task", "digits", "--largest"]
    assert main([*asked, "--max-memory", "500KiB", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["peak_memory_bytes"] <= answer["budget_bytes"] == 500 * 1024
    assert (answer["predicted"], answer["limited_by"]) == (True, "memory")
    assert answer["too_large_bytes"] > answer["budget_bytes"]
    assert answer["too_large"] <= WITHIN * answer["batch_size"] + 1
    assert main(asked) == 0
    assert "all 1,079 training examples fit" in capsys.readouterr().out
    (workdir / "loop.py").write_text(textwrap.dedent(LOOP_FILE))
    assert main(["probe", "--task", "loop.py", "--largest", "--max-memory", "8MiB"]) == 0
    said = capsys.readouterr().out
    assert "to within 5%" in said
    assert "found by" in said


def test_a_budget_alone_says_nothing_to_a_probe(workdir, capsys):
    assert main(["probe", "--task", "digits", "--max-memory", "1GiB"]) == 2
    assert "--largest" in capsys.readouterr().err
