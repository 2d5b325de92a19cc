"""What must hold of a study, whatever has befallen its workers: `violations(scene_of(...))`."""

from __future__ import annotations

import json
import signal
import sqlite3
from collections import Counter
from pathlib import Path

from tests.faults.kinds import counted, is_paused, kinds_of, successors
from tests.faults.scene import LOST_RUN, WRONG, Exit, Said, Scene, Violation
from tests.faults.undisturbed import first_of

# Rules of all trials together.


def numbers_are_consecutive(scene: Scene) -> list[Said]:
    numbers = [trial.number for trial in scene.trials]
    return [] if numbers == list(range(len(numbers))) else [f"numbers are {numbers}"]


def the_total_is_exact(scene: Scene) -> list[Said]:
    n = len(counted(scene.trials))
    if scene.n_trials <= n <= scene.n_trials + scene.may_overshoot:
        return []
    sort = LOST_RUN if n < scene.n_trials else WRONG
    return [Violation(sort, f"{n} trials are finished, wanted {scene.n_trials}")]


def no_run_ended_twice(scene: Scene) -> list[Said]:
    ended = Counter(map(first_of, counted(scene.trials)))
    return [f"the run of trial {number} ended {n} times" for number, n in ended.items() if n > 1]


def nothing_is_kept_in_vain(scene: Scene) -> list[Said]:
    """Only unfinished and paused runs have checkpoints; none is left half-written or set aside."""
    paused = [t for t in scene.trials if is_paused(t) and not successors(t, scene)]
    needed = paused or any(t.state.name in ("WAITING", "RUNNING") for t in scene.trials)
    there = scene.kept if scene.folder is None else sorted(scene.folder.glob("*.*"))
    return [
        f"{path.name} is kept for no trial"
        for path in there
        if not needed or path not in scene.kept or path.suffix != ".pt"
    ]


def what_was_acknowledged_is_there(scene: Scene) -> list[Said]:
    said: list[Said] = []
    for told in scene.told:
        if told.number >= len(scene.trials):
            said.append(Violation(LOST_RUN, f"trial {told.number} was acknowledged, and is gone"))
            continue
        trial = scene.trials[told.number]
        if told.verdict == "taken over":
            continue  # the trial's own rules look who took it
        if not trial.state.is_finished():
            text = f"trial {told.number} ended, and is {trial.state.name}"
            said.append(Violation(LOST_RUN, text))
        if told.values is not None and tuple(trial.values or ()) != told.values:
            text = f"trial {told.number} was told {told.values}, and has {trial.values}"
            said.append(Violation(LOST_RUN, text))
    return said


def exit_codes_tell_the_truth(scene: Scene) -> list[Said]:
    return [text for one in scene.exits if (text := _lie(one)) is not None]


def _lie(one: Exit) -> str | None:
    done = one.n_finished >= one.n_trials
    by_signal = one.code in (130, 143, -signal.SIGINT)  # a second Ctrl-C may kill it as it leaves
    if "Traceback" in one.said:
        return f"a process ended in a traceback: {one.said[-300:]}"
    if one.code == 0 and not (done or one.timed_out):
        return f"exit code 0 with {one.n_finished} of {one.n_trials} trials"
    if one.code == 75 and (one.timed_out or one.signum is not None):
        return "exit code 75 for an end that was asked for"
    if by_signal and one.signum is None:
        return f"exit code {one.code} without a signal"
    if one.code == 2 and "error: " not in one.said:
        return f"exit code 2 without a reason: {one.said[-300:]}"
    return None if one.code in (0, 1, 2, 75) or by_signal else f"exit code {one.code}"


def the_storage_is_sound(scene: Scene) -> list[Said]:
    return list(unsound(scene.url))


def unsound(url: str) -> list[str]:
    """What the backend itself says of its data, if it is damaged."""
    kind, _, path = url.partition(":///")
    if kind == "sqlite":
        with sqlite3.connect(path) as connection:
            (said,) = connection.execute("PRAGMA integrity_check").fetchone()
        return [] if said == "ok" else [f"integrity check: {said}"]
    if kind == "journal":
        for number, line in enumerate(Path(path).read_bytes().split(b"\n")[:-1]):
            try:
                json.loads(line)
            except ValueError:
                return [f"line {number} of the journal is damaged"]
    return []


OF_ALL = (
    numbers_are_consecutive,
    the_total_is_exact,
    no_run_ended_twice,
    nothing_is_kept_in_vain,
    what_was_acknowledged_is_there,
    exit_codes_tell_the_truth,
    the_storage_is_sound,
)


def violations(scene: Scene) -> list[Violation]:
    """All rules that do not hold."""
    found: list[Violation] = []
    for trial in scene.trials:
        kinds = kinds_of(trial)
        if len(kinds) != 1:
            attributes = dict(trial.user_attrs)
            text = f"{trial.state.name} with {attributes} is of no kind that there is"
            found.append(Violation(WRONG, f"trial {trial.number}: {text}"))
        for kind in kinds[:1]:
            for rule in kind.rules:
                found += _noted(rule(trial, scene), f"trial {trial.number}, {kind.name}: ")
    for rule_of_all in OF_ALL:
        for said in rule_of_all(scene):
            found += _noted(said, "")
    return found


def _noted(said: Said, where: str) -> list[Violation]:
    if said is None:
        return []
    if isinstance(said, Violation):
        return [Violation(said.sort, where + said.says)]
    return [Violation(WRONG, where + said)]
