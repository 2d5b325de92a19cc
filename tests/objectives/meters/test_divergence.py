"""The guard against its written rule, against a brute-force oracle and on real runs."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
import torch

from batchfront.objectives.measurement import ObjectiveError, Verdict
from batchfront.objectives.meters.divergence import DivergenceGuard, SpikeCounter
from batchfront.objectives.meters.outlook import falls, outlook
from tests.objectives.conftest import train

BASELINE = 2.0
TOTAL = 1000  # steps: 100 windows of 10, so 2% is 2 windows and 10% is 10


def guard_of(total_steps: int = TOTAL, **options: Any) -> DivergenceGuard:
    return DivergenceGuard(total_steps=total_steps, **{"baseline_loss": BASELINE, **options})


def feed(guard: DivergenceGuard, losses: Iterable[Any]) -> tuple[Verdict | None, int]:
    """The verdict, if any, and the number of steps it took."""
    n = 0
    for n, loss in enumerate(losses, 1):
        found = guard.step(loss)
        if found is not None:
            return found[0], n
    return None, n


def windows(*means: float, steps: int = 10) -> list[float]:
    return [mean for mean in means for _ in range(steps)]


@pytest.mark.parametrize(
    ("total_steps", "window"),
    [(5, 1), (59, 1), (60, 2), (299, 9), (300, 10), (2000, 10), (2200, 11), (21580, 107)],
)
def test_a_window_is_ten_steps_a_two_hundredth_of_the_budget_or_a_thirtieth_of_a_short_one(
    total_steps, window
):
    guard = guard_of(total_steps)
    for n in range(1, window + 1):
        guard.step(1.0)
        assert (guard.window_mean is not None) == (n == window)


@pytest.mark.parametrize(
    ("losses", "said"),
    [
        ([1.0] * 13, "validation metric became nan, at a training loss of 1"),
        ([1.0] * 13 + [math.inf], "training loss became inf, and the validation metric nan"),
        (
            [1.0] * 10 + [1e20] * 5,
            "training loss rose from 2 to 1e+20, and the validation metric became nan",
        ),
        ([], "validation metric became nan"),
    ],
)
def test_a_metric_that_is_not_finite_is_the_losses_fault_where_that_has_gone_astray(losses, said):
    guard = guard_of()
    assert feed(guard, losses)[0] is None
    assert guard.report(math.nan) == (Verdict.NON_FINITE, said)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("before", [0, 13, 700])
def test_a_non_finite_loss_stops_at_the_end_of_its_window(bad, before):
    losses = [1.0] * before + [bad] + [1.0] * 100
    assert feed(guard_of(), losses) == (Verdict.NON_FINITE, before // 10 * 10 + 10)


def test_an_exploded_loss_stops_after_three_windows_beyond_two_percent():
    assert feed(guard_of(), windows(2.0, *[7.0] * 99)) == (Verdict.DIVERGED, 50)


def test_two_exploded_windows_in_a_row_do_not_stop():
    losses = windows(*[1.0] * 5, *[50.0, 50.0, 1.0] * 30)
    assert feed(guard_of(), losses) == (None, len(losses))


def test_a_loss_that_never_learned_is_stalled_after_ten_percent():
    assert feed(guard_of(), windows(*[2.3] * 100)) == (Verdict.STALLED, 130)


@pytest.mark.parametrize("before", [[1.0], [2.0, 7.0]], ids=["learned", "exploded"])
def test_a_plateau_above_the_baseline_is_divergence_when_there_was_more_before(before):
    assert feed(guard_of(), windows(*before, *[2.3] * 99)) == (Verdict.DIVERGED, 130)


def test_a_slow_start_above_the_baseline_is_no_reason_to_stop():
    losses = windows(*[2.3] * 12, *[1.5] * 88)
    assert feed(guard_of(), losses) == (None, TOTAL)


def test_one_spike_does_not_stop_and_counts_as_recovered():
    guard = guard_of()
    assert feed(guard, windows(*[1.0] * 20, 90.0, *[1.0] * 20)) == (None, 410)
    assert guard.spikes.recovered == 1


def test_a_run_whose_metric_is_clearly_above_chance_is_spared():
    losses = windows(2.0, *[9.0] * 99)
    skilled, lucky = guard_of(baseline_metric=0.1), guard_of(baseline_metric=0.1)
    skilled.report(0.5)
    lucky.report(0.12)
    assert feed(skilled, losses) == (None, TOTAL)
    assert feed(lucky, losses) == (Verdict.DIVERGED, 50)


def test_a_run_that_loses_its_skill_is_spared_no_longer():
    guard = guard_of(baseline_metric=0.1)
    guard.report(0.9)
    assert feed(guard, windows(2.0, *[9.0] * 19))[0] is None
    guard.report(0.1)
    assert feed(guard, windows(9.0)) == (Verdict.DIVERGED, 10)


def test_skill_saves_no_run_whose_loss_is_not_a_number():
    guard = guard_of(baseline_metric=0.1)
    guard.report(0.9)
    assert feed(guard, [math.nan] * 10)[0] is Verdict.NON_FINITE


@pytest.mark.parametrize("metric", [math.nan, math.inf, -math.inf])
def test_a_non_finite_metric_stops(metric):
    found = guard_of().report(metric)
    assert found is not None
    assert found[0] is Verdict.NON_FINITE


@pytest.mark.parametrize(
    ("then", "verdict"),
    [(1.0, None), (2.5, None), (3.5, Verdict.DIVERGED), (math.nan, Verdict.NON_FINITE)],
)
def test_without_a_baseline_only_explosions_and_non_finite_losses_stop(then, verdict):
    guard = guard_of(baseline_loss=None)
    assert feed(guard, windows(1.0, *[then] * 99))[0] is verdict


@pytest.mark.parametrize("baseline_loss", [-2.0, None])
def test_a_loss_below_zero_that_improves_is_no_explosion(baseline_loss):
    """A likelihood or a similarity, where three times a negative baseline is a better loss."""
    guard = guard_of(baseline_loss=baseline_loss)
    assert feed(guard, windows(-2.0, *[-2.5] * 99)) == (None, TOTAL)


def test_a_loss_below_zero_can_explode():
    losses = windows(-2.0, *[3.0] * 99)
    assert feed(guard_of(baseline_loss=-2.0), losses) == (Verdict.DIVERGED, 50)


def test_a_loss_below_zero_that_never_learned_is_stalled():
    assert feed(guard_of(baseline_loss=-2.0), windows(*[-1.9] * 100)) == (Verdict.STALLED, 130)


def oracle(means: list[float]) -> tuple[Verdict | None, int]:
    """The rule for a start near the baseline, by looking at every three windows in a row."""
    start = max(means[0], BASELINE)
    for n in range(3, len(means) + 1):
        seen, last, left = means[:n], range(n - 2, n + 1), TOTAL / 10 - n  # windows: from 1
        exploded = all(means[i - 1] > 3 * start and i * 10 / TOTAL > 0.02 for i in last)
        above = all(means[i - 1] > BASELINE and i * 10 / TOTAL > 0.10 for i in last)
        if exploded and outlook(seen, left, damped=False) > start:
            return Verdict.DIVERGED, n * 10
        if above and outlook(seen, left, damped=True) > 0.9 * BASELINE:
            more = any(mean > 3 * start or mean < 0.9 * BASELINE for mean in seen)
            return (Verdict.DIVERGED if more else Verdict.STALLED), n * 10
    return None, len(means) * 10


def test_the_guard_agrees_with_a_brute_force_reading_of_its_rule():
    rng = random.Random(0)
    verdicts = []
    for _ in range(500):
        levels = rng.choice([(1.0, 1.9, 2.2, 7.0), (1.9, 2.2), (1.9, 2.2, 7.0), (1.0, 7.0)])
        means = [2.2] + [rng.choice(levels) for _ in range(rng.randint(1, 30))]
        verdicts.append(feed(guard_of(), windows(*means)))
        assert verdicts[-1] == oracle(means)
    assert {verdict for verdict, _ in verdicts} == {None, Verdict.STALLED, Verdict.DIVERGED}


class Loss:
    """A loss on a device, where every look at its value would wait for the queue."""

    looks = 0

    def __init__(self, value: float) -> None:
        self.value = value

    def __add__(self, other: Any) -> Loss:
        return Loss(self.value + (other.value if isinstance(other, Loss) else other))

    __radd__ = __add__

    def __float__(self) -> float:
        Loss.looks += 1
        return self.value


def test_the_guard_looks_at_the_first_loss_and_then_once_per_window(monkeypatch):
    monkeypatch.setattr(Loss, "looks", 0)
    assert feed(guard_of(), (Loss(1.0) for _ in range(TOTAL))) == (None, TOTAL)
    assert Loss.looks == 1 + TOTAL / 10


def test_tensors_are_read_first_and_once_per_window_and_never_changed(monkeypatch):
    reads = []
    for name in ("item", "__float__", "__bool__", "tolist"):
        real = getattr(torch.Tensor, name)
        monkeypatch.setattr(torch.Tensor, name, lambda t, real=real: reads.append(1) or real(t))
    losses = [torch.tensor(1.5) for _ in range(TOTAL)]
    assert feed(guard_of(), losses) == (None, TOTAL)
    assert len(reads) == 1 + TOTAL / 10
    assert torch.equal(torch.stack(losses), torch.full((TOTAL,), 1.5))


@pytest.mark.parametrize("level", [1.0, 2.3, 7.0, math.nan])
def test_floats_and_tensors_are_judged_alike(level):
    losses = windows(*[level] * 100)
    assert feed(guard_of(), losses) == feed(guard_of(), map(torch.tensor, losses))


@pytest.mark.parametrize(
    ("means", "recovered"),
    [
        ([1.0] * 5 + [9.0] * 5, 0),  # never came back
        ([1.0] * 5 + [9.0, 1.0] * 3 + [1.0] * 5, 3),
        ([1.0] * 5 + [9.0, 5.0, 3.0, 1.0], 1),  # on its way down it is still the same spike
        ([0.001] * 5 + [0.009] + [0.001] * 5, 0),  # small beside the baseline: noise
        ([9.0, 5.0, 3.0, 2.0, 1.0, 0.5], 0),  # falling is no spike
    ],
)
def test_a_spike_is_counted_once_it_has_come_back(means, recovered):
    counter = SpikeCounter()
    for mean in means:
        counter.add(mean, baseline=BASELINE)
    assert counter.recovered == recovered


@pytest.mark.parametrize(("batch_size", "learning_rate"), [(1, 3.0), (1, 1.0), (4, 1.0), (8, 3.0)])
def test_a_hopeless_run_on_digits_is_stopped_early(digits, batch_size, learning_rate):
    result = train(digits, batch_size=batch_size, learning_rate=learning_rate, epochs=20).result()
    assert result.verdict in (Verdict.DIVERGED, Verdict.STALLED)
    assert result.steps < 0.2 * result.total_steps


@pytest.mark.parametrize(("batch_size", "learning_rate"), [(16, 0.05), (64, 0.1), (256, 0.3)])
def test_a_good_run_on_digits_completes(digits, batch_size, learning_rate):
    result = train(digits, batch_size=batch_size, learning_rate=learning_rate, epochs=20).result()
    assert (result.verdict, result.steps) == (Verdict.COMPLETED, result.total_steps)
    assert result.metric is not None
    assert result.metric > 0.93


def test_a_short_run_that_explodes_is_stopped_within_a_few_steps():
    """Twenty steps in all, as of ten epochs at a large batch size."""
    guard = guard_of(20)
    said = [guard.step(loss) for loss in (2.0, 50.0, 50.0, 50.0)]
    assert [bool(s) for s in said] == [False, False, False, True]
    assert said[3][0] is Verdict.DIVERGED


def test_a_short_run_near_chance_is_not_judged_by_single_steps():
    """Above the baseline, but not far: that takes thirty steps to tell."""
    guard = DivergenceGuard(total_steps=100, baseline_loss=1.0)
    said = [guard.step(1.2) for _ in range(45)]
    stopped = [n for n, s in enumerate(said, 1) if s]
    assert stopped
    assert stopped[0] == 39, "thirty steps, in windows of three, after a tenth of the budget"


def test_before_the_first_metric_an_exploded_loss_waits_for_it():
    """A run may predict well while its loss explodes: only the metric can tell."""

    def guard_with(metric):
        guard = DivergenceGuard(total_steps=2000, baseline_loss=1.0, baseline_metric=0.1)
        early = [
            guard.step(loss) for loss in [1.0] + [50.0] * 199
        ]  # a tenth of the budget: one epoch
        assert not any(early)
        guard.report(metric)
        return [guard.step(50.0) for _ in range(200)]

    assert not any(guard_with(0.9))
    assert any(guard_with(0.1)[:10]), "at the next window"


def test_without_a_metric_for_long_an_exploded_loss_is_enough():
    guard = DivergenceGuard(total_steps=2000, baseline_loss=1.0, baseline_metric=0.1)
    said = [guard.step(loss) for loss in [1.0] + [50.0] * 319]
    assert any(said)
    assert not any(said[:300])


THROWN_UP = (541, 598, 177, 92, 69, 60, 31, 26, 19, 14, 9, 8, 6, 5, 3.3, 3, 3, 2, 1.7, 1.3, 1)
"""Of a good run of Adam's, in windows of 3 of 105 steps; its start was 2.6."""


def after_thrown_up(*then: float, accuracy: float = 0.29) -> tuple[Verdict | None, int]:
    guard = guard_of(105, baseline_loss=1.385, baseline_metric=0.26)
    guard.step(2.6)
    guard.report(accuracy)
    return feed(guard, windows(*then, steps=3))


def test_a_loss_that_the_first_steps_threw_up_may_come_down_from_any_height():
    assert after_thrown_up(*THROWN_UP, *[0.8] * 13) == (None, 102)


def test_one_that_comes_down_and_knows_nothing_is_divergence():
    assert after_thrown_up(*THROWN_UP, accuracy=0.27)[0] is Verdict.DIVERGED


def test_one_that_stops_coming_down_is_divergence():
    verdict, steps = after_thrown_up(*THROWN_UP[:5], *[70.0] * 29)
    assert verdict is Verdict.DIVERGED
    assert steps <= 24


def test_a_loss_that_is_thrown_up_later_is_divergence_however_it_falls():
    assert after_thrown_up(*[1.3] * 4, *THROWN_UP)[0] is Verdict.DIVERGED


def two_layers(start: float, at_end: float) -> list[float]:
    """A squared error; its output grows as the square of time, to `at_end` of the target or all."""
    done = [min(1.0, at_end * (n / TOTAL) ** 2) for n in range(TOTAL)]
    return [start * (1 - share) ** 2 + 1 for share in done]


@pytest.mark.parametrize("metric", [None, 0.0], ids=["no metric", "R2"])
def test_a_loss_that_falls_from_a_thousand_baselines_is_no_divergence(metric):
    """Temperatures in kelvin: the mean is far from zero for its spread, and learned first."""
    guard = guard_of(baseline_loss=64.0, baseline_metric=metric)
    for epoch in range(40):
        losses = two_layers(84_000.0, 2.0)[epoch * 25 : (epoch + 1) * 25]
        assert feed(guard, losses)[0] is None
        guard.report(1 - losses[-1] / 64.0)


def test_a_fall_that_cannot_reach_the_baseline_within_the_budget_is_stalled():
    """Once the metric, an R2 of -1300, confirms that the baseline is what it is said to be."""
    guard = guard_of(baseline_loss=64.0, baseline_metric=0.0)
    for epoch in range(40):
        losses = two_layers(84_000.0, 0.3)[epoch * 25 : (epoch + 1) * 25]
        found, n = feed(guard, losses)
        if found:
            break
        guard.report(1 - losses[-1] / 64.0)
    assert found is Verdict.STALLED
    assert epoch * 25 + n <= 0.2 * TOTAL


@pytest.mark.parametrize("factor", [0.1, 0.25, 4.0, 10.0, -1.0], ids=str)
def test_a_mistyped_baseline_or_a_scaled_loss_stops_no_run_that_learns(factor):
    losses = [0.9 + 1.4 * math.exp(-n / 150) for n in range(TOTAL)]
    assert feed(guard_of(baseline_loss=2.3 * factor), losses) == (None, TOTAL)
    assert feed(guard_of(baseline_loss=2.3 * factor), [-loss for loss in losses[::-1]])[0] is None


@pytest.mark.parametrize("baseline_loss", [math.nan, math.inf, -math.inf])
def test_a_baseline_that_is_no_number_is_none(baseline_loss):
    guard = guard_of(baseline_loss=baseline_loss)
    assert feed(guard, windows(*[2.3] * 100)) == (None, TOTAL)
    assert feed(guard_of(baseline_loss=baseline_loss), windows(1.0, *[50.0] * 99))[0]


def test_a_start_far_above_the_baseline_is_not_stalled_while_it_falls():
    """One example in a hundred: ln 2 against 0.056. Slow, but nobody knows that 0.056 is right."""
    losses = [0.69 - 0.2 * n / TOTAL for n in range(TOTAL)]
    assert feed(guard_of(baseline_loss=0.056), losses) == (None, TOTAL)


def test_a_start_far_above_the_baseline_is_stalled_where_nothing_moves():
    verdict, n = feed(guard_of(baseline_loss=0.056), [0.69] * TOTAL)
    assert verdict is Verdict.STALLED
    assert n <= 0.2 * TOTAL


def test_a_rate_that_warms_up_over_a_tenth_of_the_budget_is_given_time():
    steps = [max(0.0, n - 50) ** 2 / 100 if n < 100 else n - 75.0 for n in range(TOTAL)]
    losses = [20.0 * math.exp(-n / 100) + 0.5 for n in steps]
    assert feed(guard_of(baseline_loss=2.3, baseline_metric=0.1), losses) == (None, TOTAL)


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (torch.ones(4), r"Tensor of shape \(4,\)"),
        (np.ones(4), r"ndarray of shape \(4,\)"),
        (None, "NoneType"),
        ("0.5", "str"),
    ],
)
def test_a_loss_that_is_no_number_is_refused_at_the_first_step(loss, said):
    with pytest.raises(ObjectiveError, match=f"run.step got {said}, wanted one number"):
        guard_of().step(loss)


BACK = (  # means of 13 steps of one example: diabetes, Adam at 0.1
    6.94, 10.67, 4.57, 3.06, 5.14, 15.98, 6.98, 38.43, 14.82, 163.97, 43.56, 77.0, 124.82, 83.38,
    19.52, 6.46, 9.73, 18.28, 7.37, 3.48, 1.42, 5.33, 1.64, 0.73, 1.69, 2.46, 1.37, 1.74, 1.12,
    0.75, 1.8, 4.66, 2.6, 7.44, 1.71,
)  # fmt: skip


@pytest.mark.parametrize(("least", "stopped"), [(0.0, False), (1.0, True)])
def test_a_loss_that_came_back_from_an_explosion_is_given_time_for_its_noise(least, stopped):
    means = [max(mean, least) for mean in BACK]  # not once clearly below the baseline: stopped
    guard = guard_of(13 * 200, baseline_loss=1.0, baseline_metric=0.0)
    losses = [0.55, *windows(*means, steps=13)[1:]]
    assert feed(guard, losses[:266])[0] is None
    guard.report(-3.05)
    assert (feed(guard, losses[266:])[0] is Verdict.DIVERGED) is stopped


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_a_window_of_losses_is_summed_in_32_bits_at_least(dtype):
    """A sum of losses of 2.3 stops growing at 512 in bfloat16."""
    guard = guard_of(200 * 500)
    for _ in range(500):
        guard.step(torch.tensor(2.3, dtype=dtype))
    assert guard.window_mean == pytest.approx(2.3, rel=5e-3)


def test_numpy_losses_of_16_bits_do_not_overflow():
    guard = guard_of(200 * 500)
    for _ in range(500):
        guard.step(np.float16(300.0))
    assert guard.window_mean == 300.0


@pytest.mark.parametrize("at", [35, 125])
def test_a_guard_goes_on_in_another_process_as_if_nothing_had_happened(at):
    losses = windows(2.2, *[2.3] * 99)
    first, second = guard_of(baseline_metric=0.1), guard_of(baseline_metric=0.1)
    feed(first, losses[:at])
    first.report(0.12)
    second.go_on_from(json.loads(json.dumps(first.state())))
    assert feed(second, losses[at:]) == feed(first, losses[at:])
    assert second.state() == first.state()


def state_of_0_7(**changes: Any) -> dict[str, Any]:
    """What a guard of 0.7 stored that had taken half of its steps."""
    own = {"steps": 500, "window_mean": 1.0, "_baseline": BASELINE, "_sum": 0.0, "_count": 0}
    flags = {"_exploded": False, "_learned": True, "_skilled": False, "_unseen": False}
    streaks = {"_exploded_streak": 0, "_stalled_streak": 0}
    spikes = {"recovered": 1, "recent": [1.0, 1.0], "level": None}
    return {**own, **flags, **streaks, "spikes": spikes, **changes}


def test_a_checkpoint_of_0_7_still_loads():
    guard = guard_of(baseline_metric=0.1)
    guard.go_on_from(state_of_0_7())
    assert guard.spikes.recovered == 1
    assert feed(guard, windows(*[1.0] * 20)) == (None, 200)
    assert feed(guard, windows(*[2.3] * 20))[0] is Verdict.DIVERGED


def test_a_skilled_run_of_0_7_is_still_spared():
    guard = guard_of(baseline_metric=0.1)
    guard.go_on_from(state_of_0_7(_skilled=True))
    assert feed(guard, windows(*[9.0] * 30)) == (None, 300)


@pytest.mark.parametrize(
    ("course", "final"),
    [
        (lambda n: 5.0, 5.0),
        (lambda n: 5.0 * math.exp(-0.05 * n), 5.0 * math.exp(-0.05 * 99)),
        (lambda n: -1.0 - 0.5 * n, -1.0 - 0.5 * 99),
        (lambda n: (1 - 0.5 * (n / 100) ** 2) ** 2, (1 - 0.5 * 0.99**2) ** 2),
    ],
    ids=["constant", "exponential", "linear below zero", "quickening"],
)
def test_the_outlook_of_a_smooth_course_is_where_it_ends(course, final):
    seen = [course(n) for n in range(40)]
    assert outlook(seen, 60, damped=False) == pytest.approx(final, rel=0.05)


def test_a_damped_outlook_lies_between_the_level_and_an_undamped_one():
    seen = [2.0 + 3.0 * math.exp(-0.1 * n) for n in range(40)]
    steady = [-float(n) for n in range(40)]
    assert outlook(steady, 60, damped=True) == outlook(steady, 60, damped=False)
    assert outlook(seen, 60, damped=False) < outlook(seen, 60, damped=True) < seen[-1]
    assert falls(seen)


def test_noise_is_no_fall():
    rng = random.Random(1)
    found = [falls([rng.gauss(5.0, 0.5) for _ in range(40)]) for _ in range(200)]
    assert sum(found) < 20


def test_an_outlook_survives_the_largest_floats():
    assert outlook([1e308, -1e308] * 20, 50, damped=True) is not None
    assert outlook([1e308 / n for n in range(1, 40)], 1e6, damped=False) >= 0
