"""What `read_export` says of YOLO datasets is what Ultralytics makes of them, whatever their labels look like."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import mvtec_convert as mc
from mvtec_convert.exports import read_export
from tests.broken import draw_image
from tests.readers.ultralytics_reader import dataset_of, names_of, sample_of

WIDTH, HEIGHT = 120, 90
NAMES = ["crack", "rust"]


def ragged(seed: int) -> str:
    """Rows as any tool may write them: self-crossing, thin, on the border, hanging over pixels, there twice."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(rng.integers(1, 6)):
        points = np.clip(rng.normal(rng.uniform(0, 1, 2), rng.uniform(0.01, 0.4), (rng.integers(3, 40), 2)), 0, 1)
        if rng.random() < 0.2:
            points[:, rng.integers(2)] = rng.random()  # a line
        decimals = int(rng.integers(2, 8))
        numbers = " ".join(f"{value:.{decimals}f}" for value in points.ravel())
        rows += [f"{rng.integers(2)} {numbers}"] * (1 + (rng.random() < 0.2))
    return "\n".join(rows) + "\n"


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("foreign")
    for seed in range(60):
        split = ("train", "val")[seed % 2]
        draw_image(folder / "images" / split / f"{seed:02}.png", seed, (WIDTH, HEIGHT))
        label = folder / "labels" / split / f"{seed:02}.txt"
        label.parent.mkdir(parents=True, exist_ok=True)
        label.write_text(ragged(seed))
    (folder / "data.yaml").write_text(f"train: images/train\nval: images/val\nnames: {NAMES}\n")
    return folder


def compare(folder: Path) -> int:
    """Compare masks, boxes and classes of every image; how many objects there are."""
    found = {(image.split, image.name): image for image in read_export(folder)}
    count = 0
    for split in ("train", "val"):
        dataset = dataset_of(folder / "data.yaml", split, "segment")
        for index, name in enumerate(names_of(dataset)):
            image = found[split, name]
            judged = sample_of(dataset, index, "segment")
            boxes, masks = judged["bboxes"].numpy(), judged["masks"].numpy()
            order = matching([item.box for item in image.objects], boxes)
            assert [item.class_name for item in image.objects] == [
                dataset.data["names"][int(judged["cls"][at])] for at in order
            ]
            for item, at in zip(image.objects, order, strict=True):
                mask = np.zeros(masks.shape[1:], np.uint8)
                if item.region is not None:
                    x, y, width, height = item.region.bbox
                    mask[y : y + height, x : x + width] = item.region.crop
                assert (mask == masks[at]).all()
                count += 1
    return count


def matching(boxes: list[tuple[float, ...]], judged: np.ndarray) -> list[int]:
    """For each box its place among the judge's, who sorts rows where some are there twice."""
    assert len(boxes) == len(judged)
    order = [int(np.abs(judged - np.array(box)).max(axis=1).argmin()) for box in boxes]
    assert sorted(order) == list(range(len(boxes)))
    assert np.abs(judged[order] - np.array(boxes).reshape(-1, 4)).max(initial=0) < 0.01
    return order


def test_polygons_of_any_kind_are_filled_as_ultralytics_fills_them(foreign: Path) -> None:
    assert compare(foreign) > 150


def test_the_sample_is_read_as_ultralytics_reads_it(sample_root: Path, tmp_path: Path) -> None:
    mc.to_yolo(mc.load(sample_root / "grid"), tmp_path / "out", task="segment")
    assert compare(tmp_path / "out") > 10
