"""Optuna's samplers by name, made to work with stopped trials and across resumes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from batchfront.study.quiet import only_errors, quiet_optuna
from batchfront.study.search.forwarding import Forwarding
from batchfront.study.search.placed import PlacedSampler
from batchfront.study.trials.attributes import CONSTRAINT, SO_FAR, derive_seed
from batchfront.study.trials.sound import SoundTrials

if TYPE_CHECKING:
    from batchfront.study.plan.space import SearchSpace


def stock_sampler(name: str, *, space: SearchSpace, seed: int) -> BaseSampler:
    """One of Optuna's, whose draws depend only on the seed, the trial's number and the study."""
    sampler = _stock_sampler(name, space=space, seed=seed)
    if not space.exponents and name != "grid":  # which draws sizes as they are
        sampler = PlacedSampler(sampler, space.batch_sizes)
    return ProjectedSampler(sampler) if name == "gp" else sampler


def _stock_sampler(name: str, *, space: SearchSpace, seed: int) -> BaseSampler:
    samplers = optuna.samplers
    makers: dict[str, Callable[[int], BaseSampler]] = {
        "tpe": lambda s: samplers.TPESampler(seed=s, multivariate=True, constant_liar=True),
        "random": lambda s: samplers.RandomSampler(seed=s),
        "nsgaii": lambda s: samplers.NSGAIISampler(seed=s),
        "nsgaiii": lambda s: samplers.NSGAIIISampler(seed=s),
        "gp": lambda s: samplers.GPSampler(seed=s, warn_independent_sampling=False),
    }
    if name == "qmc":
        # One sequence, continued through the study's own counter: its seed must never change.
        with quiet_optuna():
            return samplers.QMCSampler(
                seed=seed,
                scramble=True,
                independent_sampler=PerTrialSampler(makers["random"], seed=seed),
                warn_independent_sampling=False,
            )
    if name == "grid":
        return EndlessGrid(samplers.GridSampler(space.grid(), seed=seed))
    return PerTrialSampler(makers[name], seed=seed)


class PerTrialSampler(Forwarding):
    """Seeds afresh for every trial, by its number.

    A sampler seeded once repeats its first draws when a study is resumed, and two workers with one
    seed draw the same points. Seeded by (seed, trial number), one worker gives the same sequence
    whether it was interrupted or not, and no two trials of a study share a stream.
    """

    def __init__(self, make: Callable[[int], BaseSampler], *, seed: int) -> None:
        self._make = make
        self._seed = seed
        super().__init__(self._made(seed))

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        self.inner = self._made(derive_seed(self._seed, trial.number, purpose="sampler"))
        super().before_trial(study, trial)

    def _made(self, seed: int) -> BaseSampler:
        with quiet_optuna():
            return self._make(seed)


class EndlessGrid(Forwarding):
    """A grid in random order, over and over: points that come again get another training seed.

    Its own seed orders the points, so it must be the same for all trials. The next point is drawn
    from those that are left, so a resume draws no point twice; in later rounds it may.
    """

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        with only_errors():  # it warns when the grid is exhausted
            self.inner.before_trial(study, trial)

    def after_trial(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        """Nothing: GridSampler would stop `Study.optimize`, which we do not use."""


class ProjectedSampler(Forwarding):
    """Shows a sampler that ignores PRUNED trials a view in which they are COMPLETE, infeasible.

    Without it GPSampler knows nothing of stopped runs and goes back to where they diverge.
    """

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        view = projected(study)
        return self.inner.infer_relative_search_space(view, view.trials[trial.number])

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        view = projected(study)
        return self.inner.sample_relative(view, view.trials[trial.number], search_space)


def projected(study: optuna.Study) -> optuna.Study:
    """An in-memory copy with the same trial numbers, stopped trials completed to their full cost.

    Time and memory are those of the full run at the pace measured; the metric of a stopped run is
    never taken below the worst of the completed ones, which diverged regressions would dwarf.
    """
    view = optuna.create_study(directions=study.directions, study_name=study.study_name)
    trials = study.get_trials(deepcopy=False)
    sound = SoundTrials()
    ours = {t.number for t in sound.of(study)}
    told = [t.values[0] for t in trials if t.number in ours and t.values is not None]
    worse = min if study.directions[0].name == "MAXIMIZE" else max
    worst = worse(told, default=0.0)

    def not_below(metric: float | None) -> float:
        return worst if metric is None or worse(metric, worst) == metric else metric

    view.add_trials([_completed(t, not_below) if t.number in ours else _nothing(t) for t in trials])
    return view


def _nothing(trial: FrozenTrial) -> FrozenTrial:
    """What stands in the place of a trial that is none of ours, so that numbers agree."""
    return create_trial(state=TrialState.FAIL)


def _completed(trial: FrozenTrial, not_below: Callable[[float | None], float]) -> FrozenTrial:
    """GPSampler wants the same constraints on every completed trial: ours, and only that."""
    if trial.state == TrialState.COMPLETE:
        values = trial.values
    elif (
        trial.state == TrialState.PRUNED and None not in trial.user_attrs.get(SO_FAR, [0, None])[1:]
    ):
        metric, seconds, peak = trial.user_attrs[SO_FAR]
        values = [not_below(metric), seconds, peak]
    else:
        return trial
    return create_trial(
        state=TrialState.COMPLETE,
        params=trial.params,
        distributions=trial.distributions,
        values=values,
        constraints={CONSTRAINT: trial.constraints.get(CONSTRAINT, 0.0)},
    )
