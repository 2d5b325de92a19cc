"""What a task's models are worth while they train: its metrics on its splits."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from batchfront.objectives.metric import LOSS, OURS
from batchfront.objectives.training.scores import Scorer

if TYPE_CHECKING:
    from torch import nn

    from batchfront.objectives.loading.examples import Examples
    from batchfront.objectives.run import Run
    from batchfront.objectives.training.source import Source


@dataclass(frozen=True, kw_only=True)
class Judge:
    """The metrics of one task, with the examples that they are taken on."""

    scorer: Scorer
    source: Source
    listens: bool = True
    """False for a rank that only keeps step with rank 0: what that one finds counts."""

    def check(self, model: nn.Module, *, task: str, device: str) -> None:
        """Raise ObjectiveError where a metric fails, before any run does."""
        metrics = self.scorer.all
        ours = all(metric.function is None and metric.name in OURS for metric in metrics)
        if ours and not self.source.waits:
            return
        self.source.form.check_metrics(metrics, task=task)
        found = self.found(model.to(device), self.source.few)
        model.cpu()
        for metric in metrics:
            metric.check_value(found[metric.name], f"task {task!r}")

    def score(self, model: nn.Module, examples: Examples, precision: str = "float32") -> float:
        """The metric of a model on some examples."""
        if not self.listens:
            return 0.0
        alone = replace(self.scorer, also=())
        found = alone.of(model, examples, part=self.source.part, precision=precision)
        return found[self.scorer.metric.name]

    def found(
        self,
        model: nn.Module,
        examples: Examples,
        precision: str = "float32",
        *,
        with_loss: bool = False,
    ) -> dict[str, float]:
        """All metrics of a model on some examples, by name."""
        scorer = self.scorer
        if not self.listens:
            return dict.fromkeys([scorer.metric.name, LOSS.name], 0.0)
        if with_loss and LOSS.name not in [metric.name for metric in scorer.all]:
            scorer = replace(scorer, also=(*scorer.also, LOSS))
        return scorer.of(model, examples, part=self.source.part, precision=precision)

    def judge(
        self, model: nn.Module, run: Run, *, is_last: bool, test: bool, precision: str
    ) -> tuple[dict[str, float], bool]:
        """The metrics after an epoch, and whether the run ends with it by its own rule.

        After an epoch that is told, the other splits are scored too: training, and with `test` the
        one for tests.
        """
        source, metric = self.source, self.scorer.metric
        score = partial(self.score, model, precision=precision)
        found = self.found(model, source.val, precision, with_loss=run.wants_val_loss)
        ends = run.ends_after(found[metric.name], found.get(LOSS.name))
        if run.tells_of(found[metric.name], last=ends or is_last):
            if source.train is not None:
                found[metric.of_training] = score(source.train)
            if test and source.test is not None:
                run.scored(score(source.test))
        return found, ends
