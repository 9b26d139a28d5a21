"""What YOLO-World reads beside a YOLO dataset: the same classes and regions, in words.

    data_world.yaml                     `names` are phrases, synonyms joined by `/`
    world/class_texts.json              `[[phrase, synonym, ...], ...]`, by class id
    world/grounding_{train,val}.json    COCO with `caption` and `tokens_positive`, about images/{train,val}

`data_world.yaml` is read by Ultralytics' `YOLOMultiModalDataset`, the grounding files by its `GroundingDataset` and by
`YOLOv5MixedGroundingDataset` of AILab-CVC/YOLO-World, whose `MultiModalDataset` reads `class_texts.json`. Polygons run
through pixel centres, as in YOLO's own labels: Ultralytics fills both in the same way, and reads no RLE here. It leaves
out images without an annotation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import yaml
from pydantic import TypeAdapter, ValidationError

from mvtec_convert import checks, coco_checks
from mvtec_convert.checks import JsonFile
from mvtec_convert.coco_file import CocoWriter
from mvtec_convert.dataset import SplitName
from mvtec_convert.errors import SelectionError
from mvtec_convert.findings import Finding
from mvtec_convert.formats import Encoded
from mvtec_convert.geometry.regions import AnnotatedImage
from mvtec_convert.jsonio import save_json
from mvtec_convert.plan import Item, Plan
from mvtec_convert.schemas import problems
from mvtec_convert.schemas.yolo import DataYaml
from mvtec_convert.schemas.yolo_world import ClassTexts, GroundingAnnotation, GroundingImage
from mvtec_convert.yaml_checks import open_yaml

DATA_FILE = "data_world.yaml"
FOLDER = "world"
TEXTS_FILE = f"{FOLDER}/class_texts.json"
GROUNDING = "grounding_"
BETWEEN = ". "
"""Between the phrases of a caption."""


# --- writing ---------------------------------------------------------------------------------------------------------


def refuse(plan: Plan) -> None:
    """YOLO-World learns by boxes alone, and tells classes apart by their phrases.

    Raises:
        SelectionError: a split without a defective image, or a phrase that stands for two classes.
    """
    for split in plan.split_names:
        if all(item.sample.is_good for item in plan.items if item.split == split):
            raise SelectionError(
                f"YOLO-World cannot start on a split without a box, and {split} has good images only",
                hint="use --split supervised, with more images or other --ratios",
            )
    owners: dict[str, str] = {}
    for label, texts in zip(plan.labels.classes, class_texts(plan), strict=True):
        for phrase in dict.fromkeys(text.casefold() for text in texts):
            owner = owners.setdefault(phrase, label.name)
            if owner != label.name:
                raise SelectionError(
                    f"the phrase {phrase!r} stands for two classes, {owner} and {label.name}",
                    hint="give one of them phrases of its own with --phrases, or choose other --names",
                )


def class_texts(plan: Plan) -> list[list[str]]:
    """The phrases of each class, by class id: the one to ask for, then synonyms."""
    return [list(plan.phrases.of_class(label)) for label in plan.labels.classes]


def grounding_rows(item: Item, image: AnnotatedImage, outlines: Sequence[npt.NDArray[np.float64]]) -> tuple[bytes, ...]:
    """The caption, then each region as JSON without its ids.

    Args:
        item: which image.
        image: with its regions.
        outlines: of each region, as Ultralytics shall fill it, px, shape (points, 2).
    """
    caption, spans = _caption(item, image)
    records = (
        {
            "category_id": item.class_of(region).id + 1,
            "bbox": region.bbox,
            "area": region.area,
            "iscrowd": 0,
            "segmentation": [points.round(4).ravel().tolist()],
            "tokens_positive": [spans[region.defect_type]],
        }
        for region, points in zip(image.regions, outlines, strict=True)
    )
    return (caption.encode(), *map(orjson.dumps, records))


def _caption(item: Item, image: AnnotatedImage) -> tuple[str, dict[str, list[int]]]:
    """What is said of an image: the phrase of each defect type that it shows, joined as in GLIP's captions.

    Returns:
        The caption, empty for a good image, and for each defect type where its phrase starts and ends in it.
    """
    caption, spans = "", {}
    for defect_type in sorted(set(image.defect_types)):
        caption += BETWEEN if caption else ""
        start = len(caption)
        caption += item.classes[defect_type].phrases[0]
        spans[defect_type] = [start, len(caption)]
    return caption, spans


def save_yaml(document: dict[str, Any], path: Path) -> None:
    """Write a `data.yaml`, in the order of its keys."""
    text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=1000)
    path.write_text(text, encoding="utf-8", newline="\n")


class WorldWriter(ExitStack):
    """The files of one export in the making; images are added one by one, so that memory stays flat."""

    def __init__(self, out: Path, plan: Plan, data_yaml: dict[str, Any]) -> None:
        super().__init__()
        texts = class_texts(plan)
        names = {i: "/".join(phrases) for i, phrases in enumerate(texts)}
        save_yaml({**data_yaml, "names": names}, out / DATA_FILE)
        (out / FOLDER).mkdir()
        save_json(texts, out / TEXTS_FILE)
        categories = [{"id": i, "name": phrases[0]} for i, phrases in enumerate(texts, start=1)]
        self._files: dict[SplitName, CocoWriter] = {
            split: self.enter_context(CocoWriter(out / FOLDER / f"{GROUNDING}{split}.json", categories))
            for split in plan.split_names
        }

    def add(self, image: Encoded, rows: Sequence[bytes]) -> None:
        """Append an image, of which `rows` say what `grounding_rows` gave."""
        caption, *records = rows
        record = {"file_name": image.item.file_name, "width": image.width, "height": image.height}
        self._files[image.item.split].add({**record, "caption": caption.decode()}, records)


# --- checking --------------------------------------------------------------------------------------------------------


def check(folder: Path) -> Iterator[Finding]:
    """Check these files in a YOLO dataset's folder, those that are there; never raises on bad content."""
    count = _class_count(folder / "data.yaml")
    yield from _check_names(folder / DATA_FILE, count)
    yield from _check_class_texts(folder / TEXTS_FILE, count)
    for path in sorted((folder / FOLDER).glob(f"{GROUNDING}*.json")):
        file = checks.open_json(path, "see `mvtec-convert schema yolo_world` for the form")
        if isinstance(file, Finding):
            yield file
        else:
            yield from _check_grounding(file, folder / "images" / path.stem.removeprefix(GROUNDING))


def _class_count(data_yaml: Path) -> int | None:
    """How many classes the labels have; None where that is not known (and told elsewhere)."""
    file = open_yaml(data_yaml, "") if checks.is_file(data_yaml) else None
    if file is None or isinstance(file, Finding):
        return None
    try:
        return len(DataYaml.model_validate(file.document).names_by_id()) or None
    except ValidationError:
        return None


def _check_names(path: Path, count: int | None) -> Iterator[Finding]:
    """The phrases of data_world.yaml."""
    if not checks.is_file(path):
        return
    file = open_yaml(path, "write train, val and names; see `mvtec-convert schema yolo`")
    if isinstance(file, Finding):
        yield file
        return
    try:
        names = DataYaml.model_validate(file.document).names_by_id()
    except ValidationError as error:
        yield from file.schema_findings(problems(error))
        return
    texts = [name.split("/") for _, name in sorted(names.items())]
    yield from (file.finding("class-texts", *problem) for problem in _wrong_texts(texts, count, "names"))


def _check_class_texts(path: Path, count: int | None) -> Iterator[Finding]:
    """The phrases of class_texts.json."""
    if not checks.is_file(path):
        return
    file = checks.open_json(path, "a list of phrases for each class: [[phrase, synonym], ...]")
    if isinstance(file, Finding):
        yield file
        return
    try:
        texts = TypeAdapter(ClassTexts).validate_python(file.document)
    except ValidationError as error:
        yield from file.schema_findings(problems(error))
        return
    yield from (
        file.finding("class-texts", message, hint=hint) for message, _, _, hint in _wrong_texts(texts, count, "")
    )


def _wrong_texts(texts: Sequence[Sequence[str]], count: int | None, key: str) -> Iterator[tuple[str, str, Any, str]]:
    """(message, key, severity, hint) of what is wrong with the phrases of the classes."""
    if count is not None and len(texts) != count:
        yield f"phrases of {len(texts)} classes, but labels of {count}", key, "error", "give each class its phrases"
    owners: dict[str, int] = {}
    for i, phrases in enumerate(texts):
        for phrase in phrases:
            if phrase != phrase.strip() or not phrase:
                hint = "write no space beside a /, and nothing empty"
                yield (
                    f"class {i} has the phrase {phrase!r}, which trainers look up without its spaces",
                    key,
                    "error",
                    hint,
                )
            elif owners.setdefault(phrase.casefold(), i) != i:
                hint = "give each class phrases of its own"
                yield f"classes {owners[phrase.casefold()]} and {i} share the phrase {phrase!r}", key, "error", hint


def _check_grounding(file: JsonFile, images_folder: Path) -> Iterator[Finding]:
    """One grounding file."""
    document = file.document
    if not isinstance(document, dict):
        yield from file.schema_findings(["not an object with images, annotations and categories"])
        return
    missing = [key for key in ("images", "annotations", "categories") if not isinstance(document.get(key), list)]
    if missing:
        yield from file.schema_findings([f"no list of {', '.join(missing)}"])
        return
    images: list[tuple[int, GroundingImage]] = []
    annotations: list[tuple[int, GroundingAnnotation]] = []
    yield from coco_checks.read_records(file, "images", GroundingImage, images)
    yield from coco_checks.read_records(file, "annotations", GroundingAnnotation, annotations)
    for i, image in images:
        if checks.leads_out(image.file_name):
            hint = "write it relative to the images of the split"
            yield file.finding("outside-folder", f"{image.file_name} leads out of the dataset", "images", i, hint=hint)
        else:
            yield from checks.image(images_folder / image.file_name, (image.width, image.height))
    if not document["annotations"]:
        message = "no annotation, and images without one are left out: no trainer can start"
        yield file.finding("no-annotations", message, hint="use --split supervised")
    by_id = {image.id: image for _, image in images}
    known = {record.get("id") for record in document["images"] if isinstance(record, dict)}
    for i, instance in annotations:
        if instance.image_id not in known:
            message = f"no image has the id {instance.image_id}"
            yield file.finding("unknown-image", message, "annotations", i, hint="mend image_id, or add the image")
        elif instance.image_id in by_id:
            yield from _check_box(file, i, instance, by_id[instance.image_id])
            yield from _check_phrase(file, i, instance, by_id[instance.image_id].caption)


def _check_box(file: JsonFile, i: int, instance: GroundingAnnotation, image: GroundingImage) -> Iterator[Finding]:
    """Whether a box lies in the image, and is as large as a pixel."""
    for code, message, severity, hint in coco_checks.outside_box(instance.bbox, image):
        yield file.finding(code, message, "annotations", i, severity, hint)
    if min(instance.bbox[2:]) < 1:
        message = f"bbox {coco_checks.short(instance.bbox)} is below 1 px: YOLO-World's own loader leaves it out"
        yield file.finding("thin-box", message, "annotations", i, "warning", "write the box in px, not in shares")


def _check_phrase(file: JsonFile, i: int, instance: GroundingAnnotation, caption: str) -> Iterator[Finding]:
    """Whether an annotation has a phrase, and a mask that the readers can read."""
    # Python forgives a slice beyond the end; the phrase is then another one than was meant.
    cut = [caption[start:end] if end <= len(caption) else "" for start, end in instance.tokens_positive]
    if not all(part.strip() for part in cut):
        message = f"tokens_positive {instance.tokens_positive} cuts no phrase out of {caption[:60]!r}"
        yield file.finding("caption-span", message, "annotations", i, hint="write start and end in characters")
    if not isinstance(instance.segmentation, list):
        message = "run lengths: trainers take the box for the mask"
        yield file.finding("rle-mask", message, "annotations", i, "warning", "write polygons")
