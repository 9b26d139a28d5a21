"""MVTec 3D-AD: its colour images; depth (`xyz`) is left alone.

    <category>/train/good/rgb/000.png
    <category>/validation/good/rgb/000.png
    <category>/test/good/rgb/000.png
    <category>/test/good/gt/000.png                     all black
    <category>/test/<defect>/rgb/000.png
    <category>/test/<defect>/gt/000.png

A region is called as its folder, except in `combined`: there the pixel value says what it is (253 hole, 254 cut, 255
contamination). That holds for the categories whose defects are these (peach, potato, tire); what the values of others
mean is not published, so there a region of `combined` is called `combined`.

Bergmann, Jin, Sattlegger, Steger: The MVTec 3D-AD Dataset for Unsupervised 3D Anomaly Detection and Localization,
VISAPP 2022, doi 10.5220/0010865000003124. Licence of the published data: CC BY-NC-SA 4.0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from mvtec_convert.dataset import GOOD, PixelNames, Sample, SplitName
from mvtec_convert.findings import Finding
from mvtec_convert.source_tree import (
    MaskPlace,
    Report,
    categories,
    folders,
    good_samples,
    holds,
    image_files,
    of_category,
    pair,
    well_named,
)

TITLE = "MVTec 3D-AD, its colour images"
KNOWN_BY = "rgb in the folders of images"
LICENCE = "CC BY-NC-SA 4.0"

SPLITS: tuple[tuple[str, SplitName], ...] = (("test", "test"), ("train", "train"), ("validation", "val"))
COMBINED = "combined"
VALUES = ((253, "hole"), (254, "cut"), (255, "contamination"))


def matches(root: Path) -> bool:
    """Whether `root` is a category whose images are in folders `rgb`, or a folder of such."""
    return holds(root, _is_category)


def scan(root: Path, report: Callable[[str, Finding], None]) -> Iterator[Sample]:
    """Yield every colour image with its mask.

    Reports what `mvtec_ad` does; masks of good images are not looked at.
    """
    for category, name in categories(root, _is_category):
        yield from _scan_category(category, name, of_category(report, name))


def _is_category(folder: Path) -> bool:
    return any((kind / "rgb").is_dir() for split, _ in SPLITS for kind in folders(folder / split))


def _scan_category(category: Path, name: str, report: Report) -> Iterator[Sample]:
    combined = _names_in_combined(category)
    for split_folder, split in SPLITS:
        for folder in folders(category / split_folder):
            images = well_named(image_files(folder / "rgb"), report)
            key = f"{name}/{split_folder}/{folder.name}/rgb"
            if folder.name == GOOD:
                yield from good_samples(name, split, images, key)
            elif split != "test":
                if images:
                    _report_defects(folder, report)
            else:
                place = MaskPlace(category, folder / "gt", category / "test" / GOOD)
                names = combined if folder.name == COMBINED else None
                for image, mask in pair(images, place, report).items():
                    yield Sample(name, folder.name, split, image, (mask,), f"{key}/{image.name}", names)


def _names_in_combined(category: Path) -> PixelNames | None:
    known = {name for _, name in VALUES}
    single = {folder.name for folder in folders(category / "test")} - {GOOD, COMBINED}
    return PixelNames("value", VALUES, COMBINED) if single <= known else None


def _report_defects(folder: Path, report: Report) -> None:
    split = folder.parent.name
    message = f"{split} holds images of {folder.name!r}, but in this layout {split} has good images only"
    report(Finding("train-defect", message, str(folder), hint=f"move the folder to test/{folder.name}"))
