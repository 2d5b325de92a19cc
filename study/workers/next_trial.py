"""Which trial a worker runs next: asked for under one lock, and ours from the start."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from batchfront.storage.shared import CLAIM_PATIENCE_SECONDS
from batchfront.study.opening.terms import attributes_now
from batchfront.study.plan.limits import known_limits, limits_of
from batchfront.study.plan.plan import PAUSING
from batchfront.study.probes.combinations import Foresight
from batchfront.study.pruning.by_name import make_stop_rule
from batchfront.study.pruning.pausing import nothing_kept, ranked, to_go_on
from batchfront.study.search.ending import Ending
from batchfront.study.search.spending import Spending
from batchfront.study.trials.attributes import (
    PURPOSE,
    ROOT,
    SURPLUS,
    id_of,
)
from batchfront.study.trials.costs import Costs, from_stored
from batchfront.study.trials.hardware import COSTS
from batchfront.study.trials.paused import is_thaw
from batchfront.study.workers.claimed import Claimed
from batchfront.study.workers.even import even_share
from batchfront.study.workers.foreign import fail_foreign
from batchfront.study.workers.kept import Kept
from batchfront.study.workers.retry import (
    drop,
    fail_dead,
    has_slot,
    is_double,
    mend_queue,
    thaw,
)
from batchfront.study.workers.so_far import SoFar
from batchfront.study.workers.trial_run import params_of
from batchfront.study.workers.unfinished import (
    is_alike,
    is_asked_for,
    next_waiting,
    will_be_missed,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from optuna import Study
    from optuna.trial import FrozenTrial, Trial

    from batchfront.objectives.objective import Objective
    from batchfront.storage.shared import SharedStorage
    from batchfront.study.machine.interrupts import Interrupts
    from batchfront.study.plan.plan import Plan
    from batchfront.study.workers.ledger import Ledger
    from batchfront.study.workers.pulse import Pulse

SHORT_PATIENCE_SECONDS = 1.0


class Agenda(Protocol):
    """What is run instead of the sampler's proposals; travels to worker processes."""

    def queue(self, study: Study, trials: Sequence[FrozenTrial]) -> int:
        """Queue what is due, under the claim lock; returns how many trials that were."""


class NextTrial:
    """What one worker claims its trials with, and what the study was like when it last looked."""

    def __init__(
        self,
        *,
        storage: SharedStorage,
        study: Study,
        plan: Plan,
        objective: Objective,
        ledger: Ledger,
        pulse: Pulse,
        interrupts: Interrupts,
        agenda: Agenda | None,
        kept: Kept | None,
    ) -> None:
        self._storage = storage
        self._study = study
        self._plan = plan
        self._objective = objective
        self._ledger = ledger
        self._pulse = pulse
        self._interrupts = interrupts
        self._agenda = agenda
        self._kept = kept
        self._ending = Ending(plan)
        self._foresight = Foresight(objective, plan)
        self._spending: Spending | None = None  # where there is a budget
        self._so_far = SoFar(plan.hardware)
        self._patience = CLAIM_PATIENCE_SECONDS
        self.costs: Costs = plan.costs
        self.stop_rule = make_stop_rule(plan, lambda: self.costs)
        self.limits = known_limits([], plan, plan.costs)
        self.n_running = 0
        """Trials of others that a worker without one waits for: any may be left behind."""

    @property
    def is_search(self) -> bool:
        """Whether no agenda says what is to be run."""
        return self._agenda is None

    @property
    def n_finished(self) -> int:
        """How many trials had finished when it last looked."""
        return self._so_far.n_finished

    @property
    def measured(self) -> list[FrozenTrial]:
        """The runs of the study that had ended by then, of all workers, and trained until then."""
        return self._so_far.measured

    def next(self) -> Claimed | None:
        """The next trial, or None when all slots are taken."""
        from optuna.exceptions import UpdateFinishedTrialError

        while True:
            try:
                return self._claim()
            except UpdateFinishedTrialError:  # paused right after it was asked for, or a double
                self._pulse.let_go()

    def _claim(self) -> Claimed | None:
        """A trial that is ours from the start.

        Counting and asking happen under one lock, so that workers never overshoot the total, and
        a sampler sees the parameters of every trial that runs beside its own.
        """
        with self._storage.claim_lock(self._plan.study_name, self._patience) as alone:
            # A holder that stood still once will do so again: it is not waited for twice.
            self._patience = CLAIM_PATIENCE_SECONDS if alone else SHORT_PATIENCE_SECONDS
            self._look(alone=alone)
            if self._interrupts.signum is not None:
                return None
            self._queue_agenda()
            if self._is_done() and not self._thaws():
                self.n_running = self._awaited()
                if self._kept is not None and self.n_running == 0:
                    self._kept.tidy()  # others may have died since they told their last trials
                return None
            trial = self._ask()
            if not alone:
                self._refuse_surplus(trial)
            return self._held(trial)

    def more(self, first: Claimed, most: int) -> list[Claimed]:
        """Waiting trials that can be trained together with one that is ours, at most so many.

        An agenda has asked for them, at the same batch size.
        """
        from optuna.exceptions import UpdateFinishedTrialError

        found: list[Claimed] = []
        if self._agenda is None or most < 1:
            return found
        with self._storage.claim_lock(self._plan.study_name, self._patience) as alone:
            self._so_far.follow(self._study)
            n_alike = sum(is_alike(trial, first) for trial in self._so_far.unfinished)
            share = even_share(n_alike + 1, most + 1) - 1
            while alone and len(found) < share and self._interrupts.signum is None:
                self._so_far.follow(self._study)
                waiting = next_waiting(self._so_far.unfinished)
                if waiting is None or not is_alike(waiting, first):
                    break
                try:
                    found.append(self._held(self._ask()))
                except UpdateFinishedTrialError:  # a double
                    break
        return found

    def _held(self, trial: Trial) -> Claimed:
        """It is ours from here on: who has an owner and no heartbeat is never missed."""
        self._pulse.hold(trial)
        claimed = self._claimed(trial)
        self._ledger.claimed(claimed, self._objective, lease_seconds=self._pulse.lease_seconds)
        return claimed

    def _claimed(self, trial: Trial) -> Claimed:
        params = params_of(trial, self._plan)
        return Claimed(
            trial=trial,
            params=params,
            purpose=trial.user_attrs.get(PURPOSE),
            goes_on=is_thaw(trial),
            is_probed=self._plan.space.is_probed(trial.params),
            costs=self.costs,
            limits=self.limits,
            growth=self._plan.growth,
            checkpoint=None if self._kept is None else self._kept.claim(trial),
            # A run that goes on has shown that it fits: what is free now may be others' doing.
            foresight=None if ROOT in trial.user_attrs else self._foresight,
        )

    def _look(self, *, alone: bool) -> None:
        """See what trials there are, and what they say of limits; the dead ones' run again."""
        attributes = attributes_now(self._storage, self._study, self._plan)
        so_far = self._so_far
        so_far.follow(self._study)
        fail_foreign(self._storage, so_far.foreign, alone=alone)
        # Whoever failed them: what was seen may be older than that.
        if fail_dead(self._storage, so_far.unfinished, alone=alone):
            so_far.follow(self._study)
        if mend_queue(self._storage, self._study, so_far.chain):
            so_far.follow(self._study)
        self.costs = from_stored(attributes.get(COSTS + self._plan.hardware, []))
        self.limits = limits_of(so_far.sizes, self._plan, self.costs)
        if self._plan.goal.budget is not None and self._agenda is None:
            trials = so_far.trials
            self._spending = self._ending.spending(self._study, trials, self.limits)
        if self._spending is not None:
            self.limits = self._spending.within(self.limits)
        if self._kept is not None:
            self._kept.seen(lambda: so_far.trials)
            if self._plan.pruner == PAUSING:
                self._kept.limit(lambda: ranked(self.stop_rule, self._study))

    def _queue_agenda(self) -> None:
        """Queue what an agenda has next, where nothing waits."""
        so_far = self._so_far
        if self._agenda is None or is_asked_for(so_far.unfinished, "WAITING"):
            return
        if self._agenda.queue(self._study, so_far.trials):
            so_far.follow(self._study)

    def _is_done(self) -> bool:
        """Whether there is nothing to ask for now."""
        unfinished = self._so_far.unfinished
        if self._agenda is not None:
            return not is_asked_for(unfinished, "WAITING")
        if any(trial.state.name == "WAITING" and is_thaw(trial) for trial in unfinished):
            return False
        n_running = sum(
            trial.state.name == "RUNNING" and PURPOSE not in trial.user_attrs
            for trial in unfinished
        )
        if self.n_finished + n_running < self._plan.n_trials and next_waiting(unfinished):
            return False  # it was begun, and is not left behind
        end = self._ending.of(
            self._study,
            self.limits,
            n_finished=self.n_finished,
            n_running=n_running,
            spending=self._spending,
        )
        return end is not None

    def _thaws(self) -> bool:
        """Queue the most promising of the paused runs that may still belong to the front."""
        if self._agenda is not None:
            return False
        is_kept = nothing_kept if self._kept is None else self._kept.has
        due = to_go_on(
            self.stop_rule, self._study, self._so_far.trials, limits=self.limits, is_kept=is_kept
        )
        trial = next(iter(due), None)
        if trial is not None:
            thaw(self._study, trial)
            self._so_far.follow(self._study)
        return trial is not None

    def _ask(self) -> Trial:
        """One that waits, else the sampler's next point."""
        waiting = next_waiting(self._so_far.unfinished)
        queued = {} if waiting is None else waiting.system_attrs.get("fixed_params", {})
        trial = self._study.ask(self._plan.space.holding(queued).distributions())
        if ROOT in trial.user_attrs:
            self._refuse_double(trial)
        return trial

    def _refuse_double(self, trial: Trial) -> None:
        """Raise UpdateFinishedTrialError where somebody has queued the same run before.

        Where two workers look at once, as on gRPC, each may have queued it.
        """
        from optuna.exceptions import UpdateFinishedTrialError

        self._so_far.follow(self._study)
        (own,) = (one for one in self._so_far.unfinished if one.number == trial.number)
        if is_double(own, self._so_far.chain):
            drop(self._storage, id_of(trial))
            raise UpdateFinishedTrialError(f"trial {trial.number} was queued twice")

    def _refuse_surplus(self, trial: Trial) -> None:
        """Raise UpdateFinishedTrialError where others took the last slots meanwhile.

        Without the claim lock several workers may have counted before any of them asked.
        """
        from optuna.exceptions import UpdateFinishedTrialError

        if self._agenda is not None:
            return
        self._so_far.follow(self._study)
        if not has_slot(trial, self._so_far.trials, self._plan.n_trials):
            drop(self._storage, id_of(trial), SURPLUS)
            raise UpdateFinishedTrialError(f"trial {trial.number} has no slot")

    def _awaited(self) -> int:
        """How many trials run that may be left behind.

        0 when nobody would notice: workers of versions without a heartbeat are not waited for.
        """
        running = [trial for trial in self._so_far.unfinished if trial.state.name == "RUNNING"]
        if self._agenda is not None and not is_asked_for(running, "RUNNING"):
            return 0  # a search runs beside; its trials are nothing to wait for
        return len(running) if any(map(will_be_missed, running)) else 0
