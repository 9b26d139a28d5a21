"""SA-1B with prompts, for fine-tuning promptable segmenters (SAM and its kin).

    {train,val}/<name>.json     one file an image: masks as compressed RLE, each with box, points and phrase
    {train,val}/<name>.png      the image beside it

The keys of SA-1B (segment-anything's README, "Dataset") are all there; `class_id`, `class_name` and `prompts` are
added, which readers of SA-1B ignore. Boxes and points: see `mvtec_convert.prompts`.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
from pycocotools import mask as coco_mask
from pydantic import ValidationError

from mvtec_convert import checks, sa1b
from mvtec_convert.checks import JsonFile
from mvtec_convert.findings import Finding
from mvtec_convert.formats import Encoded
from mvtec_convert.images import MAX_PIXELS
from mvtec_convert.labels import LabelMap
from mvtec_convert.plan import Item, Plan
from mvtec_convert.prompts import PromptOptions
from mvtec_convert.publish import MANIFEST
from mvtec_convert.regions import AnnotatedImage
from mvtec_convert.rle import (
    Rle,
    bounding_box,
    decompress,
    unsound,
)
from mvtec_convert.schemas import problems
from mvtec_convert.schemas.sam import Annotation, Image, SamFile

OTHER_FILES = {MANIFEST, "classes.json", "splits.json"}


@dataclass(frozen=True, slots=True)
class Sam:
    """Options of the format.

    Attributes:
        prompts: which prompts each region gets.
    """

    name: ClassVar[str] = "sam"
    prompts: PromptOptions = field(default_factory=PromptOptions)

    @property
    def judge(self) -> str:
        """Who reads the regions back."""
        return sa1b.JUDGE

    def image_path(self, item: Item) -> str:
        """`<split>/<name>.<suffix>`."""
        return f"{item.split}/{item.file_name}"

    def refuse(self, plan: Plan) -> None:
        """SA-1B holds any plan."""

    def encode(self, item: Item, image: AnnotatedImage, labels: LabelMap) -> Encoded:
        """The image's whole JSON document."""
        return sa1b.encode(item, image, labels, self.prompts, {"file_name": item.file_name})

    def write(self, out: Path, plan: Plan, encoded: Iterable[Encoded]) -> None:
        """One JSON file an image."""
        for split in plan.split_names:
            (out / split).mkdir(exist_ok=True)
        for image in encoded:
            (out / image.item.split / f"{image.item.name}.json").write_bytes(image.rows[0] + b"\n")

    def next_step(self, out: Path) -> str:
        """SAM is fine-tuned by a script; this is the file to begin with."""
        return f"python examples/finetune_sam.py --data {shlex.quote(str(out))}"

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        """JSON files that say `image` and `annotations`, in the folder or one below, under names of their own."""
        return sa1b.is_sa1b(folder, numbered=False)

    @classmethod
    def check(cls, folder: Path) -> Iterator[Finding]:
        """Check a dataset folder; the codes are explained in docs/findings.md."""
        yield from checks.limited(_check(folder))


FORMAT = Sam


# --- checking --------------------------------------------------------------------------------------------------------


def _json_files(folder: Path) -> list[Path]:
    """The files that say what SA-1B says, and damaged ones that lie beside an image of their name."""
    if not folder.is_dir():
        return []
    found = (path for pattern in ("*.json", "*/*.json") for path in folder.glob(pattern))
    return sorted(path for path in found if path.name not in OTHER_FILES and (_says_sa1b(path) or _has_image(path)))


def _says_sa1b(path: Path) -> bool:
    if not checks.is_file(path):
        return False
    try:
        with path.open("rb") as file:
            start = file.read(1 << 12)
            file.seek(max(0, path.stat().st_size - (1 << 12)))
            text = start + file.read()
    except OSError:
        return False
    return b'"image"' in text and b'"images"' not in text and b'"annotations"' in text


def _has_image(path: Path) -> bool:
    return any(checks.is_file(path.with_suffix(suffix)) for suffix in checks.IMAGE_SUFFIXES)


def _check(folder: Path) -> Iterator[Finding]:
    files = _json_files(folder)
    if not files:
        hint = "each image needs a JSON file of its name beside it"
        yield Finding("no-annotation-file", "no JSON file with an image and its annotations", str(folder), hint=hint)
    images_by_split: dict[str, list[Path]] = {}
    masks: Counter[str] = Counter()
    ids: dict[int, Path] = {}
    for path in files:
        split = path.relative_to(folder).parent.name or folder.resolve().name
        images = images_by_split.setdefault(split, [])
        file = checks.open_json(path, "see `mvtec-convert schema sam` for the form")
        if isinstance(file, Finding):
            yield file
            continue
        try:
            content = SamFile.model_validate(file.document)
        except ValidationError as error:
            yield from file.schema_findings(problems(error))
            continue
        masks[split] += len(content.annotations)
        yield from _check_image(file, content.image, images, ids)
        yield from _check_annotations(file, content)
    # A file that cannot be read still tells which image is its own.
    stems = {path.with_suffix("") for path in files}
    for split, images in images_by_split.items():
        place = folder / split if (folder / split).is_dir() else folder
        if not masks[split]:
            hint = "fine if all its images are meant to be background"
            yield Finding("no-masks", f"{split} has no mask at all", str(place), severity="warning", hint=hint)
        for path in sorted({*checks.images_below(place)} - {*images}):
            if path.with_suffix("") not in stems:
                hint = "write its JSON file, with no annotations if nothing is on it, or remove the image"
                yield Finding("orphan-image", "an image without its JSON file", str(path), hint=hint)
    yield from checks.shared_images(images_by_split)


def _check_image(file: JsonFile, image: Image, images: list[Path], ids: dict[int, Path]) -> Iterator[Finding]:
    """The image that the file is about; added to `images` if it lies beside the file."""
    first = ids.setdefault(image.image_id, file.path)
    if first != file.path:
        message = f"image_id {image.image_id} is also that of {first.name}"
        yield file.finding("duplicate-id", message, hint="give each image its own id")
    if checks.leads_out(image.file_name) or "/" in image.file_name or "\\" in image.file_name:
        message = f"file_name {image.file_name} is not beside the file"
        yield file.finding("outside-folder", message, hint="put the image beside its JSON file; write its bare name")
        return
    path = file.path.parent / image.file_name
    images.append(path)
    yield from checks.image(path, (image.width, image.height))


def _check_annotations(file: JsonFile, content: SamFile) -> Iterator[Finding]:
    def finding(code: str, message: str, index: int, hint: str) -> Finding:
        return file.finding(code, message, "annotations", index, hint=hint)

    size = (content.image.height, content.image.width)
    sound: dict[int, Rle] = {}
    first: dict[int, int] = {}
    for i, annotation in enumerate(content.annotations):
        if first.setdefault(annotation.id, i) != i:
            message = f"id {annotation.id} is also that of annotations[{first[annotation.id]}]"
            yield finding("duplicate-id", message, i, "give each annotation its own id")
        rle = annotation.segmentation
        if rle.size != size:
            message = f"size {list(rle.size)} is not the image's [height, width] {list(size)}"
            yield finding("rle-size", message, i, "encode the mask at the size of its image")
        elif wrong := unsound(rle.size, rle.counts):
            yield finding("bad-rle", wrong, i, "encode the mask again")
        elif size[0] * size[1] <= MAX_PIXELS:
            sound[i] = {"size": list(rle.size), "counts": rle.counts.encode()}
            for code, message, hint in _wrong_mask(annotation, sound[i]):
                yield finding(code, message, i, hint)
    if any(content.annotations[i].prompts for i in sound):
        union: Rle = coco_mask.merge(list(sound.values()))
        for i, rle_of_one in sound.items():
            for code, message, hint in _wrong_prompts(content.annotations[i], rle_of_one, union):
                yield finding(code, message, i, hint)


def _wrong_mask(annotation: Annotation, rle: Rle) -> Iterator[tuple[str, str, str]]:
    """(code, message, hint) of what is wrong with area and box."""
    area, box = int(coco_mask.area(rle)), bounding_box(rle)
    if box is None:
        yield "empty-segmentation", "the mask covers no pixel", "remove the annotation, or redraw it"
        return
    if area != annotation.area:
        yield "area", f"area is {annotation.area}, the mask has {area} pixels", "write the number of mask pixels"
    # SA-1B's own boxes are a pixel short on the right and at the bottom.
    if max(abs(a - b) for a, b in zip(box, annotation.bbox, strict=True)) > 1:
        message = f"bbox {list(annotation.bbox)} is not the mask's extent {list(box)}"
        yield "box-and-mask", message, "compute the box from the mask"


def _wrong_prompts(annotation: Annotation, rle: Rle, union: Rle) -> Iterator[tuple[str, str, str]]:
    """(code, message, hint) of prompts that would teach something false; `union` is all masks of the image."""
    prompts = annotation.prompts
    if prompts is None:
        return
    x0, y0, x1, y1 = prompts.box
    x, y, width, height = annotation.bbox
    if not (x0 < x1 and y0 < y1 and x0 < x + width and x1 > x and y0 < y + height and y1 > y):
        message = f"the prompt's box {list(prompts.box)} does not meet the mask"
        yield "prompt-box", message, "write x0, y0, x1, y1 in px, around the mask"
    if len(prompts.points) != len(prompts.labels):
        message = f"{len(prompts.points)} points, but {len(prompts.labels)} labels"
        yield "point-labels", message, "write one label for each point"
        return
    rows, columns = rle["size"]
    inside, occupied = (_covers(mask, prompts.points) for mask in (rle, union))
    for i, ((px, py), label) in enumerate(zip(prompts.points, prompts.labels, strict=True)):
        if px >= columns or py >= rows:
            message = f"the point ({px:g}, {py:g}) lies outside the image"
        elif label and not inside[i]:
            message = f"the point ({px:g}, {py:g}) is labelled 1, but lies outside the mask"
        elif not label and occupied[i]:
            where = "this mask" if inside[i] else "another mask of the image"
            message = f"the point ({px:g}, {py:g}) is labelled 0, but lies in {where}"
        else:
            continue
        yield "point-label", message, "points are pixel indices x, y: label 1 in the mask, 0 off every mask"


def _covers(rle: Rle, points: Sequence[tuple[float, float]]) -> list[bool]:
    """For each point (x, y), px, whether the mask covers its pixel; False off the image. Decodes no mask."""
    rows, columns = rle["size"]
    ends = np.cumsum(decompress(rle))
    pixels = [int(x) * rows + int(y) if x < columns and y < rows else -1 for x, y in points]
    # Runs alternate, background first; a pixel's run is the first that ends beyond it.
    return [
        pixel >= 0 and run % 2 == 1 for pixel, run in zip(pixels, np.searchsorted(ends, pixels, "right"), strict=True)
    ]
