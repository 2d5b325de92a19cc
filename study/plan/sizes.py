"""Which batch sizes are tried: how people write them, how they are said."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TypeVar

from batchfront.objectives.number import SIZE, is_power
from batchfront.study.errors import StudyError

RANGE, SIZES = "batch_sizes", "sizes"  # in a stored space: formats up to 3 had powers of two alone
MOST_SIZES = 100  # each is probed, and wants runs of its own
SHOWN = 8  # sizes of a list that are all said
OTHER_FORMS = "24,48,96 or 16:128:16 (steps of 16)"
FORMS = f"8:512 (powers of two), {OTHER_FORMS}"

Number = TypeVar("Number", int, float)


def powers_of_two(low: int, high: int) -> tuple[int, ...]:
    """All powers of two from `low` to `high`, which are two."""
    return tuple(2**exponent for exponent in range(low.bit_length() - 1, high.bit_length()))


def is_powers(sizes: Sequence[int]) -> bool:
    """Whether ascending sizes are all powers of two between two of them."""
    return tuple(sizes) == powers_of_two(sizes[0], sizes[-1])


def said_sizes(sizes: Sequence[int]) -> str:
    """Ascending sizes in words: `8..512 (powers of two)`, `24, 48, 96`, `16..128 (steps of 16)`."""
    low, high = sizes[0], sizes[-1]
    if is_powers(sizes):
        return f"{low}..{high} (powers of two)"
    step = sizes[1] - low if len(sizes) > 1 else 1
    if len(sizes) > 3 and list(sizes) == list(range(low, high + 1, step)):
        return f"{low}..{high} (steps of {step})"
    if len(sizes) <= SHOWN:
        return ", ".join(map(str, sizes))
    return f"{low}, {sizes[1]}, ..., {high} ({len(sizes)} sizes)"


def span_of(sizes: Sequence[int]) -> str:
    """The ends of ascending sizes, or all of a short list."""
    short = is_powers(sizes) or len(sizes) > SHOWN
    return f"{sizes[0]}..{sizes[-1]}" if short else ", ".join(map(str, sizes))


def parse_batch_sizes(text: str, what: str = RANGE) -> tuple[int, ...]:
    """The batch sizes that were written, ascending: in one of FORMS, or a single size.

    Raises:
        StudyError: not whole numbers, out of range, reversed, twice the same, or too many.
    """
    if "," in text:
        sizes = _listed(text, what)
    elif text.count(":") == 2:
        sizes = _stepped(text, what)
    elif ":" in text:
        sizes = powers_of_two(*parse_powers(text, what))
    else:
        sizes = _listed(text, what)
    if len(sizes) > MOST_SIZES:
        raise StudyError(
            f"{what} is {text!r}, which are {len(sizes)} sizes, wanted at most {MOST_SIZES}: "
            "choose larger steps"
        )
    return sizes


def _listed(text: str, what: str) -> tuple[int, ...]:
    sizes = sorted(_whole(text, text.split(","), what))
    twice = next((a for a, b in pairwise(sizes) if a == b), None)
    if twice is not None:
        raise StudyError(f"{what} is {text!r}, which has {twice} twice: give it once")
    return tuple(sizes)


def _stepped(text: str, what: str) -> tuple[int, ...]:
    low, high, step = _whole(text, text.split(":"), what)
    if not low + step <= high:
        raise StudyError(f"{what} is {text!r}, wanted LOW:HIGH:STEP with a step from LOW to HIGH")
    return tuple(range(low, min(high, low + step * MOST_SIZES) + 1, step))


def _whole(text: str, parts: Sequence[str], what: str) -> list[int]:
    try:
        sizes = [int(part) for part in parts]
    except ValueError:
        raise StudyError(f"{what} is {text!r}, wanted whole numbers as in {FORMS}") from None
    if not all(map(SIZE.holds, sizes)):
        raise StudyError(f"{what} is {text!r}, wanted sizes of at least 1 and at most {SIZE.high}")
    return sizes


def parse_micro_batch_sizes(text: str) -> tuple[int, ...]:
    """Sizes of micro-batches: all of a list, both ends of a range of powers, or twice a single one.

    Raises:
        StudyError: as for batch sizes; or a list that could not be told from a range.
    """
    what = "micro_batch_sizes"
    if text.count(":") == 1:
        return parse_powers(text, what)
    sizes = parse_batch_sizes(text, what)
    if len(sizes) == 2 and all(map(is_power, sizes)) and sizes[1] != 2 * sizes[0]:
        raise StudyError(
            f"{what} is {text!r}, and two powers of two are the ends of a range: write "
            f"{sizes[0]}:{sizes[1]}, or a list that has another size"
        )
    return sizes if len(sizes) > 1 else sizes * 2


def parse_powers(text: str, what: str = "batch_sizes") -> tuple[int, int]:
    """The ends of `8:64`, a range of powers of two, or twice `8`.

    Raises:
        StudyError: not whole numbers, out of range, reversed, or not powers of two.
    """
    low, high = ends(what, text, int)
    if not (SIZE.holds(low) and SIZE.holds(high)):
        raise StudyError(f"{what} is {text!r}, wanted sizes of at least 1 and at most {SIZE.high}")
    odd = next((size for size in (low, high) if not is_power(size)), None)
    if odd is not None:
        near = 2 ** round(math.log2(odd))
        raise StudyError(
            f"{what} is {text!r}, wanted powers of two: {near} is near {odd}; other sizes are "
            f"written as {OTHER_FORMS}"
        )
    return low, high


def ends(what: str, text: str, kind: Callable[[str], Number]) -> tuple[Number, Number]:
    """Both numbers of `LOW:HIGH`, or twice a single one.

    Raises:
        StudyError: no numbers, or reversed.
    """
    parts = text.split(":")
    try:
        numbers = [kind(part) for part in parts]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 2):
        raise StudyError(f"{what} is {text!r}, wanted LOW:HIGH")
    low, high = numbers[0], numbers[-1]
    if not low <= high:
        raise StudyError(f"{what} is {text!r}, wanted LOW:HIGH with LOW at most HIGH")
    return low, high
