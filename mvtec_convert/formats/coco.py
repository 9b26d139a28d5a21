"""COCO instance segmentation: pycocotools, torchvision, Detectron2, MMDetection, D-FINE, ...

    annotations/instances_{train,val}.json
    images/{train,val}/<name>.png           `file_name` is relative to this folder

or, in Roboflow's layout, which RF-DETR and others read,

    {train,valid,test}/_annotations.coco.json
    {train,valid,test}/<name>.png

Boxes are `x, y, width, height` in px, `area` is the number of mask pixels, `iscrowd` is always 0, ids are unique from 1
in each file. Polygons run along pixel edges with holes joined by bridges, which pycocotools fills to exactly the mask.
Sources: cocodataset.org/#format-data, pycocotools' `coco.py` and `maskApi.c`.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

import numpy as np
import orjson
from pycocotools import mask as coco_mask
from pydantic import ValidationError

from mvtec_convert import checks
from mvtec_convert.checks import JsonFile
from mvtec_convert.coco_file import CocoWriter, mask_of
from mvtec_convert.dataset import SplitName
from mvtec_convert.findings import Finding, Severity
from mvtec_convert.formats import Encoded
from mvtec_convert.images import MAX_PIXELS
from mvtec_convert.labels import LabelMap
from mvtec_convert.plan import Item, Plan
from mvtec_convert.polygons import keyhole_polygons, simplify
from mvtec_convert.regions import AnnotatedImage, Region
from mvtec_convert.rle import (
    Rle,
    bounding_box,
    decompress,
    intersection_over_union,
    run_lengths,
    unsound,
)
from mvtec_convert.schemas import problems
from mvtec_convert.schemas.coco import Annotation, Category, Image
from mvtec_convert.schemas.coco import Rle as RleRecord

Segmentation = Literal["polygon", "rle", "rle-uncompressed"]

Record = TypeVar("Record", Image, Annotation, Category)

ROBOFLOW_SPLITS: dict[SplitName, str] = {"train": "train", "val": "valid", "test": "test"}

LEAST_BOX_IOU = 0.5  # contour points, as most tools write them, make a 2 px wide mask half as wide
ROUNDING = 1.0  # px that boxes and polygons may reach over the border; tools count edges in different ways
SIMILAR_AREA = 1.25  # times; what a simplified polygon, or one through pixel centres, may well be off
FALSE_AREA = 4.0  # times; from here on no way of drawing explains it
LONGEST_OUTLINE = 4e6  # px; pycocotools takes 80 bytes for each

_Problem = tuple[str, str, Severity, str]
"""Code, message, severity and hint."""


@dataclass(frozen=True, slots=True)
class Coco:
    """Options of the format.

    Attributes:
        segmentation: `polygon`, `rle` (compressed, a string) or `rle-uncompressed` (a list of counts).
        simplify: lowest IoU with the mask that a polygon of fewer points may have; None keeps it exact.
        first_id: id of the first category: 1, as COCO has it, or 0.
        layout: `coco`, or `roboflow`: `{train,valid,test}/_annotations.coco.json` beside the images.
    """

    name: ClassVar[str] = "coco"
    segmentation: Segmentation = "polygon"
    simplify: float | None = None
    first_id: Literal[0, 1] = 1
    layout: Literal["coco", "roboflow"] = "coco"

    @property
    def judge(self) -> str:
        """Who reads the regions back."""
        return "masks, by pycocotools"

    def image_path(self, item: Item) -> str:
        """`images/<split>/<name>.<suffix>`; in Roboflow's layout beside the annotations."""
        if self.layout == "roboflow":
            return f"{ROBOFLOW_SPLITS[item.split]}/{item.file_name}"
        return f"images/{item.split}/{item.file_name}"

    def refuse(self, plan: Plan) -> None:
        """COCO holds any plan."""

    def encode(self, item: Item, image: AnnotatedImage, labels: LabelMap) -> Encoded:
        """One annotation a region, without its ids: these follow from what comes before."""
        rows = tuple(orjson.dumps(self._annotation(region, item, image)) for region in image.regions)
        truths = (run_lengths(region, image.height, image.width) for region in image.regions)
        ious = (intersection_over_union(_read_back(row, image), truth) for row, truth in zip(rows, truths, strict=True))
        return Encoded(item, image.width, image.height, len(image.regions), rows, tuple(ious))

    def write(self, out: Path, plan: Plan, encoded: Iterable[Encoded]) -> None:
        """One file a split, one record a line."""
        categories = self._categories(plan)
        with ExitStack() as stack:
            files = {
                split: stack.enter_context(CocoWriter(out / self._annotations(split), categories))
                for split in plan.split_names
            }
            for image in encoded:
                record = {"file_name": image.item.file_name, "width": image.width, "height": image.height}
                files[image.item.split].add(record, image.rows)

    def next_step(self, out: Path) -> str:
        """Mask R-CNN stands for all that read COCO; RF-DETR for all that read Roboflow's layout."""
        if self.layout == "roboflow":
            return f"from rfdetr import RFDETRSegPreview; RFDETRSegPreview().train(dataset_dir={str(out)!r})"
        return f"python examples/finetune_maskrcnn.py {shlex.quote(str(out))}"

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        """A JSON file with images and annotations, in the usual places."""
        return bool(_annotation_files(folder))

    @classmethod
    def check(cls, folder: Path) -> Iterator[Finding]:
        """Check a dataset folder, or one annotation file; the codes are explained in docs/findings.md."""
        yield from checks.limited(_check(folder))

    def _annotations(self, split: SplitName) -> str:
        """Where the annotations of a split lie."""
        if self.layout == "roboflow":
            return f"{ROBOFLOW_SPLITS[split]}/_annotations.coco.json"
        return f"annotations/instances_{split}.json"

    def _categories(self, plan: Plan) -> list[dict[str, Any]]:
        """The classes, named by their phrase in Roboflow's layout: its readers prompt with the name."""
        by_phrase = self.layout == "roboflow"
        return [
            {
                "id": label.id + self.first_id,
                "name": plan.phrases.of_class(label)[0] if by_phrase else label.name,
                "supercategory": label.members[0][0] if len({c for c, _ in label.members}) == 1 else "defect",
            }
            for label in plan.labels.classes
        ]

    def _annotation(self, region: Region, item: Item, image: AnnotatedImage) -> dict[str, Any]:
        return {
            "category_id": (item.class_id or 0) + self.first_id,
            "bbox": region.bbox,
            "area": region.area,
            "iscrowd": 0,
            "segmentation": self._segmentation(region, image),
        }

    def _segmentation(self, region: Region, image: AnnotatedImage) -> list[list[int]] | dict[str, Any]:
        if self.segmentation != "polygon":
            rle = run_lengths(region, image.height, image.width)
            compressed = self.segmentation == "rle"
            return {"size": rle["size"], "counts": rle["counts"].decode() if compressed else decompress(rle)}
        rings = keyhole_polygons(region) if self.simplify is None else simplify(region, self.simplify)
        return [ring.ravel().tolist() for ring in rings]


FORMAT = Coco


def _read_back(row: bytes, image: AnnotatedImage) -> Rle:
    return mask_of(orjson.loads(row)["segmentation"], image.height, image.width)


# --- checking --------------------------------------------------------------------------------------------------------


def _annotation_files(folder: Path) -> list[Path]:
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
    if path.parent.name == "annotations" or path.name == "_annotations.coco.json":
        return True
    return b'"images"' in text and (b'"annotations"' in text or b'"categories"' in text)


def _check(folder: Path) -> Iterator[Finding]:
    files = _annotation_files(folder)
    if not files:
        hint = "it should lie in annotations/, or be called _annotations.coco.json"
        yield Finding("no-annotation-file", "no JSON file with images and annotations", str(folder), hint=hint)
    root = folder if folder.is_dir() else folder.parent
    root = root.parent if root.name == "annotations" else root
    images: dict[str, list[Path]] = {}
    categories: dict[Path, list[tuple[int, str]]] = {}
    for path in files:
        file = checks.open_json(path, "see `mvtec-convert schema coco` for the form")
        if isinstance(file, Finding):
            yield file
            continue
        check = _FileCheck(file, root)
        yield from check.run()
        # Two files of one name in different folders are two splits.
        images[check.split if check.split not in images else path.relative_to(root).as_posix()] = check.image_paths
        categories[path] = sorted((category.id, category.name) for _, category in check.categories)
    for path, found in categories.items():
        first = next(iter(categories))
        if found != categories[first]:
            message = f"the categories are not those of {first.relative_to(root).as_posix()}"
            hint = "one list of categories must serve every split"
            yield Finding("category-mismatch", message, str(path), hint=hint)
    yield from checks.shared_images(images)


class _FileCheck:
    """The checks of one annotation file.

    Attributes:
        split: what it seems to be about ("train").
        image_paths: the images of the file that lie in the dataset's folder.
        categories: (index, category) of all that fit the schema.
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
        document = self.file.document
        if not isinstance(document, dict):
            yield from self.file.schema_findings(["not an object with images, annotations and categories"])
            return
        missing = [key for key in ("images", "annotations", "categories") if not isinstance(document.get(key), list)]
        if missing:
            yield from self.file.schema_findings([f"no list of {', '.join(missing)}"])
            return
        yield from self.read("images", Image, self.images)
        yield from self.read("annotations", Annotation, self.annotations)
        yield from self.read("categories", Category, self.categories)
        yield from self.check_images()
        yield from self.check_categories()
        yield from self.check_annotations()

    def read(self, key: str, model: type[Record], into: list[tuple[int, Record]]) -> Iterator[Finding]:
        """Collect the records that fit the model; tell what is wrong with the others, and ids that occur twice."""
        first: dict[int, int] = {}
        for i, document in enumerate(self.file.document[key]):
            try:
                record = model.model_validate(document)
            except ValidationError as error:
                yield from self.file.schema_findings(problems(error), key, i)
                continue
            into.append((i, record))
            if first.setdefault(record.id, i) != i:
                message = f"id {record.id} is also that of {key}[{first[record.id]}]"
                yield self.file.finding("duplicate-id", message, key, i, hint=f"give each of the {key} its own id")

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
            elif checks.leads_out(name):
                hint = "write it relative to the images folder"
                yield self.file.finding("outside-folder", f"{name} leads out of the dataset", "images", i, hint=hint)
            elif "\\" in name:
                hint = "write forward slashes"
                message = f"{name}: backslashes are understood on Windows only"
                yield self.file.finding("windows-path", message, "images", i, hint=hint)
            else:
                self.image_paths.append(folder / name)
                yield from checks.image(folder / name, (image.width, image.height))
        if not self.file.document["images"]:
            yield self.file.finding("empty-split", f"{self.split} has no image", hint="add its images")

    def images_folder(self) -> Path:
        """The folder that `file_name` is relative to: the usual one that holds most of the first images."""
        usual = (
            self.root / "images" / self.split, self.file.path.parent, self.root / self.split, self.root / "images",
            self.root,
        )  # fmt: skip
        names = [image.file_name for _, image in self.images[:20] if not checks.leads_out(image.file_name)]
        return max(usual, key=lambda folder: sum(checks.is_file(folder / name) for name in names))

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


def _references(annotation: Annotation, image_ids: set[Any], category_ids: set[Any]) -> Iterator[_Problem]:
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


def _geometry(annotation: Annotation, image: Image, only_boxes: bool) -> Iterator[_Problem]:
    """Box, segmentation, and whether they and the area agree."""
    size = f"the image of {image.width} x {image.height} px"
    x, y, width, height = annotation.bbox
    beyond = max(-x, -y, x + width - image.width, y + height - image.height)
    if beyond > 0.001:
        message = f"bbox {_short(annotation.bbox)} reaches outside {size}"
        yield "outside-image", message, "error" if beyond > ROUNDING else "warning", "cut it at the border"
    segmentation = annotation.segmentation
    if only_boxes:
        return
    wrong = _wrong_polygons(segmentation, image) if isinstance(segmentation, list) else _wrong_rle(segmentation, image)
    if wrong is not None:
        yield wrong
        return
    document = segmentation if isinstance(segmentation, list) else segmentation.model_dump()
    mask = mask_of(document, image.height, image.width)
    found = bounding_box(mask)
    if found is None:
        yield "empty-segmentation", "the segmentation covers no pixel", "error", "remove the annotation, or redraw it"
        return
    iou = _box_iou(annotation.bbox, found)
    if iou < LEAST_BOX_IOU:
        message = f"bbox {_short(annotation.bbox)} has IoU {iou:.2f} with the extent of its mask, {_short(found)}"
        yield "box-and-mask", message, "warning" if iou else "error", "compute the box from the segmentation"
    yield from _wrong_area(annotation, int(coco_mask.area(mask)))


def _wrong_area(annotation: Annotation, area: int) -> Iterator[_Problem]:
    """Run lengths say the area exactly. A polygon may be simplified, or go through the outermost pixels' centres."""
    polygons = annotation.segmentation if isinstance(annotation.segmentation, list) else []
    small, large = sorted((annotation.area, area))
    if large - small < 1 or (polygons and large <= SIMILAR_AREA * small):
        return
    is_of_box = abs(annotation.area - annotation.bbox[2] * annotation.bbox[3]) < 1
    is_minor = is_of_box or (polygons and large <= max(FALSE_AREA * small, small + sum(map(_outline, polygons))))
    message = f"area is {annotation.area:g}, the mask has {area} pixels"
    yield "area", message, "warning" if is_minor else "error", "write the number of mask pixels"


def _wrong_polygons(polygons: list[list[float]], image: Image) -> _Problem | None:
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


def _wrong_rle(rle: RleRecord, image: Image) -> _Problem | None:
    if tuple(rle.size) != (image.height, image.width):
        message = f"size {list(rle.size)} is not the image's [height, width] [{image.height}, {image.width}]"
        return "rle-size", message, "error", "encode the mask at the size of its image"
    wrong = unsound(rle.size, rle.counts)
    return ("bad-rle", wrong, "error", "encode the mask again") if wrong else None


def _outline(polygon: Sequence[float]) -> float:
    """Length of the closed line as pycocotools walks it, the longer of dx and dy for each step; px."""
    points = np.array(polygon).reshape(-1, 2)
    return float(np.abs(points - np.roll(points, 1, axis=0)).max(axis=1).sum())


def _box_iou(a: Sequence[float], b: Sequence[float]) -> float:
    """IoU of two boxes (x, y, width, height)."""
    overlap_x = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    overlap_y = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    overlap = max(overlap_x, 0) * max(overlap_y, 0)
    return overlap / (a[2] * a[3] + b[2] * b[3] - overlap) if overlap else 0.0


def _short(box: Sequence[float]) -> str:
    return f"[{', '.join(f'{value:g}' for value in box)}]"
