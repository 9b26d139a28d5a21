"""Checks of COCO files, for every format that is built on them.

They say what pycocotools, and what reads through it, would choke on or learn wrong; docs/findings.md explains codes.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Container, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial
from hashlib import blake2b
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ValidationError

from mvtec_convert import checks
from mvtec_convert.checks import Firsts, JsonFile
from mvtec_convert.coco_file import mask_of
from mvtec_convert.findings import Finding, Severity
from mvtec_convert.geometry.headers import MAX_PIXELS
from mvtec_convert.geometry.rle import area_and_box, unsound
from mvtec_convert.jsonio import IN_PART, RecordLines
from mvtec_convert.runs.workers import WORTH_FORKING, in_order
from mvtec_convert.schemas import problems
from mvtec_convert.schemas.coco import Annotation, Category, Image, Rle

LEAST_BOX_IOU = 0.5  # contour points, as most tools write them, make a 2 px wide mask half as wide
ROUNDING = 1.0  # px that boxes and polygons may reach over the border; tools count edges in different ways
SIMILAR_AREA = 1.25  # times; what a simplified polygon, or one through pixel centres, may well be off
FALSE_AREA = 4.0  # times; from here on no way of drawing explains it
LONGEST_OUTLINE = 4e6  # px; pycocotools takes 80 bytes for each
NAMES_TRIED = 20  # file names looked for in each of the folders where images usually lie
FARTHEST = 1e8  # px; pycocotools computes in fifths of a pixel, as C ints

SACO_KEY = b'"text_input"'
"""A key of SA-Co's rows, which look like COCO's images but are one for each image and phrase."""

MOST_WORDS = 30
"""A prompt of more words does not fit: SAM 3 reads 32 tokens, with begin and end, and no word takes less than one.
facebookresearch/sam3 cuts the rest off (`context_length`), transformers' Sam3Model refuses it."""

WORD = re.compile(r"'(?:s|t|re|ve|m|ll|d)|[^\W\d_]+|\d|(?:[^\w\s]|_)+", re.IGNORECASE)
"""What CLIP's tokenizer, which is SAM 3's, takes for a word: letters, each digit, or signs in a row."""

Problem: TypeAlias = tuple[str, str, Severity, str]
"""Code, message, severity and hint."""

Polygon: TypeAlias = npt.NDArray[np.float64]
"""x0, y0, x1, y1, ... px."""

Extent: TypeAlias = tuple[float, float]
"""Of a polygon: its smallest and its largest coordinate, x or y; px."""

Record = TypeVar("Record", bound=BaseModel)
Result = TypeVar("Result")


class Sized(Protocol):
    """Anything with a width and a height, px."""

    @property
    def width(self) -> int: ...  # noqa: D102

    @property
    def height(self) -> int: ...  # noqa: D102


class Size(NamedTuple):
    """Of an image, px."""

    width: int
    height: int


AlsoInFile: TypeAlias = Callable[["FileCheck"], Iterable[Finding]]
"""What else a trainer wants of a file, asked after the rest."""

AlsoInAnnotation: TypeAlias = Callable[[Annotation, Size | None], Iterable[Problem]]
"""What else a trainer wants of an annotation, given with the size of its image, if it has one."""


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
    """Whether its place or its content says so; a damaged file in the right place still counts, a dead link too."""
    is_in_place = path.parent.name == "annotations" or path.name == "_annotations.coco.json"
    if not checks.is_file(path):
        return is_in_place and checks.is_no_file(path) and not checks.is_folder(path)
    try:
        with path.open("rb") as file:
            start = file.read(1 << 16)
            file.seek(max(0, path.stat().st_size - (1 << 16)))
            text = start + file.read()
    except OSError:
        return False
    if SACO_KEY in start:
        return False
    if is_in_place:
        return True
    return b'"images"' in text and (b'"annotations"' in text or b'"categories"' in text)


def check(
    folder: Path,
    files: Sequence[Path],
    schema: str = "coco",
    also: AlsoInFile = lambda _: (),
    also_each: AlsoInAnnotation = lambda *_: (),
) -> Iterator[Finding]:
    """Check a dataset. Annotation files that are laid out as this package writes them may be larger than memory.

    Args:
        folder: the dataset, or its one annotation file.
        files: its annotation files.
        schema: name of the schema to point to.
        also: what else to check in each file, after the rest.
        also_each: what else to check in each annotation.
    """
    if not files:
        hint = "it should lie in annotations/, or be called _annotations.coco.json"
        yield Finding("no-annotation-file", "no JSON file with images and annotations", str(folder), hint=hint)
    root = dataset_root(folder)
    images: dict[str, Iterable[str]] = {}
    categories: dict[Path, list[tuple[int, str]]] = {}
    on_disk: list[FileCheck] = []
    for path in files:
        file = checks.open_records(path, f"see `mvtec-convert schema {schema}` for the form")
        if isinstance(file, Finding):
            yield file
            continue
        if wrong := not_coco(file):
            yield from file.schema_findings([wrong])
            continue
        inner = FileCheck(file, root)
        yield from inner.check_records()
        # Two files of one name in different folders are two splits.
        split = inner.split if inner.split not in images else path.relative_to(root).as_posix()
        images[split] = map(partial(os.path.join, inner.folder), inner.image_names)
        if inner.categories:
            categories[path] = sorted((category.id, category.name) for _, category in inner.categories)
        if inner.is_on_disk:
            on_disk.append(inner)
        else:
            yield from _check_content([inner], also, also_each)
        del inner, file  # they may hold all of the file
    yield from _check_content(on_disk, also, also_each, checks.shared_images(images))
    for path, found in categories.items():
        first = next(iter(categories))
        if found != categories[first]:
            message = f"the categories are not those of {first.relative_to(root).as_posix()}"
            hint = "one list of categories must serve every split"
            yield Finding("category-mismatch", message, str(path), hint=hint)


def _check_content(
    inners: Sequence[FileCheck], also: AlsoInFile, also_each: AlsoInAnnotation, in_all: Iterable[Finding] = ()
) -> Iterator[Finding]:
    """What is left once the records are known, told by image, then by annotation.

    Args:
        inners: the files; if they are left on disk, and large, several processes look at their images and annotations.
        also: see `check`.
        also_each: see `check`.
        in_all: what is wrong with the images of all files together, found out when it is asked for.
    """
    images = [partial(inner.look_at_images, part) for inner in inners for part in inner.image_parts()]
    annotations = [partial(inner.look, part, also_each) for inner in inners for part in inner.parts]
    jobs: list[Callable[[], list[Any]]] = [*images, partial(list, in_all), *annotations]
    are_shared_out = len(jobs) >= WORTH_FORKING and all(inner.is_on_disk for inner in inners)
    with closing(in_order(_done, jobs, 0 if are_shared_out else 1)) as looks:
        for findings in islice(looks, len(images) + 1):
            yield from findings
        for inner in inners:
            yield from inner.check_annotations(islice(looks, len(inner.parts)))
            yield from inner.check_categories()
            yield from also(inner)


def _done(job: Callable[[], Result]) -> Result:
    return job()


def dataset_root(folder: Path) -> Path:
    """The dataset's top folder, where the dataset's folder or one annotation file was given."""
    root = folder if folder.is_dir() else folder.parent
    return root.parent if root.name == "annotations" else root


def split_of(file: Path) -> str:
    """What an annotation file seems to be about ("train"), by its name or its folder's."""
    name = file.stem.removeprefix("instances_")
    return file.parent.name if name == "_annotations.coco" else name


def not_coco(file: JsonFile) -> str | None:
    """Why the document is not an object of three lists, or None."""
    document = file.document
    if not isinstance(document, dict):
        return "not an object with images, annotations and categories"
    lists = (list, RecordLines)
    missing = [key for key in ("images", "annotations", "categories") if not isinstance(document.get(key), lists)]
    return f"no list of {', '.join(missing)}" if missing else None


def each_record(file: JsonFile, key: str, model: type[Record]) -> Iterator[tuple[int, Record] | Finding]:
    """The records of a list that fit the model, with their places; in between, what is wrong with the others.

    Ids that occur twice are told as well.
    """
    first = Firsts()
    for i, document in enumerate(file.document[key]):
        try:
            record = model.model_validate(document)
        except ValidationError as error:
            yield from file.schema_findings(problems(error), key, i)
            continue
        yield i, record
        yield from _repeated(file, key, i, document["id"], first)


def _repeated(file: JsonFile, key: str, index: int, number: int, first: Firsts) -> Iterator[Finding]:
    """Whether a record's id is another's; `first` is added to."""
    if (earlier := first.setdefault(number, index)) != index:
        message = f"id {number} is also that of {key}[{earlier}]"
        yield file.finding("duplicate-id", message, key, index, hint=f"give each of the {key} its own id")


def read_records(
    file: JsonFile, key: str, model: type[Record], into: list[tuple[int, Record]]
) -> Generator[Finding, None, None]:
    """Collect what `each_record` gives, and tell what is wrong; see `checks.sound`."""
    for found in each_record(file, key, model):
        if isinstance(found, Finding):
            yield found
        else:
            into.append(found)


class _Look(NamedTuple):
    """What an annotation says by itself.

    Attributes:
        id: of the annotation, as all up to `area` are.
        image_id: see `Annotation`.
        category_id: see `Annotation`.
        bbox: see `Annotation`.
        area: see `Annotation`.
        has_mask: whether it has a segmentation.
        has_compressed_rle: whether that is a string.
        references: what it points to that is not there.
        others: everything else that is wrong with it.
    """

    id: int
    image_id: int
    category_id: int
    bbox: tuple[float, float, float, float]
    area: float
    has_mask: bool
    has_compressed_rle: bool
    references: tuple[Problem, ...]
    others: tuple[Problem, ...]


class FileCheck:
    """The checks of one annotation file, which may be larger than memory: no record is kept but the categories.

    Attributes:
        file: what is checked.
        root: the dataset's folder.
        split: what it seems to be about ("train").
        folder: where its images lie.
        image_names: the images of the file that lie in the dataset's folder, relative to `folder`.
        image_sizes: what the file says of each of these.
        sizes: of all images that fit the schema, by id.
        all_sized: whether all images do.
        image_ids: of all images, as far as they have one.
        category_ids: of all categories, likewise.
        is_on_disk: whether the annotations are read anew whenever they are looked at; else they are in memory.
        parts: the annotations in pieces; all of them at once where they are in memory.
        categories: (index, category) of all that fit the schema.
        used: number of annotations of each category, by its id.
        has_compressed_rle: whether a mask is given as compressed run lengths.
    """

    def __init__(self, file: JsonFile, root: Path) -> None:
        self.file = file
        self.root = root
        self.split = split_of(file.path)
        self.folder = file.path.parent
        self.image_names: list[str] = []
        self.image_sizes: list[Size] = []
        self.sizes: dict[int, Size] = {}
        self.all_sized = True
        self.image_ids: Container[int] = ()
        self.category_ids: Container[int] = ()
        annotations = file.document["annotations"]
        self.is_on_disk = isinstance(annotations, RecordLines)
        self.parts: Sequence[Iterable[Any]] = annotations.parts() if self.is_on_disk else [annotations]
        self.categories: list[tuple[int, Category]] = []
        self.used: Counter[int] = Counter()
        self.has_compressed_rle = False

    def check_records(self) -> Iterator[Finding]:
        """Categories and images, as the file says them."""
        yield from read_records(self.file, "categories", Category, self.categories)
        yield from self._check_images()
        self.image_ids = self.sizes if self.all_sized else self.ids("images")
        self.category_ids = self.ids("categories")

    def ids(self, key: str) -> Container[int]:
        """The ids of all records, also of those with something else wrong, which is told elsewhere."""
        found = Firsts()
        for i, record in enumerate(self.file.document[key]):
            if isinstance(record, dict) and isinstance(record.get("id"), int):
                found.setdefault(record["id"], i)
        return found

    def _check_images(self) -> Iterator[Finding]:
        self.folder = images_folder(usual_folders(self.file.path, self.root), self._first_names())
        first: dict[str, int] = {}
        known: dict[Size, Size] = {}  # mostly one, for a hundred thousand images
        for found in each_record(self.file, "images", Image):
            if isinstance(found, Finding):
                self.all_sized &= found.code != "schema"
                yield found
                continue
            i, image = found
            name, size = image.file_name, Size(image.width, image.height)
            self.sizes[image.id] = size = known.setdefault(size, size)
            if first.setdefault(name, i) != i:
                message = f"{name} is also images[{first[name]}]"
                yield self.file.finding("duplicate-image", message, "images", i, hint="list each image once")
            elif wrong := wrong_name(name):
                code, message, severity, hint = wrong
                yield self.file.finding(code, message, "images", i, severity, hint)
            else:
                self.image_names.append(name)
                self.image_sizes.append(size)
        if not self.file.document["images"]:
            yield self.file.finding("empty-split", f"{self.split} has no image", hint="add its images")

    def image_parts(self) -> list[range]:
        """The images in pieces."""
        return [range(start, start + IN_PART) for start in range(0, len(self.image_names), IN_PART)]

    def look_at_images(self, part: range) -> list[Finding]:
        """Whether the images are there, sound, and of the size that the file says."""
        folder = str(self.folder)
        those = slice(part.start, part.stop)
        return [
            finding
            for name, size in zip(self.image_names[those], self.image_sizes[those], strict=True)
            for finding in checks.image(os.path.join(folder, name), size)  # noqa: PTH118 - of each image
        ]

    def _first_names(self) -> list[str]:
        """The file names of the first images that fit the schema."""
        records = (found for found in each_record(self.file, "images", Image) if not isinstance(found, Finding))
        return [image.file_name for _, image in islice(records, NAMES_TRIED)]

    def check_categories(self) -> Iterator[Finding]:
        """Names, and whether each category is used."""
        first: dict[str, int] = {}
        for i, category in self.categories:
            if first.setdefault(category.name, i) != i:
                message = f"{category.name!r} is also the name of categories[{first[category.name]}]"
                yield self.file.finding("class-names", message, "categories", i, hint="give each class its own name")
            if not self.used[category.id] and self.used:
                message = f"no annotation of category {category.id} ({category.name})"
                hint = "fine if meant so; else add such images, or remove it from every split"
                yield self.file.finding("unused-category", message, "categories", i, "warning", hint)
        if not self.file.document["annotations"]:
            hint = "fine if all its images are meant to be background"
            message = f"{self.split} has no annotation at all"
            yield self.file.finding("no-annotations", message, None, 0, "warning", hint)

    def check_annotations(self, looks: Iterable[list[_Look | list[str]]]) -> Iterator[Finding]:
        """References and geometry."""
        first: dict[bytes, int] = {}
        first_ids = Firsts()
        without_mask: list[int] = []
        for i, found in enumerate(chain.from_iterable(looks)):
            if not isinstance(found, _Look):
                yield from self.file.schema_findings(found, "annotations", i)
                continue
            yield from self._told(i, found.references)
            yield from self._told(i, _twice(found, i, first))
            yield from self._told(i, found.others)
            yield from _repeated(self.file, "annotations", i, found.id, first_ids)
            self.used[found.category_id] += 1
            self.has_compressed_rle |= found.has_compressed_rle
            if not found.has_mask:
                without_mask.append(i)
        yield from self._judge_missing(without_mask)

    def look(self, part: Iterable[Any], also_each: AlsoInAnnotation) -> list[_Look | list[str]]:
        """What each of some annotations says, or in what it does not fit the schema."""
        return [self._look(document, also_each) for document in part]

    def _look(self, document: Any, also_each: AlsoInAnnotation) -> _Look | list[str]:
        """What one annotation says, or in what it does not fit the schema."""
        try:
            annotation = Annotation.model_validate(document)
        except ValidationError as error:
            return problems(error)
        size = self.sizes.get(annotation.image_id)
        others = list(also_each(annotation, size))
        if size is not None and size.width * size.height <= MAX_PIXELS:
            others += _geometry(annotation, size)
        segmentation = annotation.segmentation
        return _Look(
            annotation.id,
            annotation.image_id,
            annotation.category_id,
            annotation.bbox,
            annotation.area,
            has_mask=bool(segmentation),
            has_compressed_rle=isinstance(segmentation, Rle) and isinstance(segmentation.counts, str),
            references=tuple(references(annotation, self.image_ids, self.category_ids)),
            others=tuple(others),
        )

    def _told(self, index: int, wrong: Iterable[Problem]) -> Iterator[Finding]:
        """What is wrong with an annotation, as findings."""
        for code, message, severity, hint in wrong:
            yield self.file.finding(code, message, "annotations", index, severity, hint)

    def _judge_missing(self, without_mask: list[int]) -> Iterator[Finding]:
        """Annotations without a mask are sound if none has one."""
        if len(without_mask) < self.used.total():
            for i in without_mask:
                message = "no polygon, though others of this file have some"
                yield self.file.finding("empty-segmentation", message, "annotations", i, hint="draw it")
        elif without_mask:
            hint = "fine for a detector"
            message = "no annotation has a segmentation: only boxes can be learnt from this file"
            yield self.file.finding("only-boxes", message, None, 0, "warning", hint)


def usual_folders(file: Path, root: Path) -> list[Path]:
    """Where the images of an annotation file may lie, the likeliest place first."""
    split = split_of(file)
    usual = [root / "images" / split, file.parent, root / split, root / "images", root]
    return [file.parent, *usual] if file.name == "_annotations.coco.json" else usual


def images_folder(usual: Sequence[Path], names: Sequence[str]) -> Path:
    """The folder that file names are relative to: of the usual ones the first that holds most of the first images."""
    some = [name for name in names[:NAMES_TRIED] if not checks.leads_out(name)]
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
    words = len(WORD.findall(text))
    if words > MOST_WORDS:
        message = f"a prompt of {words} words, digits and signs: what follows the 32nd token is cut off"
        yield "long-prompt", message, "warning", "use a few words"


def references(annotation: Annotation, image_ids: Container[int], category_ids: Container[int]) -> Iterator[Problem]:
    """What an annotation points to that is not there, and what evaluations make of it."""
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


def outside_box(box: Sequence[float], image: Sized) -> Iterator[Problem]:
    """What of a box (x, y, width, height) in px is beyond the image."""
    x, y, width, height = box
    beyond = max(-x, -y, x + width - image.width, y + height - image.height)
    if beyond > 0.001:
        message = f"bbox {short(box)} reaches outside the image of {image.width} x {image.height} px"
        yield "outside-image", message, "error" if beyond > ROUNDING else "warning", "cut it at the border"


def _twice(annotation: _Look, index: int, first: dict[bytes, int]) -> Iterator[Problem]:
    """Whether an annotation repeats another; `first`, the index of the first of each, is added to."""
    said = (annotation.image_id, annotation.category_id, annotation.bbox, annotation.area)
    key = blake2b(repr(said).encode(), digest_size=16).digest()  # a fraction of the memory
    if first.setdefault(key, index) != index:
        message = f"same image, category, box and area as annotations[{first[key]}]"
        yield "duplicate-annotation", message, "warning", "keep one"


def _geometry(annotation: Annotation, size: Size) -> Iterator[Problem]:
    """Box, segmentation if there is one, and whether they and the area agree."""
    yield from outside_box(annotation.bbox, size)
    segmentation = annotation.segmentation
    if not segmentation:
        return
    said: dict[str, Any] | list[Polygon]
    if isinstance(segmentation, Rle):
        said, wrong = segmentation.model_dump(), unreadable(segmentation, size)
    else:
        said = [np.array(polygon, np.float64) for polygon in segmentation]
        extents = list(map(_extent, said))
        wrong = _outside(said, extents, size) or _unreadable_polygons(said, extents, size)
    if wrong is not None:
        yield wrong
        return
    mask = mask_of(said, size.height, size.width)
    area, found = area_and_box(mask)
    if found is None:
        yield "empty-segmentation", "the segmentation covers no pixel", "error", "remove the annotation, or redraw it"
        return
    iou = box_iou(annotation.bbox, found)
    if iou < LEAST_BOX_IOU:
        message = f"bbox {short(annotation.bbox)} has IoU {iou:.2f} with the extent of its mask, {short(found)}"
        yield "box-and-mask", message, "warning" if iou else "error", "compute the box from the segmentation"
    yield from _wrong_area(annotation, area)


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


def unreadable(segmentation: Sequence[Sequence[float]] | Rle, image: Sized) -> Problem | None:
    """What pycocotools must not be given: it raises, computes nonsense, takes all memory or crashes; or None.

    Args:
        segmentation: of an instance of the image.
        image: its size, px.
    """
    if isinstance(segmentation, Rle):
        return wrong_rle(segmentation.size, segmentation.counts, image)
    polygons = [np.array(polygon, np.float64) for polygon in segmentation]
    return _unreadable_polygons(polygons, list(map(_extent, polygons)), image)


def _unreadable_polygons(polygons: Sequence[Polygon], extents: Sequence[Extent], image: Sized) -> Problem | None:
    if not polygons:
        return "empty-segmentation", "no polygon, though others of this file have some", "error", "draw it"
    longest = 0.0  # px that the outlines may have at most: with each point as far from the one before as any two are
    for j, (polygon, extent) in enumerate(zip(polygons, extents, strict=True)):
        if len(polygon) % 2:
            return "odd-polygon", f"polygon {j} has {len(polygon)} numbers, but points are pairs", "error", "redraw it"
        low, high = extent
        if max(-low, high) > FARTHEST:
            message = f"polygon {j} reaches outside the image of {image.width} x {image.height} px"
            return "outside-image", message, "error", "cut it at the border"
        longest += (high - low) * len(polygon) / 2
    if longest > LONGEST_OUTLINE and (length := sum(map(_outline, polygons))) > LONGEST_OUTLINE:
        return "long-outline", f"the outline is {length:,.0f} px long; it was not checked", "warning", "write RLE"
    return None


def _extent(polygon: Polygon) -> Extent:
    return float(polygon.min()), float(polygon.max())


def _outside(polygons: Sequence[Polygon], extents: Sequence[Extent], image: Sized) -> Problem | None:
    for j, (polygon, (low, high)) in enumerate(zip(polygons, extents, strict=True)):
        beyond = max(-low, high - min(image.width, image.height))
        if beyond > ROUNDING:  # perhaps only an x where the image is wider than high
            beyond = max(-low, polygon[::2].max() - image.width, polygon[1::2].max() - image.height)
        if beyond > ROUNDING:
            message = f"polygon {j} reaches outside the image of {image.width} x {image.height} px"
            return "outside-image", message, "error", "cut it at the border"
    return None


def wrong_rle(size: tuple[int, int], counts: str | list[int], image: Sized) -> Problem | None:
    """What is wrong with run lengths of a mask of the image, or None; pycocotools may crash on those that are wrong."""
    if size != (image.height, image.width):
        message = f"size {list(size)} is not the image's [height, width] [{image.height}, {image.width}]"
        return "rle-size", message, "error", "encode the mask at the size of its image"
    wrong = unsound(size, counts)
    return ("bad-rle", wrong, "error", "encode the mask again") if wrong else None


def _outline(polygon: Sequence[float] | Polygon) -> float:
    """Length of the closed line as pycocotools walks it, the longer of dx and dy for each step; px."""
    points = np.asarray(polygon).reshape(-1, 2)
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
