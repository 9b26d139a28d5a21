"""Ultralytics reads what is written: every image, box and mask, to the pixel; and it trains on all four tasks."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torchvision
from ultralytics.data.dataset import ClassificationDataset
from ultralytics.data.utils import check_cls_dataset, check_det_dataset

import mvtec_convert as mc
from tests.exports import extent, regions_of, true_masks
from tests.readers.ultralytics_reader import dataset_of, fell, names_of, sample_of, scan, settings, train

PROOFS = [
    {
        "target": "YOLO detection",
        "command": "mvtec-convert yolo",
        "reader": "Ultralytics",
        "package": "ultralytics",
        "loses": "the shape within the box, of which the sample's defects fill 46 %; boxes are within 0.001 px",
    },
    {
        "target": "YOLO segmentation",
        "command": "mvtec-convert yolo --task segment",
        "reader": "Ultralytics",
        "package": "ultralytics",
        "loses": "nothing: 101 of 101 masks exact at native size, boxes within 0.004 px. The trainer itself works at "
        "`imgsz` and a quarter of it (`mask_ratio`)",
    },
    {
        "target": "YOLO rotated boxes",
        "command": "mvtec-convert yolo --task obb",
        "reader": "Ultralytics",
        "package": "ultralytics",
        "loses": "the shape within the rectangle, of which the sample's defects fill 58 %; it holds every pixel",
    },
    {
        "target": "YOLO classification",
        "command": "mvtec-convert yolo --task classify",
        "reader": "Ultralytics, torchvision's ImageFolder",
        "package": "ultralytics",
        "loses": "where the defect is",
    },
]
SPLITS = ("train", "val")
REGIONS = 101


@pytest.fixture(scope="module")
def exports(sample_root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The whole sample for each task."""
    out = tmp_path_factory.mktemp("yolo")
    for task in ("detect", "segment", "obb", "classify"):
        mc.to_yolo(mc.load(sample_root), out / task, task=task)
    return {path.name: path for path in out.iterdir()}


@pytest.fixture(scope="module")
def truth(sample_root: Path) -> dict[str, tuple[str, list[np.ndarray]]]:
    """(defect type, regions) of every defective image, found without the package."""
    return {name: (defect, regions_of(mask)) for name, (defect, mask) in true_masks(sample_root).items()}


@pytest.mark.parametrize("task", ["detect", "segment", "obb"])
def test_no_image_is_dropped_backgrounds_stay_and_the_scan_has_nothing_to_say(exports, truth, task):
    out = exports[task]
    data = check_det_dataset(str(out / "data.yaml"))
    assert data["nc"] == 10
    for split in SPLITS:
        dataset = dataset_of(out / "data.yaml", split, task)
        images = {path.stem for path in (out / "images" / split).iterdir()}
        assert set(names_of(dataset)) == images
        assert len(dataset) == len(images)
        for name, label in zip(names_of(dataset), dataset.labels, strict=True):
            defect, regions = truth.get(name, ("", []))
            assert [data["names"][int(i)] for i in label["cls"].ravel()] == [defect] * len(regions)
        background = len(images - set(truth))
        assert background > 5
        assert scan(out / "labels" / split) == ((len(images), 0, background, 0, len(images)), [])


def test_boxes_are_the_pixels_extent(exports, truth):
    worst, filled = 0.0, []
    for split in SPLITS:
        dataset = dataset_of(exports["detect"] / "data.yaml", split, "detect")
        for index, name in enumerate(names_of(dataset)):
            boxes = sample_of(dataset, index, "detect")["bboxes"].numpy()
            regions = sorted(truth.get(name, ("", []))[1], key=extent)
            assert len(boxes) == len(regions)
            for box, region in zip(sorted(boxes.tolist()), regions, strict=True):
                worst = max(worst, np.abs(np.subtract(box, extent(region))).max())
                filled.append(region.sum() / ((box[2] - box[0]) * (box[3] - box[1])))
    assert len(filled) == REGIONS
    assert worst < 0.001
    assert np.mean(filled) == pytest.approx(0.46, abs=0.005)


def test_every_mask_is_exact_at_native_size(exports, truth):
    exact, worst = 0, 0.0
    for split in SPLITS:
        dataset = dataset_of(exports["segment"] / "data.yaml", split, "segment")
        for index, name in enumerate(names_of(dataset)):
            read = sample_of(dataset, index, "segment")
            regions = {region.tobytes(): extent(region) for region in truth.get(name, ("", []))[1]}
            assert len(read["masks"]) == len(regions)
            for mask, box in zip(read["masks"].numpy(), read["bboxes"].numpy(), strict=True):
                exact += mask.tobytes() in regions
                worst = max(worst, np.abs(box - regions[mask.tobytes()]).max())
    assert exact == REGIONS
    assert worst < 0.004


def test_rotated_boxes_hold_every_pixel_and_are_no_larger_than_the_upright_ones(exports, truth):
    filled, smaller = [], 0
    for split in SPLITS:
        dataset = dataset_of(exports["obb"] / "data.yaml", split, "obb")
        for index, name in enumerate(names_of(dataset)):
            boxes = sample_of(dataset, index, "obb")["bboxes"].numpy()
            regions = truth.get(name, ("", []))[1]
            assert boxes.shape == (len(regions), 5)
            for region in regions:
                area = min(box[2] * box[3] for box in boxes if covers(box, region))
                x0, y0, x1, y1 = extent(region)
                assert area <= (x1 - x0) * (y1 - y0) + 0.1
                smaller += area < 0.95 * (x1 - x0) * (y1 - y0)
                filled.append(region.sum() / area)
    assert len(filled) == REGIONS
    assert smaller > 50
    assert np.mean(filled) == pytest.approx(0.58, abs=0.01)


def covers(box: np.ndarray, region: np.ndarray) -> bool:
    """Whether a rotated box (xywhr, px, radians) holds the four corners of every pixel, to a twentieth of a px."""
    ys, xs = np.nonzero(region)
    corners = np.concatenate([np.stack([xs + dx, ys + dy], axis=1) for dx in (0, 1) for dy in (0, 1)])
    cos, sin = np.cos(box[4]), np.sin(box[4])
    along = (corners - box[:2]) @ np.array([[cos, -sin], [sin, cos]])
    return bool((np.abs(along) <= box[2:4] / 2 + 0.05).all())


def test_a_new_export_is_read_anew_in_spite_of_the_trainers_cache(carpet, tmp_path):
    for rule in ("component", "image"):
        summary = mc.to_yolo(carpet, tmp_path / "out", regions=rule)
        dataset = dataset_of(tmp_path / "out" / "data.yaml", "train", "detect")
        assert (tmp_path / "out" / "labels" / "train.cache").is_file()
        assert sum(len(label["cls"]) for label in dataset.labels) == summary.splits["train"].regions.total()
    assert summary.splits["train"].regions.total() == 17


def test_a_dataset_that_was_moved_is_still_read(carpet, tmp_path, monkeypatch):
    mc.to_yolo(carpet, tmp_path / "out")
    dataset_of(tmp_path / "out" / "data.yaml", "train", "detect")
    (tmp_path / "out").rename(tmp_path / "other place")
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    assert len(dataset_of(tmp_path / "other place" / "data.yaml", "train", "detect")) == 28


# --- classify --------------------------------------------------------------------------------------------------------


def test_every_image_has_its_class_and_good_is_one(exports, sample_root):
    out = exports["classify"]
    data = check_cls_dataset(out)
    wanted = {"good": 42} | Counter(s.defect_type for s in mc.load(sample_root) if not s.is_good)
    assert sorted(data["names"].values()) == sorted(wanted)
    found: Counter[str] = Counter()
    for split in SPLITS:
        dataset = ClassificationDataset(data[split], settings(imgsz=64), prefix=split, names=data["names"])
        for path, class_id, *_ in dataset.samples:
            assert data["names"][class_id] == Path(path).parent.name
            found[data["names"][class_id]] += 1
        assert dataset[0]["img"].shape == (3, 64, 64)
        assert len(dataset) == len(list((out / split).rglob("*.png")))
    assert found == wanted


def test_imagefolder_numbers_the_classes_of_all_splits_alike(sample_root, tmp_path):
    # Three splits of few images: some class is in train alone.
    dataset = mc.load(sample_root / "carpet")
    mc.to_yolo(dataset, tmp_path / "out", task="classify", split="official")
    read = [torchvision.datasets.ImageFolder(tmp_path / "out" / split, allow_empty=True) for split in ("train", "test")]
    assert read[0].class_to_idx == read[1].class_to_idx
    assert len(read[0].classes) == 6
    assert sum(len(folder) for folder in read) == len(dataset)


# --- training --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "suffix"), [("detect", ""), ("segment", "-seg"), ("obb", "-obb"), ("classify", "-cls")]
)
def test_training_from_scratch_learns(carpet, tmp_path, task, suffix):
    mc.to_yolo(carpet, tmp_path / "out", task=task)
    data = tmp_path / "out" if task == "classify" else tmp_path / "out" / "data.yaml"
    losses = train(f"yolov8n{suffix}.yaml", data, tmp_path / "runs")
    assert fell(losses), losses
    # What the trainer leaves behind does not stand in the way of the next export.
    mc.to_yolo(carpet, tmp_path / "out", task=task)
