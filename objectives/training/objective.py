"""Our training loop: tensors resident on the device, one shuffle per epoch, no sync per step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from batchfront.objectives.device.randomness import seed_everything
from batchfront.objectives.gradients.diagnose import diagnose
from batchfront.objectives.gradients.draws import Gradients
from batchfront.objectives.length import Length
from batchfront.objectives.loading.examples import Examples
from batchfront.objectives.loading.loader import deaths_told
from batchfront.objectives.loss import SUM
from batchfront.objectives.measurement import ObjectiveError, TrialParams
from batchfront.objectives.parameter import Value, usual_values
from batchfront.objectives.run import Run
from batchfront.objectives.task import Task
from batchfront.objectives.training.batches import EXACT, Order, order_memory, sizes_of_steps
from batchfront.objectives.training.begun import Begun
from batchfront.objectives.training.epochs import compiled_epoch, go_on_from, ordinary_epoch
from batchfront.objectives.training.feed import Batches, ResidentFeed
from batchfront.objectives.training.learning_rate import rate_driver
from batchfront.objectives.training.member import Member
from batchfront.objectives.training.optimizer import build_optimizer
from batchfront.objectives.training.own_schedule import own_scheduler
from batchfront.objectives.training.predict import predict_peak_bytes
from batchfront.objectives.training.ready import made_ready
from batchfront.objectives.training.recipe import PLAIN, Recipe
from batchfront.objectives.training.schedules import BatchSizes, Growth
from batchfront.objectives.training.source import AnyOrder
from batchfront.objectives.training.sources import InMemory
from batchfront.objectives.training.step import (
    Stepper,
    build_model,
    changes_step,
    facts_of,
    has_batch_norm,
)

if TYPE_CHECKING:
    from torch import nn


class TaskObjective:
    """A task made ready on one device: call it with `(params, run)` to train once.

    Data and shuffle buffers are allocated here, once, before any run's memory is measured. Where
    `compiled`, the whole step is compiled here too.

    Raises:
        ObjectiveError: the task's data, model or loss does not fit together, or its step is one
            that must not be compiled.
    """

    def __init__(
        self,
        task: Task,
        *,
        name: str,
        device: str,
        compiled: bool = False,
        recipe: Recipe = PLAIN,
        batches: str = EXACT,
    ) -> None:
        """`batches`: the rule by which they are cut, of `batches.RULES`."""
        ready = made_ready(
            task, name=name, device=device, compiled=compiled, recipe=recipe, batches=batches
        )
        self.name, self.device, self.recipe, self.compiled = name, device, recipe, compiled
        self.declared, self.task, self.search = ready.declared, ready.task, ready.search
        self.loss, self.metric = ready.loss, ready.judge.scorer.metric
        self.behaviour, self.fingerprint = ready.behaviour, ready.fingerprint
        self.notes, self.why_least = ready.notes, ready.why_least
        self.some_unused = ready.some_unused
        self.default_epochs, self.tokens_per_example = task.epochs, task.tokens_per_example
        self.early_stopping, self.report = task.early_stopping, task.report
        self.max_epochs: int | None = None
        self.recorded: Length | None = None
        self.member: Member | None = None
        self._source, self._judge, self._rule = ready.source, ready.judge, batches
        self._baseline_loss, self._baseline_metric = ready.baseline
        self._compiled = ready.compiled
        self._stepper: Callable[..., Stepper] = Stepper
        self.n_train: int | None = self._source.n_train
        self.whole_epochs = self._source.steps is not None
        self.batch_sizes: tuple[int, int | None] = (ready.least, self._source.n_train)

    @property
    def starts_processes(self) -> bool:
        """Whether others load data for it, which need cores of their own."""
        return self._source.starts_processes

    def leave_device(self) -> None:
        """Let go of data that lies on an accelerator, which others are to train on."""
        self._source.leave_device()

    def train_in_ranks(self, member: Member, stepper: Callable[..., Stepper]) -> None:
        """Train every run from now on as one of several ranks, whose steps `stepper` makes."""
        self.member, self._stepper = member, stepper
        self._judge = replace(self._judge, listens=member.rank == 0)
        self._source.share(member.part_of)

    def __call__(self, params: TrialParams, run: Run) -> None:
        train = deaths_told()(partial(self._train, params, run))
        if self.member is not None:
            self.member.take_part(train, params, run)
        elif self.recipe.data_parallel > 1:
            raise ObjectiveError("ranks load a task by its name, which load_objective knows")
        else:
            train()

    def _train(self, params: TrialParams, run: Run) -> None:
        seed_everything(params.seed)
        run.keeps_if_asked = True
        begun = self.begin(params, run, self.order(params.seed))
        for epoch in run.points(begun.first, begun.length.points):
            if begun.sizes.grow:
                run.plan(begun.sizes.phases)
            begun.model.train()
            begun.train_epoch(self._batches_of(begun, epoch, run))
            self.end_epoch(begun, params, run, epoch)
        self.diagnose(begun, params, run)

    def begin(self, params: TrialParams, run: Run, order: AnyOrder) -> Begun:
        """All that a run trains with; it has begun, or goes on from where it was kept.

        Global random numbers are to be seeded before.
        """
        n_train = self._source.n_train
        if run.restored is not None:
            order.go_on_from(run.restored["order"])
        if self._compiled is not None:
            with run.validating():  # what is compiled here is no part of the run
                self._compiled.prepare(sizes_of_steps(params.batch_size, n_train, rule=order.rule))
        task = self.task_of(params)
        recipe = self.recipe.at(params.extra)
        model = build_model(task, recipe).to(self.device)
        length = replace(params.planned, n_train=n_train)
        sizes = self._sizes_of(params, run, length, order)
        run.trained_with(**facts_of(recipe, sizes.largest, batch_norm=has_batch_norm(model)))
        train_epoch, parts = self._trainer(task, model, params, run, recipe, sizes)
        rates = rate_driver(
            parts["optimizer"], recipe, length, batch_size=length.batch(params.batch_size)
        )
        states = {"model": model, **parts, **({"sizes": sizes} if sizes.grow else {})}
        most_steps = sum(phase.steps for phase in sizes.phases)  # before it goes on: then fewer
        first = 1 if run.restored is None else go_on_from(run.restored, states)
        run.begin(
            most_steps,
            baseline_loss=self._baseline_of(sizes, min(params.batch_size, n_train)),
            baseline_metric=self._baseline_metric,
        )
        return Begun(
            task=task,
            recipe=recipe,
            model=model,
            order=order,
            length=length,
            sizes=sizes,
            train_epoch=train_epoch,
            states=states,
            rates=rates,
            first=first,
        )

    def _sizes_of(
        self, params: TrialParams, run: Run, length: Length, order: AnyOrder
    ) -> BatchSizes:
        """The batch sizes that a run comes to, in batches that are cut as its order cuts them."""
        schedule = "constant" if run.holds_batch_size else params.schedule
        growth = self.growth(length, schedule, first=(params.batch_size,))
        return BatchSizes(replace(growth, rule=order.rule), params.batch_size)

    def baseline_of(self, n_examples: int) -> float | None:
        """What the best constant predictor loses in a batch; None where it has no loss."""
        return self.loss.of_batch(self._baseline_loss, n_examples)

    def _baseline_of(self, sizes: BatchSizes, n_examples: int) -> float | None:
        """The same of a run's batches; None where that is not one number."""
        if sizes.grow and self.loss.kind == SUM:
            return None  # it grows with the batch
        return self.baseline_of(n_examples)

    def _batches_of(self, begun: Begun, epoch: int, run: Run) -> Batches:
        """The batches of an epoch, or of other steps up to a point; each with its rate in place."""
        size, sizes = begun.sizes.of(epoch), begun.sizes
        n_steps = None if begun.length.is_plain else sizes.steps(epoch)
        batches = self.batches(begun.order, size, n_steps)
        if self._source.waits:
            batches = run.waited(batches)
        elif self._source.makes_batches:
            batches = run.unmetered(batches)
        return begun.driven(batches, epoch)

    def end_epoch(
        self,
        begun: Begun,
        params: TrialParams,
        run: Run,
        epoch: int,
        *,
        before_saving: Callable[[], None] = lambda: None,
    ) -> None:
        """Report and keep what an epoch has left; it was trained on."""
        model, sizes = begun.model, begun.sizes
        self._report(begun, params, run, is_last=epoch == begun.length.points)
        if sizes.looks:
            with run.validating():
                part = begun.recipe.micro_batch_size(sizes.of(epoch))
                gradients = self.gradients(model, part)
                decide = None if self.member is None else self.member.decided
                sizes.look(epoch, gradients, seed=params.seed, device=self.device, decide=decide)

        def state() -> dict[str, Any]:
            before_saving()
            kept = {name: part.state_dict() for name, part in begun.states.items()}
            return {"epoch": epoch, "order": begun.order.state(), **kept}

        run.save_made(state)

    def diagnose(self, begun: Begun, params: TrialParams, run: Run) -> None:
        """Compute the diagnostics that are asked for, of a run that has taken its last step."""
        asked = params.diagnostics
        if not self._source.draws:
            asked = tuple(one for one in asked if one != "sharpness")
        if not asked:
            return
        with run.validating():
            found = diagnose(
                asked,
                begun.model,
                task=begun.task,
                loss=self.loss,
                examples=self._source.drawn,
                seed=params.seed,
                device=self.device,
            )
            run.diagnosed(**found)

    def _report(self, begun: Begun, params: TrialParams, run: Run, *, is_last: bool) -> None:
        """Validate after an epoch; after one that is told score the other splits, too."""
        with run.validating():
            found, ends = self._judge.judge(
                begun.model,
                run,
                is_last=is_last,
                test=params.score_test,
                precision=begun.recipe.precision,
            )
        if ends:
            self.diagnose(begun, params, run)
        run.report(found.pop(self.metric.name), **found)

    def growth(
        self, length: Length, schedule: str | None = None, *, first: Sequence[int]
    ) -> Growth:
        """How the batch size grows in runs of this length that start with one of these sizes.

        `schedule` None: the recipe's.
        """
        growth = Growth(
            schedule=schedule or self.recipe.schedule,
            length=replace(length, n_train=self.n_train),
            rule=self._rule,
        )
        if self._source.steps is None:
            return growth
        sizes = {size for one in first for size in growth.reachable(one)}
        return replace(growth, of_epoch={size: self._source.steps(size) for size in sizes})

    def task_of(self, params: TrialParams) -> Task:
        """The task with a trial's values of its searched parameters."""
        return self._task_at(params.extra)

    def _task_at(self, values: Mapping[str, Value]) -> Task:
        return self._source.form.adapt(self.declared.at(values)) if self.search else self.task

    def gradients(self, model: nn.Module, part: int | None = None) -> Gradients:
        """The gradients of the task's training loss, in passes of at most `part` examples."""
        examples = self._source.drawn
        return Gradients(model, self.loss, examples, device=self.device, part=part)

    def order(self, seed: int) -> AnyOrder:
        """The order in which a run takes the training examples; one run at a time."""
        return self._source.order(seed, self._rule)

    def own_order(self, seed: int) -> Order:
        """The same in memory of its own, for a run beside others; of tensors alone."""
        return Order(order_memory(self._source.n_train), seed=seed, rule=self._rule)

    @property
    def resident(self) -> ResidentFeed | None:
        """The training split, where it is tensors that lie on the device."""
        feed = self._source.feed if isinstance(self._source, InMemory) else None
        return feed if isinstance(feed, ResidentFeed) else None

    def batches(self, order: AnyOrder, batch_size: int, n_steps: int | None = None) -> Batches:
        """The batches of the order's next epoch, or of its next steps."""
        if n_steps is None:
            return self._source.epoch(order, batch_size)
        return self._source.take(order, batch_size, n_steps)

    def predict_peak_bytes(
        self, batch_size: int, values: Mapping[str, Value] | None = None
    ) -> int | None:
        """Peak memory without running it; None where no prediction can be trusted.

        `values`: of what it lets the search vary; None: the usual ones.
        """
        if self._source.shapes_vary:
            return None
        given = usual_values(self.search) if values is None else values
        recipe = self.recipe.at(given)
        return predict_peak_bytes(
            self._task_at(given),
            self._source.look,
            batch_size=recipe.of_rank(batch_size),
            device=self.device,
            recipe=recipe,
        )

    def _trainer(
        self,
        task: Task,
        model: nn.Module,
        params: TrialParams,
        run: Run,
        recipe: Recipe,
        sizes: BatchSizes,
    ) -> tuple[Callable[[Batches], None], dict[str, Any]]:
        """A function that trains `model` for one epoch, and what else holds state, by name.

        `sizes`: that the run may come to.
        """
        rate = params.learning_rate
        if self._compiled is not None:
            bound = self._compiled.bind(model, rate)
            return partial(compiled_epoch, bound, run), {"optimizer": bound}
        optimizer = build_optimizer(task, model, learning_rate=rate, device=self.device)
        parts: dict[str, Any] = {"optimizer": optimizer}
        scheduler = own_scheduler(task, optimizer, sum(phase.steps for phase in sizes.phases))
        if scheduler is not None:  # it looks at the optimizer's steps, and is there before any
            parts["scheduler"] = scheduler
        if self.member is None and not changes_step(recipe, sizes.largest):
            return partial(ordinary_epoch, model, self.loss.scalar, optimizer, run), parts
        stepper = self._stepper(model, self.loss, optimizer, run, recipe=recipe, device=self.device)
        return stepper.epoch, {**parts, "stepper": stepper}

    def score(self, model: nn.Module, examples: Examples, precision: str = "float32") -> float:
        """The metric of a model on some examples."""
        return self._judge.score(model, examples, precision)
