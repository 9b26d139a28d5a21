"""Roboflow's layout: what supervision and RF-DETR make of it.

RF-DETR's own package (github.com/roboflow/rf-detr) reads `datasets/coco.py`; its model and processor in transformers
read the same annotations. Up to 1.4 the package takes category ids as labels and calls label i the name i - 1; later
it numbers categories anew by id, those left out that only group others.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import supervision as sv
import torch
from PIL import Image
from transformers import RfDetrConfig, RfDetrForInstanceSegmentation, RfDetrImageProcessor

import mvtec_convert as mc
from mvtec_convert.formats.coco import Coco
from tests.exports import extent, regions_of, same_regions, true_masks

torch.set_num_threads(2)

FOLDERS = ("train", "valid")
PHRASES = {
    "color": "color stain on carpet", "cut": "cut in carpet", "hole": "hole in carpet",
    "metal_contamination": "metal piece on carpet", "thread": "loose thread on carpet",
}  # fmt: skip

PROOFS = [
    {
        "target": "RF-DETR",
        "command": "mvtec-convert coco --layout roboflow",
        "reader": "transformers, RfDetrForInstanceSegmentation",
        "package": "transformers",
        "loses": "nothing: all masks and boxes exact; good images are background",
    },
    {
        "target": "Roboflow's tools",
        "command": "mvtec-convert coco --layout roboflow --segmentation rle",
        "reader": "supervision",
        "package": "supervision",
        "loses": "nothing: all masks and boxes exact",
    },
]


@pytest.fixture(scope="module")
def truth(sample_root) -> dict[str, tuple[str, list[np.ndarray]]]:
    """(phrase, regions) of each defective image of carpet, by an independent reader."""
    masks = true_masks(sample_root)
    return {name: (PHRASES[masks[name][0]], regions_of(masks[name][1])) for name in masks if name.startswith("carpet_")}


@pytest.fixture(scope="module")
def export(sample_root, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("roboflow") / "out"
    mc.to_coco(mc.load(sample_root / "carpet"), out, layout="roboflow")
    return out


def document(folder: Path, split: str) -> dict[str, Any]:
    return json.loads((folder / split / "_annotations.coco.json").read_text(encoding="utf-8"))


def per_image(folder: Path, split: str) -> list[tuple[str, Image.Image, dict[str, Any]]]:
    """(name, image, what transformers calls annotations in COCO's form) of every image."""
    content = document(folder, split)
    found = []
    for record in content["images"]:
        with Image.open(folder / split / record["file_name"]) as opened:
            image = opened.convert("RGB")
        own = [annotation for annotation in content["annotations"] if annotation["image_id"] == record["id"]]
        found.append((Path(record["file_name"]).stem, image, {"image_id": record["id"], "annotations": own}))
    return found


def test_supervision_reads_it_exactly(carpet, truth, tmp_path):
    mc.to_coco(carpet, tmp_path / "out", layout="roboflow", segmentation="rle")
    seen = 0
    for split in FOLDERS:
        folder = tmp_path / "out" / split
        data = sv.DetectionDataset.from_coco(str(folder), str(folder / "_annotations.coco.json"), force_masks=True)
        assert data.classes == list(PHRASES.values())
        for path, _, detections in data:
            phrase, regions = truth.get(Path(path).stem, ("", []))
            masks = [mask.astype(np.uint8) for mask in detections.mask] if regions else []
            assert same_regions(masks, regions)
            assert {data.classes[i] for i in detections.class_id} == ({phrase} if regions else set())
            assert [tuple(box.astype(int)) for box in detections.xyxy] == [extent(mask) for mask in masks]
            seen += len(masks)
    assert seen == 39


# --- RF-DETR's package -----------------------------------------------------------------------------------------------


def names_and_labels_until_1_4(content: dict[str, Any]) -> tuple[dict[int, str], int]:
    """(name of each label, number of outputs) as `detr.py` has it: ids are labels, label i is the name i - 1."""
    names = [category["name"] for category in content["categories"] if category["supercategory"] != "none"]
    return {i + 1: name for i, name in enumerate(names)}, len(names) + 2


def names_of_ids_since_1_5(content: dict[str, Any]) -> dict[int, str]:
    """Name of each category id that gets a label: all but those without annotation that are another's supercategory."""
    annotated = {annotation["category_id"] for annotation in content["annotations"]}
    parents = {c["supercategory"] for c in content["categories"] if c["supercategory"] != c["name"]}
    kept = [c for c in content["categories"] if c["name"] not in parents or c["id"] in annotated]
    return {category["id"]: category["name"] for category in kept}


@pytest.mark.parametrize("names", ["defect", "category", "category-defect", "single"])
def test_each_category_id_is_the_label_of_its_own_name(sample_root, tmp_path, names):
    mc.to_coco(mc.load(sample_root), tmp_path / "out", layout="roboflow", names=names)
    for split in FOLDERS:
        content = document(tmp_path / "out", split)
        wanted = {category["id"]: category["name"] for category in content["categories"]}
        labels, outputs = names_and_labels_until_1_4(content)
        assert labels == wanted
        assert max(wanted) < outputs
        assert names_of_ids_since_1_5(content) == wanted
        assert document(tmp_path / "out", "train")["categories"] == content["categories"]


def test_ids_from_1_are_the_default_because_ids_from_0_shift_the_names(carpet, tmp_path):
    assert Coco(layout="roboflow").first_id == 1
    mc.to_coco(carpet, tmp_path / "out", layout="roboflow", first_id=0)
    content = document(tmp_path / "out", "train")
    labels, _ = names_and_labels_until_1_4(content)
    assert all(labels.get(category["id"]) != category["name"] for category in content["categories"])
    assert names_of_ids_since_1_5(content) == {category["id"]: category["name"] for category in content["categories"]}


def test_the_folders_are_where_it_looks(carpet, tmp_path):
    mc.to_coco(carpet, tmp_path / "two", layout="roboflow")
    mc.to_coco(carpet, tmp_path / "three", layout="roboflow", ratios=(0.6, 0.2, 0.2))
    for out, folders in (("two", {"train", "valid"}), ("three", {"train", "valid", "test"})):
        assert {path.parent.name for path in (tmp_path / out).glob("*/_annotations.coco.json")} == folders


def test_no_annotation_is_dropped_on_the_way(export):
    """It leaves crowds out, and boxes that have no extent once cut at the image's border; it needs `area`."""
    kept = 0
    for split in FOLDERS:
        content = document(export, split)
        sizes = {image["id"]: (image["width"], image["height"]) for image in content["images"]}
        for annotation in content["annotations"]:
            (x, y, width, height), (right, bottom) = annotation["bbox"], sizes[annotation["image_id"]]
            assert annotation["iscrowd"] == 0
            assert annotation["area"] > 0
            assert 0 <= x < x + width <= right
            assert 0 <= y < y + height <= bottom
            kept += 1
    assert kept == 39


# --- RF-DETR in transformers -----------------------------------------------------------------------------------------


def test_its_processor_gets_every_mask_and_box_exactly(export, truth):
    processor = RfDetrImageProcessor(do_resize=False, do_pad=False, do_normalize=False)
    names = {category["id"]: category["name"] for category in document(export, "train")["categories"]}
    background = seen = 0
    for split in FOLDERS:
        for name, image, target in per_image(export, split):
            read = processor(
                images=image, annotations=target, return_segmentation_masks=True, return_tensors="pt"
            )["labels"][0]  # fmt: skip
            phrase, regions = truth.get(name, ("", []))
            masks = list(read["masks"].numpy().astype(np.uint8))
            assert same_regions(masks, regions)
            assert [names[i] for i in read["class_labels"].tolist()] == [phrase] * len(regions)
            assert read["boxes"].tolist() == [list(extent(mask)) for mask in masks]  # px, as nothing is normalised
            seen += len(regions)
            background += not regions
    assert (seen, background) == (39, 14)


def test_its_model_learns_from_it(export):
    torch.manual_seed(0)
    some = [entry for entry in per_image(export, "train") if entry[2]["annotations"]][:4]
    processor = RfDetrImageProcessor(size={"height": 112, "width": 112})
    batch = processor(
        images=[image for _, image, _ in some], annotations=[target for *_, target in some],
        return_segmentation_masks=True, return_tensors="pt",
    )  # fmt: skip
    backbone = {
        "model_type": "rf_detr_dinov2", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
        "image_size": 112, "patch_size": 14, "out_features": ["stage1", "stage2"], "num_windows": 1,
    }  # fmt: skip
    config = RfDetrConfig(
        backbone_config=backbone, num_labels=1 + len(PHRASES), d_model=32, decoder_layers=1, decoder_ffn_dim=64,
        decoder_self_attention_heads=2, decoder_cross_attention_heads=2, num_queries=20, group_detr=1,
        auxiliary_loss=False, c2f_num_blocks=1,
    )  # fmt: skip
    model = RfDetrForInstanceSegmentation(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(12):
        loss = model(pixel_values=batch["pixel_values"], labels=batch["labels"]).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-3:]) < 0.8 * losses[0], losses
