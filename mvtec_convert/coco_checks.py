"""Checks of COCO files, for every format that is built on them.

They say what pycocotools, and what reads through it, would choke on or learn wrong; docs/findings.md explains codes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numpy as np
from pycocotools import mask as coco_mask
from pydantic import BaseModel, ValidationError

from mvtec_convert import checks
from mvtec_convert.checks import JsonFile
from mvtec_convert.coco_file import mask_of
from mvtec_convert.findings import Finding, Severity
from mvtec_convert.images import MAX_PIXELS
from mvtec_convert.rle import bounding_box, unsound
from mvtec_convert.schemas import problems
from mvtec_convert.schemas.coco import Annotation, Category, Image

LEAST_BOX_IOU = 0.5  # contour points, as most tools write them, make a 2 px wide mask half as wide
ROUNDING = 1.0  # px that boxes and polygons may reach over the border; tools count edges in different ways
SIMILAR_AREA = 1.25  # times; what a simplified polygon, or one through pixel centres, may well be off
FALSE_AREA = 4.0  # times; from here on no way of drawing explains it
LONGEST_OUTLINE = 4e6  # px; pycocotools takes 80 bytes for each

SACO_KEY = b'"text_input"'
"""A key of SA-Co's rows, which look like COCO's images but are one for each image and phrase."""

MOST_WORDS = 30
"""A prompt of more words is cut: SAM 3 reads 32 tokens, begin and end among them, and no word takes less than one
(`context_length` in facebookresearch/sam3, `max_length` in transformers' Sam3Processor)."""

Problem: TypeAlias = tuple[str, str, Severity, str]
"""Code, message, severity and hint."""

Record = TypeVar("Record", bound=BaseModel)


def annotation_files(folder: Path) -> list[Path]:
    """The annotation files of a dataset folder (or the one file given), in the layouts of COCO and Roboflow."""
    if checks.is_file(folder):
        return [folder] if _looks_like_coco(folder) else []
    patterns = ("annotations/*.json", "*/_annotations.coco.json", "_annotations.coco.json", "*.json")
    found = [path for pattern in patterns for path in sorted(folder.glob(pattern)) if _looks_like_coco(path)]
    # Captions and keypoints, which lie beside them, are about the same images.
    instances = [path for path in found if path.name.startswith("instances_")]
    return instances or list(dict.fromkeys(found))


def _looks_like_coco(path: Path) -> bool:
    """Whether its place or its content says so; a damaged file in the right place still counts."""
    if not checks.is_file(path):
        return False
    try:
        with path.open("rb") as file:
            start = file.read(1 << 16)
            file.seek(max(0, path.stat().st_size - (1 << 16)))
            text = start + file.read()
    except OSError:
        return False
    if SACO_KEY in start:
        return False
    if path.parent.name == "annotations" or path.name == "_annotations.coco.json":
        return True
    return b'"images"' in text and (b'"annotations"' in text or b'"categories"' in text)


def check(
    folder: Path,
    files: Sequence[Path],
    schema: str = "coco",
    also: Callable[[FileCheck], Iterable[Finding]] = lambda _: (),
) -> Iterator[Finding]:
    """Check a dataset.

    Args:
        folder: the dataset, or its one annotation file.
        files: its annotation files.
        schema: name of the schema to point to.
        also: what else to check in each file, after the rest.
    """
    if not files:
        hint = "it should lie in annotations/, or be called _annotations.coco.json"
        yield Finding("no-annotation-file", "no JSON file with images and annotations", str(folder), hint=hint)
    root = folder if folder.is_dir() else folder.parent
    root = root.parent if root.name == "annotations" else root
    images: dict[str, list[Path]] = {}
    categories: dict[Path, list[tuple[int, str]]] = {}
    for path in files:
        file = checks.open_json(path, f"see `mvtec-convert schema {schema}` for the form")
        if isinstance(file, Finding):
            yield file
            continue
        inner = FileCheck(file, root)
        yield from inner.run()
        yield from also(inner)
        # Two files of one name in different folders are two splits.
        images[inner.split if inner.split not in images else path.relative_to(root).as_posix()] = inner.image_paths
        if inner.categories:
            categories[path] = sorted((category.id, category.name) for _, category in inner.categories)
    for path, found in categories.items():
        first = next(iter(categories))
        if found != categories[first]:
            message = f"the categories are not those of {first.relative_to(root).as_posix()}"
            hint = "one list of categories must serve every split"
            yield Finding("category-mismatch", message, str(path), hint=hint)
    yield from checks.shared_images(images)


def not_coco(file: JsonFile) -> str | None:
    """Why the document is not an object of three lists, or None."""
    document = file.document
    if not isinstance(document, dict):
        return "not an object with images, annotations and categories"
    missing = [key for key in ("images", "annotations", "categories") if not isinstance(document.get(key), list)]
    return f"no list of {', '.join(missing)}" if missing else None


def read_records(file: JsonFile, key: str, model: type[Record], into: list[tuple[int, Record]]) -> Iterator[Finding]:
    """Collect the records of a list that fit the model, with their places.

    Tells what is wrong with the others, and ids that occur twice.
    """
    first: dict[int, int] = {}
    for i, document in enumerate(file.document[key]):
        try:
            record = model.model_validate(document)
        except ValidationError as error:
            yield from file.schema_findings(problems(error), key, i)
            continue
        into.append((i, record))
        number = document["id"]
        if first.setdefault(number, i) != i:
            message = f"id {number} is also that of {key}[{first[number]}]"
            yield file.finding("duplicate-id", message, key, i, hint=f"give each of the {key} its own id")


class FileCheck:
    """The checks of one annotation file.

    Attributes:
        file: what is checked.
        split: what it seems to be about ("train").
        image_paths: the images of the file that lie in the dataset's folder.
        images: (index, image) of all that fit the schema; the same for `annotations` and `categories`.
    """

    def __init__(self, file: JsonFile, root: Path) -> None:
        self.file = file
        self.root = root
        name = file.path.stem.removeprefix("instances_")
        self.split = file.path.parent.name if name == "_annotations.coco" else name
        self.image_paths: list[Path] = []
        self.images: list[tuple[int, Image]] = []
        self.annotations: list[tuple[int, Annotation]] = []
        self.categories: list[tuple[int, Category]] = []

    def run(self) -> Iterator[Finding]:
        """Every finding of the file."""
        wrong = not_coco(self.file)
        if wrong:
            yield from self.file.schema_findings([wrong])
            return
        yield from read_records(self.file, "images", Image, self.images)
        yield from read_records(self.file, "annotations", Annotation, self.annotations)
        yield from read_records(self.file, "categories", Category, self.categories)
        yield from self.check_images()
        yield from self.check_categories()
        yield from self.check_annotations()

    def ids(self, key: str) -> set[Any]:
        """The ids of all records, also of those with something else wrong, which were told already."""
        found = (record.get("id") for record in self.file.document[key] if isinstance(record, dict))
        return {value for value in found if isinstance(value, int)}

    def check_images(self) -> Iterator[Finding]:
        """File names, files and sizes."""
        folder = self.images_folder()
        first: dict[str, int] = {}
        for i, image in self.images:
            name = image.file_name
            if first.setdefault(name, i) != i:
                message = f"{name} is also images[{first[name]}]"
                yield self.file.finding("duplicate-image", message, "images", i, hint="list each image once")
            elif wrong := wrong_name(name):
                code, message, severity, hint = wrong
                yield self.file.finding(code, message, "images", i, severity, hint)
            else:
                self.image_paths.append(folder / name)
                yield from checks.image(folder / name, (image.width, image.height))
        if not self.file.document["images"]:
            yield self.file.finding("empty-split", f"{self.split} has no image", hint="add its images")

    def images_folder(self) -> Path:
        """The folder that `file_name` is relative to: the usual one that holds most of the first images."""
        usual = [
            self.root / "images" / self.split, self.file.path.parent, self.root / self.split, self.root / "images",
            self.root,
        ]  # fmt: skip
        if self.file.path.name == "_annotations.coco.json":
            usual.insert(0, self.file.path.parent)
        return images_folder(usual, [image.file_name for _, image in self.images])

    def check_categories(self) -> Iterator[Finding]:
        """Names, and whether each category is used."""
        used = Counter(annotation.category_id for _, annotation in self.annotations)
        first: dict[str, int] = {}
        for i, category in self.categories:
            if first.setdefault(category.name, i) != i:
                message = f"{category.name!r} is also the name of categories[{first[category.name]}]"
                yield self.file.finding("class-names", message, "categories", i, hint="give each class its own name")
            if not used[category.id] and used:
                message = f"no annotation of category {category.id} ({category.name})"
                hint = "fine if meant so; else add such images, or remove it from every split"
                yield self.file.finding("unused-category", message, "categories", i, "warning", hint)
        if not self.file.document["annotations"]:
            hint = "fine if all its images are meant to be background"
            message = f"{self.split} has no annotation at all"
            yield self.file.finding("no-annotations", message, None, 0, "warning", hint)

    def check_annotations(self) -> Iterator[Finding]:
        """References and geometry."""
        images = {image.id: image for _, image in self.images}
        image_ids, category_ids = self.ids("images"), self.ids("categories")
        only_boxes = bool(self.annotations) and not any(a.segmentation for _, a in self.annotations)
        if only_boxes:
            hint = "fine for a detector"
            message = "no annotation has a segmentation: only boxes can be learnt from this file"
            yield self.file.finding("only-boxes", message, None, 0, "warning", hint)
        seen: dict[tuple[object, ...], int] = {}
        for i, annotation in self.annotations:
            for code, message, severity, hint in _references(annotation, image_ids, category_ids):
                yield self.file.finding(code, message, "annotations", i, severity, hint)
            key = (annotation.image_id, annotation.category_id, annotation.bbox, annotation.area)
            if seen.setdefault(key, i) != i:
                message = f"same image, category, box and area as annotations[{seen[key]}]"
                yield self.file.finding("duplicate-annotation", message, "annotations", i, "warning", "keep one")
            image = images.get(annotation.image_id)
            if image is not None and image.width * image.height <= MAX_PIXELS:
                for code, message, severity, hint in _geometry(annotation, image, only_boxes):
                    yield self.file.finding(code, message, "annotations", i, severity, hint)


def images_folder(usual: Sequence[Path], names: Sequence[str]) -> Path:
    """The folder that file names are relative to: of the usual ones the first that holds most of the first images."""
    some = [name for name in names[:20] if not checks.leads_out(name)]
    return max(usual, key=lambda folder: sum(checks.is_file(folder / name) for name in some))


def wrong_name(name: str) -> Problem | None:
    """What is wrong with a `file_name`, or None; one that is wrong must not be followed."""
    if checks.leads_out(name):
        return "outside-folder", f"{name} leads out of the dataset", "error", "write it relative to the images folder"
    if "\\" in name:
        message = f"{name}: backslashes are understood on Windows only"
        return "windows-path", message, "error", "write forward slashes"
    return None


def wrong_prompt(text: str) -> Iterator[Problem]:
    """What is wrong with words that a model is asked for."""
    if "_" in text or "/" in text:
        message = f"{text!r} is a name, no phrase: a model that reads words knows neither _ nor /"
        yield "slug-prompt", message, "warning", "write it as one would say it: metal piece on carpet"
    if len(text.split()) > MOST_WORDS:
        message = f"a prompt of {len(text.split())} words: what follows the 32nd token is cut off"
        yield "long-prompt", message, "warning", "use a few words"


def _references(annotation: Annotation, image_ids: set[Any], category_ids: set[Any]) -> Iterator[Problem]:
    if annotation.image_id not in image_ids:
        yield "unknown-image", f"no image has id {annotation.image_id}", "error", "mend image_id, or add the image"
    if annotation.category_id not in category_ids:
        hint = "mend category_id, or add the category"
        yield "unknown-category", f"no category has id {annotation.category_id}", "error", hint
    if annotation.id == 0:
        message = "id 0: to pycocotools' evaluation what matches it seems unmatched"
        yield "id-zero", message, "warning", "count annotations from 1"
    if annotation.iscrowd:
        hint = "set iscrowd to 0, unless it really is a crowd"
        yield "crowd", "iscrowd is 1: trainers leave it out", "warning", hint


def _geometry(annotation: Annotation, image: Image, only_boxes: bool) -> Iterator[Problem]:
    """Box, segmentation, and whether they and the area agree."""
    size = f"the image of {image.width} x {image.height} px"
    x, y, width, height = annotation.bbox
    beyond = max(-x, -y, x + width - image.width, y + height - image.height)
    if beyond > 0.001:
        message = f"bbox {short(annotation.bbox)} reaches outside {size}"
        yield "outside-image", message, "error" if beyond > ROUNDING else "warning", "cut it at the border"
    segmentation = annotation.segmentation
    if only_boxes:
        return
    wrong = (
        _wrong_polygons(segmentation, image)
        if isinstance(segmentation, list)
        else wrong_rle(segmentation.size, segmentation.counts, image)
    )
    if wrong is not None:
        yield wrong
        return
    document = segmentation if isinstance(segmentation, list) else segmentation.model_dump()
    mask = mask_of(document, image.height, image.width)
    found = bounding_box(mask)
    if found is None:
        yield "empty-segmentation", "the segmentation covers no pixel", "error", "remove the annotation, or redraw it"
        return
    iou = box_iou(annotation.bbox, found)
    if iou < LEAST_BOX_IOU:
        message = f"bbox {short(annotation.bbox)} has IoU {iou:.2f} with the extent of its mask, {short(found)}"
        yield "box-and-mask", message, "warning" if iou else "error", "compute the box from the segmentation"
    yield from _wrong_area(annotation, int(coco_mask.area(mask)))


def _wrong_area(annotation: Annotation, area: int) -> Iterator[Problem]:
    """Run lengths say the area exactly. A polygon may be simplified, or go through the outermost pixels' centres."""
    polygons = annotation.segmentation if isinstance(annotation.segmentation, list) else []
    small, large = sorted((annotation.area, area))
    if large - small < 1 or (polygons and large <= SIMILAR_AREA * small):
        return
    is_of_box = abs(annotation.area - annotation.bbox[2] * annotation.bbox[3]) < 1
    is_minor = is_of_box or (polygons and large <= max(FALSE_AREA * small, small + sum(map(_outline, polygons))))
    message = f"area is {annotation.area:g}, the mask has {area} pixels"
    yield "area", message, "warning" if is_minor else "error", "write the number of mask pixels"


def _wrong_polygons(polygons: list[list[float]], image: Image) -> Problem | None:
    """What pycocotools must not be given: it raises, computes nonsense, or takes all memory."""
    if not polygons:
        return "empty-segmentation", "no polygon, though others of this file have some", "error", "draw it"
    for j, polygon in enumerate(polygons):
        if len(polygon) % 2:
            return "odd-polygon", f"polygon {j} has {len(polygon)} numbers, but points are pairs", "error", "redraw it"
        beyond = max(-min(polygon), max(polygon[::2]) - image.width, max(polygon[1::2]) - image.height)
        if beyond > ROUNDING:
            message = f"polygon {j} reaches outside the image of {image.width} x {image.height} px"
            return "outside-image", message, "error", "cut it at the border"
    length = sum(map(_outline, polygons))
    if length > LONGEST_OUTLINE:
        return "long-outline", f"the outline is {length:,.0f} px long; it was not checked", "warning", "write RLE"
    return None


def wrong_rle(size: tuple[int, int], counts: str | list[int], image: Image) -> Problem | None:
    """What is wrong with run lengths of a mask of the image, or None; pycocotools may crash on those that are wrong."""
    if size != (image.height, image.width):
        message = f"size {list(size)} is not the image's [height, width] [{image.height}, {image.width}]"
        return "rle-size", message, "error", "encode the mask at the size of its image"
    wrong = unsound(size, counts)
    return ("bad-rle", wrong, "error", "encode the mask again") if wrong else None


def _outline(polygon: Sequence[float]) -> float:
    """Length of the closed line as pycocotools walks it, the longer of dx and dy for each step; px."""
    points = np.array(polygon).reshape(-1, 2)
    return float(np.abs(points - np.roll(points, 1, axis=0)).max(axis=1).sum())


def box_iou(a: Sequence[float], b: Sequence[float]) -> float:
    """IoU of two boxes (x, y, width, height)."""
    overlap_x = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    overlap_y = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    overlap = max(overlap_x, 0) * max(overlap_y, 0)
    return overlap / (a[2] * a[3] + b[2] * b[3] - overlap) if overlap else 0.0


def short(box: Sequence[float]) -> str:
    """The numbers, without needless zeros."""
    return f"[{', '.join(f'{value:g}' for value in box)}]"
