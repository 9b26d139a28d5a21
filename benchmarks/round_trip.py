"""MVTec to each format and back by `masks`: how many masks come back pixel for pixel, and what is lost of the others.

python benchmarks/round_trip.py ROOT [CATEGORY ...]
"""

from __future__ import annotations

import sys
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

import mvtec_convert as mc
from mvtec_convert.tables import Table, markdown

FORMATS = {
    "COCO, polygons": mc.to_coco,
    "COCO, run lengths": partial(mc.to_coco, segmentation="rle"),
    "COCO, run lengths as numbers": partial(mc.to_coco, segmentation="rle-uncompressed"),
    "COCO, --simplify 0.98": partial(mc.to_coco, simplify=0.98),
    "SA-1B": mc.to_sam,
    "SAM 2": partial(mc.to_sam, layout="sam2"),
    "SAM 3": partial(mc.to_sam, layout="sam3"),
    "MedSAM": partial(mc.to_sam, layout="medsam"),
    "YOLO segment": partial(mc.to_yolo, task="segment"),
    "labelme": mc.to_labelme,
    "labelme, --simplify 0.98": partial(mc.to_labelme, simplify=0.98),
    "Pascal VOC": mc.to_voc,
}
COLUMNS = ("through", "masks exact", "pixels that differ", "of", "lowest IoU")


def masks(dataset: mc.Dataset) -> dict[str, np.ndarray]:
    """Every mask, by category, defect type and stem."""
    found = {}
    for sample in dataset:
        if not sample.is_good:
            with Image.open(sample.masks[0]) as image:
                found[f"{sample.category}/{sample.defect_type}/{sample.stem}"] = np.asarray(image) > 0
    return found


def main(root: str, *categories: str) -> None:
    dataset = mc.load(root).filter(category=categories or None)
    truth = masks(dataset)
    rows = []
    for name, export in FORMATS.items():
        with tempfile.TemporaryDirectory() as folder:
            export(dataset, Path(folder, "export"))
            mc.to_masks(Path(folder, "export"), Path(folder, "back"), as_png=False)
            back = masks(mc.load(Path(folder, "back")))
        assert back.keys() == truth.keys()
        pairs = [(back[key], mask) for key, mask in truth.items()]
        ious = [np.count_nonzero(a & b) / np.count_nonzero(a | b) for a, b in pairs]
        differ = sum(int(np.count_nonzero(a != b)) for a, b in pairs)
        exact = f"{ious.count(1.0)} of {len(ious)}"
        rows.append((name, exact, str(differ), str(sum(int(mask.sum()) for _, mask in pairs)), f"{min(ious):.4f}"))
    print(markdown(Table(COLUMNS, tuple(rows))))


if __name__ == "__main__":
    main(*sys.argv[1:])
