"""The tasks that come with batchfront."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

BUNDLED = {  # name: module and factory
    "digits": ("batchfront.objectives.tasks.digits", "digits"),
    "digits-cnn": ("batchfront.objectives.tasks.digits", "digits_cnn"),
    "diabetes": ("batchfront.objectives.tasks.diabetes", "diabetes"),
}
DOWNLOADED = {  # name: module, data set, and model of objectives.tasks.image_models
    "mnist": ("batchfront.objectives.tasks.mnist", "MNIST", "mlp"),
    "mnist-cnn": ("batchfront.objectives.tasks.mnist", "MNIST", "cnn"),
    "mnist-resnet": ("batchfront.objectives.tasks.mnist", "MNIST", "resnet"),
    "fashion-mnist": ("batchfront.objectives.tasks.mnist", "FASHION_MNIST", "mlp"),
    "fashion-mnist-cnn": ("batchfront.objectives.tasks.mnist", "FASHION_MNIST", "cnn"),
    "fashion-mnist-resnet": ("batchfront.objectives.tasks.mnist", "FASHION_MNIST", "resnet"),
    "cifar10": ("batchfront.objectives.tasks.cifar10", "CIFAR10", "cnn"),
    "cifar10-mlp": ("batchfront.objectives.tasks.cifar10", "CIFAR10", "mlp"),
    "cifar10-resnet": ("batchfront.objectives.tasks.cifar10", "CIFAR10", "resnet"),
}
NAMES = (*BUNDLED, *DOWNLOADED)


def bundled(name: str) -> Callable[..., Any]:
    """Returns the task; wants `data_dir` for one whose data are downloaded."""
    if name in BUNDLED:
        home, factory = BUNDLED[name]
        return getattr(import_module(home), factory)  # type: ignore[no-any-return]
    from batchfront.objectives.tasks import image_models
    from batchfront.objectives.tasks.images import image_task

    home, images, model = DOWNLOADED[name]
    return partial(
        image_task, name, getattr(import_module(home), images), getattr(image_models, model)
    )
