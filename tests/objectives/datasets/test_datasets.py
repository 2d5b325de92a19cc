"""Image data sets from files in the formats of MNIST and CIFAR-10; and the models for them."""

from __future__ import annotations

import gzip
import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from batchfront.objectives.load import load_objective
from batchfront.objectives.measurement import ObjectiveError, Verdict
from batchfront.objectives.task import Data
from batchfront.objectives.tasks import cifar10, image_models, mnist
from batchfront.objectives.tasks.bundled import DOWNLOADED
from batchfront.objectives.tasks.images import ImageSet, load_images
from batchfront.objectives.tasks.splits import permutation
from tests.image_files import (
    ARCHIVE,
    N_TEST,
    N_TRAIN,
    N_VAL,
    Files,
    cifar_files,
    cifar_members,
    drawn,
    idx,
    mnist_files,
    put,
    small,
    small_cifar,
    small_mnist,
    tar,
)
from tests.objectives.conftest import train

ROOT = Path(__file__).resolve().parents[3]
SPLITS = ("train", "val", "test")
MAKERS = pytest.mark.parametrize("make", [small_mnist, small_cifar], ids=["mnist", "cifar10"])


def contents(made: ImageSet) -> Files:
    return cifar_files() if made.shape[0] == 3 else mnist_files()


def loaded(made: ImageSet, folder: Path, files: Files | None = None) -> Data:
    put(contents(made) if files is None else files, folder / made.source.name)
    return load_images(made, folder)


def refusal(made: ImageSet, folder: Path, files: Files) -> str:
    with pytest.raises(ObjectiveError) as caught:
        loaded(made, folder, files)
    return str(caught.value)


def examples(x: np.ndarray, y: np.ndarray) -> Counter[tuple[bytes, int]]:
    return Counter((image.tobytes(), int(label)) for image, label in zip(x, y, strict=True))


@MAKERS
def test_every_image_keeps_its_label_in_its_official_part(make, tmp_path):
    made = make()
    data = loaded(made, tmp_path)
    n = [len(getattr(data, f"x_{split}")) for split in SPLITS]
    assert n == [N_TRAIN - N_VAL, N_VAL, N_TEST]
    official, official_test = (
        (x.reshape(len(x), *made.shape), y)
        for x, y in (drawn(N_TRAIN, made.shape), drawn(N_TEST, made.shape, seed=1))
    )
    rest = permutation(N_TRAIN)[: N_TRAIN - N_VAL]
    pixels = official[0][rest].astype(np.float64)
    mean, std = (getattr(pixels, name)(axis=(0, 2, 3), keepdims=True) for name in ("mean", "std"))
    raw = {split: getattr(data, f"x_{split}").numpy() * std + mean for split in SPLITS}
    ours = {
        split: examples(raw[split].round().astype(np.uint8), getattr(data, f"y_{split}"))
        for split in SPLITS
    }
    assert ours["train"] + ours["val"] == examples(*official)
    assert ours["test"] == examples(*official_test)
    torch.testing.assert_close(
        data.x_train.mean(dim=(0, 2, 3)), torch.zeros(made.shape[0]), atol=1e-5, rtol=0
    )
    spread = data.x_train.std(dim=(0, 2, 3), correction=0)
    torch.testing.assert_close(spread, torch.ones(made.shape[0]))
    assert data.x_val.dtype == torch.float32
    assert data.y_val.dtype == torch.int64


def test_which_images_validate_is_the_same_for_ever():
    """Pinned, as studies store the hash of their data."""
    digest = hashlib.sha256(permutation(60_000).astype("<i8").tobytes()).hexdigest()
    assert digest[:16] == "7e036c4b3f1dd66e"


def test_the_sizes_and_files_are_those_that_the_authors_published():
    sets = (mnist.MNIST, mnist.FASHION_MNIST, cifar10.CIFAR10)
    assert [(s.n_train - s.n_val, s.n_val, s.n_test) for s in sets] == [
        (50_000, 10_000, 10_000), (50_000, 10_000, 10_000), (45_000, 5_000, 10_000)
    ]  # fmt: skip
    assert [sum(f.n_bytes for f in s.source.files) for s in sets] == [11594722, 30878645, 170052171]
    for one in sets:
        assert all(mirror.endswith("/") for mirror in one.source.mirrors)
        assert all(len(bytes.fromhex(file.sha256)) == 32 for file in one.source.files)


ZEROS = np.zeros(N_TRAIN, dtype=np.uint8)
IMAGES = np.zeros((N_TRAIN, 28, 28), dtype=np.uint8)
LABELS = gzip.decompress(idx(ZEROS[:20]))


def packed(data: bytes) -> bytes:
    """The same bytes whenever it is made: processes that share the tests compare their names."""
    return gzip.compress(data, mtime=0)


@pytest.mark.parametrize(
    ("name", "body", "said"),
    [
        (mnist.TRAIN_IMAGES, idx(IMAGES)[:-30], "is damaged: Compressed file ended"),
        (mnist.TRAIN_IMAGES, b"<html>not found</html>", "is damaged: Not a gzipped file"),
        (mnist.TRAIN_IMAGES, packed(b"\0\0\x08"), "has 3 bytes, too few for an IDX file"),
        (mnist.TRAIN_IMAGES, idx(IMAGES, magic=0x0D03), "begins with 00 00 0d 03"),
        (mnist.TRAIN_IMAGES, idx(IMAGES[:50]), r"holds an array \(50, 28, 28\), wanted \(60, 28"),
        (mnist.TRAIN_IMAGES, idx(IMAGES[..., :27]), r"holds an array \(60, 28, 27\)"),
        (mnist.TRAIN_LABELS, idx(ZEROS[:59]), r"holds an array \(59,\), wanted \(60,\)"),
        (mnist.TRAIN_LABELS, idx(IMAGES), "begins with 00 00 08 03, .* with 00 00 08 01"),
        (mnist.TRAIN_LABELS, idx(ZEROS + 10), "has the label 10, wanted 0..9"),
        (mnist.TEST_LABELS, packed(LABELS[:-1]), "does not hold"),
        (mnist.TEST_LABELS, packed(LABELS + b"\0"), "does not ho"),
    ],
)  # fmt: skip
def test_a_wrong_idx_file_is_refused_with_what_is_wrong(tmp_path, name, body, said):
    files = {**mnist_files(), name: body}
    with pytest.raises(ObjectiveError, match=said):
        loaded(small_mnist(files), tmp_path, files)


def _renamed(old: str, new: str) -> Files:
    return {name.replace(old, new): body for name, body in cifar_members().items()}


BATCH = "cifar-10-batches-bin/data_batch_3.bin"
RECORDS = cifar_members()[BATCH]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (tar(cifar_members())[:-5000], "is damaged: "),
        (b"<html>not found</html>", "is damaged: "),
        (tar({"readme.html": b"<html>"}), "0 bytes in 0 batches, wanted 60 records of 3073"),
        (tar(_renamed("data_batch_3.bin", "other.bin")), "147504 bytes in 4 batches, wanted 60"),
        (tar({**cifar_members(), BATCH: RECORDS[:-1]}), "184379 bytes in 5 batches, wanted 60"),
        (tar({**cifar_members(), BATCH: 100 * RECORDS}), "holds more records than CIFAR-10"),
        (tar({**cifar_members(), BATCH: b"\x0a" + RECORDS[1:]}), "has the label 10, wanted 0..9"),
    ],
    ids=["truncated", "no archive", "empty", "batch missing", "cut", "too many", "label"],
)
def test_a_wrong_cifar_archive_is_refused_with_what_is_wrong(tmp_path, body, said):
    assert said in refusal(small_cifar({ARCHIVE: body}), tmp_path, {ARCHIVE: body})


def test_an_archive_cannot_write_anywhere(tmp_path):
    body = tar({**_renamed("cifar-10-batches-bin/", "../../evil/"), "/evil": b"x"})
    folder = tmp_path / "a" / "b"
    loaded(small_cifar({ARCHIVE: body}), folder, {ARCHIVE: body})
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [folder / "cifar10" / ARCHIVE]
    assert not Path("/evil").exists()


@pytest.fixture
def small_sets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A data folder with small data sets in place of the published ones."""
    for module, name, files in (
        (mnist, "MNIST", mnist_files()),
        (mnist, "FASHION_MNIST", mnist_files()),
        (cifar10, "CIFAR10", cifar_files()),
    ):
        made = small(getattr(module, name), files)
        monkeypatch.setattr(module, name, made)
        put(files, tmp_path / made.source.name)
    return tmp_path


@pytest.mark.parametrize("name", DOWNLOADED)
def test_each_task_has_its_name_and_can_be_learned(small_sets, name):
    objective = load_objective(name, device="cpu", data_dir=small_sets)
    assert objective.name == objective.task.name == name
    result = train(objective, batch_size=8, learning_rate=0.02, epochs=10).result()
    assert result.metric > 0.9
    # Predicted without running: the search cuts batch sizes by it.
    assert objective.predict_peak_bytes(8) == pytest.approx(result.peak_memory_bytes, rel=0.02)


@pytest.mark.parametrize("name", ["mnist-resnet", "cifar10-resnet"])
def test_batch_norm_trains_at_batch_size_one(small_sets, name):
    objective = load_objective(name, device="cpu", data_dir=small_sets)
    result = train(objective, batch_size=1, learning_rate=1e-3, epochs=2).result()
    assert (result.verdict, result.steps) == (Verdict.COMPLETED, 80)


@pytest.mark.parametrize(
    ("model", "shape", "n_parameters"),
    [
        (image_models.mlp, (1, 28, 28), 784 * 256 + 256 + 2570),
        (image_models.mlp, (3, 32, 32), 3072 * 256 + 256 + 2570),
        (image_models.cnn, (1, 28, 28), 320 + 18496 + 10 * (64 * 7 * 7 + 1)),
        (image_models.cnn, (3, 32, 32), 896 + 18496 + 10 * (64 * 8 * 8 + 1)),
        # Convolutions, two numbers of batch norm a channel, two shortcuts, the linear layer.
        (image_models.resnet, (3, 32, 32), 432 + 4608 + 13824 + 55296 + 480 + 512 + 2048 + 650),
    ],
)
def test_models_have_the_documented_size(model, shape, n_parameters):
    assert sum(p.numel() for p in model(shape).parameters()) == n_parameters
    assert f"{n_parameters:,}" in (ROOT / "docs" / "tasks.md").read_text()


def test_the_data_folder_leaves_no_trace_in_the_fingerprint(small_sets, tmp_path):
    first = load_objective("mnist", device="cpu", data_dir=small_sets).fingerprint
    (small_sets / "mnist").rename(tmp_path / "elsewhere")
    (tmp_path / "new").mkdir()
    (tmp_path / "elsewhere").rename(tmp_path / "new" / "mnist")
    assert load_objective("mnist", device="cpu", data_dir=tmp_path / "new").fingerprint == first
