"""A language model of Python's manual, trained for less than an epoch: its length is in tokens.

make smallest TASK=examples/language.py TOKENS=200000 BATCH_SIZES=4:64 TARGET=2.0
"""

from pydoc_data.topics import topics  # 0.46 million characters

import torch
from torch import nn

from batchfront import Data, Task

TEXT = torch.tensor(list("".join(topics.values()).encode("ascii", "ignore")))
X, Y = (TEXT[i:].unfold(0, 32, 32)[:14_000].split([13_000, 500, 500]) for i in (0, 1))
NAMES = [f"{what}_{split}" for what in "xy" for split in ("train", "val", "test")]
PARTS = dict(zip(NAMES, X + Y, strict=True))


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(128, 32)
        self.last_eight, self.logits = nn.Conv1d(32, 128, 8), nn.Conv1d(128, 128, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # (B, 32) -> (B, 128, 32)
        return self.logits(self.last_eight(nn.functional.pad(self.embed(x).mT, (7, 0))).relu())


of = {"data": lambda: Data(**PARTS), "model": Model, "loss": nn.functional.cross_entropy}
task = Task(name="language", **of, optimizer=torch.optim.Adam, metric="loss", tokens_per_example=32)
