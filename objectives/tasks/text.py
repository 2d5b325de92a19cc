"""Next-character prediction on a text file of the user's own."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchfront.objectives.measurement import ObjectiveError
from batchfront.objectives.task import Data, Task

if TYPE_CHECKING:
    import torch
    from torch import Tensor

WINDOW = 64  # characters that one example predicts, each from those before it
SHARES = {"train": 0.8, "val": 0.1, "test": 0.1}  # of the text, in this order


def text_task(path: Path) -> Task:
    """A transformer of two blocks, trained by AdamW on windows of the text.

    Raises:
        ObjectiveError: no such file, not text, or too little of it.
    """
    from torch.nn.functional import cross_entropy

    from batchfront.objectives.tasks.transformer import Transformer

    text = read_text(path)
    vocabulary = sorted(set(text))
    return Task(
        name=f"text:{path.name}",
        data=partial(windows, text, vocabulary),
        model=partial(Transformer, n_tokens=len(vocabulary), length=WINDOW),
        loss=cross_entropy,
        optimizer=adamw,
        epochs=10,
        tokens_per_example=WINDOW,
    )


def adamw(parameters: Any, **kwargs: Any) -> torch.optim.Optimizer:
    """AdamW with little weight decay; `**kwargs` as for torch.optim.AdamW."""
    import torch

    return torch.optim.AdamW(parameters, **{"weight_decay": 0.01, **kwargs})


def read_text(path: Path) -> str:
    """The file's characters.

    Raises:
        ObjectiveError: it cannot be read, is not UTF-8 text, or has too few characters to split.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ObjectiveError(f"text {str(path)!r} cannot be read: {error.strerror}") from error
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ObjectiveError(
            f"text {str(path)!r} is not UTF-8 at byte {error.start}: convert it, as with iconv"
        ) from error
    if "\0" in text:
        raise ObjectiveError(f"text {str(path)!r} holds zero bytes: it is a binary file, or UTF-16")
    n_wanted = round((WINDOW + 1) / min(SHARES.values()))
    if len(text) < n_wanted:
        raise ObjectiveError(
            f"text {str(path)!r} has {len(text)} characters, wanted at least {n_wanted}: a tenth "
            f"must hold {WINDOW} characters and the next one"
        )
    if len(set(text)) == 1:
        raise ObjectiveError(f"text {str(path)!r} repeats one character: nothing to learn")
    return text


def windows(text: str, vocabulary: list[str]) -> Data:
    """Windows that do not overlap, cut from the first 80%, the next 10% and the last 10%."""
    import torch

    number = {character: index for index, character in enumerate(vocabulary)}
    numbers = torch.tensor([number[character] for character in text])  # (N,) int64
    cuts = [round(len(text) * share) for share in (SHARES["train"], 1 - SHARES["test"])]
    made: dict[str, Tensor] = {}
    for split, part in zip(SHARES, numbers.tensor_split(cuts), strict=True):
        n = (len(part) - 1) // WINDOW
        made[f"x_{split}"] = part[: n * WINDOW].view(n, WINDOW)
        made[f"y_{split}"] = part[1 : n * WINDOW + 1].view(n, WINDOW)  # each one's next character
    return Data(**made)
