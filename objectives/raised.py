"""What code of the user's own may raise: anything, also what cannot be printed."""

from __future__ import annotations


class Halted(BaseException):
    """Raised into an objective from outside, to end it: its code has not failed.

    No `Exception`, so that user code does not swallow it.
    """


def kind_of(error: BaseException) -> str:
    """The name of its class, also where the class hides it."""
    return str(type.__dict__["__name__"].__get__(type(error)))


def text_of(error: BaseException) -> str:
    """What an error says, or why it cannot; what would colour or move a terminal is escaped."""
    try:
        said = str(error)
        return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in said)
    except Halted:
        raise
    except BaseException as why:  # a user's own __str__ may raise anything
        return f"(it cannot be printed: that raises {kind_of(why)})"


def words_of(error: BaseException) -> str:
    """`ValueError: what it says`."""
    return f"{kind_of(error)}: {text_of(error)}"
