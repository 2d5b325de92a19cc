"""Lives of the commands that write studies and pages without training: copy, import, delete."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import optuna

from batchfront.objectives.objective import Objective
from batchfront.storage.files import replace_text
from batchfront.storage.open import open_storage
from batchfront.study.opening.open import open_study
from batchfront.study.transfer import copying, deleting, importing
from batchfront.study.transfer.writing import content
from batchfront.study.trials.attributes import AGREEMENT
from tests.faults.place import Place, Storages, Victim, told_in_one_line, work
from tests.faults.points import Points
from tests.faults.scenarios import Keeper, Scenario, begin
from tests.faults.scene import LOST_RUN, WRONG, Violation

RUNS = """batch_size,learning_rate,val_accuracy,train_seconds,peak_memory_bytes
8,0.01,0.91,2.5,1000
16,0.02,0.93,1.5,2000
32,0.04,0.92,0.9,4000
"""


def told(command: Callable[[], object]) -> int:
    """The exit code of a command."""
    with told_in_one_line() as code:
        command()
    return code[0]


def quietly(line: str) -> None:
    """Nobody reads what commands say."""


def is_ours(place: Place, keeper: Keeper) -> bool:
    """Whether the study is there, and whole."""
    storage = keeper.storages(place.url)
    if place.name not in optuna.get_all_study_names(storage):
        return False
    return AGREEMENT in optuna.load_study(study_name=place.name, storage=storage).user_attrs


@dataclass(frozen=True, kw_only=True)
class Copy(Scenario):
    """A study of two trials comes from a journal; the copy goes on to a third."""

    def prepare(self, keeper: Keeper, place: Place) -> None:
        begin(keeper, _source(place), n_trials=2)
        keeper.storages.close(_source(place).url)

    def live(self, place: Place, objective: Objective, points: Points) -> int:
        return told(lambda: _copy(place))

    def finish(self, keeper: Keeper, place: Place) -> int:
        copying.open_storage = keeper.storages  # type: ignore[attr-defined]
        if not is_ours(place, keeper):  # else it says that there is one
            code = told(lambda: _copy(place))
            assert code == 0, "the copy does not go on"
        return work(place, keeper.objective, keeper.storages, n_trials=self.n_trials)

    def judge(self, keeper: Keeper, place: Place, victims: list[Victim]) -> list[Violation]:
        found = super().judge(keeper, place, victims)
        source = open_study(open_storage(_source(place).url, mode="reader"), place.name)
        copied = open_study(keeper.storages(place.url), place.name)
        for one, other in zip(source.trials, copied.trials, strict=False):
            if content(one) != content(other):
                text = f"trial {one.number} of the copy differs: {content(other)}"
                found.append(Violation(WRONG, text))
        return found


def _source(place: Place) -> Place:
    return replace(place, kind="journal", url=f"journal:///{place.folder}/source.log")


def _copy(place: Place) -> None:
    copying.copy_study(_source(place).url, place.url, place.name, quietly)


@dataclass(frozen=True, kw_only=True)
class Import(Scenario):
    """Three recorded runs become a study."""

    def prepare(self, keeper: Keeper, place: Place) -> None:
        _table(place).write_text(RUNS)

    def live(self, place: Place, objective: Objective, points: Points) -> int:
        return told(lambda: _import(place))

    def finish(self, keeper: Keeper, place: Place) -> int:
        importing.open_storage = keeper.storages  # type: ignore[attr-defined]
        return told(lambda: _import(place))

    def judge(self, keeper: Keeper, place: Place, victims: list[Victim]) -> list[Violation]:
        """It is the study that comes of an import which nothing befalls."""
        undisturbed = replace(place, url=f"journal:///{place.folder}/undisturbed.log")
        importing.open_storage = open_storage  # type: ignore[attr-defined]
        _import(undisturbed)
        wanted, found = _all_of(undisturbed, Storages()), _all_of(place, keeper.storages)
        return [] if found == wanted else [Violation(WRONG, f"it is {found}, wanted {wanted}")]


def _table(place: Place) -> Path:
    return place.folder / "runs.csv"


def _import(place: Place) -> None:
    importing.import_table(_table(place), place.url, place.name, quietly)


def _all_of(place: Place, storages: Storages) -> tuple[object, ...]:
    study = open_study(storages(place.url), place.name)
    return [content(t) for t in study.trials], study.user_attrs, study.directions


@dataclass(frozen=True, kw_only=True)
class Delete(Scenario):
    """A study is deleted with the checkpoint of a run that was cut off."""

    def live(self, place: Place, objective: Objective, points: Points) -> int:
        return told(lambda: _delete(place))

    def finish(self, keeper: Keeper, place: Place) -> int:
        deleting.open_storage = keeper.storages  # type: ignore[attr-defined]
        if is_ours(place, keeper):
            return told(lambda: _delete(place))
        return 0

    def n_finished(self, keeper: Keeper, place: Place) -> int:
        return self.n_trials

    def judge(self, keeper: Keeper, place: Place, victims: list[Victim]) -> list[Violation]:
        names = optuna.get_all_study_names(keeper.storages(place.url))
        left = [str(path.name) for path in place.kept.glob("*")]
        left += [place.name] if place.name in names else []
        return [Violation(WRONG, f"it was deleted, and {left} is left")] if left else []


def _delete(place: Place) -> None:
    deleting.delete_study(place.url, place.name, checkpoints=place.kept, agree=lambda line: True)


@dataclass(frozen=True, kw_only=True)
class Page(Scenario):
    """A page is written over an older one, as reports, exports and figures are."""

    def prepare(self, keeper: Keeper, place: Place) -> None:
        _page(place).write_text(OLD)

    def live(self, place: Place, objective: Objective, points: Points) -> int:
        replace_text(_page(place), NEW)
        return 0

    def finish(self, keeper: Keeper, place: Place) -> int:
        return 0

    def n_finished(self, keeper: Keeper, place: Place) -> int:
        return self.n_trials

    def judge(self, keeper: Keeper, place: Place, victims: list[Victim]) -> list[Violation]:
        """The old one or the new one is there, whole."""
        there = _page(place).read_text()
        return [] if there in (OLD, NEW) else [Violation(LOST_RUN, f"half a page: {there[:40]}")]

    def clean(self, keeper: Keeper, place: Place) -> None:
        """It has no study."""


OLD, NEW = "old " * 9000, "new " * 9000


def _page(place: Place) -> Path:
    return place.folder / "report.html"


TRANSFERS: tuple[Scenario, ...] = (
    Copy(name="copy", says="a study is copied, and the copy goes on", n_trials=3),
    Import(name="import", says="recorded runs become a study", n_trials=3),
    Delete(name="delete", says="a study is deleted, with what is kept of a run", before="dies"),
    Page(name="page", says="a page takes the place of an older one", kinds=("journal",)),
)
