"""What each format holds, read by its own reader or by code that shares nothing with ours, against the masks.

Runs on the built-in sample, and on real data where `MVTEC_ROOT` names some.
"""

from __future__ import annotations

import contextlib
import io
import os
from pathlib import Path

import cv2
import numpy as np
import orjson
import pytest
import yaml
from hypothesis import given
from pycocotools.cocoeval import COCOeval

import mvtec_convert as mc
from tests import exports, strategies

REAL = os.environ.get("MVTEC_ROOT")
REAL_CATEGORIES = {"toothbrush": (30, 66), "grid": (11, 21), "hazelnut_toy": (17, 54)}


def _sources() -> list:
    skip = pytest.mark.skipif(not REAL, reason="MVTEC_ROOT is not set")
    real = [pytest.param(("real", name), id=f"real-{name}", marks=skip) for name in REAL_CATEGORIES]
    return [pytest.param(("sample", name), id=f"sample-{name}") for name in ("carpet", "grid", "hazelnut")] + real


@pytest.fixture(scope="module", params=_sources())
def source(request, sample_root) -> Path:
    where, category = request.param
    return (sample_root if where == "sample" else Path(REAL)) / category


@pytest.fixture(scope="module")
def dataset(source) -> mc.Dataset:
    return mc.load(source)


@pytest.fixture(scope="module")
def truth(source) -> dict:
    masks = exports.true_masks(source.parent, source.name)
    return {name: (defect, exports.regions_of(mask)) for name, (defect, mask) in masks.items()}


@given(strategies.masks())
def test_the_judge_finds_the_regions_that_a_flood_fill_finds(mask):
    assert exports.same_regions(exports.regions_of(mask), strategies.pieces(mask))


def test_real_data_holds_what_is_known_of_it(source, truth):
    if source.name in REAL_CATEGORIES and REAL and source.parent == Path(REAL):
        assert (len(truth), sum(len(regions) for _, regions in truth.values())) == REAL_CATEGORIES[source.name]


@pytest.mark.parametrize("segmentation", ["polygon", "rle", "rle-uncompressed"])
def test_pycocotools_gives_every_region_back_pixel_for_pixel(dataset, truth, tmp_path, segmentation):
    summary = mc.to_coco(dataset, tmp_path / "out", segmentation=segmentation)
    masks = exports.coco_masks(tmp_path / "out")
    names = sorted({defect for defect, _ in truth.values()})
    for name, (defect, regions) in truth.items():
        assert exports.same_regions([mask for _, mask in masks[name]], regions), name
        assert {class_id for class_id, _ in masks[name]} == {names.index(defect)}
    assert len(masks) == len(dataset)
    assert summary.fidelity.exact == summary.fidelity.regions == sum(len(regions) for _, regions in truth.values())


def test_coco_boxes_and_areas_are_the_pixels_and_it_scores_one_against_itself(dataset, truth, tmp_path):
    mc.to_coco(dataset, tmp_path / "out")
    for file in sorted((tmp_path / "out" / "annotations").iterdir()):
        coco = exports.load_coco(file)
        for annotation in coco.loadAnns(coco.getAnnIds()):
            mask = coco.annToMask(annotation)
            x0, y0, x1, y1 = exports.extent(mask)
            assert annotation["bbox"] == [x0, y0, x1 - x0, y1 - y0]
            assert annotation["area"] == mask.sum()
            assert annotation["iscrowd"] == 0
        results = [{**annotation, "score": 1.0} for annotation in coco.loadAnns(coco.getAnnIds())]
        for kind in ("bbox", "segm"):
            with contextlib.redirect_stdout(io.StringIO()):
                judge = COCOeval(coco, coco.loadRes([dict(result) for result in results]), kind)
                judge.params.maxDets = [1, 10, 1000]
                judge.evaluate()
                judge.accumulate()
            precision = judge.eval["precision"][:, :, :, 0, -1]  # all sizes, all detections
            assert precision[precision > -1].min() == pytest.approx(1, abs=1e-9)
        for image in coco.loadImgs(coco.getImgIds()):
            assert (tmp_path / "out" / "images" / file.stem.removeprefix("instances_") / image["file_name"]).is_file()


@pytest.mark.parametrize("iou", [0.8, 0.95])
def test_simplified_polygons_keep_the_iou_under_pycocotools(dataset, truth, tmp_path, iou):
    summary = mc.to_coco(dataset, tmp_path / "out", simplify=iou)
    masks = exports.coco_masks(tmp_path / "out")
    for name, (_, regions) in truth.items():
        whole = np.any(regions, axis=0)
        found = np.any([mask for _, mask in masks[name]], axis=0)
        assert (found & whole).sum() / (found | whole).sum() >= iou - 0.02, name
        assert len(masks[name]) == len(regions)
    assert summary.fidelity.lowest >= iou


def test_yolo_boxes_are_the_pixels_extents(dataset, truth, tmp_path):
    mc.to_yolo(dataset, tmp_path / "out")
    boxes = exports.yolo_boxes(tmp_path / "out")
    names = yaml.safe_load((tmp_path / "out" / "data.yaml").read_text())["names"]
    for name, (defect, regions) in truth.items():
        found = sorted(tuple(round(edge) for edge in box) for _, box in boxes[name])
        assert found == sorted({exports.extent(region) for region in regions})
        assert all(abs(edge - round(edge)) < 0.01 for _, box in boxes[name] for edge in box)
        assert {names[class_id] for class_id, _ in boxes[name]} == {defect}
    assert len(boxes) == len(dataset)
    assert all(not boxes[name] for name in boxes if "_good_" in name)


def test_yolo_polygons_fill_to_the_regions(dataset, truth, tmp_path):
    """As `polygon2mask` of Ultralytics does it: float32, times the size, decimals cut off, cv2.fillPoly."""
    summary = mc.to_yolo(dataset, tmp_path / "out", task="segment")
    ious = []
    for name, size, rows in exports.yolo_rows(tmp_path / "out"):
        found = []
        for _, *numbers in rows:
            points = np.array(numbers, np.float32).reshape(-1, 2)
            filled = np.zeros(size[::-1], np.uint8)
            cv2.fillPoly(filled, [(points * np.array(size, np.float32)).astype(np.int32)], color=1)
            found.append(filled)
            # What the reader takes as the box is the extent of the points.
            low, high = (points * size).min(axis=0), (points * size).max(axis=0)
            assert np.abs(np.array([*low, *high]) - exports.extent(filled)).max() < 0.01
        regions = truth[name][1] if name in truth else []
        assert len(found) == len(regions)
        for mask in found:
            ious.append(max((mask & region).sum() / (mask | region).sum() for region in regions))
    assert np.mean(np.array(ious) == 1.0) >= 0.95
    assert np.mean(ious) >= 0.9999
    assert min(ious) >= 0.99
    assert summary.fidelity.exact >= 0.95 * summary.fidelity.regions


def test_yolo_rotated_boxes_hold_their_region_tightly(dataset, truth, tmp_path):
    mc.to_yolo(dataset, tmp_path / "out", task="obb")
    for name, size, rows in exports.yolo_rows(tmp_path / "out"):
        quads = [np.array(numbers, np.float64).reshape(4, 2) * size for _, *numbers in rows]
        regions = truth[name][1] if name in truth else []
        assert len(quads) == len(regions)
        for region in regions:
            x0, y0, x1, y1 = exports.extent(region)
            ys, xs = np.nonzero(region)
            corners = np.concatenate([np.stack([xs + dx, ys + dy], 1) for dx in (0, 1) for dy in (0, 1)])
            holding = [quad for quad in quads if _contains(quad, corners)]
            assert holding, name
            area = min(cv2.contourArea(quad.astype(np.float32)) for quad in holding)
            assert area <= (x1 - x0) * (y1 - y0) + 0.1


def _contains(quad: np.ndarray, points: np.ndarray) -> bool:
    sides = np.roll(quad, -1, axis=0) - quad
    away = [points - corner for corner in quad]
    cross = [side[0] * d[:, 1] - side[1] * d[:, 0] for side, d in zip(sides, away, strict=True)]
    lengths = np.linalg.norm(sides, axis=1)[:, None]
    return bool((np.array(cross) / lengths >= -0.01).all())


def test_sam_files_are_sa1b_and_their_prompts_lie_where_they_must(dataset, truth, tmp_path):
    mc.to_sam(dataset, tmp_path / "out", points=3, negatives=2, box_jitter=4)
    files = sorted((tmp_path / "out").glob("*/*.json"))
    assert len(files) == len(dataset)
    for file in files:
        document = orjson.loads(file.read_bytes())
        image, annotations = document["image"], document["annotations"]
        regions = truth[file.stem][1] if file.stem in truth else []
        masks = [exports.decoded(a["segmentation"], image["height"], image["width"]) for a in annotations]
        assert exports.same_regions(masks, regions)
        defect = np.any(masks, axis=0) if masks else None
        for annotation, mask in zip(annotations, masks, strict=True):
            x0, y0, x1, y1 = exports.extent(mask)
            assert annotation["bbox"] == [x0, y0, x1 - x0, y1 - y0]
            assert annotation["area"] == mask.sum()
            assert {"id", "predicted_iou", "stability_score", "crop_box", "point_coords"} <= annotation.keys()
            prompts = annotation["prompts"]
            assert annotation["point_coords"] == prompts["points"][:1]
            for (x, y), label in zip(prompts["points"], prompts["labels"], strict=True):
                assert (mask if label else defect)[y, x] == label
            assert np.abs(np.array(prompts["box"]) - (x0, y0, x1, y1)).max() <= 4.01
            assert "_" not in prompts["text"]
