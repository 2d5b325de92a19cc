"""Reads gzipped files that may unpack to far more than they look like."""

from __future__ import annotations

import gzip
import io
from typing import TYPE_CHECKING, BinaryIO

from batchfront.objectives.measurement import ObjectiveError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

MAX_UNPACKED_BYTES = 2**28  # two million lines of a hundred characters and more


class Unpacked(io.RawIOBase):
    """The content of a gzipped stream, unpacked as far as it is read.

    Reading it raises an ObjectiveError that begins with `name` beyond MAX_UNPACKED_BYTES, an
    OSError, EOFError or zlib.error where it is damaged.
    """

    def __init__(self, packed: BinaryIO, name: str) -> None:
        self._stream = gzip.GzipFile(fileobj=packed)
        self._name = name
        self._left = MAX_UNPACKED_BYTES

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        """What io's readers call."""
        n_bytes = self._stream.readinto(buffer)
        self._left -= n_bytes
        if self._left < 0:
            raise ObjectiveError(
                f"{self._name} unpacks to more than {MAX_UNPACKED_BYTES // 2**20} MiB, the most "
                "that is read of a packed table: if it is a table, unpack it and name the .csv"
            )
        return n_bytes


def unpacked(packed: BinaryIO, name: str) -> io.BufferedReader:
    """See `Unpacked`."""
    return io.BufferedReader(Unpacked(packed, name))
