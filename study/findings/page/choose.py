"""What the sliders of the page choose among."""

from __future__ import annotations

from typing import Any

from batchfront.study.answer.choice import SURE, Answer
from batchfront.study.answer.known import Known
from batchfront.study.answer.show import answer_form, answer_json
from batchfront.study.findings.page.units import BYTES, SECONDS, unit_of, words_of


def choose_of(answer: Answer, known: Known) -> dict[str, Any]:
    """The sizes that are shown, in units that people read, and the rule of the recommendation."""
    found = answer_json(answer, known)
    sizes = [size for size in found["sizes"] if size["status"] == "shown"]
    units = {name: unit_of(name, (size[name] for size in sizes)) for name in (SECONDS, BYTES)}
    limits = [
        {
            "name": name,
            "title": units[name].title,
            "size": units[name].size,
            "most": True,
            "decimals": None,
        }
        for name in (BYTES, SECONDS)
        if all(size[name] for size in sizes)
    ]
    metric, form = known.yardstick.metric, answer_form(answer, known)
    words = words_of(metric.name)
    limits.append(
        {
            "name": "expected_metric",
            "title": f"expected {words}",
            "size": 1.0,
            "most": not metric.maximize,
            "decimals": int(form[1:-1]) if form.endswith("f") else None,
        }
    )
    surely = {
        size.batch_size: float(known.yardstick.own(1 - size.shown.error_at_most(SURE)))
        for size in answer.sizes
        if size.estimate is not None
    }
    kept = ("batch_size", "learning_rate", "expected_metric", SECONDS, BYTES, "trials")
    return {
        "limits": limits,
        "maximize": metric.maximize,
        "tolerance": found["tolerance"],
        "within": f"{found['tolerance']:{form}}",
        "sizes": [
            {**{name: size[name] for name in kept}, "surely": surely[size["batch_size"]]}
            for size in sizes
        ],
    }
