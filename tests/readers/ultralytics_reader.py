"""Ultralytics as a reader: its datasets over an export, what they yield in px, and short trainings from scratch."""

from __future__ import annotations

import csv
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Before the import: Ultralytics writes its settings where this says.
os.environ.setdefault("YOLO_CONFIG_DIR", tempfile.mkdtemp(prefix="ultralytics-"))
os.environ.setdefault("YOLO_OFFLINE", "true")

import numpy as np
import torch
from ultralytics import YOLO, YOLOWorld
from ultralytics.cfg import get_cfg
from ultralytics.data.augment import Format
from ultralytics.data.dataset import YOLODataset
from ultralytics.data.utils import check_det_dataset, load_dataset_cache_file
from ultralytics.engine.trainer import BaseTrainer

torch.set_num_threads(2)

# Nothing that changes an image from one epoch to the next, so that the loss falls for what is learnt.
PLAIN = {
    "mosaic": 0.0, "hsv_h": 0.0, "hsv_s": 0.0, "hsv_v": 0.0, "translate": 0.0, "scale": 0.0, "fliplr": 0.0,
    "erasing": 0.0, "auto_augment": None,
}  # fmt: skip
SMALL = {
    "imgsz": 96, "batch": 8, "nbs": 8, "workers": 0, "device": "cpu", "plots": False, "val": False,
    "optimizer": "AdamW", "lr0": 0.002, "warmup_epochs": 0, "seed": 0, "exist_ok": True, "verbose": False, "amp": False,
}  # fmt: skip


def settings(**options: Any) -> Any:
    """Ultralytics' own defaults, but masks at full size, each in a layer of its own."""
    return get_cfg(overrides={"mask_ratio": 1, "overlap_mask": False, **options})


def dataset_of(data_yaml: Path, split: str, task: str, kind: type[YOLODataset] = YOLODataset, **options: Any) -> Any:
    """The dataset that a trainer would build for one split."""
    data = check_det_dataset(str(data_yaml))
    return kind(img_path=data[split], data=data, task=task, imgsz=320, augment=False, hyp=settings(), **options)


def sample_of(dataset: YOLODataset, index: int, task: str) -> dict[str, Any]:
    """One image at its own size, with boxes (xyxy px), masks (n, height, width) or rotated boxes (xywhr px)."""
    shape = dataset.labels[index]["shape"]
    dataset.imgsz = max(shape)
    label = dataset.get_image_and_label(index)
    assert label["img"].shape[:2] == shape
    kinds = {"return_mask": task == "segment", "return_obb": task == "obb"}
    return Format(bbox_format="xyxy", normalize=False, mask_ratio=1, mask_overlap=False, **kinds)(label)


def names_of(dataset: YOLODataset) -> list[str]:
    """The images' names, in the order of the dataset."""
    return [Path(label["im_file"]).stem for label in dataset.labels]


def scan(labels: Path) -> tuple[tuple[int, ...], list[str]]:
    """What the scan of a folder of labels came to: (found, missing, empty, corrupt, in all), and what it said."""
    cache = load_dataset_cache_file(labels.with_suffix(".cache"))
    return cache["results"], cache["msgs"]


def train(
    model: str,
    data: Path | dict[str, Any],
    runs: Path,
    kind: type[YOLO] | type[YOLOWorld] = YOLO,
    trainer: type[BaseTrainer] | None = None,
    on_train_start: Callable[[BaseTrainer], None] | None = None,
    epochs: int = 6,
) -> list[float]:
    """Train from random weights; the sum of all losses after each epoch."""
    net = kind(model)
    if on_train_start is not None:
        net.add_callback("on_train_start", on_train_start)
    place = {"data": data if isinstance(data, dict) else str(data), "project": str(runs), "name": "run"}
    net.train(trainer=trainer, epochs=epochs, **place, **SMALL, **PLAIN)
    with (runs / "run" / "results.csv").open(encoding="utf-8") as file:
        rows = [{key.strip(): float(value) for key, value in row.items()} for row in csv.DictReader(file)]
    losses = [sum(value for key, value in row.items() if key.startswith("train/")) for row in rows]
    assert len(losses) == epochs
    assert np.isfinite(losses).all()
    return losses


def fell(losses: list[float]) -> bool:
    """Whether the second half of the epochs was better than the first."""
    half = len(losses) // 2
    return float(np.mean(losses[half:])) < float(np.mean(losses[:half]))
