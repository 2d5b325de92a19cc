"""Silences Optuna's warnings about the experimental features this project relies on."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

RELIED_ON = ("set_metric_names", "QMCSampler", "PatientPruner", "WilcoxonPruner")


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Ignore the ExperimentalWarning of these features, and of no other."""
    from optuna.exceptions import ExperimentalWarning

    with warnings.catch_warnings():
        for name in RELIED_ON:
            warnings.filterwarnings("ignore", f".*{name}.*", category=ExperimentalWarning)
        yield
