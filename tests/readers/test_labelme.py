"""labelme opens the export as it is, and its own tools make exactly the masks of it."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mvtec_convert as mc
from mvtec_convert.exports import read_export
from tests.exports import regions_of, same_regions, true_masks
from tests.test_format_labelme import annotate, shape

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
# PyQt5, with which labelme is built, has no wheel for Linux on ARM; the extra leaves it out there.
labelme = pytest.importorskip("labelme")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from labelme._label_file import LabelFile
    from labelme.utils import shape_to_mask, shapes_to_label
    from loguru import logger

logger.disable("labelme")

PROOF = {
    "target": "labelme, to correct labels",
    "command": "mvtec-convert labelme",
    "reader": "labelme, LabelFile and shapes_to_label",
    "package": "labelme",
    "loses": "nothing: 101 of 101 masks exact, as polygons and as masks; `mvtec-convert masks` brings them back",
}


@pytest.mark.parametrize("form", ["polygon", "mask"])
@pytest.mark.usefixtures("plain_pillow")
def test_every_file_opens_and_gives_exactly_its_masks(sample_root: Path, tmp_path: Path, form: str):
    mc.to_labelme(mc.load(sample_root), tmp_path / "out", shape=form)
    truth, seen = true_masks(sample_root), 0
    for path in sorted((tmp_path / "out").glob("*/*.json")):
        file = LabelFile(str(path))
        with Image.open(path.with_suffix(".png")) as image:
            size = image.size[::-1]
        _, instances = shapes_to_label(size, file.shapes, {entry["label"]: 1 for entry in file.shapes})
        _, mask = truth.get(path.stem, ("good", np.zeros(size, np.uint8)))
        found = [(instances == number).astype(np.uint8) for number in range(1, int(instances.max()) + 1)]
        assert same_regions(found, regions_of(mask))
        seen += len(found)
    assert seen == 101


@pytest.mark.parametrize(
    ("kind", "points"),
    [
        ("polygon", [[3.2, 4.9], [30.7, 2.1], [22.5, 27.9], [8.0, 20.0]]),
        ("polygon", [[-5, -3.5], [60, 10], [-0.5, 50]]),
        ("circle", [[20, 15], [26.3, 18.2]]),
        ("line", [[5, 5], [33.3, 20.8]]),
        ("linestrip", [[5, 5], [20, 6], [33.3, 28.8]]),
        ("point", [[38.4, 1.6]]),
    ],
)
def test_we_read_every_shape_as_labelme_does(tmp_path: Path, kind: str, points: list):
    (image,) = read_export(annotate(tmp_path, "a", [shape(kind, points)]))
    found = np.zeros((image.height, image.width), bool)
    region = image.objects[0].region
    found[region.y : region.y + region.height, region.x : region.x + region.width] = region.crop
    theirs = shape_to_mask((image.height, image.width), points, kind)
    if kind == "linestrip":  # whether joints are rounded differs between its versions
        assert (found & ~theirs).sum() + (theirs & ~found).sum() <= 12
    else:
        assert np.array_equal(found, theirs)
