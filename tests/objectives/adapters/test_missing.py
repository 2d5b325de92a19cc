"""Adapters without their library say what to install."""

from __future__ import annotations

import sys

import pytest

import batchfront as bf
from batchfront.objectives.measurement import ObjectiveError


@pytest.mark.parametrize(
    ("name", "packages"),
    [
        ("lightning", ("lightning.pytorch", "pytorch_lightning")),
        ("transformers", ("transformers",)),
    ],
)
def test_a_missing_package_is_named_in_one_line(name, packages, monkeypatch):
    monkeypatch.delitem(sys.modules, f"batchfront.objectives.adapters.{name}", raising=False)
    for package in packages:
        monkeypatch.setitem(sys.modules, package.partition(".")[0], None)
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ObjectiveError) as error:
        getattr(bf, name)
    assert str(error.value) == (
        f"batchfront.{name} needs {name}, which is not installed: pip install 'batchfront[{name}]'"
    )
