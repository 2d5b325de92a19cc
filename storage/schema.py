"""What whoever reads Optuna's tables knows of them without importing Optuna."""

from __future__ import annotations

TABLES = {"studies", "trials", "version_info"}  # a database with these is one of Optuna's
REVISION = "v3.2.0.a"  # of the tables that `tables.py` and `glance.py` know
