"""Kolektor SDD and SDD2, surface-defect datasets.

SDD: 50 commutators, each a folder of photographs; it has no split of its own, so all is `train`:

    kos01/Part0.jpg
    kos01/Part0_label.bmp

SDD2:

    train/10000.png
    train/10000_GT.png
    test/20000.png
    test/20000_GT.png

The published archive of SDD2 holds `train/10301 (copy).png` and `10301_GT (copy).png` by mistake: such copies are left
out, and told.

Every image has a mask; that of a good one is all black, so masks are read to tell good from defective. All defects are
one type, `defect`; the category is `kolektor_sdd` or `kolektor_sdd2`.

Tabernik, Šela, Skvarč, Skočaj: Segmentation-based deep-learning approach for surface-defect detection, J. Intell.
Manuf. 31:759-776 (2020), doi 10.1007/s10845-019-01476-x. Božič, Tabernik, Skočaj: Mixed supervision for surface-defect
detection: from weakly to fully supervised learning, Computers in Industry 129 (2021), arXiv 2104.06064. Licence of the
published data: CC BY-NC-SA 4.0.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from mvtec_convert.dataset import GOOD, Sample, SplitName
from mvtec_convert.findings import Finding
from mvtec_convert.source_tree import Report, folders, image_files, of_category, well_named

TITLE = "Kolektor SDD and SDD2"
KNOWN_BY = "kos01, ..., or 10000_GT.png beside 10000.png"
LICENCE = "CC BY-NC-SA 4.0"

SDD, SDD2 = "kolektor_sdd", "kolektor_sdd2"
ENDINGS = {SDD: "_label", SDD2: "_GT"}
COPY = " (copy)"
ITEM = re.compile(r"kos\d+", re.IGNORECASE)
DEFECT = "defect"
SPLITS: tuple[tuple[str, SplitName], ...] = (("test", "test"), ("train", "train"))


def matches(root: Path) -> bool:
    """Whether `root` holds folders `kos01`, ..., or images with `_GT` masks beside them in `train` or `test`."""
    return bool(_items(root)) or _is_sdd2(root)


def scan(root: Path, report: Callable[[str, Finding], None]) -> Iterator[Sample]:
    """Yield every image; a defective one with its mask.

    Reports `missing-mask`, `orphan-mask`, `ambiguous-mask`, `ambiguous-image`, `bad-name` and `identical-images`.
    """
    for item in _items(root):
        yield from _scan_folder(item, SDD, "train", of_category(report, SDD))
    if _is_sdd2(root):
        for folder, split in SPLITS:
            yield from _scan_folder(root / folder, SDD2, split, of_category(report, SDD2))


def _items(root: Path) -> list[Path]:
    return [folder for folder in folders(root) if ITEM.fullmatch(folder.name)]


def _is_sdd2(root: Path) -> bool:
    return any(_is_mask(path, SDD2) for split, _ in SPLITS for path in image_files(root / split))


def _is_mask(path: Path, category: str) -> bool:
    return path.stem.lower().endswith(ENDINGS[category].lower())


def _scan_folder(folder: Path, category: str, split: SplitName, report: Report) -> Iterator[Sample]:
    from mvtec_convert.geometry.images import is_black

    files = _without_copies(well_named(image_files(folder), report), ENDINGS[category], report)
    masks = {path: path.stem[: -len(ENDINGS[category])] for path in files if _is_mask(path, category)}
    images = [path for path in files if path not in masks]
    for image, mask in _pairs(images, masks, ENDINGS[category], report):
        key = f"{category}/{folder.name}/{image.name}"
        if is_black(mask):
            yield Sample(category, GOOD, split, image, (), key)
        else:
            yield Sample(category, DEFECT, split, image, (mask,), key)


def _without_copies(files: list[Path], ending: str, report: Report) -> list[Path]:
    """The files without `a (copy).png` and `a_GT (copy).png` where there is an `a`."""
    originals = {path.stem.removesuffix(ending) for path in files if COPY not in path.stem}
    copies = [
        path for path in files if path.stem.replace(COPY, "").removesuffix(ending) in originals and COPY in path.stem
    ]
    for path in copies:
        message = f"a copy of {path.name.replace(COPY, '')}: left out"
        report(Finding("identical-images", message, str(path), severity="warning", hint="remove it"))
    return [path for path in files if path not in copies] if copies else files


def _pairs(images: list[Path], masks: dict[Path, str], ending: str, report: Report) -> Iterator[tuple[Path, Path]]:
    by_stem: dict[str, list[Path]] = {}
    for mask, stem in masks.items():
        by_stem.setdefault(stem, []).append(mask)
    stems = Counter(image.stem for image in images)
    for image in images:
        own = by_stem.get(image.stem, [])
        if not own:
            message = f"image without a mask: no {image.stem}{ending}.* beside it"
            hint = "add its mask, all black if nothing is wrong with it"
            report(Finding("missing-mask", message, str(image), hint=hint))
        elif stems[image.stem] > 1:
            message = f"another image of this name claims {own[0].name}"
            report(Finding("ambiguous-image", message, str(image), hint="keep one of them"))
        elif len(own) > 1:
            names = ", ".join(mask.name for mask in own)
            report(Finding("ambiguous-mask", f"{names} claim one image", str(image), hint="keep one of them"))
        else:
            yield image, own[0]
    for mask, stem in masks.items():
        if stem not in stems:
            message = f"mask without an image: no {stem}.* beside it"
            report(Finding("orphan-mask", message, str(mask), hint="add the image, or remove the mask"))
