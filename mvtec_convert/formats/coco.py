"""COCO instance segmentation: pycocotools, torchvision, Detectron2, MMDetection, D-FINE, ...

    annotations/instances_{train,val}.json
    images/{train,val}/<name>.png           `file_name` is relative to this folder

Boxes are `x, y, width, height` in px, `area` is the number of mask pixels, `iscrowd` is always 0, ids are unique from 1
in each file. Polygons run along pixel edges with holes joined by bridges, which pycocotools fills to exactly the mask.
Sources: cocodataset.org/#format-data, pycocotools' `coco.py` and `maskApi.c`.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, ClassVar, Literal, TypeVar

import orjson
from pycocotools import mask as coco_mask
from pydantic import ValidationError

import mvtec_convert
from mvtec_convert import checks
from mvtec_convert.errors import ExportError
from mvtec_convert.findings import Finding
from mvtec_convert.formats import Encoded
from mvtec_convert.jsonio import lines_of_records, parse_json, read_bytes
from mvtec_convert.labels import LabelMap
from mvtec_convert.plan import Item, Plan
from mvtec_convert.polygons import keyhole_polygons, simplify
from mvtec_convert.regions import AnnotatedImage, Region
from mvtec_convert.rle import (
    Rle,
    bounding_box,
    compress,
    decompress,
    intersection_over_union,
    rasterise,
    run_lengths,
    unsound,
)
from mvtec_convert.schemas import problems
from mvtec_convert.schemas.coco import Annotation, Category, Image

Segmentation = Literal["polygon", "rle", "rle-uncompressed"]

Record = TypeVar("Record", Image, Annotation, Category)

LEAST_BOX_IOU = 0.5  # contour points, as most tools write them, make a 2 px wide mask half as wide


@dataclass(frozen=True, slots=True)
class Coco:
    """Options of the format.

    Attributes:
        segmentation: `polygon`, `rle` (compressed, a string) or `rle-uncompressed` (a list of counts).
        simplify: lowest IoU with the mask that a polygon of fewer points may have; None keeps it exact.
        first_id: id of the first category: 1, as COCO has it, or 0.
    """

    name: ClassVar[str] = "coco"
    segmentation: Segmentation = "polygon"
    simplify: float | None = None
    first_id: Literal[0, 1] = 1

    @property
    def judge(self) -> str:
        """Who reads the regions back."""
        return "masks, by pycocotools"

    def image_path(self, item: Item) -> str:
        """`images/<split>/<name>.<suffix>`."""
        return f"images/{item.split}/{item.file_name}"

    def refuse(self, plan: Plan) -> None:
        """COCO holds any plan."""

    def encode(self, item: Item, image: AnnotatedImage, labels: LabelMap) -> Encoded:
        """One annotation a region, without its ids: these follow from what comes before."""
        rows = tuple(orjson.dumps(self._annotation(region, item, image)) for region in image.regions)
        truths = (run_lengths(region, image.height, image.width) for region in image.regions)
        ious = (intersection_over_union(_read_back(row, image), truth) for row, truth in zip(rows, truths, strict=True))
        return Encoded(item, image.width, image.height, rows, tuple(ious))

    def write(self, out: Path, plan: Plan, encoded: Iterable[Encoded]) -> None:
        """One file a split, one record a line."""
        (out / "annotations").mkdir()
        with ExitStack() as stack:
            files = {
                split: stack.enter_context(
                    _SplitFile(out / "annotations" / f"instances_{split}.json", plan, self.first_id)
                )
                for split in plan.split_names
            }
            for image in encoded:
                files[image.item.split].add(image)

    def next_step(self, out: Path) -> str:
        """What torchvision's own reader takes; COCO has no one trainer."""
        return (
            f"torchvision.datasets.CocoDetection({str(out / 'images' / 'train')!r}, "
            f"{str(out / 'annotations' / 'instances_train.json')!r})"
        )

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        """A JSON file with images and annotations, in the usual places."""
        return any(True for _ in _annotation_files(folder))

    @classmethod
    def check(cls, folder: Path) -> Iterator[Finding]:
        """See the findings' codes in docs/findings.md."""
        images_by_split: dict[str, list[Path]] = {}
        categories: dict[str, list[tuple[int, str]]] = {}
        for file in _annotation_files(folder):
            try:
                yield from _FileCheck(file, folder).run(images_by_split, categories)
            except ExportError as error:
                yield Finding("bad-json", error.reason, str(file))
        yield from _differing_categories(folder, categories)
        yield from checks.shared_images(images_by_split)

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
    return _mask_of(orjson.loads(row)["segmentation"], image.height, image.width)


def _mask_of(segmentation: Any, height: int, width: int) -> Rle:
    """The mask of a COCO segmentation, by pycocotools, as `COCO.annToRLE` has it."""
    if isinstance(segmentation, list):
        return rasterise(segmentation, height, width)
    counts = segmentation["counts"]
    if isinstance(counts, list):
        return compress(counts, height, width)
    return {"size": [height, width], "counts": counts.encode()}


class _SplitFile:
    """One annotation file in the making: annotations are spooled beside it, so that memory stays flat."""

    def __init__(self, path: Path, plan: Plan, first_id: int) -> None:
        self._file: IO[bytes] = path.open("wb")
        self._spool: IO[bytes] = path.with_suffix(".part").open("w+b")
        self._images = self._annotations = 0
        categories = [
            {
                "id": label.id + first_id,
                "name": label.name,
                "supercategory": label.members[0][0]
                if len({category for category, _ in label.members}) == 1
                else "defect",
            }
            for label in plan.labels.classes
        ]
        info = {"description": f"converted by mvtec-convert {mvtec_convert.__version__}"}
        head = {"info": info, "licenses": [], "categories": categories}
        self._file.write(orjson.dumps(head)[:-1] + b',\n"images":[')

    def __enter__(self) -> _SplitFile:
        return self

    def add(self, image: Encoded) -> None:
        """Append an image and its annotations; ids count from 1."""
        self._images += 1
        record = {
            "id": self._images,
            "file_name": image.item.file_name,
            "width": image.width,
            "height": image.height,
        }
        self._file.write((b"\n" if self._images == 1 else b",\n") + orjson.dumps(record))
        for row in image.rows:
            self._annotations += 1
            comma = b"\n" if self._annotations == 1 else b",\n"
            self._spool.write(comma + b'{"id":%d,"image_id":%d,' % (self._annotations, self._images) + row[1:])

    def __exit__(self, *error: object) -> None:
        with self._file, self._spool:
            self._file.write(b'\n],\n"annotations":[')
            self._spool.seek(0)
            shutil.copyfileobj(self._spool, self._file)
            self._file.write(b"\n]}\n")
        Path(self._spool.name).unlink()


# --- checking --------------------------------------------------------------------------------------------------------


def _annotation_files(folder: Path) -> Iterator[Path]:
    """The annotation files of a dataset folder (or the one file given), in the layouts of COCO and Roboflow."""
    if folder.is_file():
        candidates = [folder]
    else:
        patterns = ("annotations/*.json", "*/_annotations.coco.json", "_annotations.coco.json", "*.json")
        candidates = [path for pattern in patterns for path in sorted(folder.glob(pattern))]
    for path in candidates:
        if _looks_like_coco(path):
            yield path


def _looks_like_coco(path: Path) -> bool:
    """Whether the file says images and annotations near its beginning or end; a damaged file still counts."""
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


class _FileCheck:
    """The checks of one annotation file."""

    def __init__(self, path: Path, folder: Path) -> None:
        self.path = path
        self.folder = folder if folder.is_dir() else path.parent
        self.data = read_bytes(path)
        self.lines: dict[str, list[int]] = {}

    def run(
        self, images_by_split: dict[str, list[Path]], categories_by_file: dict[str, list[tuple[int, str]]]
    ) -> Iterator[Finding]:
        """Every finding of the file; its images and categories are added to the arguments."""
        document = parse_json(self.data, self.path)
        if not isinstance(document, dict):
            yield self.finding("schema", "not an object with images, annotations and categories")
            return
        missing = [key for key in ("images", "annotations", "categories") if not isinstance(document.get(key), list)]
        if missing:
            yield self.finding("schema", f"no list of {', '.join(missing)}")
            return
        images, found = self.records(document, "images", Image)
        yield from found
        annotations, found = self.records(document, "annotations", Annotation)
        yield from found
        categories, found = self.records(document, "categories", Category)
        yield from found
        for key, records in (("images", images), ("annotations", annotations), ("categories", categories)):
            yield from self.repeated(key, [(i, record.id) for i, record in records])
        categories_by_file[self.path.name] = sorted((category.id, category.name) for _, category in categories)
        image_folder = self.images_folder([image for _, image in images])
        split = self.path.stem.removeprefix("instances_")
        split = self.path.parent.name if split == "_annotations.coco" else split
        images_by_split[split] = [image_folder / image.file_name for _, image in images]
        yield from self.check_images(images, image_folder)
        yield from self.check_annotations(annotations, {image.id: image for _, image in images}, categories)

    def finding(self, code: str, message: str, key: str | None = None, index: int = 0, **more: Any) -> Finding:
        """A finding about record `index` of the list `key`, or about the whole file."""
        line = None
        if key is not None:
            if key not in self.lines:
                self.lines[key] = lines_of_records(self.data, key)
            line = self.lines[key][index] if index < len(self.lines[key]) else None
            message = f"{key}[{index}]: {message}"
        return Finding(code, message, str(self.path), line, **more)

    def records(
        self, document: dict[str, Any], key: str, model: type[Record]
    ) -> tuple[list[tuple[int, Record]], list[Finding]]:
        """The (index, record) that fit the model, and a finding for each thing wrong with the others."""
        good: list[tuple[int, Record]] = []
        findings: list[Finding] = []
        for i, record in enumerate(document[key]):
            try:
                good.append((i, model.model_validate(record)))
            except ValidationError as error:
                findings += [self.finding("schema", problem, key, i) for problem in problems(error)[:3]]
        return good, findings

    def repeated(self, key: str, ids: Sequence[tuple[int, int]]) -> Iterator[Finding]:
        """Ids that occur twice."""
        first: dict[int, int] = {}
        for i, value in ids:
            if first.setdefault(value, i) != i:
                yield self.finding("duplicate-id", f"id {value} is also that of {key}[{first[value]}]", key, i)

    def images_folder(self, images: Sequence[Image]) -> Path:
        """The folder that `file_name` is relative to: the first usual one that holds the first image."""
        split = self.path.stem.removeprefix("instances_")
        usual = [
            self.folder / "images" / split, self.path.parent, self.folder / split, self.folder / "images", self.folder,
        ]  # fmt: skip
        names = [image.file_name for image in images[:20]]
        return max(usual, key=lambda candidate: sum((candidate / name).is_file() for name in names))

    def check_images(self, images: Sequence[tuple[int, Image]], folder: Path) -> Iterator[Finding]:
        """File names, files and sizes."""
        first: dict[str, int] = {}
        for i, image in images:
            name = image.file_name
            if first.setdefault(name, i) != i:
                yield self.finding("duplicate-image", f"{name} is also images[{first[name]}]", "images", i)
            if "\\" in name:
                hint = "use forward slashes"
                yield self.finding(
                    "windows-path", f"{name}: backslashes are read on Windows only", "images", i, hint=hint
                )
            if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or ":" in name[:2]:
                hint = "write it relative to the images folder"
                yield self.finding("outside-folder", f"{name} leads out of the dataset", "images", i, hint=hint)
            else:
                yield from checks.image(folder / name, (image.width, image.height))
        if not images:
            yield self.finding("empty-split", "no image")

    def check_annotations(
        self,
        annotations: Sequence[tuple[int, Annotation]],
        images: dict[int, Image],
        categories: Sequence[tuple[int, Category]],
    ) -> Iterator[Finding]:
        """References, geometry and class counts."""
        known = {category.id: category.name for _, category in categories}
        counts: Counter[int] = Counter()
        seen: dict[tuple[int, int, tuple[float, ...], float], int] = {}
        for i, annotation in annotations:
            counts[annotation.category_id] += 1
            image = images.get(annotation.image_id)
            if annotation.id == 0:
                message = "id 0: pycocotools' evaluation treats it as unmatched"
                yield self.finding("id-zero", message, "annotations", i, hint="count from 1")
            if annotation.iscrowd:
                hint = "set iscrowd to 0, unless it really is a crowd"
                yield self.finding(
                    "crowd", "iscrowd is 1: trainers skip it", "annotations", i, severity="warning", hint=hint
                )
            if annotation.category_id not in known:
                yield self.finding("unknown-category", f"no category {annotation.category_id}", "annotations", i)
            if image is None:
                yield self.finding("unknown-image", f"no image {annotation.image_id}", "annotations", i)
                continue
            key = (annotation.image_id, annotation.category_id, annotation.bbox, annotation.area)
            if seen.setdefault(key, i) != i:
                message = f"same image, category, box and area as annotations[{seen[key]}]"
                yield self.finding("duplicate-annotation", message, "annotations", i, severity="warning")
            for code, message, severity in _geometry(annotation, image):
                yield self.finding(code, message, "annotations", i, severity=severity)
        for category_id, name in known.items():
            if not counts[category_id]:
                message = f"no annotation of category {category_id} ({name})"
                yield self.finding("unused-category", message, severity="warning")


def _geometry(annotation: Annotation, image: Image) -> Iterator[tuple[str, str, Literal["error", "warning"]]]:
    """(code, message, severity) of everything wrong with one annotation's box, area and segmentation."""
    x, y, width, height = annotation.bbox
    if x < 0 or y < 0 or x + width > image.width or y + height > image.height:
        box = ", ".join(f"{value:g}" for value in annotation.bbox)
        yield "outside-image", f"bbox [{box}] reaches outside the image of {image.width} x {image.height} px", "error"
    segmentation = annotation.segmentation
    if isinstance(segmentation, list):
        if not segmentation:
            yield "empty-segmentation", "no polygon", "error"
            return
        for j, polygon in enumerate(segmentation):
            if len(polygon) % 2:
                yield "odd-polygon", f"polygon {j} has {len(polygon)} numbers; points are pairs", "error"
                return
            if min(polygon) < -1 or max(polygon[::2]) > image.width + 1 or max(polygon[1::2]) > image.height + 1:
                yield "outside-image", f"polygon {j} reaches outside the image", "error"
                return
        document: Any = segmentation
    else:
        if tuple(segmentation.size) != (image.height, image.width):
            yield (
                "rle-size",
                f"size {list(segmentation.size)} is not the image's [{image.height}, {image.width}]",
                "error",
            )
            return
        wrong = unsound(segmentation.size, segmentation.counts)
        if wrong:
            yield "bad-rle", wrong, "error"
            return
        document = segmentation.model_dump()
    mask = _mask_of(document, image.height, image.width)
    found = bounding_box(mask)
    if found is None:
        yield "empty-segmentation", "the segmentation covers no pixel", "error"
        return
    iou = float(coco_mask.iou([list(annotation.bbox)], [list(found)], [0])[0, 0])
    if iou < LEAST_BOX_IOU:
        yield "box-and-mask", f"bbox has IoU {iou:.2f} with the extent of its segmentation, {list(found)}", "warning"


def _differing_categories(folder: Path, categories: dict[str, list[tuple[int, str]]]) -> Iterator[Finding]:
    files = list(categories)
    for name in files[1:]:
        if categories[name] != categories[files[0]]:
            message = f"{name} and {files[0]} have different categories"
            yield Finding(
                "category-mismatch", message, str(folder), hint="one list of categories must serve every split"
            )
