"""All scenarios."""

from __future__ import annotations

from tests.faults.pauses import PAUSES
from tests.faults.scenarios import SCENARIOS, Scenario
from tests.faults.transfers import TRANSFERS


def by_name() -> dict[str, Scenario]:
    """All scenarios by name, in the order of the table."""
    return {scenario.name: scenario for scenario in (*SCENARIOS, *PAUSES, *TRANSFERS)}
