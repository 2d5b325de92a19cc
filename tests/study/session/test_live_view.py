"""What a terminal shows while a study runs, and what a log keeps of runs that take hours."""

from __future__ import annotations

import io
import re
from itertools import pairwise

import optuna
import pytest
from rich.console import Console

from batchfront.objectives.length import Length
from batchfront.study.answer.show import answer_lines, so_far_forms
from batchfront.study.opening.open import the_study
from batchfront.study.session import tally
from batchfront.study.session.pace import MINUTE, Pace
from batchfront.study.session.progress import Progress
from batchfront.study.session.so_far import LEAST_SECONDS, SHARE, SoFar
from batchfront.study.session.tally import Counting, Tally
from batchfront.study.trials.sound import sound_trials
from batchfront.study.workers.events import Event

FORMS = ["so far: " + "x" * n for n in (120, 60, 30, 10)]


class Clock:
    """Time that passes when it is told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def _epoch(n: int = 3, **more) -> Event:
    known = {"kind": "epoch", "number": 117, "batch_size": 512, "learning_rate": 0.0123}
    return Event(**{**known, "epoch": n, "metric": 0.91, "n_finished": 12, **more})


def _progress(console: Console, *, n_workers: int = 1, forms=FORMS) -> Progress:
    clock = Clock()
    so_far = SoFar(lambda: forms, clock=clock)
    clock.now = LEAST_SECONDS
    so_far.renew()
    return Progress(
        console,
        n_trials=130,
        n_done=12,
        tally=lambda: Tally(n_front=0, n_stopped=1),
        length=Length(amount=20),
        n_workers=n_workers,
        so_far=so_far,
    )


def test_what_a_search_runs_for_another_question_is_not_counted():
    console = Console(width=200, file=io.StringIO())
    progress = _progress(console)
    for number, is_beside in [(1, True), (2, False), (3, True)]:
        progress(_epoch(kind="ended", number=number, verdict="completed", is_beside=is_beside))
    counts = [line.partition(" ")[0] for line in console.file.getvalue().splitlines()]
    assert counts == ["12/130", "13/130", "13/130"]


@pytest.mark.parametrize("n_workers", [1, 3])
@pytest.mark.parametrize("width", [60, 80, 200])
def test_the_live_view_fits_and_shows_the_longest_answer_that_has_room(width, n_workers):
    console = Console(width=width, force_terminal=True, file=io.StringIO(), color_system=None)
    progress = _progress(console, n_workers=n_workers)
    for worker in range(n_workers):
        progress(_epoch(worker=worker))
    console.print(progress._bar.get_renderable())
    shown = console.file.getvalue().splitlines()
    assert max(map(len, shown)) <= width
    assert "…" not in "".join(shown)
    assert "12/130" in shown[0]
    (said,) = (line.strip() for line in shown if "so far" in line)
    assert said in FORMS
    longer = FORMS[: FORMS.index(said)]
    assert all(len(form) > width - 25 for form in longer)


def test_before_there_is_an_answer_there_is_no_line_of_it():
    console = Console(width=80, force_terminal=True, file=io.StringIO(), color_system=None)
    progress = _progress(console, forms=[])
    progress(_epoch())
    console.print(progress._bar.get_renderable())
    assert len(console.file.getvalue().splitlines()) == 2


def test_the_answer_is_found_again_only_now_and_then_the_rarer_the_longer_it_takes():
    clock, found = Clock(), []

    def find() -> list[str]:
        found.append(clock.now)
        clock.now += 1.0  # it takes a second
        return ["so far"]

    so_far = SoFar(find, clock=clock)
    for _ in range(300):
        so_far.renew()
        clock.now += 1.0
    assert found[0] == LEAST_SECONDS
    gaps = [b - a for a, b in pairwise(found)]
    assert min(gaps) >= 1 / SHARE
    assert len(found) > 3


def test_the_line_says_what_the_answer_says(workdir, recorded):
    recorded(
        workdir, "run", "--task", "digits", "--epochs", "3", "--batch-sizes", "16:256",
        "--n-trials", "12",
    )  # fmt: skip
    study = the_study("sqlite:///runs/batchfront.db", None)
    trials = sound_trials(study)
    answer, forms = answer_lines(study, trials)[0], so_far_forms(study, trials, "")
    wanted = re.match(r"Train with (batch size \d+ at learning rate \S+) \(.*reach (.*)\.$", answer)
    assert wanted is not None
    assert forms[0].startswith(f"so far: {wanted[1]} (")
    assert forms[0].endswith(wanted[2])
    assert sorted(map(len, forms), reverse=True) == list(map(len, forms))


def test_a_log_keeps_slow_epochs_with_date_and_time():
    clock = Clock()
    pace = Pace(clock=clock)
    assert pace.stamp(_epoch(kind="started")) == ""
    lines = []
    for n in range(1, 6):
        clock.now += 0.4 * MINUTE
        lines.append(pace.stamp(_epoch(n)))
    assert [bool(line) for line in lines] == [False, False, True, False, False]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ", lines[2])
    assert pace.stamp(_epoch(kind="ended", verdict="completed")), "a long run's end is dated, too"
    assert pace.stamp(_epoch(kind="started")) == ""
    assert pace.stamp(_epoch(kind="ended", verdict="completed")) == ""


def test_a_pipe_gets_a_plain_line_for_an_epoch_of_an_hour_and_none_for_a_quick_one(capsys):
    console = Console(file=io.StringIO(), width=100)
    progress = _progress(console)
    clock = Clock()
    progress._pace = Pace(clock=clock)
    progress(_epoch(0, kind="started", metric=None))
    clock.now = 3600.0
    progress(_epoch(1))
    clock.now += 1.0
    progress(_epoch(2))
    (line,) = console.file.getvalue().splitlines()
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d trial 117 batch 512 lr 0.012 epoch 1/20 0.910", line
    )


def test_a_count_that_takes_long_is_kept_for_a_while_and_a_quick_one_is_not(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(tally.time, "monotonic", clock)
    study = optuna.create_study(directions=["maximize", "minimize", "minimize"])
    seconds = {"takes": 0.01}

    def counted(self: Counting) -> Tally:
        clock.now += seconds["takes"]
        return Tally(n_front=len(study.trials), n_stopped=0)

    monkeypatch.setattr(Counting, "_count", counted)
    count = Counting(study)
    assert count().n_front == 0
    study.ask()
    assert count().n_front == 1
    seconds["takes"] = 1.0
    count()
    study.ask()
    assert count().n_front == 1, "for fifty seconds"
    clock.now += 1.0 / tally.SHARE
    assert count().n_front == 2
