"""The arrangement of the authors' training, written afresh from what it does.

Files are decoded in color and transformed one by one in the training process; the network runs in
fp32 on contiguous tensors of three channels; a loop over the tasks computes a cross-entropy each
and takes losses and correct answers off the device with `.item()`.
"""

import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.models import get_model

from deepchest_cli.data.findings import FINDINGS

UNITS = 512


class ColorFiles(Dataset):
    """NIH's files with their labels, augmented as the authors do."""

    def __init__(self, source: Path, size: int) -> None:
        self.folder = source / "images"
        table = pd.read_csv(source / "Data_Entry_2017_v2020.csv")
        self.names = table["Image Index"].tolist()
        found = table["Finding Labels"].str.split("|")
        self.labels = [[int(finding in labels) for finding in FINDINGS] for labels in found]
        self.transform = transforms.Compose(
            [
                transforms.RandomRotation(30),
                transforms.RandomResizedCrop(size),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
            ]
        )

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        picture = Image.open(self.folder / self.names[index]).convert("RGB")
        return self.transform(picture), torch.tensor(self.labels[index])


class TwoLogits(nn.Module):
    """A backbone of three channels, a hidden layer, and two logits for every finding."""

    def __init__(self, backbone: str) -> None:
        super().__init__()
        self.backbone = get_model(backbone, weights=None)
        features = self.backbone.fc.in_features
        self.backbone.fc = nn.Sequential(nn.Linear(features, UNITS), nn.ReLU())
        self.heads = nn.ModuleList(nn.Linear(UNITS, 2) for _ in FINDINGS)

    def forward(self, pictures: Tensor) -> list[Tensor]:
        features = self.backbone(pictures)
        return [head(features) for head in self.heads]


class ReferenceRun:
    """Some steps of it, timed."""

    def __init__(
        self,
        source: Path,
        backbone: str,
        size: int,
        batch: int,
        steps: int,
        device: torch.device,
    ) -> None:
        self.device, self.steps, self.batch = device, steps, batch
        self.model = TwoLogits(backbone).to(device)
        self.optimizer = torch.optim.RMSprop(self.model.parameters(), lr=1e-3)
        self.loss = nn.CrossEntropyLoss()
        self.weights = dict.fromkeys(FINDINGS, 1.0)
        self.coming = self._batches(ColorFiles(source, size))

    def _batches(self, dataset: Dataset) -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            yield from DataLoader(dataset, self.batch, shuffle=True, drop_last=True)

    def __call__(self) -> float:
        started = time.perf_counter()
        for pictures, labels in itertools.islice(self.coming, self.steps):
            self._step(pictures.to(self.device), labels.to(self.device))
        return self.steps * self.batch / (time.perf_counter() - started)

    def _step(self, pictures: Tensor, labels: Tensor) -> None:
        self.optimizer.zero_grad()
        total, losses, correct = torch.zeros((), device=self.device), {}, {}
        for number, (finding, logits) in enumerate(
            zip(FINDINGS, self.model(pictures), strict=True)
        ):
            loss = self.loss(logits, labels[:, number])
            total = total + self.weights[finding] * loss
            losses[finding] = loss.item()
            correct[finding] = (logits.argmax(dim=1) == labels[:, number]).sum().item()
        total.backward()
        self.optimizer.step()
