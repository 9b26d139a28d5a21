"""YOLO-World reads the phrases: as class texts, as captions with spans, in Ultralytics' own datasets and trainers."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from ultralytics import YOLOWorld
from ultralytics.data.dataset import GroundingDataset, YOLOMultiModalDataset
from ultralytics.models.yolo.world.train_world import WorldTrainerFromScratch
from ultralytics.nn.tasks import WorldModel

import mvtec_convert as mc
from mvtec_convert.phrases import built_in
from tests.exports import extent, load_coco, regions_of, true_masks
from tests.readers.ultralytics_reader import PLAIN, dataset_of, fell, names_of, sample_of, settings, train

PROOFS = [
    {
        "target": "YOLO-World, classes in words",
        "command": "mvtec-convert yolo --world",
        "reader": "Ultralytics' `YOLOMultiModalDataset` and `WorldTrainer`",
        "package": "ultralytics",
        "loses": "the shape within the box. The proof trains with random text vectors: CLIP is a download",
    },
    {
        "target": "YOLO-World, YOLOE: grounding",
        "command": "mvtec-convert yolo --task segment --world",
        "reader": "Ultralytics' `GroundingDataset` and `WorldTrainerFromScratch`",
        "package": "ultralytics",
        "loses": "images without a defect, which this reader leaves out; 101 of 101 masks are exact, boxes within "
        "0.004 px",
    },
    {
        "target": "YOLO-World of AILab-CVC",
        "command": "mvtec-convert yolo --world",
        "reader": "pycocotools, as its `YOLOv5MixedGroundingDataset` uses it",
        "also": "that class of AILab-CVC/YOLO-World at 4f70adb, 2026-11-23",
        "package": "pycocotools",
        "loses": "the shape within the box",
    },
]
REGIONS, DEFECTIVE = 101, 60


@pytest.fixture(scope="module")
def world(sample_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("world") / "out"
    mc.to_yolo(mc.load(sample_root), out, task="segment", world=True)
    return out


@pytest.fixture(scope="module")
def truth(sample_root: Path) -> dict[str, list[np.ndarray]]:
    """The regions of every defective image, found without the package."""
    return {name: regions_of(mask) for name, (_, mask) in true_masks(sample_root).items()}


def phrase_of(name: str) -> str:
    """What an image of this name is asked for."""
    category, _, rest = name.partition("_")
    return built_in().of(category, rest.rpartition("_")[0])[0]


def grounding(folder: Path, split: str, task: str) -> GroundingDataset:
    return GroundingDataset(
        img_path=str(folder / "images" / split), json_file=str(folder / "world" / f"grounding_{split}.json"),
        task=task, imgsz=320, augment=False, hyp=settings(),
    )  # fmt: skip


def test_every_image_comes_with_the_phrases_of_all_classes(world):
    texts = json.loads((world / "world" / "class_texts.json").read_text())
    dataset = dataset_of(world / "data_world.yaml", "train", "detect", YOLOMultiModalDataset)
    assert len(dataset) == 78
    for index in (0, 40, 77):
        assert dataset.get_image_and_label(index)["texts"] == texts
    assert dataset.category_names == {phrase for phrases in texts for phrase in phrases}
    assert min(dataset.category_freq.values()) > 0


def test_an_augmented_image_asks_for_its_own_class_by_one_of_its_phrases(world):
    data = yaml.safe_load((world / "data_world.yaml").read_text())["names"]
    dataset = YOLOMultiModalDataset(
        img_path=str(world / "images" / "train"), data={"names": data, "nc": len(data), "channels": 3}, task="detect",
        imgsz=64, augment=True, hyp=settings(**{key: PLAIN[key] for key in ("mosaic", "translate", "scale")}),
    )  # fmt: skip
    asked: set[str] = set()
    for index in range(len(dataset)):
        classes = {int(i) for i in dataset.labels[index]["cls"].ravel()}
        sample = dataset[index]
        assert len(sample["texts"]) == len(data)
        for i in {int(i) for i in sample["cls"].ravel()}:
            (class_id,) = classes
            assert sample["texts"][i] in data[class_id].split("/")
            asked.add(sample["texts"][i])
    assert len(asked) > len(data)  # synonyms too


@pytest.mark.parametrize("split", ["train", "val"])
def test_grounding_gives_each_region_its_phrase_box_and_exact_mask(world, truth, split):
    images = {path.stem for path in (world / "images" / split).iterdir()}
    dataset = grounding(world, split, "segment")
    # Images without an annotation are left out: Ultralytics goes through annotations, not images.
    assert set(names_of(dataset)) == images & set(truth)
    for index, name in enumerate(names_of(dataset)):
        assert dataset.get_image_and_label(index)["texts"] == [[phrase_of(name)]]
        read = sample_of(dataset, index, "segment")
        regions = {region.tobytes(): extent(region) for region in truth[name]}
        assert {mask.tobytes() for mask in read["masks"].numpy()} == set(regions)
        for mask, box in zip(read["masks"].numpy(), read["bboxes"].numpy(), strict=True):
            assert np.abs(box - regions[mask.tobytes()]).max() < 0.004


def test_both_splits_hold_all(world):
    found = [label for split in ("train", "val") for label in grounding(world, split, "detect").labels]
    assert len(found) == DEFECTIVE
    assert sum(len(label["cls"]) for label in found) == REGIONS


def test_the_official_loader_would_find_phrase_and_box_of_each_region(world, truth):
    """As `YOLOv5MixedGroundingDataset.parse_data_info` goes about it: spans of the caption, joined; boxes."""
    regions = 0
    for split in ("train", "val"):
        coco = load_coco(world / "world" / f"grounding_{split}.json")
        for image in coco.loadImgs(coco.getImgIds()):
            name = Path(image["file_name"]).stem
            assert (world / "images" / split / image["file_name"]).is_file()
            annotations = coco.loadAnns(coco.getAnnIds(imgIds=[image["id"]]))
            texts = {" ".join(image["caption"][s:e] for s, e in a["tokens_positive"]) for a in annotations}
            assert texts == ({phrase_of(name)} if name in truth else set())
            boxes = sorted((x, y, x + w, y + h) for x, y, w, h in (a["bbox"] for a in annotations))
            assert boxes == sorted(extent(region) for region in truth.get(name, []))
            assert all(a["area"] > 0 and min(a["bbox"][2:]) >= 1 for a in annotations)
            regions += len(boxes)
    assert regions == REGIONS


# --- training --------------------------------------------------------------------------------------------------------


def random_words(model: WorldModel, phrases: list[str], *_: Any, **__: Any) -> torch.Tensor:
    """In place of CLIP, which is a download: (1, phrases, 512), a fixed random direction for each phrase."""
    seeds = [torch.Generator().manual_seed(zlib.crc32(phrase.encode())) for phrase in phrases]
    vectors = torch.stack([torch.randn(512, generator=seed) for seed in seeds])
    return torch.nn.functional.normalize(vectors, dim=1)[None]


def test_the_trainer_learns_with_phrases_for_names(carpet, tmp_path, monkeypatch):
    monkeypatch.setattr(WorldModel, "get_text_pe", random_words)
    mc.to_yolo(carpet, tmp_path / "out", world=True)
    losses = train("yolov8n-worldv2.yaml", tmp_path / "out" / "data_world.yaml", tmp_path / "runs", YOLOWorld)
    assert fell(losses), losses
    cached = torch.load(tmp_path / "out" / "images" / "text_embeddings_clip_ViT-B_32.pt")
    texts = json.loads((tmp_path / "out" / "world" / "class_texts.json").read_text())
    assert set(cached) == {phrase for phrases in texts for phrase in phrases}


def test_the_trainer_from_scratch_mixes_labels_and_grounding(carpet, tmp_path, monkeypatch):
    monkeypatch.setattr(WorldModel, "get_text_pe", random_words)
    out = tmp_path / "out"
    mc.to_yolo(carpet, out, world=True)
    grounded = {"img_path": str(out / "images" / "train"), "json_file": str(out / "world" / "grounding_train.json")}
    labelled = str(out / "data_world.yaml")
    data = {"train": {"yolo_data": [labelled], "grounding_data": [grounded]}, "val": {"yolo_data": [labelled]}}
    seen = []
    losses = train(
        "yolov8n-worldv2.yaml", data, tmp_path / "runs", YOLOWorld, trainer=WorldTrainerFromScratch,
        on_train_start=lambda trainer: seen.append(len(trainer.train_loader.dataset)),
    )  # fmt: skip
    assert seen == [28 + 17]
    assert fell(losses), losses
