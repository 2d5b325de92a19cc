"""Reads images and labels from the files that MNIST and CIFAR-10 are published in.

Nothing is unpacked to disk and nothing is unpickled. What a header promises is checked before it is
believed.
"""

from __future__ import annotations

import gzip
import math
import struct
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from batchfront.objectives.measurement import ObjectiveError

if TYPE_CHECKING:
    import numpy as np

UNSIGNED_BYTE = 0x08  # IDX's code of the type
CIFAR_SHAPE = (3, 32, 32)  # channels first: all of red, then green, then blue, row by row
CIFAR_RECORD_BYTES = 1 + math.prod(CIFAR_SHAPE)  # a label, then the image
TRAIN_BATCHES = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
TEST_BATCHES = ("test_batch.bin",)


def read_idx(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """A gzipped IDX file of unsigned bytes in this shape.

    Its head is two zeros, the type, the number of dimensions, then each as a big-endian int32.

    Raises:
        ObjectiveError: damaged, of another type, or of another shape.
    """
    import numpy as np

    head = struct.Struct(f">HBB{len(shape)}I")
    n_bytes = head.size + math.prod(shape)
    with _readable(path), gzip.open(path) as stream:
        content = stream.read(n_bytes + 1)  # no more, whatever it might unpack to
    if len(content) < head.size:
        raise ObjectiveError(f"{path} has {len(content)} bytes, too few for an IDX file")
    zero, kind, n_dimensions, *found = head.unpack_from(content)
    if (zero, kind, n_dimensions) != (0, UNSIGNED_BYTE, len(shape)):
        raise ObjectiveError(
            f"{path} begins with {content[:4].hex(' ')}, an IDX file of bytes in {len(shape)} "
            f"dimensions with 00 00 08 0{len(shape)}"
        )
    if tuple(found) != shape:
        raise ObjectiveError(f"{path} holds an array {tuple(found)}, wanted {shape}")
    if len(content) != n_bytes:
        raise ObjectiveError(f"{path} does not hold the {n_bytes} bytes that its head promises")
    return np.frombuffer(content, dtype=np.uint8, offset=head.size).reshape(shape)


def read_cifar(
    path: Path, *, n_train: int, n_test: int
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Images (N, 3, 32, 32) and labels (N,) of training and test from cifar-10-binary.tar.gz.

    Raises:
        ObjectiveError: damaged, or with other records than that.
    """
    batches = _cifar_batches(path, limit=(n_train + n_test) * CIFAR_RECORD_BYTES)
    train = [batches[name] for name in TRAIN_BATCHES if name in batches]
    test = [batches[name] for name in TEST_BATCHES if name in batches]
    return _cifar_split(path, train, n_train), _cifar_split(path, test, n_test)


def _cifar_batches(path: Path, *, limit: int) -> dict[str, bytes]:
    """The batches by their file names, whatever folder they say they are in."""
    batches: dict[str, bytes] = {}
    with _readable(path), tarfile.open(path, "r:gz") as archive:
        for member in archive:
            name = member.name.rpartition("/")[2]
            if not member.isfile() or name not in TRAIN_BATCHES + TEST_BATCHES:
                continue
            limit -= member.size
            if limit < 0:
                raise ObjectiveError(f"{path} holds more records than CIFAR-10")
            stream = archive.extractfile(member)
            batches[name] = b"" if stream is None else stream.read()
    return batches


def _cifar_split(path: Path, batches: list[bytes], n: int) -> tuple[np.ndarray, np.ndarray]:
    import numpy as np

    content = b"".join(batches)
    if len(content) != n * CIFAR_RECORD_BYTES:
        raise ObjectiveError(
            f"{path}: {len(content)} bytes in {len(batches)} batches, wanted {n} records of "
            f"{CIFAR_RECORD_BYTES}"
        )
    records = np.frombuffer(content, dtype=np.uint8).reshape(n, CIFAR_RECORD_BYTES)
    return records[:, 1:].reshape(n, *CIFAR_SHAPE), records[:, 0]


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """What a damaged file raises, in our words."""
    try:
        yield
    except (gzip.BadGzipFile, tarfile.TarError, EOFError, zlib.error) as error:
        raise ObjectiveError(f"{path} is damaged: {error}") from error
