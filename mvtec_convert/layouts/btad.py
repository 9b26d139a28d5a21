"""BTAD, the beanTech Anomaly Detection dataset.

    <category>/train/ok/0000.bmp                        (or .png; categories 01, 02, 03)
    <category>/test/ok/0000.bmp
    <category>/test/ko/0000.bmp
    <category>/ground_truth/ko/0000.png                 (or .bmp)

All defects are one type, `ko`.

Mishra, Verk, Fornasier, Piciarelli, Foresti: VT-ADL: A Vision Transformer Network for Image Anomaly Detection and
Localization, ISIE 2021, doi 10.1109/ISIE45552.2021.9576231. Licence of the published data: CC BY-SA 4.0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from mvtec_convert.dataset import Sample
from mvtec_convert.findings import Finding
from mvtec_convert.source_tree import TreeNames, categories, holds, of_category, scan_tree

TITLE = "BTAD"
KNOWN_BY = "ok and ko for good and defective"
LICENCE = "CC BY-SA 4.0"

NAMES = TreeNames(good="ok")
MARKS = ("train/ok", "test/ok", "test/ko")


def matches(root: Path) -> bool:
    """Whether `root` is a category with `ok` or `ko` images, or a folder of such."""
    return holds(root, _is_category)


def scan(root: Path, report: Callable[[str, Finding], None]) -> Iterator[Sample]:
    """Yield every image with its mask. Reports what `mvtec_ad` does."""
    for category, name in categories(root, _is_category):
        yield from scan_tree(category, name, NAMES, of_category(report, name))


def _is_category(folder: Path) -> bool:
    return any((folder / mark).is_dir() for mark in MARKS)
