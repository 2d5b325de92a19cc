"""Says when a password was typed where other users of the machine see it."""

from __future__ import annotations

import argparse
import os

from batchfront.storage.names import holds_password
from batchfront.study.commands import TYPED_VARIABLE
from batchfront.study.plan.environment import FROM_VARIABLE, STORAGE_VARIABLE, TO_VARIABLE

OPTIONS = {  # by their names once parsed
    "storage": ("--storage", STORAGE_VARIABLE),
    "from_url": ("--from", FROM_VARIABLE),
    "to_url": ("--to", TO_VARIABLE),
}
MAKES = {"STORAGE": STORAGE_VARIABLE, "FROM": FROM_VARIABLE, "TO": TO_VARIABLE}


def password_warning(args: argparse.Namespace) -> str | None:
    """One line without any password; None where none was typed."""
    shown: dict[str, str] = {}  # what was typed: the variable to use instead
    for name, (option, variable) in OPTIONS.items():
        url = getattr(args, name, None)
        if url and holds_password(url):
            shown[option] = variable
    for name in os.environ.get(TYPED_VARIABLE, "").split():
        if name in MAKES and holds_password(os.environ.get(MAKES[name], "")):
            shown[f"{name}="] = MAKES[name]
    for name in getattr(args, "warm_start", None) or ():
        if holds_password(name.partition("#")[0]) and "://" in name:
            return (
                "warning: every user of this machine can see the password after --warm-start in "
                "`ps`: copy the study here with batchfront copy, and give its name"
            )
    if not shown:
        return None
    given, wanted = " and ".join(shown), " and ".join(dict.fromkeys(shown.values()))
    return (
        f"warning: every user of this machine can see the password after {given} in `ps`: set it "
        f"in the environment instead, {wanted}"
    )
