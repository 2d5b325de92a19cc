"""The one error that storage raises for what a user can mend."""

from __future__ import annotations


class StorageError(Exception):
    """A storage cannot be used as asked; the message names what to do. Never holds a password."""
