"""A loss that is worse than what is learned, and metrics that are worth what is counted."""

from __future__ import annotations

import math
import random

import pytest

from batchfront.objectives.measurement import Verdict
from batchfront.objectives.meters.counting import counting_noise, skill_noise
from batchfront.objectives.metric import ACCURACY, R2, Metric

from .test_divergence import feed, guard_of, windows

DROPOUT = (  # means of 10 steps of a good run: nine of ten units dropped, 30 epochs of 56 steps
    1.6, 1.57, 1.5, 1.48, 1.48, 1.58, 1.55, 1.53, 1.49, 1.47, 1.49, 1.5, 1.57, 1.39, 1.42, 1.42,
    1.41, 1.47, 1.44, 1.53, 1.46, 1.42, 1.5, 1.46, 1.46, 1.49, 1.49, 1.36, 1.42, 1.42, 1.4, 1.32,
    1.46, 1.39, 1.37, 1.44, 1.46, 1.39, 1.42, 1.39, 1.44, 1.43, 1.42, 1.41, 1.38, 1.43, 1.42, 1.42,
)  # fmt: skip
LEARNS = (0.2567, 0.2867, 0.31, 0.32, 0.3467, 0.36, 0.3767, 0.3933, 0.4067)


def judged(
    means: tuple[float, ...], metrics: tuple[float, ...], *, every: int, **options: float
) -> tuple[Verdict | None, int]:
    """The verdict, and after how many steps; a metric every so many of them."""
    losses = windows(*means)
    guard, waiting = guard_of(**options), list(metrics)
    for n, loss in enumerate(losses, 1):
        found = guard.step(loss)
        if found is not None:
            return found[0], n
        if n % every == 0 and waiting:
            guard.report(waiting.pop(0))
    return None, len(losses)


def test_dropout_makes_the_loss_worse_than_what_is_learned():
    options = {"total_steps": 1687, "baseline_loss": 1.385, "baseline_metric": 0.26}
    assert judged(DROPOUT, LEARNS, every=56, **options)[0] is None
    assert judged(DROPOUT, (0.26,) * 9, every=56, **options)[0] is Verdict.STALLED


@pytest.mark.parametrize(
    ("examples", "stopped"), [(20, Verdict.STALLED), (300, None)], ids=["few", "many"]
)
def test_a_metric_speaks_for_a_run_as_far_as_examples_were_counted(examples, stopped):
    """About a third right where a quarter is chance: no more than luck with 20 of them."""
    metrics = [round(share * examples) / examples for share in (0.353, 0.347, 0.3) * 7]
    found = judged((2.3,) * 100, tuple(metrics), every=50, baseline_metric=0.25)[0]
    assert found is stopped


def test_a_metric_that_sets_records_above_chance_speaks_for_a_run():
    rises = tuple(0.1 + 0.001 * n for n in range(1, 20))
    assert judged((2.3,) * 95, rises, every=50, baseline_metric=0.1)[0] is None
    verdict, steps = judged((2.3,) * 95, rises[:6] + (0.1,) * 9, every=50, baseline_metric=0.1)
    assert (verdict, steps) == (Verdict.STALLED, 360)


def test_a_constant_above_chance_by_luck_is_no_record():
    assert judged((2.3,) * 100, (0.11,) * 20, every=50, baseline_metric=0.1) == (
        Verdict.STALLED,
        160,
    )


@pytest.mark.parametrize(
    ("every", "steps"), [(40, 130), (60, 190), (66, 200), (70, 150), (150, 160), (500, 160)]
)
def test_no_run_is_stalled_before_three_metrics_where_they_come_within_a_fifth(every, steps):
    found = judged((2.3,) * 100, (0.1,) * 20, every=every, baseline_metric=0.1)
    assert found == (Verdict.STALLED, steps)


def test_a_run_that_began_far_above_the_baseline_waits_for_no_metrics():
    """Its loss is not there for the noise of its training."""
    found = judged((2.3,) * 100, (0.1,) * 20, every=66, baseline_metric=0.1, baseline_loss=0.5)
    assert found == (Verdict.STALLED, 160)


def test_an_explosion_is_none_the_less_one():
    guard = guard_of(baseline_metric=0.1)
    feed(guard, windows(2.0, 2.0))
    guard.report(0.11)
    assert feed(guard, windows(*[9.0] * 20))[0] is Verdict.DIVERGED


@pytest.mark.parametrize("examples", [35, 300, 1024])
@pytest.mark.parametrize("digits", [6, 16])
def test_shares_tell_how_many_examples_were_counted(examples, digits):
    rng = random.Random(examples)
    shares = [round(rng.randint(0, examples) / examples, digits) for _ in range(20)]
    assert counting_noise(shares, 0.25) == pytest.approx(math.sqrt(0.1875 / examples))


def test_few_shares_tell_of_too_few_examples_rather_than_of_too_many():
    assert counting_noise([0.5], 0.5) > counting_noise([0.5, 0.53], 0.5) > 0.02


def test_what_is_not_counted_has_no_counting_noise():
    rng = random.Random(0)
    assert skill_noise(R2, 0.0, [1 - rng.random() for _ in range(5)]) == 0.0
    assert skill_noise(ACCURACY, 0.1, [rng.random() for _ in range(5)]) == 0.0


def test_the_noise_of_percent_is_that_of_fractions():
    percent = Metric("val_percent", bound=100.0, worst=0.0)
    shortfalls = [(1 - n / 35) / 0.9 for n in (3, 4, 8)]
    noise = skill_noise(percent, 10.0, shortfalls)
    assert (
        noise == skill_noise(ACCURACY, 0.1, shortfalls) == pytest.approx(math.sqrt(0.09 / 35) / 0.9)
    )
