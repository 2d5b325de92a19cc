"""Sizes whose runs take another time than known are probed again, by several workers as well."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import optuna

from batchfront.study.machine.interrupts import Interrupts
from batchfront.study.trials.costs import Costs, SizeCost
from batchfront.study.trials.hardware import store_costs, stored_costs
from batchfront.study.workers.doubts import Doubts

KNOWN = SizeCost(
    batch_size=8,
    step_seconds=1.0,
    peak_memory_bytes=1000,
    predicted_peak_memory_bytes=None,
    total_steps=10,
)


def test_a_probe_that_another_worker_has_bettered_meanwhile_is_not_put_back():
    study = optuna.create_study()
    store_costs(study, "here", {8: KNOWN})
    quicker = replace(KNOWN, step_seconds=0.2)

    def again(size: int, costs: Costs) -> SizeCost:
        store_costs(study, "here", {8: quicker})  # as the other one, which was done first
        return replace(costs[size], step_seconds=0.5)

    doubts = doubts_of(study, again)
    doubts._doubted.add(8)
    doubts.probe_again()
    assert stored_costs(study, "here") == {8: quicker}
    assert doubts.sizes == [], "it is asked once"


def doubts_of(study: optuna.Study, again: Any) -> Doubts:
    here: Any = SimpleNamespace(study_name=study.study_name, hardware="here")
    storage: Any = SimpleNamespace(claim_lock=lambda name: nullcontext())
    prober: Any = SimpleNamespace(again=again)
    return Doubts(storage=storage, study=study, plan=here, prober=prober, interrupts=Interrupts())
