"""What is done once, before processes are forked that live for a moment."""

from __future__ import annotations

import gc
import os
import sys
import tempfile
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from batchfront.objectives.objective import Objective
from tests.faults.together import Together

SHORT = {
    "study.workers.worker": {"STANDBY_SECONDS": 0.02, "POLL_SECONDS": 0.01, "PASSING_SECONDS": 0.0},
    "study.workers.watched": {"CURVE_SECONDS": 0.0},  # every epoch is written
    "study.probes.prober": {"PROBE_SECONDS": 0.01, "PATIENCE_SECONDS": 0.0},
    "storage.journal": {"STALE_SECONDS": 0.5},  # of a lock that its holder left behind
}
"""Waits of the product that are long for people's sake."""

IMPORTED = (
    "storage.sqlite", "storage.journal", "storage.server", "storage.proxy", "storage.proxy_server",
    "storage.checkpoint", "study.transfer.importing", "study.findings.overview.board",
)  # fmt: skip
"""What commands import when they need it."""


def preload() -> Objective:
    """Import everything, and shorten waits; returns the objective of all faults."""
    # grpc's own handlers would wait, in each fork, for threads that are not there.
    os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
    import importlib

    import optuna
    import torch

    from batchfront.objectives.load import load_objective
    from tests.faults.place import TASK

    torch.set_num_threads(1)
    _leave_the_compiler_out()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    for name in IMPORTED:
        importlib.import_module(f"batchfront.{name}")
    for module, values in SHORT.items():
        for name, value in values.items():
            setattr(importlib.import_module(f"batchfront.{module}"), name, value)
    importlib.import_module("batchfront.study.workers.fusing").Together = Together
    _read_migrations_once()
    _compile_statements_once()
    objective = load_objective(TASK, device="cpu")
    with tempfile.TemporaryDirectory() as folder:
        warm("sqlite", f"sqlite:///{folder}/warm.db", Path(folder), objective)
    gc.collect()
    gc.freeze()  # so that no collection of a fork copies all of it
    gc.set_threshold(100_000)  # a short life has none at all, which is a fifth of its time
    return objective


def warm(kind: str, url: str, folder: Path, objective: Objective) -> None:
    """Live and judge one life, so that forks find all imports and statements made."""
    from tests.faults.place import Place, Storages, remove_study, work
    from tests.faults.scene import scene_of

    storages, place = Storages(), Place(kind=kind, url=url, name="warm", folder=folder)
    for n_trials in (1, 2):
        work(place, objective, storages, n_trials=n_trials)
    storage = storages(url)
    scene_of(url, "warm", objective, n_trials=2, checkpoints=place.kept, storage=storage)
    remove_study(place, storages)
    storages.close(url)


def _leave_the_compiler_out() -> None:
    """Torch imports its compiler to mark what it need not compile: a third of what forks copy."""
    import torch

    compiler = ModuleType("torch._dynamo")
    compiler.disable = lambda function, *_, **__: function  # type: ignore[attr-defined]
    sys.modules["torch._dynamo"] = torch._dynamo = compiler  # type: ignore[attr-defined,assignment]


def _read_migrations_once() -> None:
    """Optuna reads all of them to open any database: 50 ms."""
    from alembic.script import ScriptDirectory

    read = ScriptDirectory.get_current_head

    @cache
    def head_of(folder: str) -> str | None:
        return read(ScriptDirectory(folder))

    ScriptDirectory.get_current_head = lambda scripts: head_of(scripts.dir)  # type: ignore[method-assign]


def _compile_statements_once() -> None:
    """SQLAlchemy has a cache of compiled statements for each engine, and we open many."""
    from sqlalchemy.engine import Engine
    from sqlalchemy.engine.default import DefaultDialect

    caches: dict[str, Any] = {}
    real = Engine.__init__

    def init(self: Any, *args: Any, **options: Any) -> None:
        real(self, *args, **options)
        self._compiled_cache = caches.setdefault(self.name, self._compiled_cache)

    Engine.__init__ = init  # type: ignore[method-assign]
    # Its keys name the dialect: all of one kind are alike here.
    DefaultDialect.__eq__ = lambda self, other: type(self) is type(other)  # type: ignore[assignment,method-assign]
    DefaultDialect.__hash__ = lambda self: hash(type(self))  # type: ignore[method-assign]
