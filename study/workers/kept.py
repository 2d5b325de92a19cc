"""The checkpoints of a study's runs: which are needed still, and which nobody will read again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from batchfront.storage.checkpoint import Checkpoint
from batchfront.study.trials.attributes import HARDWARE, derive_seed
from batchfront.study.trials.kept import bytes_of, identity_of, root_of
from batchfront.study.trials.paused import is_paused
from batchfront.study.workers.retry import lost_runs

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial, Trial

    from batchfront.objectives.objective import Objective
    from batchfront.study.plan.plan import Plan


class Kept:
    """Runs of this hardware, in one folder."""

    def __init__(self, *, folder: Path, plan: Plan, objective: Objective) -> None:
        self._folder = folder
        self._plan = plan
        self._compiled = objective.compiled
        self._trials: Callable[[], Sequence[FrozenTrial]] = tuple  # as they were seen last
        self._is_tidy = False
        self._n_paused = 0  # when their files were counted last
        self._claimed: Checkpoint | None = None

    def claim(self, trial: Trial) -> Checkpoint:
        """The checkpoint of a trial that this process runs now."""
        self._claimed = self.of(trial)
        return self._claimed

    def of(self, trial: Trial | FrozenTrial) -> Checkpoint:
        """The checkpoint that a trial shares with those that take it up on the same hardware."""
        plan, root = self._plan, root_of(trial)
        how = {
            "epochs": plan.length.as_record()["epochs"],
            "seed": derive_seed(plan.seed, root, purpose="trial"),
            HARDWARE: plan.hardware,
            "compiled": self._compiled,
        }
        return Checkpoint(
            self._folder,
            identity_of(trial, study_name=plan.study_name, study_id=plan.study_id, how=how),
        )

    def has(self, trial: FrozenTrial) -> bool:
        """Whether something is kept of its run here."""
        return self.of(trial).path.exists()

    def seen(self, trials: Callable[[], Sequence[FrozenTrial]]) -> None:
        """Note where the study's trials are; at first, what killed workers have left is removed."""
        self._trials = trials
        if not self._is_tidy:
            self._is_tidy = True
            self.tidy()

    def tidy(self) -> None:
        """Remove what is kept of runs that have ended: their workers died before they did so.

        Those that are paused have not: they may go on.
        """
        trials = self._trials()
        ended = [trial for trial in trials if trial.state.is_finished()]
        lost = lost_runs(trials)
        going_on = [t for t in trials if not t.state.is_finished() or is_paused(t)]
        needed = {root_of(trial) for trial in (*going_on, *lost)}
        self._remove(trial for trial in ended if root_of(trial) not in needed)
        for trial in filter(is_paused, trials):
            self.of(trial).tidy()

    def limit(self, ranked: Callable[[], Sequence[FrozenTrial]]) -> None:
        """Remove what is kept of paused runs beyond the plan's GiB: those would start over.

        `ranked`: the paused ones, the most hopeless last; which takes time to find.
        """
        here = [t for t in self._trials() if is_paused(t) and self._ran_here(t)]
        n_before, self._n_paused = self._n_paused, len(here)
        most = self._plan.paused_gib * 2**30
        if len(here) <= n_before or bytes_of(self._paths(here)) <= most:
            return
        trials = list(ranked())
        while trials and bytes_of(self._paths(trials)) > most:
            self.of(trials.pop()).remove()

    def _ran_here(self, trial: FrozenTrial) -> bool:
        return bool(trial.user_attrs.get(HARDWARE) == self._plan.hardware)

    def _paths(self, trials: Iterable[FrozenTrial]) -> list[Path]:
        return [self.of(trial).path for trial in trials]

    def forget(self) -> None:
        """Remove what is kept of any run: the study was deleted."""
        if self._claimed is not None:
            self._claimed.remove()
        self._remove(self._trials())

    def _remove(self, trials: Iterable[FrozenTrial]) -> None:
        # What a killed writer left unfinished may be there without the file that it was to be.
        there = {path.name.partition(".")[0] for path in self._folder.glob("*.pt*")}
        if not there:
            return
        for trial in trials:
            checkpoint = self.of(trial)
            if checkpoint.path.stem in there:
                checkpoint.remove()
