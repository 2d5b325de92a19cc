"""MNIST and Fashion-MNIST: 70,000 grey images of 28 x 28, 10 classes, in gzipped IDX files."""

from __future__ import annotations

from pathlib import Path

from batchfront.objectives.datasets.download import RemoteFile, Source
from batchfront.objectives.datasets.formats import read_idx
from batchfront.objectives.tasks.images import ImageSet, Labelled

TRAIN_IMAGES, TRAIN_LABELS = "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"
TEST_IMAGES, TEST_LABELS = "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"
SHAPE = (1, 28, 28)


def read(folder: Path, images: ImageSet) -> tuple[Labelled, Labelled]:
    """The two parts, each an array of images and one of labels."""
    parts = []
    for n, x, y in (
        (images.n_train, TRAIN_IMAGES, TRAIN_LABELS),
        (images.n_test, TEST_IMAGES, TEST_LABELS),
    ):
        pixels = read_idx(folder / x, (n, *SHAPE[1:]))
        parts.append((pixels.reshape(n, *SHAPE), read_idx(folder / y, (n,))))
    train, test = parts
    return train, test


def _files(*known: tuple[int, str]) -> tuple[RemoteFile, ...]:
    """The data set's four files, from the size in bytes and SHA-256 of each."""
    names = (TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS)
    return tuple(
        RemoteFile(name=name, n_bytes=n_bytes, sha256=sha256)
        for name, (n_bytes, sha256) in zip(names, known, strict=True)
    )


# The SHA-256 of all files are those of TensorFlow Datasets; the authors publish MD5.
MNIST = ImageSet(
    source=Source(
        name="mnist",
        mirrors=(
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
            "http://yann.lecun.com/exdb/mnist/",
        ),
        files=_files(
            (9912422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
            (28881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
            (1648877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
            (4542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
        ),
    ),
    read=read,
    n_train=60_000,
    n_val=10_000,
    n_test=10_000,
    shape=SHAPE,
)
FASHION_MNIST = ImageSet(
    source=Source(
        name="fashion-mnist",
        mirrors=(
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        ),
        files=_files(
            (26421880, "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
            (29515, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
            (4422102, "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
            (5148, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
        ),
    ),
    read=read,
    n_train=60_000,
    n_val=10_000,
    n_test=10_000,
    shape=SHAPE,
)
