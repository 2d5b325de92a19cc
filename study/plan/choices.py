"""Names that a user chooses from."""

from __future__ import annotations

SAMPLERS = ("cost-aware", "tpe", "nsgaii", "nsgaiii", "gp", "qmc", "random", "grid")
PRUNERS = (
    "front", "front-paused", "median", "percentile", "halving", "hyperband", "threshold", "patient",
    "wilcoxon", "none",
)  # fmt: skip
LAUNCHERS = ("local", "ray")
LOGS = ("tensorboard", "csv")
