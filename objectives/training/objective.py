"""Our training loop: tensors resident on the device, one shuffle per epoch, no sync per step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from batchfront.objectives.device.randomness import seed_everything
from batchfront.objectives.gradients.diagnose import diagnose
from batchfront.objectives.gradients.draws import Gradients
from batchfront.objectives.loss import SUM, Loss, as_loss, looked_at
from batchfront.objectives.measurement import ObjectiveError, TrialParams
from batchfront.objectives.parameter import usual_values
from batchfront.objectives.run import Run
from batchfront.objectives.task import (
    Data,
    Task,
    baseline,
    check_data,
    check_forward,
    check_task,
    evaluation_batch,
    fingerprint,
)
from batchfront.objectives.training.batches import (
    BATCHES,
    EXACT,
    Order,
    check_rule,
    order_memory,
    sizes_of_steps,
)
from batchfront.objectives.training.behaviour import behaviour, built, check_fresh
from batchfront.objectives.training.compiled import CompiledStep
from batchfront.objectives.training.evaluate import evaluate, mean_loss
from batchfront.objectives.training.feed import Batches, make_feed
from batchfront.objectives.training.learning_rate import check_betas, rate_driver
from batchfront.objectives.training.optimizer import build_optimizer, step_function
from batchfront.objectives.training.predict import predict_peak_bytes
from batchfront.objectives.training.recipe import PLAIN, Recipe
from batchfront.objectives.training.schedules import BatchSizes, Growth
from batchfront.objectives.training.step import (
    Stepper,
    build_model,
    changes_step,
    check_recipe,
    facts_of,
    has_batch_norm,
    least_batch,
    least_of,
    leave_unused,
    notes_on,
    why_least,
)
from batchfront.objectives.training.targets import check_targets

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


class Member(Protocol):
    """One of several ranks that train each run together."""

    @property
    def rank(self) -> int:
        """0 where the run is judged."""

    def take_part(self, train: Callable[[], None], params: TrialParams, run: Run) -> None:
        """Train, beside the others."""


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
        check_task(task)
        check_rule(batches)
        self._declared = task
        recipe.check()
        self.recipe = recipe
        for taken in set(task.search) & set(recipe.search):
            raise ObjectiveError(f"task {name!r} has a searched parameter {taken!r} of its own")
        self.search = {**task.search, **recipe.search}
        self.task = task = task.at(usual_values(task.search))
        self.name = name
        self.metric = "val_accuracy" if task.metric == "accuracy" else "val_r2"
        self.default_epochs = task.epochs
        self.early_stopping, self.report = task.early_stopping, task.report
        data = task.data()
        check_data(data, task=name)
        model = built(task)
        check_targets(task, model, data)
        check_forward(task, model, data)
        check_fresh(task, model, data)
        self.behaviour = behaviour(task, data)
        self.loss = _loss_of(task, model, data, batches)
        self.max_epochs: int | None = None
        self.fingerprint = fingerprint(task, model, data)
        self._baseline_loss: float | None
        self._baseline_metric: float | None
        self._baseline_loss, self._baseline_metric = baseline(task, model, data, self.loss)
        if recipe.beta2_half_life is not None:
            check_betas(task.optimizer(model.parameters(), lr=1.0), task=name)
        self.device = device
        self._data = data
        self._feed = make_feed(data.x_train, data.y_train, device=device)
        self._rule = batches
        self._order_memory = order_memory(len(data.x_train))
        if batches == EXACT:
            self.fingerprint[BATCHES] = batches
        if recipe.stored:
            self.fingerprint["recipe"] = recipe.stored
            check_recipe(recipe, task, data, self.loss, device=device)
        least = least_batch(task, recipe, data) if batches == EXACT else 1
        if recipe.data_parallel > 1:
            least = least_of(model) * recipe.data_parallel
            self.some_unused = leave_unused(task, recipe, data)
        self.batch_sizes: tuple[int, int | None] = (least, len(data.x_train))
        self.member: Member | None = None
        self._stepper: Callable[..., Stepper] = Stepper
        self.notes = notes_on(recipe, model)
        self.why_least = why_least(least, recipe)
        self._compiled = self._compile() if compiled else None
        self.compiled = compiled

    def _compile(self) -> CompiledStep:
        """Raises ObjectiveError where one step cannot serve all runs."""
        if self.recipe != PLAIN:
            raise ObjectiveError(
                f"a compiled step knows nothing of {self.recipe.stored}: run without --compile"
            )
        if self.search:
            raise ObjectiveError(
                f"task {self.name!r} searches {', '.join(self.search)}, and a compiled step is one "
                "for all runs: run without --compile"
            )
        self.fingerprint["step"] = "compiled"
        return CompiledStep(self.task, self._data, device=self.device)

    def train_in_ranks(self, member: Member, stepper: Callable[..., Stepper]) -> None:
        """Train every run from now on as one of several ranks, whose steps `stepper` makes."""
        self.member, self._stepper = member, stepper

    def __call__(self, params: TrialParams, run: Run) -> None:
        train = partial(self._train, params, run)
        if self.member is not None:
            self.member.take_part(train, params, run)
        elif self.recipe.data_parallel > 1:
            raise ObjectiveError("ranks load a task by its name, which load_objective knows")
        else:
            train()

    def _train(self, params: TrialParams, run: Run) -> None:

        seed_everything(params.seed)
        order, n_train = self.order(params.seed), len(self._data.x_train)
        if run.restored is not None:
            order.go_on_from(run.restored["order"])
        if self._compiled is not None:
            with run.validating():  # what is compiled here is no part of the run
                self._compiled.prepare(sizes_of_steps(params.batch_size, n_train, rule=order.rule))
        task = self.task_of(params)
        recipe = self.recipe.at(params.extra)
        model = build_model(task, recipe).to(self.device)
        schedule = "constant" if run.holds_batch_size else params.schedule
        growth = replace(self.growth(params.epochs, schedule), rule=order.rule)
        sizes = BatchSizes(growth, params.batch_size)
        run.trained_with(**facts_of(recipe, sizes.largest, batch_norm=has_batch_norm(model)))
        train_epoch, parts = self._trainer(task, model, params, run, recipe, sizes.largest)
        rates = rate_driver(parts["optimizer"], recipe, epochs=params.epochs, n_train=n_train)
        states = {"model": model, **parts, **({"sizes": sizes} if sizes.grow else {})}
        most_steps = sum(phase.steps for phase in sizes.phases)
        first = 1 if run.restored is None else _go_on_from(run.restored, states)
        baseline_loss = self.loss.of_batch(self._baseline_loss, min(params.batch_size, n_train))
        if sizes.grow and self.loss.kind == SUM:
            baseline_loss = None  # it grows with the batch
        run.begin(most_steps, baseline_loss=baseline_loss, baseline_metric=self._baseline_metric)
        for epoch in range(first, params.epochs + 1):
            size = sizes.of(epoch)
            if sizes.grow:
                run.plan(sizes.phases)
            model.train()
            seen = (epoch - 1) * n_train - order.n_left
            batches = self.batches(order, size)
            if rates is not None:
                batches = rates.over(batches, seen=seen, batch_size=size)
            train_epoch(batches)
            self._report(task, model, params, run, epoch=epoch, precision=recipe.precision)
            if sizes.grow:
                with run.validating():
                    gradients = self.gradients(model, recipe.micro_batch_size(size))
                    sizes.look(epoch, gradients, seed=params.seed, device=self.device)
            kept = {name: part.state_dict() for name, part in states.items()}
            run.save({"epoch": epoch, "order": order.state(), **kept})
        self._diagnose(params, task, model, run)

    def _report(
        self,
        task: Task,
        model: nn.Module,
        params: TrialParams,
        run: Run,
        *,
        epoch: int,
        precision: str,
    ) -> None:
        """Validate after an epoch; after one that is told score the other splits, too."""
        train = loss = None
        watched = {}
        with run.validating():
            data = self._data
            score = partial(self._evaluate, model, precision=precision)
            val = score(data.x_val, data.y_val)
            if run.wants_val_loss:
                loss = watched["val_loss"] = self._val_loss(task, model, precision)
            ends = run.ends_after(val, loss)
            if run.tells_of(val, last=ends or epoch == params.epochs):
                train = score(data.x_train, data.y_train)
                if params.score_test:
                    run.scored(score(data.x_test, data.y_test))
        if ends:
            self._diagnose(params, task, model, run)
        run.report(val, train_accuracy=train, **watched)

    def growth(self, epochs: int, schedule: str | None = None) -> Growth:
        """How the batch size grows in runs of so many epochs; `schedule` None: the recipe's."""
        return Growth(
            schedule=schedule or self.recipe.schedule,
            epochs=epochs,
            n_train=len(self._data.x_train),
            rule=self._rule,
        )

    def _diagnose(self, params: TrialParams, task: Task, model: nn.Module, run: Run) -> None:
        if not params.diagnostics:
            return
        with run.validating():
            found = diagnose(
                params.diagnostics,
                model,
                task=task,
                loss=self.loss,
                x=self._data.x_train,
                y=self._data.y_train,
                seed=params.seed,
                device=self.device,
            )
            run.diagnosed(**found)

    def task_of(self, params: TrialParams) -> Task:
        """The task with a trial's values of its searched parameters."""
        return self._declared.at(params.extra) if self.search else self.task

    def gradients(self, model: nn.Module, part: int | None = None) -> Gradients:
        """The gradients of the task's training loss, in passes of at most `part` examples."""
        x, y = self._data.x_train, self._data.y_train
        return Gradients(model, self.loss, x, y, device=self.device, part=part)

    def order(self, seed: int) -> Order:
        """The order in which a run takes the training examples; one run at a time."""
        return Order(self._order_memory, seed=seed, rule=self._rule)

    def batches(self, order: Order, batch_size: int) -> Batches:
        """The batches of the order's next epoch."""
        return self._feed.epoch(order.epoch(batch_size), batch_size)

    def predict_peak_bytes(self, batch_size: int) -> int | None:
        """Peak memory without running it; None where no prediction can be trusted."""
        recipe = self.recipe.at(usual_values(self.recipe.search))
        return predict_peak_bytes(
            self.task,
            self._data,
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
        largest: int,
    ) -> tuple[Callable[[Batches], None], dict[str, Any]]:
        """A function that trains `model` for one epoch, and what else holds state, by name.

        `largest`: batch size that the run may come to.
        """
        rate = params.learning_rate
        if self._compiled is not None:
            bound = self._compiled.bind(model, rate)
            return partial(_compiled_epoch, bound.step, run), {"optimizer": bound}
        optimizer = build_optimizer(task, model, learning_rate=rate, device=self.device)
        if self.member is None and not changes_step(recipe, largest):
            epoch = partial(_ordinary_epoch, model, self.loss.scalar, optimizer, run)
            return epoch, {"optimizer": optimizer}
        stepper = self._stepper(model, self.loss, optimizer, run, recipe=recipe, device=self.device)
        return stepper.epoch, {"optimizer": optimizer, "stepper": stepper}

    def _val_loss(self, task: Task, model: nn.Module, precision: str) -> float:
        data = self._data
        return mean_loss(
            model,
            self.loss,
            data.x_val,
            data.y_val,
            part=evaluation_batch(data),
            precision=precision,
            device=self.device,
        )

    def _evaluate(
        self, model: nn.Module, x: Tensor, y: Tensor, precision: str = "float32"
    ) -> float:
        if self.member is not None and self.member.rank > 0:
            return 0.0  # what rank 0 finds counts
        part, metric = evaluation_batch(self._data), self.task.metric
        return evaluate(
            model,
            x,
            y,
            metric=metric,
            part=part,
            precision=precision,
            device=self.device,
            counted=self.loss.counted if self.loss.ignored else None,
        )


def _loss_of(task: Task, model: nn.Module, data: Data, batches: str) -> Loss:
    """The task's loss, looked at; studies of older versions take every loss for a mean."""
    if batches != EXACT:
        return as_loss(task.loss)
    classes = task.metric == "accuracy"
    return looked_at(task.loss, model, data.x_train, data.y_train, classes=classes)


def _go_on_from(kept: dict[str, Any], states: dict[str, Any]) -> int:
    """Load what was saved after an epoch; returns the next one."""
    for name, part in states.items():
        # An optimizer would keep tensors that were read before any meter looked: copies count, and
        # larger batches that are yet to come are measured on top of them.
        part.load_state_dict(_copied(kept[name]) if "sizes" in states else kept[name])
    return int(kept["epoch"]) + 1


def _copied(state: Any) -> Any:
    import torch

    if isinstance(state, torch.Tensor):
        return state.clone()  # not deepcopy, which no meter of operators sees
    if isinstance(state, dict):
        return {key: _copied(value) for key, value in state.items()}
    return [_copied(value) for value in state] if isinstance(state, list) else state


def _ordinary_epoch(
    model: nn.Module,
    loss_of: Callable[[Tensor, Tensor], Tensor],
    optimizer: torch.optim.Optimizer,
    run: Run,
    batches: Batches,
) -> None:
    parameters = list(model.parameters())
    step = step_function(optimizer)
    for x, y in batches:
        for parameter in parameters:  # zero_grad(), without its bookkeeping
            parameter.grad = None
        loss = loss_of(model(x), y)
        loss.backward()
        step()
        run.step(loss)


def _compiled_epoch(step: Callable[[Tensor, Tensor], Tensor], run: Run, batches: Batches) -> None:
    for x, y in batches:
        run.step(step(x, y))
