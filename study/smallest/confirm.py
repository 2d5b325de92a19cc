"""Whether a size that counts still does after the seeds that come later: a sequential test.

Every size that is looked at is another chance for one that succeeds too rarely to pass. So all
fresh seeds of an answer together are held against a share of 0.8: how much likelier are they where
the share is 0.98 (Wald 1945, Annals of Mathematical Statistics 16)? Where the share is 0.8 or
less, that ratio ever exceeds 1 / c with a probability of at most c, whenever one looks (Ville
1939). With c an even part of 0.05 for every size of the question, the chance per study is 0.05.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from batchfront.study.smallest.question import SHARE

UNLIKELY, LIKELY = 0.8, 0.98  # shares that are told apart
ERROR = 0.05  # chance, per study, that a size of the share UNLIKELY is confirmed
MISSED = 0.01  # chance, per size, that one of the share LIKELY is taken back
MOST = 100
"""Seeds of a size. What is not decided by then lies in between, and stays if SHARE of them reach
the target: with a share of 0.8 one in 550 of those that counted, with 0.94 one in six (seven in
ten are confirmed)."""
_REACHED, _FAILED = math.log(LIKELY / UNLIKELY), math.log((1 - LIKELY) / (1 - UNLIKELY))


def stands(outcomes: Sequence[bool], n_sizes: int) -> bool | None:
    """Whether seeds confirm a size, of `n_sizes` that may be looked at; None: more are needed."""
    found, n = _evidence(outcomes), len(outcomes)
    if found >= _wanted(n_sizes):
        return True
    late = n >= MOST and sum(outcomes) < SHARE * n
    return False if late or found <= math.log(MISSED) else None


def n_missing(outcomes: Sequence[bool], n_sizes: int) -> int:
    """Seeds that would confirm it if all of them reach the target; 0 where it is decided."""
    if stands(outcomes, n_sizes) is not None or len(outcomes) >= MOST:
        return 0
    return math.ceil((_wanted(n_sizes) - _evidence(outcomes)) / _REACHED - 1e-9)


def _wanted(n_sizes: int) -> float:
    return math.log(n_sizes / ERROR)


def _evidence(outcomes: Sequence[bool]) -> float:
    """The logarithm of the ratio of likelihoods."""
    n, k = len(outcomes), sum(outcomes)
    return k * _REACHED + (n - k) * _FAILED
