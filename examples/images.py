"""Images with augmentation, loaded by two workers: make study TASK=examples/images.py"""

import torch
from torch import nn
from torch.utils.data import Dataset

from batchfront import Datasets, Task


class Bars(Dataset):
    def __init__(self, n, train=False):
        g = torch.Generator().manual_seed(n)
        self.stands, self.at = (torch.randint(k, (n,), generator=g) for k in (2, 12))
        self.noise, self.train = torch.randn(n, 1, 12, 12, generator=g), train

    def __len__(self):
        return len(self.at)

    def __getitem__(self, i):  # a grey image, and whether its bar stands
        image = self.noise[i].clone()
        image[0, self.at[i]] += 2.0
        if self.train:  # the same for the same seed, epoch and index, whoever loads it
            image = image.roll(int(torch.randint(12, ())), dims=1)
        return image.transpose(1, 2) if self.stands[i] else image, self.stands[i]


data = Datasets(train=Bars(512, train=True), val=Bars(128), num_workers=2)
layers = (lambda: nn.Conv2d(1, 8, 9)), nn.ReLU, nn.Flatten, (lambda: nn.Linear(128, 2))
task = Task(name="bars", datasets=data, model=lambda: nn.Sequential(*(make() for make in layers)),
            loss=nn.functional.cross_entropy, optimizer=torch.optim.Adam, epochs=5)  # fmt: skip
