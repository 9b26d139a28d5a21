"""SAM: what transformers' processor makes of our prompts, what the model learns from them, and the example."""

from __future__ import annotations

import importlib.util
import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import SamImageProcessor, SamModel, SamProcessor

import mvtec_convert as mc
from tests.exports import decoded, extent, regions_of, same_regions, true_masks

torch.set_num_threads(1)  # a second one only waits where the machine has other work

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "finetune_sam.py"

PROOF = {
    "target": "SAM",
    "command": "mvtec-convert sam",
    "reader": "transformers, SamProcessor and SamModel",
    "package": "transformers",
    "loses": "nothing: all masks exact; all points lie in their masks after scaling",
}


@pytest.fixture(scope="module")
def out(sample_root, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sam") / "out"
    mc.to_sam(mc.load(sample_root), folder, points=3, negatives=2)
    return folder


@pytest.fixture(scope="module")
def documents(out) -> dict[Path, dict]:
    """Every file with masks."""
    read = {path: json.loads(path.read_text()) for path in sorted(out.glob("*/*.json"))}
    return {path: document for path, document in read.items() if document["annotations"]}


@pytest.fixture(scope="module")
def processor() -> SamProcessor:
    """As it comes with SAM: images of 1024 px."""
    return SamProcessor(SamImageProcessor())


@pytest.fixture(scope="module")
def example():
    """examples/finetune_sam.py as a module."""
    spec = importlib.util.spec_from_file_location("finetune_sam", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def prompts_of(document: dict) -> dict:
    """The prompts of one image as the processor takes them: as many points of each region."""
    prompts = [annotation["prompts"] for annotation in document["annotations"]]
    count = min(len(prompt["points"]) for prompt in prompts)
    return {
        "input_boxes": [[prompt["box"] for prompt in prompts]],
        "input_points": [[prompt["points"][:count] for prompt in prompts]],
        "input_labels": [[prompt["labels"][:count] for prompt in prompts]],
    }


def masks_of(document: dict) -> list[np.ndarray]:
    image = document["image"]
    return [decoded(a["segmentation"], image["height"], image["width"]) for a in document["annotations"]]


def test_masks_are_those_of_the_dataset(documents, sample_root):
    truth = true_masks(sample_root)
    assert {path.stem for path in documents} == truth.keys()
    for path, document in documents.items():
        assert same_regions(masks_of(document), regions_of(truth[path.stem][1]))


def test_the_processor_takes_boxes_points_and_labels_in_our_shapes(documents, processor):
    for path, document in list(documents.items())[::6]:
        with Image.open(path.with_name(document["image"]["file_name"])) as image:
            inputs = processor(image.convert("RGB"), **prompts_of(document), return_tensors="pt")
        regions, points = len(document["annotations"]), len(prompts_of(document)["input_points"][0][0])
        assert inputs["pixel_values"].shape == (1, 3, 1024, 1024)
        assert inputs["input_boxes"].shape == (1, regions, 4)
        assert inputs["input_points"].shape == (1, regions, points, 2)
        assert inputs["input_labels"].shape == (1, regions, points)
        assert inputs["original_sizes"].tolist() == [[document["image"]["height"], document["image"]["width"]]]


def test_points_and_boxes_lie_on_their_masks_after_scaling(documents, processor):
    """The masks go through the processor as images; SAM itself adds half a pixel to a point."""
    seen = {0: 0, 1: 0}
    for document in list(documents.values())[::3]:
        masks = masks_of(document)
        occupied = np.any(masks, axis=0)
        for i, mask in enumerate(masks):
            whole = prompts_of({"annotations": [document["annotations"][i]]})
            pictures = [np.repeat(np.uint8(255) * pixels[..., None], 3, 2) for pixels in (mask, occupied)]
            inputs = [processor(picture, **whole, resample=0, do_normalize=False, return_tensors="pt")
                      for picture in pictures]  # fmt: skip
            scaled, others = (found["pixel_values"][0, 0].numpy() for found in inputs)
            points = (inputs[0]["input_points"][0, 0] + 0.5).int().tolist()
            for (x, y), label in zip(points, inputs[0]["input_labels"][0, 0].tolist(), strict=True):
                assert (scaled if label else others)[y, x] == label
                seen[label] += 1
            assert np.abs(inputs[0]["input_boxes"][0, 0].numpy() - extent(scaled)).max() <= 1
    assert min(seen.values()) >= 30


def test_predictions_come_back_at_the_size_of_the_image(documents, example):
    model, processor = example.tiny()
    path, document = next((p, d) for p, d in documents.items() if len(d["annotations"]) > 1)
    with Image.open(path.with_name(document["image"]["file_name"])) as image:
        inputs = processor(image.convert("RGB"), **prompts_of(document), return_tensors="pt").to("cpu", torch.float32)
    with torch.no_grad():
        predicted = model(**{k: v for k, v in inputs.items() if not k.endswith("sizes")}, multimask_output=False)
    sizes = (inputs["original_sizes"], inputs["reshaped_input_sizes"])
    (masks,) = processor.image_processor.post_process_masks(predicted.pred_masks, *sizes)
    regions, image = len(document["annotations"]), document["image"]
    assert (masks.dtype, masks.shape) == (torch.bool, (regions, 1, image["height"], image["width"]))


def test_the_decoder_learns_one_image_by_heart(documents, example):
    torch.manual_seed(0)
    model, processor = example.tiny()
    model.requires_grad_(False)
    model.mask_decoder.requires_grad_(True)
    single = [path for path, document in documents.items() if len(document["annotations"]) == 1]
    image = example.read(max(single, key=lambda path: documents[path]["annotations"][0]["area"]), model, processor)
    assert set(image["masks"].unique().tolist()) == {0, 1}
    optimizer = torch.optim.AdamW(model.mask_decoder.parameters(), lr=3e-3)
    losses = []
    for step in range(60):
        loss = example.loss_of(example.predict(model, processor, image, ("boxes", "points")[step % 2]), image["masks"])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]
    assert min(example.mean_iou(model, processor, [image], prompt) for prompt in ("boxes", "points")) > 0.9
    frozen = [name for name, weight in model.named_parameters() if weight.grad is None]
    assert {name.split(".")[0] for name in frozen} >= {"vision_encoder", "prompt_encoder"}


def test_the_example_runs_as_it_stands_and_learns(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["finetune_sam.py", "--epochs", "6"])
    runpy.run_path(str(EXAMPLE), run_name="__main__")
    printed = capsys.readouterr().out.splitlines()
    first, last = (float(word) for word in printed[1].split()[1::2])
    assert last < 0.5 * first
    ious = [[float(word) for word in line.rsplit(": ", 1)[1].split(" to ")] for line in printed[2:]]
    assert len(ious) == 2
    assert all(after > before for before, after in ious)


def test_the_example_takes_other_weights_and_data_with_good_images(example, out, tmp_path, monkeypatch, capsys):
    model, processor = example.tiny()
    model.save_pretrained(tmp_path / "weights")
    processor.save_pretrained(tmp_path / "weights")
    monkeypatch.setattr(sys, "argv", ["x", "--data", str(out), "--weights", str(tmp_path / "weights"), "--epochs", "1"])
    example.main()
    assert "45 images, 1 epochs" in capsys.readouterr().out
    assert isinstance(model, SamModel)
