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
from functools import partial
from pathlib import Path

from mvtec_convert.dataset import GOOD, Sample, SplitName
from mvtec_convert.errors import is_text
from mvtec_convert.findings import Finding

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"})
SPLITS: tuple[SplitName, ...] = ("test", "train")
MASK_ENDING = "_mask"

Report = Callable[[Finding], None]


def matches(root: Path) -> bool:
    """Whether `root` is a category, or holds at least one."""
    return _is_category(root) or any(_is_category(folder) for folder in _folders(root))


def scan(root: Path, report: Callable[[str, Finding], None]) -> Iterator[Sample]:
    """Yield every image with its masks.

    Reports `missing-mask` (a defective image without a mask), `orphan-mask` (a mask without an image),
    `ambiguous-mask` (two masks that claim one image), `ambiguous-image` (two images that claim one mask),
    `train-defect` (defective images in train) and `bad-name` (a name that a text file cannot hold).
    """
    for category in [root] if _is_category(root) else filter(_is_category, _folders(root)):
        # A category given as `.` or `..` has its name only once resolved.
        name = category.name if category.name not in {"", ".."} else category.resolve().name
        yield from _scan_category(category, name, partial(report, name))


def _scan_category(category: Path, name: str, report: Report) -> Iterator[Sample]:
    for split in SPLITS:
        for folder in _folders(category / split):
            images = _well_named(folder, report)
            key = f"{name}/{split}/{folder.name}"
            if folder.name == GOOD:
                yield from (Sample(name, GOOD, split, image, (), f"{key}/{image.name}") for image in images)
            elif split == "train":
                if images:
                    _report_train_defect(folder, report)
            else:
                masks = _pair(images, category / "ground_truth" / folder.name, report)
                for image, mask in masks.items():
                    yield Sample(name, folder.name, split, image, (mask,), f"{key}/{image.name}")
    _report_orphan_folders(category, report)


def _well_named(folder: Path, report: Report) -> list[Path]:
    """The images of a folder, without those whose path no text file can hold; these are reported."""
    images = _images(folder)
    bad = [image for image in images if not is_text(str(image))]
    for image in bad:
        report(Finding("bad-name", "the name holds control characters or is not text", str(image), hint="rename it"))
    return [image for image in images if image not in bad] if bad else images


def _pair(images: list[Path], folder: Path, report: Report) -> dict[Path, Path]:
    """Each image with its mask: `000_mask.*`, else `000.*`, so that an image may itself be called `a_mask`."""
    masks: dict[str, list[Path]] = {}
    for mask in _images(folder):
        masks.setdefault(mask.stem, []).append(mask)
    owners: dict[str, list[Path]] = {}
    for image in images:
        owners.setdefault(image.stem, []).append(image)

    pairs: dict[Path, Path] = {}
    taken: dict[str, str] = {}
    for ending in (MASK_ENDING, ""):
        for stem in owners:
            if stem not in taken.values() and stem + ending in masks and stem + ending not in taken:
                taken[stem + ending] = stem
    by_owner = {stem: masks[mask_stem] for mask_stem, stem in taken.items()}
    for stem, same in owners.items():
        if stem not in by_owner:
            for image in same:
                _report_missing(image, folder, report)
        elif len(same) > 1:
            names = ", ".join(path.name for path in same)
            report(Finding("ambiguous-image", f"{names} claim one mask", str(same[0]), hint="keep one of them"))
        elif len(by_owner[stem]) > 1 or (stem in masks and stem not in taken):
            names = ", ".join(path.name for path in dict.fromkeys([*by_owner[stem], *masks.get(stem, [])]))
            report(Finding("ambiguous-mask", f"{names} claim one image", str(same[0]), hint="keep one of them"))
        else:
            pairs[same[0]] = by_owner[stem][0]
    for stem in sorted(masks.keys() - taken.keys() - owners.keys()):
        for mask in masks[stem]:
            _report_orphan(mask, report)
    return pairs


def _report_orphan_folders(category: Path, report: Report) -> None:
    for folder in _folders(category / "ground_truth"):
        if not (category / "test" / folder.name).is_dir():
            for mask in _images(folder):
                _report_orphan(mask, report)


def _report_orphan(mask: Path, report: Report) -> None:
    image = f"test/{mask.parent.name}/{mask.stem.removesuffix(MASK_ENDING)}.*"
    report(
        Finding(
            "orphan-mask", f"mask without an image: no {image}", str(mask), hint="add the image, or remove the mask"
        )
    )


def _report_missing(image: Path, folder: Path, report: Report) -> None:
    wanted = f"no {image.stem}{MASK_ENDING}.* and no {image.stem}.* in ground_truth/{folder.name}"
    hint = "add its mask, or move the image to test/good if nothing is wrong with it"
    report(Finding("missing-mask", f"defective image without a mask: {wanted}", str(image), hint=hint))


def _report_train_defect(folder: Path, report: Report) -> None:
    message = f"train holds images of {folder.name!r}, but in this layout train has good images only"
    hint = f"move them to test/{folder.name}, their masks to ground_truth/{folder.name}"
    report(Finding("train-defect", message, str(folder), hint=hint))


def _is_category(folder: Path) -> bool:
    return any(_folders(folder / split) for split in SPLITS)


def _folders(folder: Path) -> list[Path]:
    return [path for path in _entries(folder) if path.is_dir()]


def _images(folder: Path) -> list[Path]:
    return [path for path in _entries(folder) if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()]


def _entries(folder: Path) -> list[Path]:
    """What the folder holds, sorted by name, without hidden files and what archivers leave behind (`__MACOSX`)."""
    if not folder.is_dir():
        return []
    visible = (path for path in folder.iterdir() if not path.name.startswith((".", "__MACOSX")))
    return sorted(visible, key=lambda path: path.name)
