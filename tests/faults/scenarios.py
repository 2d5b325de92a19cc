"""Lives of a worker that end somewhere, and what a second worker has to make of it.

A `Scenario` prepares a study, lives in a process that may end at any of its points, finishes in a
second one, and judges what is there then.
"""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from batchfront.objectives.objective import Objective
from batchfront.storage.shared import SharedStorage
from batchfront.storage.sqlite import LOGS
from batchfront.study.machine.interrupts import Interrupts
from batchfront.study.machine.process import this_process
from batchfront.study.opening.open import open_study
from batchfront.study.opening.terms import stored_identity
from batchfront.study.plan.space import SearchSpace
from batchfront.study.trials.attributes import OWNER, id_of
from batchfront.study.trials.kept import kept_files
from batchfront.study.workers import launch, ledger
from tests.faults.kinds import counted
from tests.faults.oracles import violations
from tests.faults.place import (
    QUICK_GRACE,
    Place,
    StillPulse,
    Storages,
    Victim,
    diary_of,
    environment,
    one_trial,
    opened,
    quick_pulse,
    remove_study,
    work,
)
from tests.faults.points import Points
from tests.faults.scene import Exit, Owner, Violation, scene_of

EVERYWHERE = ("sqlite", "postgresql", "mysql", "journal", "grpc")


@dataclass
class Keeper:
    """The process that prepares, finishes and judges; it lives on from fault to fault."""

    objective: Objective
    storages: Storages = field(default_factory=Storages)
    owners: list[Owner] = field(default_factory=list)  # of this study, beside the victim
    exits: list[Exit] = field(default_factory=list)
    made: dict[str, list[FrozenTrial]] = field(default_factory=dict)  # by options: finished trials
    begun: dict[str, Path] = field(default_factory=dict)  # by name and options: files of studies


def begin(keeper: Keeper, place: Place, *, n_trials: int) -> None:
    """Make a study with so many finished trials; these are run only once."""
    key = f"{place.kind} {place.options} {os.environ.get('PLAYBACK', '')} {n_trials}"
    if place.is_own:
        _begin_in_a_file(keeper, place, f"{place.name} {key}", n_trials)
        return
    if key not in keeper.made:
        work(place, keeper.objective, keeper.storages, n_trials=n_trials)
        study = open_study(keeper.storages(place.url), place.name)
        keeper.made[key] = study.get_trials()
        return
    study = opened(place, keeper.objective, keeper.storages, n_trials=n_trials)[0]
    study.add_trials(keeper.made[key])


def _begin_in_a_file(keeper: Keeper, place: Place, key: str, n_trials: int) -> None:
    """A study made once is copied from then on: that is quicker than to make it again."""
    file = Path(place.url.partition(":///")[2])
    if key in keeper.begun:
        shutil.copyfile(keeper.begun[key], file)
        return
    work(place, keeper.objective, keeper.storages, n_trials=n_trials)
    keeper.storages.close(place.url)  # now all of it is in the file, and nothing in a log
    keeper.begun[key] = place.folder.with_name(f"begun {len(keeper.begun)}")
    shutil.copyfile(file, keeper.begun[key])


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A worker's life in a study of two trials, of which one is finished."""

    name: str
    says: str
    n_before: int = 1  # trials that are finished when it begins; None at all: there is no study
    n_trials: int = 2
    n_asked: int = 0  # of these, runs of one setting that a question asks for, not the sampler
    before: str = ""  # what has befallen an earlier worker: see playback.py
    befalls: str = ""  # what befalls the one that dies
    always: str = ""  # what befalls the runs of every worker
    options: dict[str, Any] = field(default_factory=dict)  # of StudySettings
    is_silent: bool = False  # nobody can see that the process is gone, only that it is silent
    kinds: tuple[str, ...] = EVERYWHERE  # of storages
    exit_code: int = 0  # of a life to its end
    signum: int | None = None  # that it gets
    n_deaths: int = 1  # of processes in a row, before the second worker comes

    def prepare(self, keeper: Keeper, place: Place) -> None:
        """Make what is there before."""
        with environment({"PLAYBACK": self.always}):
            if self.n_before:
                begin(keeper, place, n_trials=self.n_before)

    def live(self, place: Place, objective: Objective, points: Points) -> int:
        """The life that ends somewhere; returns the exit code of one to its end."""
        launch.Pulse = StillPulse  # type: ignore[misc]
        if self.is_silent and not isinstance(self, Remade):
            here = {**this_process(), "host": "elsewhere"}
            ledger.this_process = lambda: here
        with points.off():
            diary = diary_of(place)
        with environment({"PLAYBACK": self.befalls or self.always}):
            return work(
                place,
                objective,
                Storages(),
                n_trials=self.n_trials,
                n_asked=self.n_asked,
                emit=diary,
                interrupts=Interrupts(),
            )

    def meet(self, keeper: Keeper, place: Place) -> None:
        """What another process does in the middle of that life."""

    def finish(self, keeper: Keeper, place: Place) -> int:
        """A second worker goes on to the total; returns its exit code."""
        # Where there is no claim lock, a trial without an owner is missed by its silence alone.
        if self.is_silent or place.kind == "grpc":
            launch.Pulse = quick_pulse  # type: ignore[assignment,misc]
        with environment({"PLAYBACK": self.always}):
            n_trials, n_asked = self.n_trials, self.n_asked
            objective, storages = keeper.objective, keeper.storages
            return work(place, objective, storages, n_trials=n_trials, n_asked=n_asked)

    def judge(self, keeper: Keeper, place: Place, victims: list[Victim]) -> list[Violation]:
        """What does not hold now."""
        dead = [Owner(pid=v.pid, died_at=v.died_at, signum=v.signum) for v in victims]
        scene = scene_of(
            place.url,
            place.name,
            keeper.objective,
            n_trials=self.n_trials,
            checkpoints=place.kept,
            storage=keeper.storages(place.url),
            told=place.told(),
            exits=[*keeper.exits, *self.exits_of(keeper, place, victims)],
            owners=[*keeper.owners, *dead],
            grace_seconds=QUICK_GRACE,
        )
        with environment({"PLAYBACK": self.always}):
            return violations(scene)

    def exits_of(self, keeper: Keeper, place: Place, victims: list[Victim]) -> list[Exit]:
        """How those ended that ended by themselves."""
        return [
            Exit(code=v.code, n_finished=self.n_trials, n_trials=self.n_trials, signum=v.signum,
                 said=v.said)
            for v in victims
            if not v.has_died
        ]  # fmt: skip

    def n_finished(self, keeper: Keeper, place: Place) -> int:
        """Trials that count, right now."""
        study = open_study(keeper.storages(place.url), place.name)
        return len(counted(study.get_trials(deepcopy=False)))

    def clean(self, keeper: Keeper, place: Place) -> None:
        """Leave nothing behind in a storage that many faults share."""
        if place.is_own:
            keeper.storages.close(place.url)
        else:
            remove_study(place, keeper.storages)


@dataclass(frozen=True, kw_only=True)
class Beats(Scenario):
    """Every epoch has a heartbeat, and one of them is late."""

    def live(self, place: Place, objective: Objective, points: Points) -> int:
        from batchfront.objectives.run import Run

        held: list[StillPulse] = []
        real_hold, real_report = StillPulse.hold, Run.report

        def hold(self: Any, trial: Any) -> None:
            held[:] = [self]
            real_hold(self, trial)

        def report(self: Any, *args: Any, **options: Any) -> None:
            real_report(self, *args, **options)
            for pulse in held:
                pulse.beat(late=len(self.curve) == 2)

        StillPulse.hold, Run.report = hold, report  # type: ignore[method-assign]
        return super().live(place, objective, points)


@dataclass(frozen=True, kw_only=True)
class Beside(Scenario):
    """Another worker runs a trial meanwhile, and must leave this one's alone."""

    def meet(self, keeper: Keeper, place: Place) -> None:
        one_trial(place, keeper.objective, keeper.storages)


@dataclass(frozen=True, kw_only=True)
class Remade(Scenario):
    """The study is deleted in the middle, and another one of its name runs a trial."""

    def meet(self, keeper: Keeper, place: Place) -> None:
        storages = keeper.storages
        kept = kept_now(place, storages)
        remove_study(place, storages)
        for path in kept:
            path.unlink()
        work(place, keeper.objective, storages, n_trials=1)
        storage = storages(place.url)
        study = open_study(storage, place.name)
        trial = study.ask(SearchSpace(batch_sizes=(2,)).distributions())
        beat(storage, id_of(trial))
        # As old as the one of before, where ids are used again.
        storage.set_trial_attrs(id_of(trial), {OWNER: this_process(), "seed": 1})
        since = time.time()
        keeper.owners.append(Owner(pid=this_process()["pid"], silences=((since, since + 9e9),)))

    def judge(self, keeper: Keeper, place: Place, victims: list[Victim]) -> list[Violation]:
        """The new study has nothing of the old one."""
        place.diary.unlink(missing_ok=True)  # of trials that are gone
        found = super().judge(keeper, place, victims)
        # What a process kept that was killed after its study was deleted, nobody knows of.
        return [one for one in found if not (victims[-1].has_died and "is kept for" in one.says)]


@dataclass(frozen=True, kw_only=True)
class Replaced(Scenario):
    """The database file is replaced in the middle, by a copy of what it holds then."""

    def meet(self, keeper: Keeper, place: Place) -> None:
        path, aside = Path(place.url.removeprefix("sqlite:///")), place.folder / "aside"
        with closing(sqlite3.connect(path)) as old, closing(sqlite3.connect(aside)) as new:
            old.backup(new)
        keeper.storages.close(place.url)
        for log in LOGS:
            path.with_name(path.name + log).unlink(missing_ok=True)
        aside.replace(path)


def beat(storage: SharedStorage, trial_id: int) -> None:
    """One sign of life, after which silence is silence."""
    if hasattr(storage, "record_heartbeat"):
        storage.record_heartbeat(trial_id)
    else:
        storage.set_trial_system_attr(trial_id, "batchfront_beat", 1)


def kept_now(place: Place, storages: Storages) -> list[Any]:
    """The checkpoints of the study as it is."""
    study = open_study(storages(place.url), place.name)
    return kept_files(study, place.kept, study_id=stored_identity(study))


@dataclass(frozen=True, kw_only=True)
class Queued(Scenario):
    """Trials that people have queued through Optuna, some of which nothing can be trained with."""

    def prepare(self, keeper: Keeper, place: Place) -> None:
        super().prepare(keeper, place)
        study = open_study(keeper.storages(place.url), place.name)
        for size, rate in ((1, "fast"), (1, 0.0), (1, 0.01), (40, 0.1)):
            study.enqueue_trial({"batch_size": 2**size, "learning_rate": rate})


@dataclass(frozen=True, kw_only=True)
class Unnamed(Scenario):
    """An earlier process has ended between asking for a trial and writing its name."""

    def prepare(self, keeper: Keeper, place: Place) -> None:
        super().prepare(keeper, place)
        study = open_study(keeper.storages(place.url), place.name)
        trial = study.ask(study.trials[0].distributions)
        assert study.trials[trial.number].state == TrialState.RUNNING
        since = time.time()
        keeper.owners.append(Owner(pid=0, died_at=since))


SCENARIOS: tuple[Scenario, ...] = (
    Scenario(name="create", says="a study is made, and its first trial run",
             n_before=0, n_trials=1),
    Scenario(name="trial", says="a trial is claimed, run and told"),
    Scenario(name="retry", says="the trial of a worker that died is taken up", before="dies"),
    Scenario(name="hand back", says="SIGTERM comes in the second epoch",
             befalls="SIGTERM", exit_code=143, signum=signal.SIGTERM),
    Scenario(name="hang up", says="SIGHUP comes in the second epoch of a trial taken up",
             before="dies", befalls="SIGHUP", exit_code=143, signum=signal.SIGHUP),
    Scenario(name="diverges", says="a run becomes NaN and is stopped", always="diverges"),
    Scenario(name="memory", says="a run that is known to fit finds no memory",
             befalls="full memory"),
    Beats(name="beats", says="a heartbeat comes after every epoch, and one late"),
    Scenario(name="elsewhere", says="the process was on another machine", is_silent=True),
    Beside(name="beside", says="another worker runs a trial meanwhile", befalls="meeting",
           n_trials=3),
    Remade(name="remade", says="the study is deleted and made anew in the second epoch",
           befalls="meeting", exit_code=2, is_silent=True),
    Replaced(name="replaced", says="the database file is replaced in the second epoch",
             befalls="meeting", exit_code=2, kinds=("sqlite",)),
    Queued(name="queued", says="people have queued trials, some of them useless", n_trials=3),
    Scenario(name="again", says="three processes in a row end, at points of their own",
             n_deaths=3),
    Scenario(name="group", says="three trials are claimed, run together and told",
             n_trials=4, n_asked=3, options={"fuse": 3}),
    Scenario(name="group ends", says="SIGTERM comes in the second epoch of three such trials",
             n_trials=4, n_asked=3, options={"fuse": 3},
             befalls="SIGTERM", exit_code=143, signum=signal.SIGTERM),
    Unnamed(name="unnamed", says="an earlier process had asked, and not written its name",
            kinds=("sqlite", "postgresql", "mysql", "journal")),  # where the lock tells of it
)  # fmt: skip
