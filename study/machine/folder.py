"""The folder that a process works in: it may be deleted while a shell still stands in it."""

from __future__ import annotations

import os

from batchfront.study.errors import StudyError


def check_working_folder() -> None:
    """Raise StudyError where it is gone: no name of a file means anything, and torch aborts."""
    try:
        os.getcwd()
    except OSError:
        raise StudyError(
            "the folder that you are in was deleted: change to one that is there"
        ) from None
