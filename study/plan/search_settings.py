"""What a user may set of the search, and of its end."""

from __future__ import annotations

from dataclasses import dataclass, replace

from batchfront.objectives.number import SEED, SIZE, Number
from batchfront.study.plan.choices import PRUNERS, SAMPLERS
from batchfront.study.plan.goal import MOST_TRIALS, USUAL_TRIALS, Goal
from batchfront.study.plan.parsers import AUTO
from batchfront.study.plan.setting import SEARCHING, TRAINING, setting
from batchfront.study.plan.sizes import is_powers
from batchfront.study.plan.space import Scale, SearchSpace


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """What is searched, and how."""

    n_trials: int | str | None = setting(
        "the total to reach, whoever ran them, or auto: until more would gain little; default: 30, "
        "with a budget auto",
        group="search",
        verbs="run",
        kind="trials",
    )
    budget: float | None = setting(
        "training time of all runs together, like 90s, 20m or 1.5h: the search plans for it",
        group="search",
        verbs="run",
        kind="duration",
    )
    budget_total: float | None = setting(
        "the same with everything: probes, validation, and choosing what to run",
        group="search",
        verbs="run",
        kind="duration",
    )
    confirm: int | None = setting(
        "fresh seeds of what is recommended, run once the search has ended; default: none",
        group="search",
        verbs="run",
        number=Number(low=1, high=1000, whole=True),
    )
    sampler: str | None = setting(
        f"{', '.join(SAMPLERS)}; default: cost-aware", group="search", verbs="run"
    )
    warm_start: tuple[str, ...] | None = setting(
        "an earlier study of the same task: its name, or URL#NAME; may be repeated; default: none",
        group="search",
        verbs="run",
        kind="studies",
    )
    pruner: str | None = setting(
        f"{', '.join(PRUNERS)}, or path/to/mine.py:name; default: front",
        group="search",
        verbs="run",
    )
    pruner_risk: float | None = setting(
        "chance to stop a run of the final front; default: 0.02 of front, 0.05 of front-paused",
        group="search",
        verbs="run",
    )
    seed: int | None = setting(
        "of sampler and trials; default: 0",
        group="search",
        verbs=SEARCHING,
        number=SEED,
    )
    batch_sizes: tuple[int, ...] | None = setting(
        "8:512 (powers of two), 24,48,96 or 16:128:16 (in steps); default: 1:512",
        group="search",
        verbs=TRAINING,
        kind="batch sizes",
    )
    learning_rates: tuple[float, float] | str | None = setting(
        "LOW:HIGH, one fixed rate, or auto: what lr-range suggests; default: 1e-4:3",
        group="search",
        verbs=TRAINING,
        kind="learning rates",
    )
    scale_rule: str | None = setting(
        "none, linear or sqrt: rates are base rates, scaled by the batch size",
        group="search",
        verbs="run smallest probe",
    )
    scale_reference: int | None = setting(
        "batch size at which they are not; default: 64",
        group="search",
        verbs="run smallest probe",
        number=SIZE,
    )

    @property
    def most_trials(self) -> int:
        """The greatest number of trials."""
        if isinstance(self.n_trials, int):
            return self.n_trials
        return MOST_TRIALS if self.goal.is_auto else USUAL_TRIALS

    @property
    def goal(self) -> Goal:
        """What may end a search before that."""
        budget = self.budget_total if self.budget is None else self.budget
        return Goal(
            is_auto=self.n_trials == AUTO or (self.n_trials is None and budget is not None),
            budget=budget,
            is_total=self.budget_total is not None,
        )

    def space(self, base: SearchSpace) -> SearchSpace:
        """`base` with the ranges the user named in place of its own."""
        rates = base.learning_rates
        sizes = base.batch_sizes if self.batch_sizes is None else self.batch_sizes
        if isinstance(self.learning_rates, tuple):  # neither left out nor AUTO
            rates = self.learning_rates
        scale = Scale(
            rule=base.scale.rule if self.scale_rule is None else self.scale_rule,
            reference=self.scale_reference or base.scale.reference,
        )
        exponents = base.exponents and is_powers(sizes)
        return replace(
            base, batch_sizes=sizes, learning_rates=rates, scale=scale, exponents=exponents
        )
