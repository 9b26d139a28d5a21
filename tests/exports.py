"""Reading exported datasets back with code that shares nothing with the writers."""

from __future__ import annotations

import contextlib
import io
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

Masks = dict[str, list[tuple[int, np.ndarray]]]
"""(class id, binary mask (height, width)) of every region, by image name."""

Boxes = dict[str, list[tuple[int, tuple[float, float, float, float]]]]
"""(class id, (x0, y0, x1, y1) px) of every region, by image name."""


def true_masks(root: Path, category: str = "*") -> dict[str, tuple[str, np.ndarray]]:
    """(defect type, mask) of every mask file of an MVTec tree, by the name that exports give the image."""
    found = {}
    for path in sorted(root.glob(f"{category}/ground_truth/*/*")):
        category, defect = path.parts[-4], path.parts[-2]
        stem = path.stem.removesuffix("_mask")
        with Image.open(path) as image:
            found[f"{category}_{defect}_{stem}"] = (defect, (np.asarray(image) != 0).astype(np.uint8))
    return found


def regions_of(mask: np.ndarray) -> list[np.ndarray]:
    """The 8-connected regions of a mask, each as a mask of its own: runs of pixels in a row, joined in plain Python."""
    edges = np.argwhere(np.diff(np.pad(mask != 0, ((0, 0), (1, 1))).astype(np.int8)))
    runs = [(y, start, stop) for (y, start), (_, stop) in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)]
    owner = list(range(len(runs)))

    def region_of(run: int) -> int:
        while owner[run] != run:
            owner[run] = run = owner[owner[run]]
        return run

    above = 0
    for below, (y, start, stop) in enumerate(runs):
        # Runs touch where one row is next to the other, and their columns overlap or follow each other.
        while runs[above][0] < y - 1 or (runs[above][0] == y - 1 and runs[above][2] < start):
            above += 1
        near = above
        while runs[near][0] == y - 1 and runs[near][1] <= stop:
            owner[region_of(near)] = region_of(below)
            near += 1
    regions = defaultdict(lambda: np.zeros_like(mask))
    for run, (y, start, stop) in enumerate(runs):
        regions[region_of(run)][y, start:stop] = 1
    return list(regions.values())


def extent(mask: np.ndarray) -> tuple[int, int, int, int]:
    """(x0, y0, x1, y1) of the pixels, right and bottom exclusive."""
    ys, xs = np.nonzero(mask)
    return int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1


def load_coco(path: Path) -> COCO:
    """The file through pycocotools."""
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(path))


def coco_masks(folder: Path) -> Masks:
    """Every region of every split through pycocotools; class ids 0-based."""
    masks: Masks = {}
    for file in sorted((folder / "annotations").glob("*.json")):
        coco = load_coco(file)
        first = min(coco.getCatIds())
        for image in coco.loadImgs(coco.getImgIds()):
            annotations = coco.loadAnns(coco.getAnnIds(imgIds=[image["id"]]))
            masks[Path(image["file_name"]).stem] = [(a["category_id"] - first, coco.annToMask(a)) for a in annotations]
    return masks


def yolo_rows(folder: Path) -> Iterator[tuple[str, tuple[int, int], list[list[str]]]]:
    """(name, (width, height), rows) of every image; the label file is found as Ultralytics finds it."""
    for image in sorted((folder / "images").rglob("*.*")):
        head, _, tail = image.as_posix().rpartition("/images/")
        label = Path(f"{head}/labels/{tail}").with_suffix(".txt")
        text = label.read_text(encoding="utf-8")
        with Image.open(image) as opened:
            size = opened.size
        yield image.stem, size, [line.split(" ") for line in text.splitlines()]


def yolo_boxes(folder: Path) -> Boxes:
    """Every box in px."""
    boxes: Boxes = {}
    for name, (width, height), rows in yolo_rows(folder):
        boxes[name] = []
        for class_id, *numbers in rows:
            x, y, w, h = (float(np.float32(number)) for number in numbers)
            box = ((x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height)
            boxes[name].append((int(class_id), box))
    return boxes


def decoded(rle: dict, height: int, width: int) -> np.ndarray:
    """A mask from COCO run lengths, which must be of this size."""
    assert list(rle["size"]) == [height, width]
    return coco_mask.decode(rle)


def same_regions(found: list[np.ndarray], wanted: list[np.ndarray]) -> bool:
    """Whether two lists hold the same masks, in any order."""
    return sorted(mask.tobytes() for mask in found) == sorted(mask.tobytes() for mask in wanted)
