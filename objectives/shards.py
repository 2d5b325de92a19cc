"""Which examples of a batch each rank trains on."""

from __future__ import annotations


def own_part(n: int, *, rank: int, n_ranks: int, shards: str) -> slice:
    """Of a batch of `n` examples, in the order of the batch.

    Numbers of examples differ by at most one; the lower ranks have the larger ones, so that in a
    batch smaller than the ranks the last of them have none.
    """
    if shards == "striped":
        return slice(rank, None, n_ranks)
    each, more = divmod(n, n_ranks)
    start = rank * each + min(rank, more)
    return slice(start, start + each + (rank < more))


def n_own(n: int, *, rank: int, n_ranks: int) -> int:
    """How many that are, whatever the shards."""
    return n // n_ranks + (rank < n % n_ranks)
