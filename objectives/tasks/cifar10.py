"""CIFAR-10: 60,000 colour images of 32 x 32, 10 classes, in the binary version of its authors."""

from __future__ import annotations

from pathlib import Path

from batchfront.objectives.datasets.download import RemoteFile, Source
from batchfront.objectives.datasets.formats import CIFAR_SHAPE, read_cifar
from batchfront.objectives.tasks.images import ImageSet, Labelled

ARCHIVE = "cifar-10-binary.tar.gz"


def read(folder: Path, images: ImageSet) -> tuple[Labelled, Labelled]:
    """The two parts, each an array of images and one of labels."""
    return read_cifar(folder / ARCHIVE, n_train=images.n_train, n_test=images.n_test)


CIFAR10 = ImageSet(
    source=Source(
        name="cifar10",
        mirrors=(
            "https://www.cs.toronto.edu/~kriz/",
            "https://cave.cs.toronto.edu/kriz/",
            "https://storage.googleapis.com/s4tf-hosted-binaries/datasets/CIFAR10/",
        ),
        files=(
            RemoteFile(  # the SHA-256 is that of TensorFlow Datasets; the authors publish an MD5
                name=ARCHIVE,
                n_bytes=170052171,
                sha256="c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
            ),
        ),
    ),
    read=read,
    n_train=50_000,
    n_val=5_000,
    n_test=10_000,
    shape=CIFAR_SHAPE,
)
