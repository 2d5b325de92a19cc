"""The error that the study side raises for what a user can mend."""

from __future__ import annotations


class StudyError(Exception):
    """Found, wanted, remedy; printed as one line, exit code 2."""
