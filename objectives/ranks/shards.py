"""Which examples of a batch each rank trains on."""

from __future__ import annotations


def own_part(n: int, *, rank: int, n_ranks: int, shards: str, least: int = 1) -> slice | None:
    """A rank's part of a batch of `n` examples, in the batch's order; None where it has none.

    Numbers of examples differ by at most one, the lower ranks have the larger ones. Where that
    would leave one with fewer than `least` (batch norm cannot take one alone) fewer ranks share.
    """
    n_ranks = max(1, min(n_ranks, n // least))
    if rank >= n_ranks:
        return None
    if shards == "striped":
        return slice(rank, n, n_ranks)
    each, more = divmod(n, n_ranks)
    start = rank * each + min(rank, more)
    return slice(start, start + each + (rank < more), 1)


def n_in(part: slice) -> int:
    """How many examples that are."""
    return len(range(part.start, part.stop, part.step))
