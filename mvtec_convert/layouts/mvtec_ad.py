"""MVTec AD, and any dataset photographed in its layout.

    <category>/train/good/000.png
    <category>/test/good/000.png
    <category>/test/<defect>/000.png
    <category>/ground_truth/<defect>/000_mask.png       (or 000.png)

`root` is the folder of categories, or one category. Images and masks may be PNG, JPEG, BMP or TIFF.

Bergmann, Batzner, Fauser, Sattlegger, Steger: The MVTec Anomaly Detection Dataset, IJCV 129:1038-1059 (2021),
doi 10.1007/s11263-020-01400-4. Licence of the published data: CC BY-NC-SA 4.0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from mvtec_convert.dataset import Sample
from mvtec_convert.findings import Finding
from mvtec_convert.source_tree import TreeNames, categories, folders, is_tree, of_category, scan_tree

TITLE = "MVTec AD, and data photographed in its layout"
KNOWN_BY = "folders in train or test"
LICENCE = "CC BY-NC-SA 4.0"

NAMES = TreeNames()


def matches(root: Path) -> bool:
    """Whether `root` is a category, or holds at least one."""
    return is_tree(root) or any(map(is_tree, folders(root)))


def scan(root: Path, report: Callable[[str, Finding], None]) -> Iterator[Sample]:
    """Yield every image with its masks.

    Reports `missing-mask` (a defective image without a mask), `orphan-mask` (a mask without an image),
    `ambiguous-mask` (two masks that claim one image), `ambiguous-image` (two images that claim one mask),
    `train-defect` (defective images in train) and `bad-name` (a name that a text file cannot hold).
    """
    for category, name in categories(root, is_tree):
        yield from scan_tree(category, name, NAMES, of_category(report, name))
