"""Small data sets in the true formats, and a mirror that has them, with the faults of real ones."""

from __future__ import annotations

import gzip
import hashlib
import io
import struct
import tarfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np

from batchfront.objectives.datasets.download import RemoteFile, Source
from batchfront.objectives.tasks.cifar10 import ARCHIVE, CIFAR10
from batchfront.objectives.tasks.images import ImageSet
from batchfront.objectives.tasks.mnist import (
    MNIST,
    TEST_IMAGES,
    TEST_LABELS,
    TRAIN_IMAGES,
    TRAIN_LABELS,
)

N_TRAIN, N_VAL, N_TEST = 60, 20, 20

Files = dict[str, bytes]


def drawn(n: int, shape: tuple[int, ...], *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Stripes in noise; their width and direction are the label. Some of every class."""
    generator = np.random.default_rng(seed)
    labels = np.arange(n, dtype=np.uint8) % 10
    images = generator.integers(0, 100, (n, *shape), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        bright = np.arange(shape[-1]) // (1 + label // 2) % 2 == 0
        image += 150 * (bright if label % 2 else bright[:, None]).astype(np.uint8)
    return images, labels


def idx(array: np.ndarray, *, magic: int | None = None) -> bytes:
    """As the page of MNIST describes it: magic number, dimensions, bytes; gzipped."""
    magic = 0x0800 + array.ndim if magic is None else magic
    head = struct.pack(f">{1 + array.ndim}I", magic, *array.shape)
    return gzip.compress(head + array.tobytes(), mtime=0)  # the same bytes whenever it is made


def mnist_files() -> Files:
    """60 and 20 images."""
    train, test = drawn(N_TRAIN, (28, 28)), drawn(N_TEST, (28, 28), seed=1)
    arrays = dict(
        zip((TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS), (*train, *test), strict=True)
    )
    return {name: idx(array) for name, array in arrays.items()}


def cifar_records(images: np.ndarray, labels: np.ndarray) -> bytes:
    """As the page of CIFAR-10 describes them: <1 x label><3072 x pixel>, one after the other."""
    return b"".join(bytes([label]) + image.tobytes() for label, image in zip(labels, images))  # noqa: B905


def tar(members: Files) -> bytes:
    """A .tar.gz of these."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return gzip.compress(stream.getvalue(), mtime=0)


def cifar_members() -> Files:
    """Five batches of 12 images, and a test batch, with a readme as in the original."""
    images, labels = drawn(N_TRAIN, (3, 32, 32))
    folder = "cifar-10-batches-bin"
    members = {f"{folder}/readme.html": b"<html>"}
    for number in range(1, 6):
        part = slice(12 * (number - 1), 12 * number)
        content = cifar_records(images[part], labels[part])
        members[f"{folder}/data_batch_{number}.bin"] = content
    test = cifar_records(*drawn(N_TEST, (3, 32, 32), seed=1))
    return {**members, f"{folder}/test_batch.bin": test}


def cifar_files() -> Files:
    """One archive."""
    return {ARCHIVE: tar(cifar_members())}


def source_of(name: str, files: Files, mirrors: tuple[str, ...] = ()) -> Source:
    """With their true sizes and digests."""
    known = tuple(
        RemoteFile(name=file, n_bytes=len(body), sha256=hashlib.sha256(body).hexdigest())
        for file, body in files.items()
    )
    return Source(name=name, mirrors=mirrors, files=known)


def small(images: ImageSet, files: Files, mirrors: tuple[str, ...] = ()) -> ImageSet:
    """The data set with these files in place of its own."""
    source = source_of(images.source.name, files, mirrors)
    return replace(images, source=source, n_train=N_TRAIN, n_val=N_VAL, n_test=N_TEST)


def small_mnist(files: Files | None = None, mirrors: tuple[str, ...] = ()) -> ImageSet:
    """MNIST of 80 images."""
    return small(MNIST, mnist_files() if files is None else files, mirrors)


def small_cifar(files: Files | None = None, mirrors: tuple[str, ...] = ()) -> ImageSet:
    """CIFAR-10 of 80 images."""
    return small(CIFAR10, cifar_files() if files is None else files, mirrors)


def put(files: Files, folder: Path) -> None:
    """As somebody without a network does it by hand."""
    folder.mkdir(parents=True)
    for name, body in files.items():
        (folder / name).write_bytes(body)


@dataclass
class Mirror:
    """A web server, and what it was asked for."""

    files: Files
    knows_ranges: bool = True
    cut_after: int | None = None  # bytes of an answer, then it hangs up
    tells_length: bool = True
    seconds: float = 0.0  # that an answer takes
    url: str = ""
    asked: list[tuple[str, str | None]] = field(default_factory=list)  # file, Range

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        name, wanted = request.path.removeprefix("/"), request.headers["Range"]
        self.asked.append((name, wanted))
        time.sleep(self.seconds)
        body = self.files.get(name)
        if body is None:
            request.send_error(404)
            return
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        if wanted and self.knows_ranges:
            request.send_response(206)
            request.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            body = body[start:]
        else:
            request.send_response(200)
        if self.tells_length:
            request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body[: self.cut_after])


@contextmanager
def serving(mirror: Mirror) -> Iterator[Mirror]:
    """It answers inside, at its `url`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            mirror.answer(self)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    mirror.url = f"http://127.0.0.1:{server.server_port}/"
    try:
        yield mirror
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
