"""Silences Optuna's warnings about the experimental features this project relies on."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

RELIED_ON = (
    "set_metric_names", "QMCSampler", "NSGAIIISampler", "PatientPruner", "WilcoxonPruner",
)  # fmt: skip


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Ignore the ExperimentalWarning of these features, and of no other."""
    from optuna.exceptions import ExperimentalWarning

    with warnings.catch_warnings():
        for name in RELIED_ON:
            warnings.filterwarnings("ignore", f".*{name}.*", category=ExperimentalWarning)
        yield


@contextmanager
def only_errors() -> Iterator[None]:
    """No log lines of Optuna below an error."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
