"""How a batch is cut whose gradient is summed up part by part."""

from __future__ import annotations


def n_parts(n: int, most: int) -> int:
    """The number of equal parts that n examples are cut into so that none has over `most`.

    Where that would leave a single example over, which has no variance for batch norm, one has
    one more.
    """
    needed = -(-n // most)
    return needed if most == 1 else max(1, min(needed, n // 2))


def largest_part(n: int, most: int) -> int:
    """The size of the largest of the parts that `n_parts` cuts n examples into."""
    return -(-n // n_parts(n, most))
