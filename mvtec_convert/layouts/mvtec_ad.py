"""MVTec AD, and any dataset photographed in its layout.

    <category>/train/good/000.png
    <category>/test/good/000.png
    <category>/test/<defect>/000.png
    <category>/ground_truth/<defect>/000_mask.png       (or 000.png)
    <category>/ground_truth/<defect>/values.json        where masks show several types: {"255": "cut", "254": "hole"}

`root` is the folder of categories, or one category. Images and masks may be PNG, JPEG, BMP or TIFF. `values.json` is
not of MVTec AD, whose masks do not tell the types of `combined` apart: `mvtec-convert masks` writes it.

Bergmann, Batzner, Fauser, Sattlegger, Steger: The MVTec Anomaly Detection Dataset, IJCV 129:1038-1059 (2021),
doi 10.1007/s11263-020-01400-4. Licence of the published data: CC BY-NC-SA 4.0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from mvtec_convert.dataset import PixelNames, Sample
from mvtec_convert.errors import SelectionError
from mvtec_convert.findings import Finding
from mvtec_convert.source_tree import Report, TreeNames, categories, folders, is_tree, of_category, scan_tree

TITLE = "MVTec AD, and data photographed in its layout"
KNOWN_BY = "folders in train or test"
LICENCE = "CC BY-NC-SA 4.0"

NAMES = TreeNames()
VALUES_FILE = "values.json"


def matches(root: Path) -> bool:
    """Whether `root` is a category, or holds at least one."""
    return is_tree(root) or any(map(is_tree, folders(root)))


def scan(root: Path, report: Callable[[str, Finding], None]) -> Iterator[Sample]:
    """Yield every image with its masks.

    Reports `missing-mask` (a defective image without a mask), `orphan-mask` (a mask without an image),
    `ambiguous-mask` (two masks that claim one image), `ambiguous-image` (two images that claim one mask),
    `train-defect` (defective images in train), `bad-name` (a name that a text file cannot hold) and `bad-config` (a
    `values.json` that cannot be read).
    """
    for category, name in categories(root, is_tree):
        reporting = of_category(report, name)
        values = _values(category / NAMES.truth, reporting)
        for sample in scan_tree(category, name, NAMES, reporting):
            yield replace(sample, pixel_names=values[sample.defect_type]) if sample.defect_type in values else sample


def _values(truth: Path, report: Report) -> dict[str, PixelNames]:
    """What pixel values mean, by the defect types whose masks show several."""
    found: dict[str, PixelNames] = {}
    for path in (folder / VALUES_FILE for folder in folders(truth)):
        if path.is_file():
            from mvtec_convert.own_data import pixel_names

            try:
                names = pixel_names(path, None)
            except SelectionError as error:
                report(Finding("bad-config", error.reason, str(path), hint=error.hint))
            else:
                found |= {} if names is None else {path.parent.name: names}
    return found
