"""A setting that was run with several seeds is shown by its median, wherever a front is shown."""

from __future__ import annotations

from datetime import datetime

import pytest
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from batchfront.study.findings.overview.board import thinned_trials
from batchfront.study.findings.page.front import front_of
from batchfront.study.findings.page.projections import projections
from batchfront.study.trials.attributes import OBJECTIVES
from batchfront.study.trials.repeats import median_front

SPACE = {
    "batch_size": IntDistribution(1, 512, log=True),
    "learning_rate": FloatDistribution(1e-4, 1.0, log=True),
}


def _trial(number, size, metric):
    trial = create_trial(
        state=TrialState.COMPLETE,
        values=[metric, 1.0 / size, 100.0 * size],
        params={"batch_size": size, "learning_rate": 0.1},
        distributions=SPACE,
        constraints={"stopped": 0.0},
    )
    trial.number, trial.datetime_start = number, datetime(2026, 1, 1)
    return trial


@pytest.fixture
def trials():
    """Five seeds at 8, of which one is lucky, and one run at 64."""
    seeds = [_trial(n, 8, metric) for n, metric in enumerate([0.91, 0.92, 0.99, 0.90, 0.93])]
    return [*seeds, _trial(5, 64, 0.94)]


def test_the_pages_table_has_the_median_with_its_spread(trials):
    table = front_of(median_front(trials, OBJECTIVES), OBJECTIVES, among=trials)
    assert table.head[-1] == "seeds"
    rows = {row[1].text: [cell.text for cell in row] for row in table.rows}
    assert rows["8"][0] == "1"  # the trial of the median, 0.92
    assert rows["8"][-1] == "median of 5, 0.9000 to 0.9900"
    assert rows["64"][-1] == "1"


def test_without_repeats_the_pages_table_has_no_column_of_seeds(trials):
    once = trials[4:]
    table = front_of(median_front(once, OBJECTIVES), OBJECTIVES, among=once)
    assert "seeds" not in table.head


def test_projections_and_dashboard_draw_the_median_as_front_and_all_other_runs(trials):
    others, front = projections(trials, OBJECTIVES).data[:2]
    assert sorted(front.y) == [0.92, 0.94]
    assert sorted(others.y) == [0.90, 0.91, 0.93, 0.99]
    assert {t.number for t in thinned_trials(trials)[:2]} == {1, 5}
