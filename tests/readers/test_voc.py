"""torchvision reads the boxes and masks of a VOC dataset as they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from torchvision.datasets import VOCDetection, VOCSegmentation

import mvtec_convert as mc
from tests.exports import extent, regions_of, true_masks

PROOFS = [
    {
        "target": "Pascal VOC, boxes",
        "command": "mvtec-convert voc",
        "reader": "torchvision's `VOCDetection`",
        "package": "torchvision",
        "loses": "the shape within the box; PNG becomes JPEG. Boxes are exact",
    },
    {
        "target": "Pascal VOC, masks",
        "command": "mvtec-convert voc",
        "reader": "torchvision's `VOCSegmentation`",
        "package": "torchvision",
        "loses": "which region a pixel is of (SegmentationObject has it); PNG becomes JPEG. All masks are exact",
    },
]

pytestmark = pytest.mark.usefixtures("plain_pillow")


@pytest.fixture(scope="module")
def out(sample_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("voc") / "out"
    mc.to_voc(mc.load(sample_root), folder)
    return folder


def test_every_box_is_the_extent_of_a_region(out: Path, sample_root: Path):
    truth, seen = true_masks(sample_root), 0
    for split in ("train", "val"):
        data = VOCDetection(str(out), image_set=split)
        for image, target in data:
            annotation = target["annotation"]
            size = [int(annotation["size"][side]) for side in ("width", "height")]
            assert list(image.size) == size
            defect, mask = truth.get(Path(annotation["filename"]).stem, ("good", np.zeros(size[::-1], np.uint8)))
            boxes = sorted(
                tuple(int(entry["bndbox"][edge]) for edge in ("xmin", "ymin", "xmax", "ymax"))
                for entry in annotation["object"]
            )
            wanted = (extent(region) for region in regions_of(mask))
            assert boxes == sorted((x0 + 1, y0 + 1, x1, y1) for x0, y0, x1, y1 in wanted)
            assert {entry["name"] for entry in annotation["object"]} <= {defect}
            seen += len(boxes)
    assert seen == 101


def test_every_mask_is_the_class_of_its_pixels(out: Path, sample_root: Path):
    truth, seen = true_masks(sample_root), 0
    names = ["background", *mc.class_names(out)]
    for split in ("train", "val"):
        data = VOCSegmentation(str(out), image_set=split)
        for path, (image, target) in zip(data.images, data, strict=True):
            values = np.asarray(target)
            assert values.shape == image.size[::-1]
            defect, mask = truth.get(Path(path).stem, ("background", np.zeros_like(values)))
            assert np.array_equal(values, names.index(defect) * mask)
            seen += 1
    assert seen == len(mc.load(sample_root))
