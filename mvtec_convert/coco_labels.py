"""What COCO files say of their images, for every format that is built on them: as pycocotools reads them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path

import numpy as np

from mvtec_convert import checks, coco_checks
from mvtec_convert.checks import JsonFile
from mvtec_convert.coco_checks import Problem
from mvtec_convert.coco_file import mask_of
from mvtec_convert.errors import ExportError
from mvtec_convert.findings import Finding
from mvtec_convert.geometry.headers import MAX_PIXELS
from mvtec_convert.geometry.regions import Region
from mvtec_convert.geometry.rle import decode
from mvtec_convert.labelled import (
    LabelledImage,
    LabelledObject,
    Ring,
    bounded,
    key_of,
    split_named,
    split_order,
    whole_region,
)
from mvtec_convert.schemas.coco import Annotation, Category, Image

HINT = "`mvtec-convert validate` tells all that is wrong"
FORGIVEN = {"duplicate-id"}
"""As pycocotools does: the last one holds."""


def read(folder: Path, files: Sequence[Path], *, by_phrase: bool = False) -> Iterator[LabelledImage]:
    """Every image of a dataset, file by file; a file is in memory as a whole, its masks one image at a time.

    Args:
        folder: the dataset, or its one annotation file.
        files: its annotation files.
        by_phrase: whether models are prompted with the categories' names.

    Raises:
        ExportError: a file does not hold what its readers need; names file and line.
    """
    root = coco_checks.dataset_root(folder)
    refuse_none(folder, files)
    for path in sorted(files, key=lambda path: split_order(coco_checks.split_of(path))):
        content = _Content(checks.read_json(path, HINT), root)
        checks.sound(content.parse(), FORGIVEN)
        yield from _Images(content, by_phrase)


def class_names(folder: Path, files: Sequence[Path]) -> tuple[str, ...]:
    """The names of all categories, in the order of their ids; see `read`."""
    refuse_none(folder, files)
    names: dict[int, str] = {}
    for path in files:
        file = checks.read_json(path, HINT)
        refuse_other(file)
        categories: list[tuple[int, Category]] = []
        checks.sound(coco_checks.read_records(file, "categories", Category, categories), FORGIVEN)
        names |= {category.id: category.name for _, category in categories}
    return tuple(dict.fromkeys(names[number] for number in sorted(names)))


def refuse_none(folder: Path, files: Sequence[Path]) -> None:
    """Raise ExportError where a dataset has no annotation file."""
    if not files:
        raise ExportError("no JSON file with images and annotations", path=folder, hint="give the dataset's top folder")


def refuse_other(file: JsonFile) -> None:
    """Raise ExportError where a file is not made of COCO's three lists."""
    wrong = coco_checks.not_coco(file)
    if wrong:
        raise ExportError(wrong, path=file.path, hint=HINT)


def refuse_large(file: JsonFile, index: int, image: Image) -> None:
    """Raise ExportError where an image of the file is too large for its masks to be decoded."""
    if image.width * image.height > MAX_PIXELS:
        message = f"{image.width} x {image.height} px is more than the {MAX_PIXELS:,} pixels this tool decodes"
        raise checks.refusal(file.finding("image-size", message, "images", index, hint="cut the image into tiles"))


def refuse(file: JsonFile, key: str, index: int, problem: Problem | None) -> None:
    """Raise ExportError where a record of the file has a problem."""
    if problem is not None:
        code, message, severity, hint = problem
        raise checks.refusal(file.finding(code, message, key, index, severity, hint))


class _Content:
    """The records of one annotation file, each with its place in its list."""

    def __init__(self, file: JsonFile, root: Path) -> None:
        self.file = file
        self.root = root
        self.images: list[tuple[int, Image]] = []
        self.annotations: list[tuple[int, Annotation]] = []
        self.categories: list[tuple[int, Category]] = []

    def parse(self) -> Generator[Finding, None, None]:
        """Collect the records; see `checks.sound`."""
        wrong = coco_checks.not_coco(self.file)
        if wrong:
            yield from self.file.schema_findings([wrong])
            return
        yield from coco_checks.read_records(self.file, "images", Image, self.images)
        yield from coco_checks.read_records(self.file, "annotations", Annotation, self.annotations)
        yield from coco_checks.read_records(self.file, "categories", Category, self.categories)

    def images_folder(self) -> Path:
        usual = coco_checks.usual_folders(self.file.path, self.root)
        return coco_checks.images_folder(usual, [image.file_name for _, image in self.images])


class _Images:
    """The images of one annotation file, each with its objects."""

    def __init__(self, content: _Content, by_phrase: bool) -> None:
        self._content = content
        self._by_phrase = by_phrase
        self._file = content.file
        self._names = {category.id: category.name for _, category in content.categories}
        self._annotations = self._by_image()

    def __iter__(self) -> Iterator[LabelledImage]:
        folder = self._content.images_folder()
        for i, image in {image.id: (i, image) for i, image in self._content.images}.values():
            refuse(self._file, "images", i, coco_checks.wrong_name(image.file_name))
            refuse_large(self._file, i, image)
            path = folder / image.file_name
            yield LabelledImage(
                image=path,
                key=key_of(path, self._content.root),
                name=path.stem,
                split=split_named(coco_checks.split_of(self._file.path)),
                width=image.width,
                height=image.height,
                objects=bounded(self._objects(image), self._file.path),
            )

    def _by_image(self) -> dict[int, list[tuple[int, Annotation]]]:
        """The annotations of each image, with their places; raises where one points to nothing."""
        images = {image.id for _, image in self._content.images}
        found: dict[int, list[tuple[int, Annotation]]] = defaultdict(list)
        for i, annotation in self._content.annotations:
            for problem in coco_checks.references(annotation, images, {*self._names}):
                if problem[2] == "error":
                    refuse(self._file, "annotations", i, problem)
            found[annotation.image_id].append((i, annotation))
        return found

    def _objects(self, image: Image) -> Iterator[LabelledObject]:
        for i, annotation in self._annotations[image.id]:
            x, y, width, height = annotation.bbox
            name = self._names[annotation.category_id]
            segmentation = annotation.segmentation
            region: Region | None = None
            outlines: tuple[Ring, ...] = ()
            if segmentation != []:
                refuse(self._file, "annotations", i, coco_checks.unreadable(segmentation, image))
                document = segmentation if isinstance(segmentation, list) else segmentation.model_dump()
                region = whole_region(decode(mask_of(document, image.height, image.width)))
            if isinstance(segmentation, list):
                outlines = tuple(np.array(polygon, np.float64).reshape(-1, 2) for polygon in segmentation)
            yield LabelledObject(
                class_name=name,
                box=(x, y, x + width, y + height),
                region=region,
                outlines=outlines,
                text=name if self._by_phrase else None,
                is_crowd=bool(annotation.iscrowd),
            )
