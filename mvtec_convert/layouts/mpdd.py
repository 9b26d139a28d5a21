"""MPDD, the Metal Parts Defect Detection dataset: MVTec AD's tree, known by the names of its categories.

    <category>/train/good/000.png
    <category>/test/good/000.png
    <category>/test/<defect>/000.png
    <category>/ground_truth/<defect>/000_mask.png

Its archive brings junk of the machine it was packed on (`__MACOSX`, `._000.png`), which is passed over.

Jezek, Jonak, Burget, Dvorak, Skotak: Deep learning-based defect detection of metal parts: evaluating current methods
in complex conditions, ICUMT 2021, doi 10.1109/ICUMT54235.2021.9631567. Licence of the published data: CC BY-NC-SA 4.0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from mvtec_convert.dataset import Sample
from mvtec_convert.findings import Finding
from mvtec_convert.source_tree import TreeNames, categories, holds, is_tree, of_category, real_name, scan_tree

TITLE = "MPDD"
KNOWN_BY = "the names of its categories"
LICENCE = "CC BY-NC-SA 4.0"

NAMES = TreeNames()
CATEGORIES = frozenset({"bracket_black", "bracket_brown", "bracket_white", "connector", "metal_plate", "tubes"})


def matches(root: Path) -> bool:
    """Whether `root` is one of MPDD's categories, or a folder of them."""
    return holds(root, _is_published)


def scan(root: Path, report: Callable[[str, Finding], None]) -> Iterator[Sample]:
    """Yield every image with its mask, of categories that MPDD does not have as well. Reports what `mvtec_ad` does."""
    for category, name in categories(root, is_tree):
        yield from scan_tree(category, name, NAMES, of_category(report, name))


def _is_published(folder: Path) -> bool:
    return is_tree(folder) and real_name(folder) in CATEGORIES
