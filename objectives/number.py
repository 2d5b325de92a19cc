"""The numbers that people may write, in options, files of settings and cells of tables."""

from __future__ import annotations

import math
import unicodedata
from dataclasses import dataclass, fields
from typing import Any

EXACT = 2**53  # up to here a float holds every whole number; storages keep floats
PERCENT = ": 91.2% is written 0.912"


@dataclass(frozen=True, kw_only=True)
class Number:
    """A range of numbers; NaN and infinity are in it only where it says so."""

    low: float = -math.inf
    high: float = math.inf
    above: bool = False  # `low` itself is excluded
    whole: bool = False
    lost: bool = False  # may be NaN or infinite: the run failed, or did not get there
    advice: str = ""  # on a number out of range

    def read(self, name: str, text: str) -> float:
        """The number that a text says.

        Raises:
            ValueError: it is none, or out of range.
        """
        try:
            value = int(text) if self.whole else float(text)
        except ValueError:
            value = self._unusual(name, text)
        if not self.holds(value):
            raise ValueError(self._refusal(name, text, value))
        return value

    def check(self, name: str, value: float) -> None:
        """Raise ValueError for a number that is out of range."""
        if not self.holds(value):
            raise ValueError(self._refusal(name, shown(value), value))

    def holds(self, value: float) -> bool:
        """Whether a number is in the range."""
        if -math.inf < value < math.inf:
            return self.low <= value <= self.high and not (self.above and value == self.low)
        return self.lost

    def _unusual(self, name: str, text: str) -> int:
        """A whole number that is written as 8.0 or 1e3."""
        try:
            value = float(text)
        except ValueError:
            raise ValueError(f"{name} is {text!r}, wanted {self}{_oddity(text)}") from None
        if not value.is_integer():
            raise ValueError(self._refusal(name, text, value))
        if abs(value) > EXACT:
            raise ValueError(f"{name} is {text}, wanted {self} with all its digits")
        return int(value)

    def _refusal(self, name: str, text: str, value: float) -> str:
        most = ""
        if value > self.high and self.low > -math.inf:
            most = f" and at most {self.high if self.whole else format(self.high, 'g')}"
        return f"{name} is {text}, wanted {self}{most}{self.advice}"

    def __str__(self) -> str:
        words = "a whole number" if self.whole else "a number"
        if self.above:
            words += f" above {self.low:g}"
        elif self.low > -math.inf:
            words += f" of at least {self.low:g}"
        elif self.high < math.inf:
            words += f" of at most {self.high:g}"
        return words + (", or nan" if self.lost else "")


FINITE = Number()
PORT = Number(low=0, high=2**16 - 1, whole=True)  # 0: any free one
WHOLE = Number(low=1, high=2**31 - 1, whole=True)
SEED = Number(low=0, high=2**31 - 1, whole=True)
SIZE = Number(low=1, high=2**30, whole=True)  # of a batch, or a part of one
RATE = Number(low=1e-37, high=1e37)  # float32, in which models train, goes no further


def check_numbers(values: Any) -> None:
    """Raise ValueError for a number that its field of a dataclass, by its metadata, may not be."""
    for one in fields(values):
        number, value = one.metadata.get("number"), getattr(values, one.name)
        if number is not None and value is not None:
            number.check(one.name, value)


def as_float(value: float) -> float:
    """The nearest float: infinity for a whole number beyond all of them."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def shown(value: object) -> str:
    """A value as messages quote it."""
    if isinstance(value, float):
        return f"{value:g}"
    try:
        return repr(value)
    except ValueError:  # Python writes no more than 4300 digits
        return "a number of thousands of digits"


def _oddity(text: str) -> str:
    """Why a text that may look like a number is none."""
    if text.endswith("%"):
        return PERCENT
    if "," in text:
        return ": write a point before decimals, and nothing between thousands"
    strange = next((c for c in text if not c.isascii()), None)
    return "" if strange is None else f": it has a {unicodedata.name(strange, 'strange character')}"


def is_power(size: int) -> bool:
    """Whether a positive number is a power of two."""
    return size & (size - 1) == 0
