"""SAM 2: its own trainer's rules, read from its source, and transformers' processor and model.

The trainer is no package. What `SA1BRawDataset`, `SA1BSegmentLoader` and `VOSDataset` do to a folder is said again
here, field by field, from https://github.com/facebookresearch/sam2/blob/2b90b9f/training/dataset (vos_raw_dataset.py,
vos_segment_loader.py, vos_dataset.py, vos_sampler.py).
"""

from __future__ import annotations

import importlib.util
import json
import runpy
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as coco_mask
from transformers import Sam2ImageProcessor, Sam2Processor

import mvtec_convert as mc
from tests.exports import extent, regions_of, same_regions, true_masks

torch.set_num_threads(1)  # a second one only waits where the machine has other work

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "finetune_sam2.py"

PROOF = {
    "target": "SAM 2",
    "command": "mvtec-convert sam --layout sam2",
    "reader": "transformers, Sam2Processor and Sam2Model; the rules of SAM 2's SA1BRawDataset",
    "also": "SA1BRawDataset of facebookresearch/sam2 at 2b90b9f, 2026-11-23",
    "package": "transformers",
    "loses": "good images, which the trainer cannot use; PNG becomes JPEG (PSNR 43 dB); all masks are exact",
}


@pytest.fixture(scope="module")
def out(sample_root, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sam2") / "out"
    mc.to_sam(mc.load(sample_root), folder, layout="sam2", points=3, negatives=2)
    return folder


@pytest.fixture(scope="module")
def example():
    """examples/finetune_sam2.py as a module."""
    spec = importlib.util.spec_from_file_location("finetune_sam2", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# --- the trainer's rules ---------------------------------------------------------------------------------------------


@dataclass
class Datapoint:
    """What reaches the trainer's transforms."""

    video_id: int
    name: str
    image: Image.Image
    masks: list[torch.Tensor]


def datapoints(folder: Path) -> list[Datapoint]:
    """Every image of a split, with `img_folder` and `gt_folder` the same and all thresholds as they come.

    Raises what the trainer raises: no JSON file, no integer, no objects.
    """
    names = [path.name.split(".")[0] for path in folder.iterdir() if path.name.endswith(".jpg")]
    found = []
    for name in sorted(names):
        annotations = json.loads((folder / f"{name}.json").read_text())["annotations"]
        masks = [a["segmentation"] for a in annotations if a["area"] > 0]  # a, without `uncertain_iou`, is kept
        if not masks:
            raise LookupError("First frame of the video has no objects")
        with Image.open(folder / f"{name}.jpg") as image:
            decoded = [torch.from_numpy(coco_mask.decode([mask])).permute(2, 0, 1)[0] for mask in masks]
            found.append(Datapoint(int(name.split("_")[-1]), name, image.convert("RGB"), decoded))
    return found


@pytest.fixture(scope="module")
def read(out) -> dict[str, list[Datapoint]]:
    return {split: datapoints(out / split) for split in ("train", "val")}


def test_every_defective_image_reaches_the_trainer_with_its_masks(out, read, sample_root):
    truth, seen = true_masks(sample_root), set()
    for split, points in read.items():
        for point in points:
            header = json.loads((out / split / f"{point.name}.json").read_text())["image"]
            masks = [mask.numpy() for mask in point.masks]
            assert same_regions(masks, regions_of(truth[header["name"]][1]))
            assert {mask.dtype for mask in point.masks} == {torch.uint8}
            assert {tuple(mask.shape) for mask in point.masks} == {(header["height"], header["width"])}
            assert point.image.size == (header["width"], header["height"])
            assert point.video_id == header["image_id"]
            seen.add(header["name"])
    assert seen == truth.keys()
    numbers = [point.video_id for points in read.values() for point in points]
    assert len(set(numbers)) == len(numbers) == len(truth) == 60


def test_what_the_trainer_fails_on_is_what_the_check_finds(out, tmp_path):
    """Each trap, set in a copy of one split: the rules above raise or miss an image, and validation says so."""

    def trap(name: str, content: bytes) -> tuple[Path, str]:
        folder = tmp_path / name.replace(".", "-")
        folder.mkdir()
        for path in sorted((out / "val").iterdir()):
            (folder / path.name).write_bytes(path.read_bytes())
        (folder / name).write_bytes(content)
        return folder, mc.validate(folder, format="sam2").findings[0].code

    picture = next((out / "val").glob("*.jpg")).read_bytes()
    number = next((out / "val").glob("*.json")).stem
    empty = json.loads((out / "val" / f"{number}.json").read_text()) | {"annotations": []}
    for name, content, error, code in (
        (f"{number}.json", json.dumps(empty).encode(), LookupError, "no-masks"),
        ("sa_999.jpg", picture, FileNotFoundError, "orphan-image"),
        ("._sa_1.jpg", b"\0\5\x16\7", FileNotFoundError, "orphan-image"),
    ):
        folder, found = trap(name, content)
        with pytest.raises(error):
            datapoints(folder)
        assert found == code
    folder, found = trap("sa_999.png", picture)
    assert (len(datapoints(folder)), found) == (len(datapoints(out / "val")), "wrong-suffix")


# --- transformers ----------------------------------------------------------------------------------------------------


def prompts_of(document: dict) -> dict:
    """The prompts of one image as the processor takes them: as many points of each region."""
    prompts = [annotation["prompts"] for annotation in document["annotations"]]
    count = min(len(prompt["points"]) for prompt in prompts)
    return {
        "input_boxes": [[prompt["box"] for prompt in prompts]],
        "input_points": [[prompt["points"][:count] for prompt in prompts]],
        "input_labels": [[prompt["labels"][:count] for prompt in prompts]],
    }


def test_points_and_boxes_lie_on_their_masks_after_scaling(out):
    """SAM 2 squeezes an image to a square. The masks go through the processor as images."""
    processor, seen = Sam2Processor(Sam2ImageProcessor()), {0: 0, 1: 0}
    for path in sorted(out.glob("*/*.json"))[::3]:
        document = json.loads(path.read_text())
        masks = [coco_mask.decode(annotation["segmentation"]) for annotation in document["annotations"]]
        occupied = np.any(masks, axis=0)
        for annotation, mask in zip(document["annotations"], masks, strict=True):
            pictures = [np.repeat(np.uint8(255) * pixels[..., None], 3, 2) for pixels in (mask, occupied)]
            prompts = prompts_of({"annotations": [annotation]})
            inputs = [processor(picture, **prompts, resample=0, do_normalize=False, return_tensors="pt")
                      for picture in pictures]  # fmt: skip
            assert inputs[0]["pixel_values"].shape == (1, 3, 1024, 1024)
            scaled, others = (found["pixel_values"][0, 0].numpy() for found in inputs)
            points, labels = inputs[0]["input_points"][0, 0] + 0.5, inputs[0]["input_labels"][0, 0]
            for (x, y), label in zip(points.int().tolist(), labels.tolist(), strict=True):
                assert (scaled if label else others)[y, x] == label
                seen[label] += 1
            assert np.abs(inputs[0]["input_boxes"][0, 0].numpy() - extent(scaled)).max() <= 1
    assert min(seen.values()) >= 30


def test_images_of_one_batch_need_as_many_boxes_each(out):
    """Why the example takes one image at a time."""
    documents = [json.loads(path.read_text()) for path in sorted(out.glob("train/*.json"))]
    by_count = {len(document["annotations"]): prompts_of(document) for document in documents}
    one, two = by_count[1]["input_boxes"], by_count[2]["input_boxes"]
    pictures = [np.zeros((8, 8, 3), np.uint8)] * 2
    processor = Sam2Processor(Sam2ImageProcessor(size={"height": 96, "width": 96}))
    assert processor(pictures, input_boxes=one + one, return_tensors="pt")["input_boxes"].shape == (2, 1, 4)
    with pytest.raises(ValueError, match="same number of boxes"):
        processor(pictures, input_boxes=one + two, return_tensors="pt")


def test_the_decoder_learns_one_image_by_heart(out, example):
    torch.manual_seed(0)
    model, processor = example.tiny()
    model.requires_grad_(False)
    model.mask_decoder.requires_grad_(True)
    documents = {path: json.loads(path.read_text())["annotations"] for path in out.glob("*/*.json")}
    single = [path for path, annotations in documents.items() if len(annotations) == 1]
    image = example.read(max(single, key=lambda path: documents[path][0]["area"]), model, processor)
    assert set(image["masks"].unique().tolist()) == {0, 1}
    assert example.predict(model, processor, image, "boxes").shape == image["masks"].shape
    optimizer = torch.optim.AdamW(model.mask_decoder.parameters(), lr=3e-3)
    losses = []
    for step in range(80):
        loss = example.loss_of(example.predict(model, processor, image, ("boxes", "points")[step % 2]), image["masks"])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]
    assert min(example.mean_iou(model, processor, [image], prompt) for prompt in ("boxes", "points")) > 0.85


def test_the_example_runs_as_it_stands_and_learns(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["finetune_sam2.py"])
    runpy.run_path(str(EXAMPLE), run_name="__main__")
    printed = capsys.readouterr().out.splitlines()
    first, last = (float(word) for word in printed[1].split()[1::2])
    assert last < 0.5 * first
    ious = [[float(word) for word in line.rsplit(": ", 1)[1].split(" to ")] for line in printed[2:]]
    assert len(ious) == 2
    assert all(after > before for before, after in ious)


def test_the_example_takes_other_weights_and_data(example, out, tmp_path, monkeypatch, capsys):
    model, processor = example.tiny()
    model.save_pretrained(tmp_path / "weights")
    processor.save_pretrained(tmp_path / "weights")
    monkeypatch.setattr(sys, "argv", ["x", "--data", str(out), "--weights", str(tmp_path / "weights"), "--epochs", "1"])
    example.main()
    assert "45 images, 1 epochs" in capsys.readouterr().out
