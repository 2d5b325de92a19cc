"""A short storm on each storage; `make chaos` lets them rage for minutes."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tests.chaos.scenarios import (
    NoTmpfs,
    full_disk,
    place,
    raging,
    starting_together,
    torn_journal,
)
from tests.chaos.storm import Storm, Weather

SHORT = Weather(
    n_workers=3, n_trials=40, every_seconds=1.5, grace_seconds=2, longest_pause_seconds=3.0,
    dashboard=False, limit_seconds=200,
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "n_trials"),
    [
        ("sqlite", 40),
        ("journal", 40),
        pytest.param("postgresql", 24, marks=pytest.mark.postgresql),  # each takes longer there
    ],
)
def test_killed_and_paused_workers_lose_nothing(kind, n_trials):
    damage = raging(kind, replace(SHORT, n_trials=n_trials))
    assert (damage.wrong, damage.errors) == ([], [])
    assert damage.faults["kill -9"] >= 1
    assert damage.counts["finished"] == n_trials


@pytest.mark.slow
def test_torn_lines_of_a_journal_lose_nothing():
    damage = torn_journal(replace(SHORT, every_seconds=0.0, n_trials=30))
    assert (damage.wrong, damage.errors) == ([], [])
    assert damage.faults["torn lines"] >= 1


@pytest.mark.slow
def test_a_full_disk_ends_workers_with_the_reason_and_loses_nothing():
    try:
        damage = full_disk("sqlite", replace(SHORT, every_seconds=0.0))
    except NoTmpfs as error:
        pytest.skip(f"only root may mount a small disk: {error}")
    assert (damage.wrong, damage.errors) == ([], [])
    assert damage.faults["full disks"] == 1


@pytest.mark.slow
def test_workers_that_start_together_do_not_overshoot():
    damage = starting_together("sqlite", 6, 12)
    assert (damage.wrong, damage.errors) == ([], [])
    assert damage.counts == {
        "trials": 12, "finished": 12, "results told": 12, "queued again": 0
    }  # fmt: skip


@pytest.mark.slow
def test_a_storm_sees_what_is_wrong(tmp_path):
    """The checks themselves: a result that is another, and a trial that is missing."""
    with place("sqlite") as url:
        rage = Storm(
            url, Weather(n_trials=2, n_workers=1, every_seconds=0, dashboard=False), tmp_path
        )
        assert rage.rage().wrong == []
        (diary,) = tmp_path.glob("diary-*.jsonl")
        first, *others = diary.read_text().splitlines(keepends=True)
        changed = {**json.loads(first), "verdict": "completed", "values": [2.0, 0.0, 0.0]}
        diary.write_text("".join([json.dumps(changed) + "\n", *others]))
        rage.weather = Weather(n_trials=3)
        rage.inspect()
        assert any("finished, wanted 3" in wrong for wrong in rage.damage.wrong)
        assert any("told" in wrong for wrong in rage.damage.wrong)
