"""The error that the study side raises for what a user can mend, and the exit code for the rest."""

from __future__ import annotations

RUN_AGAIN = 75
"""The exit code of a run that ends short of its total for no reason that was asked for: EX_TEMPFAIL
of sysexits.h, so that whatever has started the process may start it again."""


class StudyError(Exception):
    """Found, wanted, remedy; printed as one line, exit code 2."""
