"""MVTec LOCO AD.

    <category>/train/good/000.png
    <category>/validation/good/000.png
    <category>/test/good/000.png
    <category>/test/logical_anomalies/000.png
    <category>/test/structural_anomalies/000.png
    <category>/ground_truth/<type>/000/000.png          one or several masks an image
    <category>/defects_config.json                      what each pixel value is called

The folder says whether a defect is logical or structural; the pixel value of its mask says which it is
(`missing_pushpin`), and that is what a region is called. The config is a list of `{"defect_name": ..., "pixel_value":
...}`; its saturation thresholds say how much of a region has to be found, which no training format can hold.

Bergmann, Batzner, Fauser, Sattlegger, Steger: Beyond Dents and Scratches: Logical Constraints in Unsupervised Anomaly
Detection and Localization, IJCV 130:947-969 (2022), doi 10.1007/s11263-022-01578-9. Licence of the published data:
CC BY-NC-SA 4.0.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

from mvtec_convert.dataset import GOOD, PixelNames, Sample, SplitName
from mvtec_convert.findings import Finding
from mvtec_convert.opening import read_text
from mvtec_convert.source_tree import (
    Report,
    categories,
    folders,
    good_samples,
    holds,
    image_files,
    is_defect_name,
    of_category,
    report_train_defect,
    well_named,
)

TITLE = "MVTec LOCO AD"
KNOWN_BY = "defects_config.json, or test/logical_anomalies"
LICENCE = "CC BY-NC-SA 4.0"

CONFIG = "defects_config.json"
ANOMALIES = ("logical_anomalies", "structural_anomalies")
SPLITS: tuple[tuple[str, SplitName], ...] = (("test", "test"), ("train", "train"), ("validation", "val"))
TRUTH = "ground_truth"
MOST_CONFIG = 1 << 20
"""Bytes of a config; the published ones have a few kB."""


def matches(root: Path) -> bool:
    """Whether `root` is a category with logical or structural anomalies, or a folder of such."""
    return holds(root, _is_category)


def scan(root: Path, report: Callable[[str, Finding], None]) -> Iterator[Sample]:
    """Yield every image with its masks, and what their pixel values mean.

    Reports `missing-mask`, `orphan-mask`, `ambiguous-image`, `train-defect`, `bad-name` and `bad-config` (the config
    cannot be read). Without a config, regions are called as their folder.
    """
    for category, name in categories(root, _is_category):
        yield from _scan_category(category, name, of_category(report, name))


def _is_category(folder: Path) -> bool:
    return (folder / CONFIG).is_file() or any((folder / "test" / kind).is_dir() for kind in ANOMALIES)


def _scan_category(category: Path, name: str, report: Report) -> Iterator[Sample]:
    names = _pixel_names(category / CONFIG, report)
    for split_folder, split in SPLITS:
        for folder in folders(category / split_folder):
            images = well_named(image_files(folder), report)
            key = f"{name}/{split_folder}/{folder.name}"
            if folder.name == GOOD:
                yield from good_samples(name, split, images, key)
            elif split != "test":
                if images:
                    report_train_defect(folder, category / "test", category / TRUTH, report)
            else:
                for image, masks in _with_masks(images, category / TRUTH / folder.name, report):
                    yield Sample(name, folder.name, split, image, masks, f"{key}/{image.name}", names)
    _report_orphans(category, report)


def _with_masks(images: list[Path], truth: Path, report: Report) -> Iterator[tuple[Path, tuple[Path, ...]]]:
    """Each image with all masks of the folder of its name."""
    by_stem: dict[str, list[Path]] = {}
    for image in images:
        by_stem.setdefault(image.stem, []).append(image)
    for stem, same in by_stem.items():
        masks = tuple(image_files(truth / stem))
        if len(same) > 1:
            names = ", ".join(path.name for path in same)
            report(Finding("ambiguous-image", f"{names} claim the same masks", str(same[0]), hint="keep one of them"))
        elif masks:
            yield same[0], masks
        else:
            message = f"defective image without a mask: no image in {TRUTH}/{truth.name}/{stem}"
            hint = "add its masks, or move the image to test/good if nothing is wrong with it"
            report(Finding("missing-mask", message, str(same[0]), hint=hint))


def _report_orphans(category: Path, report: Report) -> None:
    for kind in folders(category / TRUTH):
        stems = {image.stem for image in image_files(category / "test" / kind.name)}
        for folder in folders(kind):
            if folder.name not in stems and image_files(folder):
                message = f"masks without an image: no test/{kind.name}/{folder.name}.*"
                hint = "add the image, or remove the masks"
                report(Finding("orphan-mask", message, str(folder), hint=hint))


def _pixel_names(path: Path, report: Report) -> PixelNames | None:
    if not path.is_file():
        return None
    try:
        entries = json.loads(read_text(path, MOST_CONFIG))
        names = sorted((_grey(entry["pixel_value"]), _name(entry["defect_name"])) for entry in entries)
        if len({value for value, _ in names}) < len(names):
            raise ValueError(names)
    except OSError as error:
        message = f"cannot be read: {error.strerror}"
    except (ValueError, KeyError, TypeError, RecursionError):
        message = "not a list of defects with defect_name and a pixel_value of its own, from 1 to 255"
    else:
        return PixelNames("value", tuple(names)) if names else None
    report(Finding("bad-config", message, str(path), hint="restore it from the dataset's archive"))
    return None


def _grey(value: object) -> int:
    if not isinstance(value, int) or not 1 <= value <= 255:
        raise ValueError(value)
    return value


def _name(name: object) -> str:
    if not is_defect_name(name):
        raise ValueError(name)
    return name
