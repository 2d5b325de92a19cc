"""Bugs of kinds that there were once, each planted by changing the product in forks of a test."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.faults.points import BEFORE, HALF, Point


@dataclass(frozen=True, kw_only=True)
class Planted:
    """A bug, and where it must be found."""

    says: str
    plant: Callable[[], None]
    kind: str  # of storage
    scenario: str
    strikes: Callable[[Point], bool]  # at which points its faults are looked for
    found: str  # what an oracle says of it


def _never(point: Point) -> bool:
    """A life to its end shows it."""
    return False


def _at(label: str, when: str = BEFORE) -> Callable[[Point], bool]:
    return lambda point: label in point.label and point.when == when


def write_into_any_study() -> None:
    from batchfront.storage.fence import Fence

    Fence.check_study = Fence.check_owner = lambda self, found: None  # type: ignore[method-assign]


def leave_while_a_trial_runs() -> None:
    from batchfront.study.workers.next_trial import NextTrial

    NextTrial._awaited = lambda self: 0  # type: ignore[method-assign]


def queue_only_what_this_process_failed() -> None:
    from batchfront.study.workers import retry

    failed: list[int] = []
    real_fail, real_lost = retry.fail_lost, retry.lost_runs

    def fail_lost(storage: Any, trial: Any) -> None:
        failed.append(trial.number)
        real_fail(storage, trial)

    retry.fail_lost = fail_lost
    retry.lost_runs = lambda trials: [t for t in real_lost(trials) if t.number in failed]


def go_on_in_a_replaced_file() -> None:
    from batchfront.storage.watch import FileWatch

    FileWatch.check = lambda self, descriptor=None: None  # type: ignore[method-assign]


def take_from_the_living() -> None:
    from batchfront.study.workers import retry

    retry.is_dead = lambda owner: True


def forget_random_numbers() -> None:
    from batchfront.objectives import run

    run.restore_random_states = lambda states, device: None


def keep_checkpoints_of_ended_runs() -> None:
    from batchfront.study.workers.kept import Kept

    Kept.tidy = lambda self: None  # type: ignore[method-assign]


def write_pages_in_place() -> None:
    from batchfront.storage import files
    from tests.faults import transfers

    def replace_text(path: Path, text: str) -> None:
        with files.open(path, "wb") as file:  # type: ignore[attr-defined]
            file.write(text.encode())

    transfers.replace_text = replace_text  # type: ignore[attr-defined]


def believe_all_trials() -> None:
    from batchfront.study.trials.sound import Rules

    Rules.why_not = lambda self, trial: None  # type: ignore[method-assign]


def be_deaf_to_a_closed_terminal() -> None:
    from batchfront.study.machine import interrupts

    interrupts.SIGNALS = (signal.SIGINT, signal.SIGTERM)  # type: ignore[assignment]


PLANTED = (
    Planted(
        says="a worker of a deleted study writes into the new one of its name",
        plant=write_into_any_study, kind="sqlite", scenario="remade", strikes=_never,
        found="its seed is not",
    ),
    Planted(
        says="a worker leaves while a trial may have to be run again",
        plant=leave_while_a_trial_runs, kind="journal", scenario="elsewhere",
        strikes=_at("epoch report"), found="exit code 0 with 1 of 2",
    ),
    Planted(
        says="a run is queued again only by whoever failed it",
        plant=queue_only_what_this_process_failed, kind="journal", scenario="retry",
        strikes=_at("call create_new_trial"), found="nobody has queued it",
    ),
    Planted(
        says="a database file that was replaced is written to",
        plant=go_on_in_a_replaced_file, kind="sqlite", scenario="replaced", strikes=_never,
        found="was told",
    ),
    Planted(
        says="trials are taken from workers that live",
        plant=take_from_the_living, kind="journal", scenario="beside", strikes=_never,
        found="who was alive and not silent",
    ),
    Planted(
        says="a run goes on with other random numbers",
        plant=forget_random_numbers, kind="journal", scenario="retry", strikes=_never,
        found="undisturbed",
    ),
    Planted(
        says="the checkpoint of a run that has ended stays",
        plant=keep_checkpoints_of_ended_runs, kind="journal", scenario="trial",
        strikes=_at("unlink *.pt"), found="is kept for no trial",
    ),
    Planted(
        says="a page is written in the place of the old one",
        plant=write_pages_in_place, kind="journal", scenario="page",
        strikes=_at("write", HALF), found="half a page",
    ),
    Planted(
        says="trials that others have queued are believed",
        plant=believe_all_trials, kind="journal", scenario="queued", strikes=_never,
        found="traceback",
    ),
    Planted(
        says="a closed terminal ends a worker as kill -9 does",
        plant=be_deaf_to_a_closed_terminal, kind="journal", scenario="hang up", strikes=_never,
        found="exit code -1",
    ),
)  # fmt: skip
