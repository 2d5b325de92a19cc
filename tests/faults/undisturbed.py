"""What a trial's run measures when nothing befalls it: made anew from its parameters and seed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from optuna import Study
from optuna.trial import FrozenTrial

from batchfront.objectives.measurement import Measurement, TrialParams
from batchfront.objectives.objective import Objective
from batchfront.objectives.run import carry_out
from batchfront.study.opening.planned import resumed_plan
from batchfront.study.plan.plan import Plan
from batchfront.study.plan.settings import StudySettings
from batchfront.study.trials.attributes import SCALED, SCHEDULE, SCORE_TEST, UNPROBED, derive_seed
from batchfront.study.trials.costs import Costs, SizeCost
from batchfront.study.trials.growing import cost_of, first_steps
from batchfront.study.trials.hardware import stored_costs
from batchfront.study.workers.trial_run import run_of


def first_of(trial: FrozenTrial) -> int:
    """Number of the trial whose run it goes on with, as Optuna keeps it; its own else."""
    return int((trial.system_attrs.get("retry_history") or [trial.number])[0])


@dataclass
class Undisturbed:
    """Runs of one study; each is made once."""

    objective: Objective
    plan: Plan
    costs: Costs
    _made: dict[tuple[Any, ...], Measurement | Exception] = field(default_factory=dict)

    @staticmethod
    def of(study: Study, objective: Objective, *, device: str = "cpu") -> Undisturbed:
        """The runs of a study as its record asks for them."""
        settings = StudySettings(study_name=study.study_name, device=device)
        plan = resumed_plan(study, settings, objective, device)
        return Undisturbed(objective, plan, stored_costs(study, plan.hardware))

    def seed_of(self, trial: FrozenTrial) -> int:
        """The seed that belongs to the run's first trial."""
        return derive_seed(self.plan.seed, first_of(trial), purpose="trial")

    def run_of(self, trial: FrozenTrial) -> Measurement | Exception:
        """What it measures, or what the objective raises."""
        params = trial.params
        rate = trial.user_attrs.get(SCALED, params["learning_rate"])
        key = (*sorted(params.items()), rate, self.seed_of(trial), trial.user_attrs.get(SCHEDULE))
        if key not in self._made:
            self._made[key] = self._run(
                TrialParams(
                    batch_size=params["batch_size"],
                    learning_rate=rate,
                    epochs=self.plan.length.points,
                    seed=self.seed_of(trial),
                    device=self.plan.device,
                    score_test=bool(trial.user_attrs.get(SCORE_TEST)),
                    extra=self.plan.space.own(params),
                    schedule=trial.user_attrs.get(SCHEDULE),
                    diagnostics=self.plan.diagnostics,
                )
            )
        return self._made[key]

    def _run(self, params: TrialParams) -> Measurement | Exception:
        run = run_of(self.plan, self.objective, step_seconds=None, measure_memory=False)
        try:
            carry_out(self.objective, params, run)
            return run.result()
        except Exception as error:  # user code may raise anything
            return error

    def cost_of(self, trial: FrozenTrial, measured: Measurement) -> SizeCost | None:
        """What probes tell of the run, through all batch sizes that it grew to; None: nothing."""
        if trial.user_attrs.get(UNPROBED):
            return None
        if measured.phases:
            return cost_of(first_steps(measured.phases, measured.steps), self.costs)
        return self.costs.get(trial.params["batch_size"])
