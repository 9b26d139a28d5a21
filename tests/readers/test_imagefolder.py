"""torchvision's ImageFolder reads a classification export: classes, counts and pixels, and a network learns."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.models import resnet18
from torchvision.transforms import v2

import mvtec_convert as mc

PROOF = {
    "target": "classification with torchvision",
    "command": "mvtec-convert yolo --task classify",
    "reader": "torchvision's `ImageFolder`",
    "package": "torchvision",
    "loses": "where the defect is, and how many regions",
}

CLASSES = ["color", "cut", "good", "hole", "metal_contamination", "thread"]


@pytest.fixture
def export(carpet: mc.Dataset, tmp_path: Path) -> Path:
    mc.to_yolo(carpet, tmp_path / "out", task="classify")
    return tmp_path / "out"


def test_both_splits_have_every_class_in_the_same_order(export: Path):
    train, val = ImageFolder(export / "train"), ImageFolder(export / "val")
    assert train.classes == val.classes == CLASSES
    assert train.class_to_idx == val.class_to_idx


def test_its_counts_are_those_of_the_dataset(export: Path, carpet: mc.Dataset):
    parts = {split: ImageFolder(export / split) for split in ("train", "val")}
    counts = {split: Counter(CLASSES[label] for label in part.targets) for split, part in parts.items()}
    assert counts["val"] == {"good": 3, "color": 1, "cut": 1, "hole": 2, "metal_contamination": 1, "thread": 1}
    assert counts["train"] + counts["val"] == Counter(sample.defect_type for sample in carpet)


def test_every_image_is_in_its_class_with_its_own_pixels(export: Path, carpet: mc.Dataset):
    read = [(image, CLASSES[label]) for split in ("train", "val") for image, label in ImageFolder(export / split)]
    found = {(np.asarray(image).tobytes(), name) for image, name in read}
    wanted = {(np.asarray(Image.open(sample.image).convert("RGB")).tobytes(), sample.defect_type) for sample in carpet}
    assert found == wanted
    assert len(read) == len(found) == len(carpet)


def test_a_network_learns_from_it(export: Path):
    torch.manual_seed(0)
    transform = v2.Compose([v2.ToImage(), v2.Resize((64, 64)), v2.ToDtype(torch.float32, scale=True)])
    loader = DataLoader(ImageFolder(export / "train", transform), batch_size=28)
    network = resnet18(num_classes=len(CLASSES))
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3)
    ((images, labels),) = loader
    losses = []
    for _ in range(5):
        loss = functional.cross_entropy(network(images), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
