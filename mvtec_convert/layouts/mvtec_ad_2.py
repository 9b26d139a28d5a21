"""MVTec AD 2.

    <category>/train/good/000_regular.png
    <category>/validation/good/000_regular.png
    <category>/test_public/good/000_regular.png
    <category>/test_public/bad/000_regular.png
    <category>/test_public/ground_truth/bad/000_regular_mask.png
    <category>/test_private/000_regular.png             no masks: left out, and told
    <category>/test_private_mixed/000_mixed.png         no masks: left out, and told

All defects are one type, `bad`.

Heckler-Kram, Neudeck, Scheler, König, Steger: The MVTec AD 2 Dataset: Advanced Scenarios for Unsupervised Anomaly
Detection, arXiv 2503.21622 (2025). Licence of the published data: CC BY-NC-SA 4.0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from mvtec_convert.dataset import Sample
from mvtec_convert.findings import Finding
from mvtec_convert.source_tree import (
    TreeNames,
    categories,
    folders,
    holds,
    of_category,
    report_unlabelled,
    scan_tree,
)

TITLE = "MVTec AD 2"
KNOWN_BY = "test_public or test_private"
LICENCE = "CC BY-NC-SA 4.0"

NAMES = TreeNames(
    splits=(("test_public", "test"), ("train", "train"), ("validation", "val")), truth="test_public/ground_truth"
)
PRIVATE = "test_private"


def matches(root: Path) -> bool:
    """Whether `root` is a category with a public or a private test, or a folder of such."""
    return holds(root, _is_category)


def scan(root: Path, report: Callable[[str, Finding], None]) -> Iterator[Sample]:
    """Yield every image with its mask.

    Reports what `mvtec_ad` does, and `unlabelled` (a warning) of the private tests.
    """
    for category, name in categories(root, _is_category):
        yield from scan_tree(category, name, NAMES, of_category(report, name))
        for folder in _private(category):
            report_unlabelled(folder, of_category(report, name))


def _is_category(folder: Path) -> bool:
    return bool(folders(folder / NAMES.test) or _private(folder))


def _private(category: Path) -> list[Path]:
    return [folder for folder in folders(category) if folder.name.startswith(PRIVATE)]
