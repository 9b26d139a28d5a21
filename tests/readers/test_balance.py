"""What `--balance` writes, as the trainers' own readers take it."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
import torch
from torch.utils.data import WeightedRandomSampler
from torchvision.datasets import CocoDetection, ImageFolder

import mvtec_convert as mc
from tests.readers.ultralytics_reader import dataset_of

DEFECTS = ("color", "cut", "hole", "metal_contamination", "thread")
"""The train split has 5, 3, 6, 2 and 1 images of them, so each is raised to 6; and 11 good images."""


@pytest.mark.parametrize("task", ["detect", "segment", "obb"])
def test_ultralytics_repeats_what_the_list_repeats(carpet, tmp_path, task):
    summary = mc.to_yolo(carpet, tmp_path / "set", task=task, balance="oversample")
    moved = (tmp_path / "set").rename(tmp_path / "moved")
    dataset = dataset_of(moved / "data.yaml", "train", task)
    seen = Counter(Path(label["im_file"]).stem for label in dataset.labels)
    assert seen == summary.balance.repeats
    for label in dataset.labels:
        rows = (moved / "labels/train" / f"{Path(label['im_file']).stem}.txt").read_text().splitlines()
        assert [int(row.split()[0]) for row in rows] == label["cls"].ravel().astype(int).tolist()
    shown = Counter(int(label["cls"][0, 0]) for label in dataset.labels if len(label["cls"]))
    assert set(shown.values()) == {6}
    assert len(dataset_of(moved / "data.yaml", "val", task)) == 9


def test_image_folder_sees_each_class_alike(carpet, tmp_path):
    mc.to_yolo(carpet, tmp_path / "set", task="classify", balance="oversample")
    assert set(Counter(ImageFolder(tmp_path / "set/train").targets).values()) == {11}
    assert len(ImageFolder(tmp_path / "set/val")) == 9


def test_torch_draws_by_the_weights(carpet, tmp_path):
    """The three lines of docs/course.md."""
    mc.to_coco(carpet, tmp_path / "set", balance="oversample")
    images = CocoDetection(tmp_path / "set/images/train", tmp_path / "set/annotations/instances_train.json")

    weights = json.loads((tmp_path / "set/balance.json").read_text())["images"]
    names = [Path(images.coco.imgs[i]["file_name"]).stem for i in images.ids]
    sampler = WeightedRandomSampler([weights[name] for name in names], len(names))

    sampler.generator = torch.Generator().manual_seed(0)
    sampler.num_samples = 20_000
    drawn = Counter(names[i].split("carpet_")[1].rsplit("_", 1)[0] for i in sampler)
    expected = 20_000 * 6 / (5 * 6 + 11)  # five classes of six, and eleven good images
    assert all(drawn[name] == pytest.approx(expected, rel=0.06) for name in DEFECTS)
