"""Is what a run is to go on from made of what a run keeps?"""

from __future__ import annotations

from typing import Any

NUMBERS = (int, float, type(None))


def check_kept(found: Any, own: Any) -> None:
    """Compare the numbers that were kept with those of a run that has just begun.

    Raises:
        TypeError: something else stands where a number, a list or a dict of them should.
    """
    for name, mine in own.items():
        if name in found and not _is_like(found[name], mine):
            kind = type(found[name]).__name__
            raise TypeError(f"its {name} is of type {kind}, or holds something else than numbers")


def _is_like(found: Any, own: Any) -> bool:
    if isinstance(own, dict):
        return isinstance(found, dict) and all(
            name in found and _is_like(found[name], mine) for name, mine in own.items()
        )
    if isinstance(own, list | tuple):
        return isinstance(found, list | tuple) and all(map(_is_numbers, found))
    return _is_number(found)


def _is_numbers(found: Any) -> bool:
    is_row = isinstance(found, list | tuple)
    return all(map(_is_number, found)) if is_row else _is_number(found)


def _is_number(found: Any) -> bool:
    """A number, None, or a tensor that holds one."""
    return isinstance(found, NUMBERS) or getattr(found, "ndim", None) == 0
