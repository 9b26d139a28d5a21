"""Image folders for classification: Ultralytics' classify, torchvision's ImageFolder, timm.

    {train,val,test}/<class>/<name>.png

A class is a folder, its id the place of its name among the sorted ones. `good` is a class here, the only format where
it is: a classifier has to say something of every image. Each split has a folder for each class, empty if need be:
readers that number the folders of a split by themselves would otherwise count differently in each. There is no
geometry. Sources: docs.ultralytics.com/datasets/classify, `check_cls_dataset` in `ultralytics/data/utils.py`,
`find_classes` in `torchvision/datasets/folder.py`.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import ClassVar

from mvtec_convert import checks
from mvtec_convert.dataset import GOOD, SplitName
from mvtec_convert.errors import ExportError, SelectionError
from mvtec_convert.findings import Finding
from mvtec_convert.formats import Encoded
from mvtec_convert.geometry.images import image_size, link_or_copy
from mvtec_convert.geometry.regions import AnnotatedImage
from mvtec_convert.labelled import LabelledImage, key_of
from mvtec_convert.labels import LabelMap
from mvtec_convert.plan import Item, Plan

Tree = dict[SplitName, dict[str, list[Path]]]
"""Image files by split and class; the split's folder may also be called `valid` or `validation`."""

SPLIT_FOLDERS: dict[SplitName, tuple[str, ...]] = {
    "train": ("train",),
    "val": ("val", "validation", "valid"),  # in the order in which `check_cls_dataset` looks for them
    "test": ("test",),
}
NOT_CLASSES = {"images", "labels", "annotations", "masks"}
"""Folders below `train` that speak of another format."""

SMALLEST_SIDE = 10  # px; `check_image` in ultralytics/data/utils.py drops smaller images


@dataclass(frozen=True, slots=True)
class Classify:
    """The format; it has no options."""

    name: ClassVar[str] = "classify"
    good_is_a_class: ClassVar[bool] = True

    @property
    def judge(self) -> None:
        """A class has no geometry to compare."""
        return

    def image_path(self, item: Item) -> str:
        """`<split>/<class>/<name>.<suffix>`."""
        name = GOOD if item.sample.is_good else item.classes[item.sample.defect_type].name
        return f"{item.split}/{name}/{item.file_name}"

    def refuse(self, plan: Plan) -> None:
        """Trainers want train and one more split, and class names that can be folders."""
        filled = {item.split for item in plan.items}
        if "train" not in filled or len(filled) < 2:
            raise SelectionError(
                f"a classifier needs images in train and in val; this selection fills only {', '.join(sorted(filled))}",
                hint="select more images, keep the good ones with --background all, or use --split supervised",
            )
        # Some file systems do not tell A from a.
        counts = Counter(name.casefold() for name in (GOOD, *plan.labels.names))
        twins = [name for name in plan.labels.names if counts[name.casefold()] > 1]
        if twins:
            raise SelectionError(
                f"two classes would share a folder: {', '.join(twins)}",
                hint=f"rename one; the class of images without a defect is called {GOOD}",
            )

    def encode(self, item: Item, image: AnnotatedImage, labels: LabelMap) -> Encoded:
        """Nothing but the image; one with a defect counts as one region, that of its class."""
        return Encoded(item, image.width, image.height, tuple(item.classes), (), ())

    def write(self, out: Path, plan: Plan, encoded: Iterable[Encoded]) -> None:
        """A folder for each split and class."""
        classes = list(plan.labels.names)
        if any(item.sample.is_good for item in plan.items):
            classes.append(GOOD)
        for split in plan.split_names:
            for name in classes:
                (out / split / name).mkdir(parents=True, exist_ok=True)
        for _ in encoded:  # the images are put in place as it goes on
            pass

    def next_step(self, out: Path) -> str:
        """Ultralytics' own command line."""
        return f"yolo classify train model=yolo11n-cls.pt data={shlex.quote(str(out))}"

    def repeat(self, out: Path, repeats: Sequence[tuple[Item, int]]) -> None:
        """Further names for the same file: readers of image folders know no lists."""
        for item, times in repeats:
            image = out / self.image_path(item)
            for number in range(2, times + 1):
                link_or_copy(image, image.with_name(f"{image.stem}_repeat{number}{image.suffix}"))

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        """A folder `train` with a folder of images for each class, and nothing that speaks of another format."""
        train = folder / "train"
        if not checks.is_folder(train) or checks.is_folder(folder / "ground_truth") or any(folder.glob("*.y*ml")):
            return False
        classes = _class_folders(train)
        names = {path.name for path in classes}
        return bool(names) and not names & NOT_CLASSES and any(_images_of(path) for path in classes)

    @classmethod
    def check(cls, folder: Path) -> Iterator[Finding]:
        """Check a dataset folder; docs/findings.md explains the codes."""
        yield from checks.limited(_check(folder))

    @classmethod
    def read(cls, folder: Path) -> Iterator[LabelledImage]:
        """Every image with its one class, that of its folder."""
        tree = _tree_to_read(folder)
        for split, classes in tree.items():
            for name, images in classes.items():
                for path in images:
                    width, height = image_size(path)
                    key = key_of(path, folder)
                    yield LabelledImage(path, key, path.stem, split, width, height, classes=(name,))

    @classmethod
    def class_names(cls, folder: Path) -> tuple[str, ...]:
        """The folders of train; without it, of all splits."""
        tree = _tree_to_read(folder)
        return tuple(sorted(tree.get("train") or {name for classes in tree.values() for name in classes}))


FORMAT = Classify
READERS = "Ultralytics' classify, ImageFolder, timm"


# --- checking --------------------------------------------------------------------------------------------------------


def _class_folders(split: Path) -> list[Path]:
    """The folders that ImageFolder takes for classes, hidden ones too, by name."""
    return sorted(path for path in split.iterdir() if checks.is_folder(path))


def _images_of(folder: Path) -> list[Path]:
    """Every image file below a class's folder, hidden ones too: readers of image folders skip none."""
    return sorted(
        path for path in folder.rglob("*") if path.suffix.lower() in checks.IMAGE_SUFFIXES and checks.is_file(path)
    )


def read_tree(folder: Path) -> Tree:
    """The images of a dataset folder, by split and class, both as the readers find them; sorted."""
    tree: Tree = {}
    for split, names in SPLIT_FOLDERS.items():
        place = next((folder / name for name in names if checks.is_folder(folder / name)), None)
        if place is not None:
            tree[split] = {path.name: _images_of(path) for path in _class_folders(place)}
    return tree


def _tree_to_read(folder: Path) -> Tree:
    tree = read_tree(folder)
    if not any(images for classes in tree.values() for images in classes.values()):
        hint = "give the folder that holds train, with a folder of images for each class"
        raise ExportError("no image in a folder of its class", path=folder, hint=hint)
    return tree


def _check(folder: Path) -> Iterator[Finding]:
    tree = read_tree(folder)
    yield from _check_splits(folder, tree)
    for split, classes in tree.items():
        yield from _check_classes(_folder_of(folder, split), split, classes, tree.get("train", {}))
        for images in classes.values():
            for path in images:
                yield from checks.image(path, smallest_side=SMALLEST_SIDE)
    yield from checks.shared_images({split: [*chain(*classes.values())] for split, classes in tree.items()})


def _folder_of(folder: Path, split: SplitName) -> Path:
    return next(folder / name for name in SPLIT_FOLDERS[split] if checks.is_folder(folder / name))


def _check_splits(folder: Path, tree: Tree) -> Iterator[Finding]:
    """The splits that must be there, with images in folders."""
    if "train" not in tree:
        yield Finding("no-split-folder", "no folder train", str(folder), hint="put images in train/<class>/")
    if not tree.keys() & {"val", "test"}:
        yield Finding("no-split-folder", "no folder val, nor test", str(folder), hint="put images in val/<class>/")
    for split, classes in tree.items():
        place = _folder_of(folder, split)
        if not any(classes.values()):
            yield Finding("empty-split", f"{split} has no image", str(place), hint="add its images")
        loose = [path for path in sorted(place.iterdir()) if path.suffix.lower() in checks.IMAGE_SUFFIXES]
        for path in (path for path in loose if checks.is_file(path)):
            message = "the image lies in no class's folder, so no reader sees it"
            yield Finding("loose-image", message, str(path), hint="move it to the folder of its class")


def _check_classes(
    place: Path, split: SplitName, classes: dict[str, list[Path]], train: dict[str, list[Path]]
) -> Iterator[Finding]:
    """The classes of a split: those of train, each with images, or readers count differently in each split."""
    if split != "train" and classes.keys() != train.keys() and classes and train:
        lacking, extra = sorted(train.keys() - classes.keys()), sorted(classes.keys() - train.keys())
        told = [f"has no folder {', '.join(lacking[:5])}"] if lacking else []
        told += [f"has {', '.join(extra[:5])}, which train has not"] if extra else []
        message = f"{split} {' and '.join(told)}: a class's id is the place of its name, so ids differ"
        yield Finding(
            "class-mismatch", message, str(place), hint="make the same folders in every split, if need be empty"
        )
    empty = sorted(name for name, images in classes.items() if not images)
    filled = sorted(classes.keys() - empty)
    if split == "train" and len(filled) == 1:
        message = f"{split} has images of {filled[0]} alone, so nothing can be told apart"
        hint = "add images of another class, such as good"
        yield Finding("one-class", message, str(place), severity="warning", hint=hint)
    elif empty and filled:
        message = f"{split} has no image of {len(empty)} of {len(classes)} classes: {', '.join(empty[:5])}"
        hint = "add such images, or remove the class from every split"
        yield Finding("unused-class", message, str(place), severity="warning", hint=hint)
