"""VisA, as published and as its own script packs it anew.

As published:

    <category>/Data/Images/Normal/0000.JPG
    <category>/Data/Images/Anomaly/000.JPG
    <category>/Data/Masks/Anomaly/000.png               values 1, 2, ... are classes, so masks look black
    <category>/image_anno.csv                           image, label ("normal", or one or several classes), mask
    split_csv/1cls.csv                                  object, split, label, image, mask

Packed anew (`VisA_pytorch/1cls`; masks are black and white there, so all defects are one type, `bad`):

    <category>/train/good/0000.JPG
    <category>/test/good/0001.JPG
    <category>/test/bad/000.JPG
    <category>/ground_truth/bad/000.png

and for the protocols with defects in training (`2cls_highshot`, `2cls_fewshot`):

    <category>/{train,test}/{good,bad}/...
    <category>/ground_truth/{train,test}/bad/000.png

The split of data as published is that of `split_csv/1cls.csv`; without it, normal images are train and the others test.
An image's defect type is its label, `combined` where it has several, `anomaly` where nothing is said of it. A region is
called after its pixels' value, by the table that the dataset's authors publish beside the data (`utils/id2class.py` of
their repository amazon-science/spot-diff).

Zou, Jeong, Pemula, Zhang, Dabeer: SPot-the-Difference Self-Supervised Pre-training for Anomaly Detection and
Segmentation, ECCV 2022, arXiv 2207.14315. Licence of the published data: CC BY 4.0.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from mvtec_convert.dataset import GOOD, PixelNames, Sample, SplitName
from mvtec_convert.errors import is_name
from mvtec_convert.findings import Finding
from mvtec_convert.opening import read_text
from mvtec_convert.source_tree import (
    MaskPlace,
    Report,
    TreeNames,
    categories,
    good_samples,
    holds,
    image_files,
    is_tree,
    of_category,
    pair,
    real_name,
    scan_tree,
    slug,
    well_named,
)

TITLE = "VisA, as published or packed anew"
KNOWN_BY = "Data/Images, or the names of its categories"
LICENCE = "CC BY 4.0"

PACKED, BAD = TreeNames(), "bad"
IMAGES, MASKS = Path("Data", "Images"), Path("Data", "Masks")
NORMAL, ANOMALY, SEVERAL = "Normal", "Anomaly", "combined"
ANNOTATIONS, SPLIT_FILE = "image_anno.csv", Path("split_csv", "1cls.csv")
RESTORE = "restore it from the dataset's archive"
MOST_CSV = 1 << 26
"""Bytes of a CSV file; the published ones have 1 MB."""

_PCB = ("Bent", "Melt", "Scratch", "Missing")
CLASSES: Mapping[str, tuple[str, ...]] = {
    "candle": (
        "Chunk Of Wax Missing",
        "Damaged Corner of Packaging",
        "weird candle wick",
        "Different Colour Spot",
        "Extra Wax in Candle",
        "Foreign Particals on Candle",
        "Wax Melded out of the candle",
        "Other",
    ),
    "capsules": ("Bubble", "Discolor", "Scratch", "Leak", "Misshape"),
    "cashew": (
        "Burnt",
        "Corner or Edge Breakage",
        "Different Colour Spot",
        "Middle Breakage",
        "Small Holes",
        "Small Scratches",
        "Stuck Together",
        "Same Colour Spot",
        "Other",
    ),
    "chewinggum": (
        "Chunk of gum missing",
        "Corner Missing",
        "Scratches",
        "Similar Colour Spot",
        "Small Cracks",
        "Other",
    ),
    "fryum": (
        "Burnt",
        "Corner or Edge Breakage",
        "Different Colour Spot",
        "Fryum Stuck Together",
        "Middle Breakage",
        "Similar Colour Spot",
        "Small Scratches",
        "Other",
    ),
    "macaroni1": (
        "Chip Around Edge And Corner",
        "Different Colour Spot",
        "Middle Breakage",
        "Similar Colour Spot",
        "Small Cracks",
        "Small Scratches",
        "Other",
    ),
    "macaroni2": (
        "Breakage down the middle",
        "Color spot similar to the Object",
        "Different Color spot",
        "Small chip around edge",
        "Small Cracks",
        "Small Scratches",
        "Other",
    ),
    "pcb1": _PCB,
    "pcb2": _PCB,
    "pcb3": _PCB,
    "pcb4": ("Burnt", "Scratch", "Missing", "Damage", "Extra", "Wrong Place", "Dirt"),
    "pipe_fryum": (
        "Burnt",
        "Corner And Edge Breakage",
        "Different Colour Spot",
        "Middle Breakage",
        "Similar Colour Spot",
        "Small Scratches",
        "Stuck Together",
        "Small Cracks",
        "Other",
    ),
}
"""By category, what the mask values 1, 2, ... are called; spelt as published."""


def matches(root: Path) -> bool:
    """Whether `root` is a category as published or as packed anew, or a folder of such."""
    return holds(root, _is_category)


def scan(root: Path, report: Callable[[str, Finding], None]) -> Iterator[Sample]:
    """Yield every image with its mask.

    Reports what `mvtec_ad` does, and `bad-config` (a CSV file that cannot be read).
    """
    splits_of: dict[Path, Mapping[str, SplitName]] = {}
    for category, name in categories(root, _is_category):
        reporting = of_category(report, name)
        if _is_published(category):
            file = _split_file(category)
            if file not in splits_of:
                splits_of[file] = _splits(file, reporting)
            yield from _scan_published(category, name, splits_of[file], reporting)
        elif any((category / PACKED.truth / split / BAD).is_dir() for split, _ in PACKED.splits):
            yield from _scan_two_classes(category, name, reporting)
        else:
            yield from scan_tree(category, name, PACKED, reporting)


def _is_category(folder: Path) -> bool:
    return _is_published(folder) or (is_tree(folder) and real_name(folder) in CLASSES)


def _is_published(folder: Path) -> bool:
    return any((folder / IMAGES / kind).is_dir() for kind in (NORMAL, ANOMALY))


def _split_file(category: Path) -> Path:
    """Beside the category, which may be a link; `.` is told from its parent only once resolved."""
    beside = category.parent / SPLIT_FILE
    return beside if beside.is_file() else category.resolve().parent / SPLIT_FILE


def _scan_two_classes(category: Path, name: str, report: Report) -> Iterator[Sample]:
    for folder, split in PACKED.splits:
        key = f"{name}/{folder}"
        good, bad = (well_named(image_files(category / folder / kind), report) for kind in (GOOD, BAD))
        yield from good_samples(name, split, good, f"{key}/{GOOD}")
        place = MaskPlace(category, category / PACKED.truth / folder / BAD, category / folder / GOOD)
        for image, mask in pair(bad, place, report).items():
            yield Sample(name, BAD, split, image, (mask,), f"{key}/{BAD}/{image.name}")


def _scan_published(category: Path, name: str, splits: Mapping[str, SplitName], report: Report) -> Iterator[Sample]:
    labels = _labels(category / ANNOTATIONS, report)
    for image in well_named(image_files(category / IMAGES / NORMAL), report):
        key = _key(name, image, NORMAL)
        yield Sample(name, GOOD, splits.get(key, "train"), image, (), key)
    place = MaskPlace(category, category / MASKS / ANOMALY, category / IMAGES / NORMAL)
    anomalous = well_named(image_files(category / IMAGES / ANOMALY), report)
    for image, mask in pair(anomalous, place, report).items():
        key = _key(name, image, ANOMALY)
        found = labels.get(image.name, ())
        kind = SEVERAL if len(found) > 1 else next(iter(found), ANOMALY.lower())
        yield Sample(name, kind, splits.get(key, "test"), image, (mask,), key, _pixel_names(name, found))


def _key(name: str, image: Path, kind: str) -> str:
    return f"{name}/{(IMAGES / kind).as_posix()}/{image.name}"


def _pixel_names(category: str, labels: tuple[str, ...]) -> PixelNames | None:
    """What the values of a mask are called; any that the table lacks, as the image's first label."""
    if category not in CLASSES:
        return None
    names = tuple((value, slug(text)) for value, text in enumerate(CLASSES[category], start=1))
    known = {name for _, name in names}
    return PixelNames("value", names, next((label for label in labels if label in known), None))


def _labels(path: Path, report: Report) -> dict[str, tuple[str, ...]]:
    """The classes of each defective image, by its file name."""
    labels = {
        Path(row["image"]).name: tuple(slug(text) for text in row["label"].split(",") if text.strip())
        for row in _rows(path, ("image", "label"), report)
        if slug(row["label"]) != NORMAL.lower()
    }
    odd = next((name for names in labels.values() for name in names if not is_name(name)), None)
    if odd is None:
        return labels
    report(Finding("bad-config", f"{odd!r} cannot name a class", str(path), hint=RESTORE))
    return {}


def _splits(path: Path, report: Report) -> dict[str, SplitName]:
    """Split of each image, by its key."""
    known: dict[str, SplitName] = {"train": "train", "test": "test"}
    rows = _rows(path, ("split", "image"), report)
    return {row["image"]: known[row["split"]] for row in rows if row["split"] in known}


def _rows(path: Path, columns: tuple[str, ...], report: Report) -> list[dict[str, str]]:
    """These columns of a CSV file; no row where there is no such file."""
    if not path.is_file():
        return []
    try:
        return list(_parsed(read_text(path, MOST_CSV), columns))
    except OSError as error:
        message = f"cannot be read: {error.strerror}"
    except (ValueError, IndexError, csv.Error):
        message = f"not a CSV file with the columns {' and '.join(columns)}"
    report(Finding("bad-config", message, str(path), hint=RESTORE))
    return []


def _parsed(text: str, columns: tuple[str, ...]) -> Iterator[dict[str, str]]:
    """Of each row these columns alone: with all of them, a short row may take as much memory as the header is wide."""
    rows = csv.reader(io.StringIO(text, newline=""))
    header = next(rows, [])
    places = {column: header.index(column) for column in columns}
    for row in filter(None, rows):
        yield {column: row[place] for column, place in places.items()}
