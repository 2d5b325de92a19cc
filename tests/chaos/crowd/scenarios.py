"""Storms over commands, from the first start to the last word of the oracles."""

from __future__ import annotations

import signal
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from unittest import mock

import torch

from batchfront.objectives.load import load_objective
from tests.chaos.crowd.bugs import BUGS
from tests.chaos.crowd.command import Command, is_alive
from tests.chaos.crowd.crowd import NAME, TASK, Crowd, Gale
from tests.chaos.crowd.places import place
from tests.chaos.damage import Damage
from tests.faults.kinds import counted, kinds_of
from tests.faults.oracles import violations
from tests.faults.scene import Owner, Scene, Told, scene_of

FOR_ALL = {
    "kill -9 of a worker": 10, "kill -9 of a command": 5, "all killed": 3, "SIGTERM": 5,
    "SIGHUP": 4, "Ctrl-C": 4, "Ctrl-C twice": 3, "paused briefly": 4,
    "paused about the grace period": 8, "paused beyond it": 6, "heartbeats aged": 6,
    "the last one paused": 1,
}  # fmt: skip
IN_A_FILE = {"disk full": 4, "file taken away": 3, "file replaced": 3}
ON_A_SERVER = {"server restarted": 5, "disk full": 3}
OF_KIND = {
    "sqlite": IN_A_FILE,
    "journal": {**IN_A_FILE, "line torn": 5},
    "postgresql": ON_A_SERVER,
    "mysql": ON_A_SERVER,
    "grpc": ON_A_SERVER,
}


def deck(kind: str) -> dict[str, int]:
    """All that can befall commands on that kind of storage."""
    return {**FOR_ALL, **OF_KIND[kind]}


MADE_ANEW = {"study made anew": 4, "paused about the grace period": 4, "SIGTERM": 1}


SHORT = Gale(teams=(2,), n_trials=12, every_seconds=2.0, limit_seconds=600.0)


def with_bug(name: str) -> Damage:
    """A storm on SQLite with a planted bug, of what brings it to light: something must be wrong."""
    # Two commands, where one is to end before the other, or to make the next study.
    teams = (1, 1) if name in ("any study", "leaves early") else SHORT.teams
    return commands_raging("sqlite", replace(SHORT, teams=teams, deck=BUGS[name][1], bug=name))


def commands_raging(kind: str, weather: Gale) -> Damage:
    """Commands are struck in all ways; a last one, that is left alone, finds all in order."""
    with place(kind) as where, tempfile.TemporaryDirectory() as folder:
        crowd = Crowd(where, weather, Path(folder))
        damage = crowd.rage()
        set_aside = list(crowd.kept.glob("*.bad"))
        if len(set_aside) > damage.faults["checkpoints damaged"]:
            damage.wrong.append(f"{len(set_aside)} checkpoints could not be used")
        for path in set_aside:
            path.unlink()
        crowd.calm()
        inspect(crowd)
    return damage


def inspect(crowd: Crowd) -> None:
    """What the oracles say."""
    damage = crowd.damage
    scene = scene_after(crowd)
    with mock.patch("time.sleep"):  # of the task, which is to take a while in the storm alone
        damage.wrong += [f"{one.sort}: {one.says}" for one in violations(scene)]
    damage.wrong += _unlike_the_words(crowd, scene)
    kinds = Counter(kind.name for trial in scene.trials for kind in kinds_of(trial))
    damage.counts = {
        "trials": len(scene.trials),
        "finished": len(counted(scene.trials)),
        "queued again": sum("retry_of" in trial.user_attrs for trial in scene.trials),
        "results told": len(scene.told),
        "silent though running": sum(
            until - since >= crowd.weather.grace_seconds and pid not in crowd.silences
            for pid, since, until in crowd.heard.found
        ),
        **dict(sorted(kinds.items())),
    }


def scene_after(crowd: Crowd) -> Scene:
    """What the oracles look at."""
    torch.set_num_threads(1)
    told = [(n, verdict) for command in of_this_study(crowd) for n, verdict, _ in command.told()]
    killed = [c for c in crowd.ended if c.process.returncode == -signal.SIGKILL]
    orphans = {pid for command in killed for pid in command.seen}  # take that as SIGTERM
    return scene_of(
        crowd.place.url,
        NAME,
        load_objective(str(TASK), device="cpu"),
        n_trials=crowd.weather.n_trials,
        checkpoints=crowd.kept,
        told=[Told(number=n, verdict=verdict, values=None) for n, verdict in told],
        exits=crowd.exits,
        owners=[
            Owner(
                pid=pid,
                died_at=None if is_alive(pid) else alive_at,
                signum=signal.SIGTERM if pid in orphans else None,
                silences=(
                    *crowd.silences.get(pid, ()),
                    *((since, until) for who, since, until in crowd.heard.found if who == pid),
                ),
            )
            for pid, alive_at in crowd.seen_alive.items()
        ],
    )


def of_this_study(crowd: Crowd) -> list[Command]:
    """Commands that have worked at nothing else."""
    return [command for command in crowd.ended if command not in crowd.of_others]


def _unlike_the_words(crowd: Crowd, scene: Scene) -> list[str]:
    """Results that are not those which a command has printed, as far as its digits go."""
    wrong = []
    for command in of_this_study(crowd):
        for number, verdict, metric in command.told():
            if number >= len(scene.trials):
                continue  # the oracles have said so
            trial = scene.trials[number]
            found = (
                trial.user_attrs.get("verdict"),
                f"{trial.values[0]:.3f}" if trial.values else "-",
            )
            if found != (verdict, metric):
                wrong.append(f"wrong: trial {number} was told as {verdict} {metric}, is {found}")
    return wrong
