"""Why runs are trained one by one."""

from __future__ import annotations


class Refused(Exception):
    """These runs cannot be trained together; the message says what stands in the way."""
