"""SA-Co's annotation files, for evaluating models that are asked in words: SAM 3 and what is compared with it.

    annotations/saco_{train,val}.json
    images/{train,val}/<name>.png       `file_name` is relative to `images`

One row of `images` is one question, an image and a phrase (`text_input`), numbered by `queried_category`; a row without
annotations is a negative: the phrase means nothing on that image. Boxes (`x, y, width, height`) and `area`, the number
of mask pixels, are shares of the image's; masks are compressed RLE in px. `category_id` is always 1.

A defective image is asked for the defects that it shows, and as negatives for the others of its category; a good one
for all of them. MVTec AD's `combined` shows several defects at once, and does not say where which is: an image with
such a region has no negatives, and its phrase is asked as a negative of good images alone. A row whose regions
`--min-area` made fewer is not exhaustive.

Sources, in github.com/facebookresearch/sam3: scripts/eval/gold/README.md, "Annotation format"; the loader
`SAM3_EVAL_API_FROM_JSON_NP` in sam3/train/data/coco_json_loaders.py, which reads the rows but no annotation, so that it
evaluates only; `CGF1Evaluator` in sam3/eval/cgf1_eval.py, which reads both, and leaves rows out whose
`is_instance_exhaustive` is 0. What `categories` holds in the published files is not documented; here it is one, 1.
"""

from __future__ import annotations

import shlex
from collections import Counter, defaultdict
from collections.abc import Generator, Iterable, Iterator, Sequence, Set
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import orjson

from mvtec_convert import checks, coco_checks, coco_file, coco_labels
from mvtec_convert.checks import JsonFile
from mvtec_convert.coco_checks import Problem
from mvtec_convert.coco_file import CocoWriter
from mvtec_convert.dataset import SplitName
from mvtec_convert.findings import Finding
from mvtec_convert.formats import Encoded
from mvtec_convert.geometry.headers import MAX_PIXELS
from mvtec_convert.geometry.regions import AnnotatedImage, Region
from mvtec_convert.geometry.rle import Rle, area_and_box, decode, run_lengths
from mvtec_convert.labelled import (
    LabelledImage,
    LabelledObject,
    bounded,
    key_of,
    split_named,
    split_order,
    whole_region,
)
from mvtec_convert.labels import LabelMap
from mvtec_convert.opening import open_file
from mvtec_convert.plan import Item, Plan
from mvtec_convert.schemas import coco
from mvtec_convert.schemas.saco import Annotation, Row

CATEGORY = {"id": 1, "name": "object"}

SEVERAL_DEFECTS = {"combined"}
"""Defect types whose images show other defect types of the category as well."""

ROUNDING = 1.0  # px that a box may differ from the extent of its mask
ABOVE_ONE = 1e-4  # shares rounded to single precision may be above 1


@dataclass(frozen=True, slots=True)
class SaCo:
    """The format; it has no options."""

    name: ClassVar[str] = "saco"

    @property
    def judge(self) -> str:
        """Who reads the regions back."""
        return coco_file.JUDGE

    def image_path(self, item: Item) -> str:
        """`images/<split>/<name>.<suffix>`."""
        return f"images/{_file_name(item)}"

    def refuse(self, plan: Plan) -> None:
        """SA-Co holds any plan."""

    def encode(self, item: Item, image: AnnotatedImage, labels: LabelMap) -> Encoded:
        """The defect types of which regions are lacking; then an annotation a region, without ids."""
        annotations = [_annotation(region, image) for region in image.regions]
        ious = coco_file.fidelity((annotation["segmentation"] for annotation in annotations), image)
        rows = (orjson.dumps(image.incomplete), *map(orjson.dumps, annotations))
        return Encoded(item, image.width, image.height, image.defect_types, rows, ious)

    def write(self, out: Path, plan: Plan, encoded: Iterable[Encoded]) -> None:
        """One file a split, one record a line."""
        questions = _Questions(plan)
        with ExitStack() as stack:
            files = {
                split: stack.enter_context(CocoWriter(out / _annotations(split), [CATEGORY]))
                for split in plan.split_names
            }
            for image in encoded:
                lacking, *annotations = image.rows
                answers = _answers(image, annotations)
                incomplete = set(orjson.loads(lacking))
                doubtful = {image.item.classes[defect_type].phrases[0] for defect_type in incomplete}
                for phrase in questions.of(image.item, {*image.defect_types, *incomplete}):
                    exhaustive = int(phrase not in doubtful)
                    record = {
                        "file_name": _file_name(image.item),
                        "text_input": phrase,
                        "width": image.width,
                        "height": image.height,
                        "queried_category": questions.number(phrase),
                        "is_instance_exhaustive": exhaustive,
                        "is_pixel_exhaustive": exhaustive,
                    }
                    files[image.item.split].add(record, answers.get(phrase, ()))

    def next_step(self, out: Path) -> str:
        """The evaluator of SAM 3's repository; it takes any model's predictions in COCO's results format."""
        annotations = shlex.quote(str(out / "annotations" / "saco_SPLIT.json"))
        return f"python scripts/eval/standalone_cgf1.py --pred_file PREDICTIONS.json --gt_files {annotations}"

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        """Files that speak of `text_input`."""
        return bool(_annotation_files(folder))

    @classmethod
    def check(cls, folder: Path) -> Iterator[Finding]:
        """Check a dataset folder, or one annotation file; the codes are explained in docs/findings.md."""
        yield from checks.limited(_check(folder))

    @classmethod
    def read(cls, folder: Path) -> Iterator[LabelledImage]:
        """Each image once, with the phrases that it is asked for; masks by pycocotools, phrases for classes."""
        root = coco_checks.dataset_root(folder)
        for content in _contents(folder):
            yield from _images(content, root)

    @classmethod
    def class_names(cls, folder: Path) -> tuple[str, ...]:
        """Every phrase that is asked, by its number."""
        rows = (row for content in _contents(folder) for _, row in content.rows)
        numbers = {row.text_input: int(row.queried_category) for row in rows}
        return tuple(sorted(numbers, key=lambda phrase: (numbers[phrase], phrase)))


FORMAT = SaCo
READERS = "SA-Co's evaluation of models asked in words"


class _Questions:
    """Which phrases an image is asked for."""

    def __init__(self, plan: Plan) -> None:
        members = sorted({member for label in plan.labels.classes for member in label.members})
        self._phrases = {member: plan.phrases.of(*member)[0] for member in members}
        self._numbers = {phrase: str(i) for i, phrase in enumerate(dict.fromkeys(self._phrases.values()))}

    def number(self, phrase: str) -> str:
        """The same for the same phrase in the whole export."""
        return self._numbers[phrase]

    def of(self, item: Item, shown: Set[str]) -> list[str]:
        """All phrases of the category that have an answer; of all categories where it has none of its own.

        Args:
            item: the image.
            shown: the defect types on it.
        """
        own = {
            defect: phrase for (category, defect), phrase in self._phrases.items() if category == item.sample.category
        }
        if item.sample.is_good:
            return list(dict.fromkeys((own or self._phrases).values()))
        absent = set() if shown & SEVERAL_DEFECTS else own.keys() - SEVERAL_DEFECTS
        asked = {own[defect] for defect in shown | absent}
        return [phrase for phrase in dict.fromkeys(own.values()) if phrase in asked]


def _answers(image: Encoded, annotations: Sequence[bytes]) -> dict[str, list[bytes]]:
    """The annotations of an image by the phrase that asks for them."""
    answers: dict[str, list[bytes]] = {}
    for defect_type, annotation in zip(image.defect_types, annotations, strict=True):
        answers.setdefault(image.item.classes[defect_type].phrases[0], []).append(annotation)
    return answers


def _file_name(item: Item) -> str:
    return f"{item.split}/{item.file_name}"


def _annotations(split: SplitName) -> str:
    return f"annotations/saco_{split}.json"


def _annotation(region: Region, image: AnnotatedImage) -> dict[str, Any]:
    x, y, width, height = region.bbox
    rle = run_lengths(region, image.height, image.width)
    return {
        "source": "manual",
        "area": region.area / (image.width * image.height),
        "bbox": [x / image.width, y / image.height, width / image.width, height / image.height],
        "segmentation": {"counts": rle["counts"].decode(), "size": rle["size"]},
        "category_id": CATEGORY["id"],
        "iscrowd": 0,
    }


# --- reading ---------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Content:
    """One annotation file, and its records that fit the schema, each with its place."""

    file: JsonFile
    rows: list[tuple[int, Row]] = field(default_factory=list)
    annotations: list[tuple[int, Annotation]] = field(default_factory=list)
    categories: list[tuple[int, coco.Category]] = field(default_factory=list)

    def parse(self) -> Generator[Finding, None, None]:
        """Collect the records, and tell what is wrong with the others; see `checks.sound`."""
        wrong = coco_checks.not_coco(self.file)
        if wrong:
            yield from self.file.schema_findings([wrong])
            return
        yield from coco_checks.read_records(self.file, "images", Row, self.rows)
        yield from coco_checks.read_records(self.file, "annotations", Annotation, self.annotations)
        yield from coco_checks.read_records(self.file, "categories", coco.Category, self.categories)


def _contents(folder: Path) -> Iterator[_Content]:
    """The annotation files, one at a time."""
    files = _annotation_files(folder)
    coco_labels.refuse_none(folder, files)
    for path in sorted(files, key=lambda path: split_order(_split_of(path))):
        content = _Content(checks.read_json(path, coco_labels.HINT))
        checks.sound(content.parse(), coco_labels.FORGIVEN)
        yield content


def _images(content: _Content, root: Path) -> Iterator[LabelledImage]:
    """The images of one file, in the order in which they are first asked."""
    file = content.file
    by_row = _by_row(content)
    questions: dict[str, list[tuple[int, Row]]] = {}
    for i, row in content.rows:
        questions.setdefault(row.file_name, []).append((i, row))
    folder = _images_folder(file, root, content.rows)
    for name, asked in questions.items():
        place, first = asked[0]
        coco_labels.refuse(file, "images", place, coco_checks.wrong_name(name))
        coco_labels.refuse_large(file, place, first)
        for i, row in asked:
            if (row.width, row.height) != (first.width, first.height):
                message = f"{row.width} x {row.height} px, but images[{place}] says {first.width} x {first.height}"
                coco_labels.refuse(file, "images", i, ("image-size", message, "error", "write the image's size"))
        objects = (_object(file, i, annotation, row) for _, row in asked for i, annotation in by_row[row.id])
        yield LabelledImage(
            image=folder / name,
            key=key_of(folder / name, root),
            name=(folder / name).stem,
            split=split_named(_split_of(file.path)),
            width=first.width,
            height=first.height,
            objects=bounded(objects, file.path),
            asked=tuple(dict.fromkeys(row.text_input for _, row in asked)),
        )


def _split_of(file: Path) -> str:
    return file.stem.removeprefix("saco_")


def _by_row(content: _Content) -> dict[int, list[tuple[int, Annotation]]]:
    """The annotations of each row, with their places; raises ExportError where one points to nothing."""
    ids = {key: _ids(content.file.document[key]) for key in ("images", "categories")}
    found: dict[int, list[tuple[int, Annotation]]] = defaultdict(list)
    for i, annotation in content.annotations:
        for problem in _references(annotation, ids["images"], ids["categories"]):
            if problem[2] == "error":
                coco_labels.refuse(content.file, "annotations", i, problem)
        found[annotation.image_id].append((i, annotation))
    return found


def _object(file: JsonFile, index: int, annotation: Annotation, row: Row) -> LabelledObject:
    rle = annotation.segmentation
    coco_labels.refuse(file, "annotations", index, coco_checks.wrong_rle(rle.size, rle.counts, row))
    x, y, width, height = annotation.bbox
    return LabelledObject(
        class_name=row.text_input,
        box=(x * row.width, y * row.height, (x + width) * row.width, (y + height) * row.height),
        region=whole_region(decode({"size": list(rle.size), "counts": rle.counts.encode()})),
        text=row.text_input,
        is_crowd=bool(annotation.iscrowd),
    )


# --- checking --------------------------------------------------------------------------------------------------------


def _annotation_files(folder: Path) -> list[Path]:
    """The annotation files of a folder (or the one file given); a damaged one in the right place still counts."""
    if checks.is_file(folder):
        return [folder] if _says_saco(folder) else []
    found = [path for pattern in ("annotations/*.json", "*.json") for path in sorted(folder.glob(pattern))]
    return [path for path in found if path.name.startswith("saco_") or _says_saco(path)]


def _says_saco(path: Path) -> bool:
    try:
        with open_file(path) as file:
            return coco_checks.SACO_KEY in file.read(1 << 16)
    except OSError:
        return False


def _check(folder: Path) -> Iterator[Finding]:
    files = _annotation_files(folder)
    if not files:
        hint = "it should lie in annotations/, its images with a text_input each"
        yield Finding("no-annotation-file", "no JSON file with images and phrases", str(folder), hint=hint)
    root = coco_checks.dataset_root(folder)
    images: dict[str, list[Path]] = {}
    for path in files:
        file = checks.open_json(path, "see `mvtec-convert schema saco` for the form")
        if isinstance(file, Finding):
            yield file
            continue
        content = _Content(file)
        yield from content.parse()
        if not coco_checks.not_coco(file):
            yield from _check_content(content, root, images.setdefault(path.stem, []))
    yield from checks.shared_images(images)


def _check_content(content: _Content, root: Path, image_paths: list[Path]) -> Iterator[Finding]:
    file, rows, annotations = content.file, content.rows, content.annotations
    yield from _check_images(file, root, rows, image_paths)
    yield from _check_questions(file, rows)
    yield from _check_annotations(file, rows, annotations)
    if not file.document["images"]:
        yield file.finding("empty-split", f"{file.path.stem} has no row", hint="add its images")
    answered = {annotation.image_id for _, annotation in annotations}
    if not file.document["annotations"]:
        hint = "fine if all its images are meant to be good"
        yield file.finding("no-annotations", f"{file.path.stem} has no annotation at all", None, 0, "warning", hint)
    elif all(row.id in answered for _, row in rows):
        hint = "ask good images too, and images for what is not on them"
        message = "every row has an annotation: nothing tells a model that finds too much from a good one"
        yield file.finding("no-negatives", message, None, 0, "warning", hint)


def _check_images(
    file: JsonFile, root: Path, rows: list[tuple[int, Row]], image_paths: list[Path]
) -> Iterator[Finding]:
    """File names, files and sizes, of each image once; adds the files to `image_paths`."""
    folder = _images_folder(file, root, rows)
    told: set[tuple[str, int, int]] = set()
    for i, row in rows:
        image = (row.file_name, row.width, row.height)
        if image in told:
            continue
        told.add(image)
        wrong = coco_checks.wrong_name(row.file_name)
        if wrong is not None:
            code, message, severity, hint = wrong
            yield file.finding(code, message, "images", i, severity, hint)
            continue
        image_paths.append(folder / row.file_name)
        yield from checks.image(folder / row.file_name, (row.width, row.height))


def _images_folder(file: JsonFile, root: Path, rows: list[tuple[int, Row]]) -> Path:
    """The folder that `file_name` is relative to."""
    usual = (root / "images", root, file.path.parent, root / "images" / file.path.stem)
    return coco_checks.images_folder(usual, list(dict.fromkeys(row.file_name for _, row in rows)))


def _check_questions(file: JsonFile, rows: list[tuple[int, Row]]) -> Iterator[Finding]:
    """Phrases, their numbers, and whether each is asked once."""
    first: dict[tuple[str, str], int] = {}
    numbers: dict[str, int] = {}
    phrases: dict[int, str] = {}
    for i, row in rows:
        question = (row.file_name, row.text_input)
        if first.setdefault(question, i) != i:
            message = f"{row.file_name} is asked for {row.text_input!r} by images[{first[question]}] as well"
            yield file.finding("duplicate-row", message, "images", i, hint="ask once, with all annotations")
        if row.text_input not in numbers:
            for code, message, severity, hint in coco_checks.wrong_prompt(row.text_input):
                yield file.finding(code, message, "images", i, severity, hint)
        number = int(row.queried_category)
        if numbers.setdefault(row.text_input, number) != number:
            message = f"{row.text_input!r} has the numbers {numbers[row.text_input]} and {number}"
            yield file.finding(
                "phrase-number", message, "images", i, "warning", "give each phrase one queried_category"
            )
        elif phrases.setdefault(number, row.text_input) != row.text_input:
            message = f"the number {number} means {phrases[number]!r} and {row.text_input!r}"
            yield file.finding("phrase-number", message, "images", i, "warning", "give each phrase its own number")
        if not row.is_instance_exhaustive:
            message = "not every instance is annotated, so the evaluator leaves the row out"
            hint = "annotate them all and set is_instance_exhaustive to 1"
            yield file.finding("not-exhaustive", message, "images", i, "warning", hint)


def _check_annotations(
    file: JsonFile, rows: list[tuple[int, Row]], annotations: list[tuple[int, Annotation]]
) -> Iterator[Finding]:
    by_id = {row.id: row for _, row in rows}
    ids = {key: _ids(file.document[key]) for key in ("images", "categories")}
    for i, annotation in annotations:
        found = list(_references(annotation, ids["images"], ids["categories"]))
        row = by_id.get(annotation.image_id)
        if row is not None and row.width * row.height <= MAX_PIXELS:
            found += _wrong_geometry(annotation, row)
        for code, message, severity, hint in found:
            yield file.finding(code, message, "annotations", i, severity, hint)


def _ids(records: list[Any]) -> Counter[int]:
    """The ids of all records, also of those with something else wrong, which were told already."""
    return Counter(r["id"] for r in records if isinstance(r, dict) and isinstance(r.get("id"), int))


def _references(annotation: Annotation, rows: Counter[int], categories: Counter[int]) -> Iterator[Problem]:
    if annotation.image_id not in rows:
        yield "unknown-image", f"no row has id {annotation.image_id}", "error", "mend image_id, or add the row"
    if annotation.category_id not in categories:
        message = f"no category has id {annotation.category_id}, so the evaluator does not see the annotation"
        yield "unknown-category", message, "error", "set category_id to 1, and list that category"
    if annotation.iscrowd:
        message = "iscrowd is 1: whatever lies in it counts as found"
        yield "crowd", message, "warning", "set iscrowd to 0, unless it really is a crowd"


def _wrong_geometry(annotation: Annotation, row: Row) -> Iterator[Problem]:
    """Box, mask, and whether they and the area agree."""
    x, y, width, height = annotation.bbox
    if min(x, y) < -ABOVE_ONE or max(x + width, y + height, annotation.area) > 1 + ABOVE_ONE:
        message = f"bbox {coco_checks.short(annotation.bbox)} or area {annotation.area:g} is no share of the image"
        yield "not-normalised", message, "error", "divide px by the image's width and height, and area by both"
        return
    rle = annotation.segmentation
    wrong = coco_checks.wrong_rle(rle.size, rle.counts, row)
    if wrong is not None:
        yield wrong
        return
    mask: Rle = {"size": list(rle.size), "counts": rle.counts.encode()}
    pixels, box = area_and_box(mask)
    if box is None:
        yield "empty-segmentation", "the mask covers no pixel", "error", "remove the annotation, or redraw it"
        return
    area = annotation.area * row.width * row.height
    if abs(area - pixels) >= 1:
        message = f"area is {area:.1f} px, the mask has {pixels} pixels"
        yield "area", message, "error", "write the number of mask pixels, divided by the image's"
    scaled = (x * row.width, y * row.height, width * row.width, height * row.height)
    if max(abs(a - b) for a, b in zip(scaled, box, strict=True)) > ROUNDING:
        message = f"bbox is {coco_checks.short(scaled)} px, the mask's extent {coco_checks.short(box)}"
        yield "box-and-mask", message, "error", "compute the box from the mask"
