"""What the source layouts share: finding categories and images on disk, and pairing images with masks. No pixels."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeGuard

from mvtec_convert.dataset import GOOD, Sample, SplitName
from mvtec_convert.errors import is_name, is_text
from mvtec_convert.findings import Finding

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"})
MASK_ENDING = "_mask"
IN_EVERY_TREE = ("train", "test")
"""Folders by which a category of nearly any of these datasets is known."""

Report = Callable[[Finding], None]
IsCategory = Callable[[Path], bool]


@dataclass(frozen=True, slots=True)
class TreeNames:
    """How a layout built as MVTec AD's calls its folders.

    Attributes:
        good: the folder of images without a defect.
        splits: folder and the split that it is, in the order in which they are read; `test` alone has defective images.
        truth: the folder of masks, below the category.
    """

    good: str = GOOD
    splits: tuple[tuple[str, SplitName], ...] = (("test", "test"), ("train", "train"))
    truth: str = "ground_truth"

    @property
    def test(self) -> str:
        """The folder that holds defective images."""
        return next(folder for folder, split in self.splits if split == "test")


def holds(root: Path, is_category: IsCategory) -> bool:
    """Whether `root` is a category of a layout, or a folder of its categories and of no others.

    One category of another dataset among them would be passed over without a word.
    """
    if is_category(root):
        return True
    below = folders(root)
    others = (folder for folder in below if is_tree(folder) and not is_category(folder))
    return any(map(is_category, below)) and next(others, None) is None


def categories(root: Path, is_category: IsCategory) -> Iterator[tuple[Path, str]]:
    """(folder, name) of each category: of `root` itself, or of the folders in it."""
    for folder in [root] if is_category(root) else filter(is_category, folders(root)):
        yield folder, real_name(folder)


def real_name(folder: Path) -> str:
    """A folder's name; that of `.` or `..` is known only once resolved."""
    return folder.name if folder.name not in {"", ".."} else folder.resolve().name


def is_tree(folder: Path) -> bool:
    """Whether the folder has `train` or `test`, and folders in it."""
    return any(folders(folder / split) for split in IN_EVERY_TREE)


def scan_tree(category: Path, name: str, names: TreeNames, report: Report) -> Iterator[Sample]:
    """Every image of a category built as MVTec AD's: good ones, and those with their one mask.

    Reports `missing-mask`, `orphan-mask`, `ambiguous-mask`, `ambiguous-image`, `train-defect` and `bad-name`.
    """
    for split_folder, split in names.splits:
        for folder in folders(category / split_folder):
            if folder == category / names.truth:
                continue
            images = well_named(image_files(folder), report)
            key = f"{name}/{split_folder}/{folder.name}"
            if folder.name == names.good:
                yield from good_samples(name, split, images, key)
            elif split != "test":
                if images:
                    report_train_defect(folder, category / names.test, category / names.truth, report)
            else:
                place = MaskPlace(category, category / names.truth / folder.name, category / names.test / names.good)
                for image, mask in pair(images, place, report).items():
                    yield Sample(name, folder.name, split, image, (mask,), f"{key}/{image.name}")
    for folder in folders(category / names.truth):
        if not (category / names.test / folder.name).is_dir():
            for mask in image_files(folder):
                report_orphan(mask, f"{names.test}/{folder.name}", report)


def good_samples(category: str, split: SplitName, images: list[Path], key: str) -> Iterator[Sample]:
    """Samples without a defect; `key` is that of their folder."""
    return (Sample(category, GOOD, split, image, (), f"{key}/{image.name}") for image in images)


@dataclass(frozen=True, slots=True)
class MaskPlace:
    """Where the masks of a folder of images are.

    Attributes:
        category: the category's folder, to which paths are told relative.
        masks: the folder of masks.
        good: the folder where images without a defect belong.
    """

    category: Path
    masks: Path
    good: Path

    def relative(self, path: Path) -> str:
        """A path below the category, POSIX."""
        return path.relative_to(self.category).as_posix()


def pair(images: list[Path], place: MaskPlace, report: Report) -> dict[Path, Path]:
    """Each image with its mask: `000_mask.*`, else `000.*`, so that an image may itself be called `a_mask`.

    Reports images without a mask, masks without an image, and where one has two of the other.
    """
    masks: dict[str, list[Path]] = {}
    for mask in image_files(place.masks):
        masks.setdefault(mask.stem, []).append(mask)
    owners: dict[str, list[Path]] = {}
    for image in images:
        owners.setdefault(image.stem, []).append(image)

    taken = _taken(owners, masks)
    by_owner = {stem: masks[mask_stem] for mask_stem, stem in taken.items()}
    pairs: dict[Path, Path] = {}
    for stem, same in owners.items():
        if stem not in by_owner:
            for image in same:
                report_missing(image, place, report)
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
            report_orphan(mask, images_folder(images, place), report)
    return pairs


def _taken(owners: Mapping[str, object], masks: Mapping[str, object]) -> dict[str, str]:
    """The stem of the image that each mask belongs to, by the mask's stem."""
    taken: dict[str, str] = {}
    owned: set[str] = set()
    for ending in (MASK_ENDING, ""):
        for stem in owners:
            if stem not in owned and stem + ending in masks and stem + ending not in taken:
                taken[stem + ending] = stem
                owned.add(stem)
    return taken


def images_folder(images: list[Path], place: MaskPlace) -> str:
    """Where the images of a folder of masks are, or would be, relative to the category."""
    return place.relative(images[0].parent if images else place.good.parent / place.masks.name)


def report_missing(image: Path, place: MaskPlace, report: Report) -> None:
    """Report a defective image without a mask."""
    wanted = f"no {image.stem}{MASK_ENDING}.* and no {image.stem}.* in {place.relative(place.masks)}"
    hint = f"add its mask, or move the image to {place.relative(place.good)} if nothing is wrong with it"
    report(Finding("missing-mask", f"defective image without a mask: {wanted}", str(image), hint=hint))


def report_orphan(mask: Path, folder: str, report: Report) -> None:
    """Report a mask without an image, which would lie in `folder`."""
    image = f"{folder}/{mask.stem.removesuffix(MASK_ENDING)}.*"
    message, hint = f"mask without an image: no {image}", "add the image, or remove the mask"
    report(Finding("orphan-mask", message, str(mask), hint=hint))


def report_train_defect(folder: Path, test: Path, truth: Path, report: Report) -> None:
    """Report defective images where a layout has good ones only; they belong in `test`, their masks in `truth`."""
    split = folder.parent.name
    message = f"{split} holds images of {folder.name!r}, but in this layout {split} has good images only"
    category = folder.parent.parent
    masks = truth.relative_to(category).as_posix()
    hint = f"move them to {test.name}/{folder.name}, their masks to {masks}/{folder.name}"
    report(Finding("train-defect", message, str(folder), hint=hint))


def report_unlabelled(folder: Path, report: Report) -> None:
    """Say that a folder of images has no masks and so is left out; nothing where it holds no image."""
    count = len(image_files(folder, deep=True))
    if count:
        message = f"{count} {'image' if count == 1 else 'images'} without masks: left out"
        hint = "their masks are not published" if folder.name.startswith("test_private") else None
        report(Finding("unlabelled", message, str(folder), severity="warning", hint=hint))


def well_named(images: list[Path], report: Report) -> list[Path]:
    """Those images whose path a text file can hold; the others are reported."""
    bad = [image for image in images if not is_text(str(image))]
    for image in bad:
        report(Finding("bad-name", "the name holds control characters or is not text", str(image), hint="rename it"))
    return [image for image in images if image not in bad] if bad else images


def of_category(report: Callable[[str, Finding], None], name: str) -> Report:
    """What reports findings of one category."""
    return partial(report, name)


def is_defect_name(name: object) -> TypeGuard[str]:
    """Whether a defect type may be called so: as a folder could be, and not as images without a defect are."""
    return is_name(name) and name.strip().lower() != GOOD


def slug(text: str) -> str:
    """A published name as folders are named: "Chunk Of Wax Missing" is `chunk_of_wax_missing`."""
    return re.sub(r"[\s/\\]+", "_", text.strip()).lower()


def folders(folder: Path) -> list[Path]:
    """The folders in a folder, sorted by name."""
    return _entries(folder, _is_folder)


def image_files(folder: Path, *, deep: bool = False) -> list[Path]:
    """The image files in a folder, sorted by name; with `deep` also those in its folders."""
    found = _entries(folder, _is_image)
    if deep:
        found += [path for inner in folders(folder) for path in image_files(inner, deep=True)]
    return found


def _entries(folder: Path, wanted: Callable[[os.DirEntry[str]], bool]) -> list[Path]:
    """What is wanted of what the folder holds, sorted by name; never hidden files, nor what archivers leave behind.

    The folder itself says what its entries are, so that none has to be asked.
    """
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if not entry.name.startswith((".", "__MACOSX")) and wanted(entry)]
    return [folder / name for name in sorted(names)]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    # Of links, pathlib takes those for none that lead in a circle, where the entry raises.
    return Path(entry.path).is_dir() if entry.is_symlink() else entry.is_dir()


def _is_image(entry: os.DirEntry[str]) -> bool:
    if entry.name[entry.name.rfind(".") :].lower() not in IMAGE_SUFFIXES:
        return False
    return Path(entry.path).is_file() if entry.is_symlink() else entry.is_file()
