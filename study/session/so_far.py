"""The best answer so far, for the live view: renewed now and then, so that it slows nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

LEAST_SECONDS = 5.0  # between renewals
SHARE = 0.02  # of the time that finding the answer may take


class SoFar:
    """Keeps the answer of a study while it runs."""

    def __init__(
        self, find: Callable[[], Sequence[str]], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`find`: the answer in words, the longest form first; nothing while there is none."""
        self._find, self._clock = find, clock
        self._due = clock() + LEAST_SECONDS
        self._forms: Sequence[str] = ()

    def renew(self) -> None:
        """Find the answer again, where it is time."""
        begun = self._clock()
        if begun < self._due:
            return
        self._forms = self._find()
        ended = self._clock()
        self._due = ended + max(LEAST_SECONDS, (ended - begun) / SHARE)

    def line(self, width: int) -> str:
        """The longest form that has room; "" while there is no answer."""
        fitting = [form for form in self._forms if len(form) <= width]
        return fitting[0] if fitting else (self._forms[-1] if self._forms else "")
