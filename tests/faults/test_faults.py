"""A sample of the crash points; `make chaos` goes through all of them."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.faults.catalog import by_name
from tests.faults.planted import PLANTED, Planted
from tests.servers import ROOT

SAMPLE = 37  # of so many points one: in no step with what a trial does again and again


def faults(*options: str, seconds: float = 280) -> subprocess.CompletedProcess[str]:
    """`python -m tests.faults`: a process without the threads that tests have had."""
    return subprocess.run(
        [sys.executable, "-m", "tests.faults", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=seconds,
    )


@pytest.mark.slow
def test_processes_that_end_anywhere_lose_nothing():
    done = faults("--storages", "sqlite", "journal", "--every", str(SAMPLE),
                  "--scenario", "trial", "retry", "hand back", "again", "group")  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout.split()[-2]) >= 40


ALONE = {"unnamed"}
"""Lives that go another way where others keep the cores busy: `make chaos` runs them alone."""


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("scenario", [name for name in by_name() if name not in ALONE])
def test_processes_that_end_at_any_point_lose_nothing(scenario):
    kind = "journal" if "journal" in by_name()[scenario].kinds else "sqlite"
    done = faults("--storages", kind, "--scenario", scenario, seconds=3600)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What the oracles say of each planted bug."""
    path = tmp_path_factory.mktemp("planted") / "found.json"
    done = faults("--planted", "--json", str(path))
    assert done.returncode == 0, done.stdout + done.stderr
    told: dict[str, list[str]] = json.loads(path.read_text())
    return told


@pytest.mark.slow
@pytest.mark.parametrize("bug", PLANTED, ids=lambda bug: bug.plant.__name__)
def test_a_planted_bug_is_found(found, bug: Planted):
    said = found[bug.plant.__name__]
    assert any(bug.found in one for one in said), said
