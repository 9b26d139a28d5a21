"""RF-DETR's own package: what its dataset makes of Roboflow's layout, and the traps that are its alone."""

from __future__ import annotations

import contextlib
import io
import json
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import mvtec_convert as mc
from tests.broken import change
from tests.exports import extent, regions_of, same_regions, true_masks
from tests.readers.traps import codes

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # its import warns of what it lacks, and of torch.jit
    from rfdetr import RFDETR
    from rfdetr.datasets.coco import build_roboflow_from_coco

PROOF = {
    "target": "RF-DETR",
    "command": "mvtec-convert coco --layout roboflow",
    "reader": "rfdetr, build_roboflow_from_coco",
    "package": "rfdetr",
    "loses": "nothing: all masks, boxes and names exact; it reads `iscrowd: 0` only",
}

PHRASES = {
    "color": "color stain on carpet", "cut": "cut in carpet", "hole": "hole in carpet",
    "metal_contamination": "metal piece on carpet", "thread": "loose thread on carpet",
}  # fmt: skip
TRAIN = "train/_annotations.coco.json"
# What its trainer passes on for RFDETRSegNano; nothing random, so that boxes and masks stay where they are.
ARGUMENTS = {
    "square_resize_div_64": True, "segmentation_head": True, "multi_scale": False, "expanded_scales": False,
    "patch_size": 12, "num_windows": 1, "aug_config": {}, "scale_jitter": False,
}  # fmt: skip


def dataset_of(folder: Path, split: str) -> Any:
    """The dataset that its trainer would build, with images and masks at their own size."""
    with contextlib.redirect_stdout(io.StringIO()):
        data = build_roboflow_from_coco(split, SimpleNamespace(dataset_dir=str(folder), **ARGUMENTS), 144)
    data._transforms = None
    return data


@pytest.mark.parametrize(("segmentation", "first_id"), [("polygon", 1), ("rle", 0), ("rle-uncompressed", 1)])
def test_its_dataset_has_every_mask_box_and_name_exactly(sample_root, tmp_path, segmentation, first_id):
    truth = {name: (defect, regions_of(mask)) for name, (defect, mask) in true_masks(sample_root).items()}
    out = tmp_path / "out"
    mc.to_coco(mc.load(sample_root / "carpet"), out, layout="roboflow", segmentation=segmentation, first_id=first_id)
    names = RFDETR._load_classes(str(out))
    assert RFDETR._detect_num_classes_for_training(str(out)) == len(names) == 5
    seen = background = 0
    for split in ("train", "val"):
        data = dataset_of(out, split)
        for i in range(len(data)):
            _, target = data[i]
            name = Path(data.coco.loadImgs(data.ids[i])[0]["file_name"]).stem
            defect, regions = truth.get(name, ("", []))
            masks = list(target["masks"].numpy().astype(np.uint8))
            assert same_regions(masks, regions)
            assert target["boxes"].tolist() == [list(extent(mask)) for mask in masks]
            assert {names[label] for label in target["labels"]} == ({PHRASES[defect]} if regions else set())
            seen += len(masks)
            background += not masks
    assert (seen, background) == (39, 14)


@pytest.fixture
def carpet_out(carpet, tmp_path) -> Path:
    mc.to_coco(carpet, tmp_path / "out", layout="roboflow")
    return tmp_path / "out"


def test_mvtecs_own_split_has_nothing_to_validate_with(carpet, tmp_path):
    mc.to_coco(carpet, tmp_path / "out", layout="roboflow", split="official")
    assert "missing-split" in codes(tmp_path / "out", "coco")
    with pytest.raises(FileNotFoundError, match="valid"):
        dataset_of(tmp_path / "out", "val")


def test_it_leaves_crowds_out(carpet_out):
    change(TRAIN, "annotations", 0, iscrowd=1)(carpet_out)
    assert "crowd" in codes(carpet_out, "coco")
    data = dataset_of(carpet_out, "train")
    regions = len(json.loads((carpet_out / TRAIN).read_text())["annotations"])
    assert sum(len(data[i][1]["boxes"]) for i in range(len(data))) == regions - 1


def test_it_fails_on_an_unknown_category(carpet_out):
    change(TRAIN, "annotations", 0, category_id=9)(carpet_out)
    assert "unknown-category" in codes(carpet_out, "coco")
    data = dataset_of(carpet_out, "train")
    with pytest.raises(KeyError, match="Unknown category_id 9"):
        data[0]
