"""SA-1B files with prompts, for every format that is built on them: what a file says, and checks of what it says.

One file an image (segment-anything's README, "Dataset"), with `class_id`, `class_name` and `prompts` added to each
annotation, which readers of SA-1B ignore. Boxes and points: see `mvtec_convert.geometry.prompts`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import orjson
from pycocotools import mask as coco_mask

from mvtec_convert import checks
from mvtec_convert.checks import JsonFile, Paths
from mvtec_convert.errors import ExportError
from mvtec_convert.findings import Finding
from mvtec_convert.formats import Encoded
from mvtec_convert.geometry.headers import MAX_PIXELS
from mvtec_convert.geometry.images import BinaryMask
from mvtec_convert.geometry.prompts import PromptOptions, draw_prompts
from mvtec_convert.geometry.regions import AnnotatedImage, Region
from mvtec_convert.geometry.rle import (
    Rle,
    Runs,
    area_and_box,
    decode,
    intersection_over_union,
    run_ends,
    run_lengths,
    sound_runs,
)
from mvtec_convert.labelled import (
    UNNAMED,
    LabelledImage,
    LabelledObject,
    bounded,
    key_of,
    split_named,
    split_order,
    whole_region,
)
from mvtec_convert.plan import Item, load_class_names
from mvtec_convert.runs.publish import MANIFEST
from mvtec_convert.schemas.sam import Annotation, Prompts, SamFile

JUDGE = "masks, by pycocotools"
"""Who reads the masks back."""

OTHER_FILES = {MANIFEST, "classes.json", "splits.json"}
NUMBERED = re.compile(r"sa_\d+")

Content = TypeVar("Content", bound=SamFile)


def encode(item: Item, image: AnnotatedImage, prompts: PromptOptions, names: Mapping[str, str]) -> Encoded:
    """The image's whole JSON document, as one row.

    Args:
        item: which image; its id is the `image_id`.
        image: the image with its regions.
        prompts: which prompts each region gets.
        names: what the document calls the image: `file_name`, and other keys if need be.
    """
    # Only negative points ask which pixels are taken; an array of one value, seen as many, takes no memory.
    occupied = image.mask() if prompts.negatives else np.broadcast_to(np.uint8(0), (image.height, image.width))
    truths = [run_lengths(region, image.height, image.width) for region in image.regions]
    numbered = enumerate(zip(image.regions, truths, strict=True), start=1)
    annotations = [_annotation(i, region, truth, occupied, item, prompts) for i, (region, truth) in numbered]
    header = {"image_id": item.id, "width": image.width, "height": image.height, **names}
    document = orjson.dumps({"image": header, "annotations": annotations}, option=orjson.OPT_INDENT_2)
    read = [_read_back(annotation["segmentation"]) for annotation in orjson.loads(document)["annotations"]]
    ious = (intersection_over_union(mask, truth) for mask, truth in zip(read, truths, strict=True))
    return Encoded(item, image.width, image.height, image.defect_types, (document,), tuple(ious))


def _annotation(
    number: int, region: Region, rle: Rle, occupied: BinaryMask, item: Item, prompts: PromptOptions
) -> dict[str, Any]:
    height, width = occupied.shape
    meaning = item.class_of(region)
    prompt = draw_prompts(region, occupied, prompts, f"{item.sample.key}#{number}")
    return {
        "id": number,
        "segmentation": {"size": rle["size"], "counts": rle["counts"].decode()},
        "bbox": region.bbox,
        "area": region.area,
        "predicted_iou": 1.0,
        "stability_score": 1.0,
        "crop_box": [0, 0, width, height],
        "point_coords": prompt.points[:1],
        "class_id": meaning.id,
        "class_name": meaning.name,
        "prompts": {"box": prompt.box, "points": prompt.points, "labels": prompt.labels, "text": meaning.phrases[0]},
    }


def _read_back(segmentation: dict[str, Any]) -> Rle:
    return {"size": segmentation["size"], "counts": segmentation["counts"].encode()}


# --- reading ---------------------------------------------------------------------------------------------------------

HINT = "`mvtec-convert validate` tells all that is wrong"


def read(
    folder: Path, model: type[Content], image_of: Callable[[JsonFile, Content], tuple[Path, str]]
) -> Iterator[LabelledImage]:
    """Every image of a dataset, file by file.

    Args:
        folder: the dataset.
        model: of one file.
        image_of: path and name of the image that a file is about; raises ExportError where it must not be followed.

    Raises:
        ExportError: a file does not hold what its readers need; names file and line.
    """
    for path in sorted(_files_to_read(folder), key=lambda path: split_order(_split_of(path, folder))):
        file, content = checks.read_json_as(path, model, HINT)
        image, name = image_of(file, content)
        yield LabelledImage(
            image=image,
            key=key_of(image, folder),
            name=name,
            split=split_named(_split_of(path, folder)),
            width=content.image.width,
            height=content.image.height,
            objects=bounded(_objects(file, content), path),
        )


def class_names(folder: Path) -> tuple[str, ...]:
    """The classes that `classes.json` lists, else those of all annotations by their ids; see `read`."""
    saved = load_class_names(folder)
    if saved is not None:
        return saved
    found: set[tuple[int, str]] = set()
    for path in _files_to_read(folder):
        _, content = checks.read_json_as(path, SamFile, HINT)
        found |= {(annotation.class_id or 0, _class_name(annotation)) for annotation in content.annotations}
    return tuple(dict.fromkeys(name for _, name in sorted(found)))


def _split_of(path: Path, folder: Path) -> str:
    return path.relative_to(folder).parent.name or folder.resolve().name


def _files_to_read(folder: Path) -> Sequence[Path]:
    files = json_files(folder)
    if not files:
        hint = "each image needs a JSON file of its name beside it"
        raise ExportError("no JSON file with an image and its annotations", path=folder, hint=hint)
    return files


def _objects(file: JsonFile, content: SamFile) -> Iterator[LabelledObject]:
    size = (content.image.height, content.image.width)
    if size[0] * size[1] > MAX_PIXELS:
        message = f"{size[1]} x {size[0]} px is more than the {MAX_PIXELS:,} pixels this tool decodes"
        raise ExportError(message, path=file.path, hint="cut the image into tiles")
    for i, annotation in enumerate(content.annotations):
        prompts = annotation.prompts
        runs = _sound_runs(annotation, size)
        wrong = runs if isinstance(runs, tuple) else prompts and _wrong_labels(prompts)
        if wrong:
            code, message, hint = wrong
            raise checks.refusal(file.finding(code, message, "annotations", i, hint=hint))
        x, y, width, height = annotation.bbox
        points = [(*point, 1) for point in annotation.point_coords]
        if prompts is not None:
            points = [(*point, label) for point, label in zip(prompts.points, prompts.labels, strict=True)]
        yield LabelledObject(
            class_name=_class_name(annotation),
            box=(x, y, x + width, y + height),
            region=whole_region(decode(_as_rle(annotation))),
            points=tuple(points),
            prompt_box=prompts.box if prompts else None,
            text=prompts.text if prompts else None,
        )


def _class_name(annotation: Annotation) -> str:
    return annotation.class_name or UNNAMED


# --- checking --------------------------------------------------------------------------------------------------------


def json_files(folder: Path) -> Sequence[Path]:
    """The files that say what SA-1B says, and damaged ones that lie beside an image of their name."""
    if not folder.is_dir():
        return ()
    places = (folder, *(folder / name for name in _names(folder) if checks.is_folder(folder / name)))
    found = (place / name for place in places for name in _names(place) if name.endswith(".json"))
    ours = (path for path in found if path.name not in OTHER_FILES and (_says_sa1b(path) or _has_image(path)))
    return Paths.in_order(map(str, ours))


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208 - of a hundred thousand files
    except OSError:
        return []


def is_sa1b(folder: Path, *, numbered: bool) -> bool:
    """Whether the folder holds SA-1B files, called `sa_<number>` or not. Never raises."""
    files = [path for path in json_files(folder)[:20] if _says_sa1b(path)]
    return bool(files) and all(NUMBERED.fullmatch(path.stem) for path in files) == numbered


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


def check_annotations(file: JsonFile, content: SamFile) -> Iterator[Finding]:
    """Whether masks, boxes, areas and prompts of one file agree."""

    def finding(code: str, message: str, index: int, hint: str) -> Finding:
        return file.finding(code, message, "annotations", index, hint=hint)

    size = (content.image.height, content.image.width)
    is_small = size[0] * size[1] <= MAX_PIXELS
    inside: dict[int, list[bool]] = {}
    first: dict[int, int] = {}
    for i, annotation in enumerate(content.annotations):
        if first.setdefault(annotation.id, i) != i:
            message = f"id {annotation.id} is also that of annotations[{first[annotation.id]}]"
            yield finding("duplicate-id", message, i, "give each annotation its own id")
        runs = _sound_runs(annotation, size)
        if isinstance(runs, tuple):
            code, message, hint = runs
            yield finding(code, message, i, hint)
        elif is_small:
            for code, message, hint in _wrong_mask(annotation, _as_rle(annotation)):
                yield finding(code, message, i, hint)
            inside[i] = _covered(_pixels(annotation.prompts, size), runs.cumsum())
    sound = [content.annotations[i] for i in inside]
    union = _union(sound) if any(map(_has_negatives, sound)) else None
    for i, found in inside.items():
        for code, message, hint in _wrong_prompts(content.annotations[i], size, found, union):
            yield finding(code, message, i, hint)


def _sound_runs(annotation: Annotation, size: tuple[int, int]) -> Runs | tuple[str, str, str]:
    """The run lengths; or (code, message, hint) of what pycocotools must not be given for this (height, width), px."""
    rle = annotation.segmentation
    if rle.size != size:
        message = f"size {list(rle.size)} is not the image's [height, width] {list(size)}"
        return "rle-size", message, "encode the mask at the size of its image"
    try:
        return sound_runs(size, rle.counts)
    except ValueError as error:
        return "bad-rle", str(error), "encode the mask again"


def _has_negatives(annotation: Annotation) -> bool:
    return annotation.prompts is not None and 0 in annotation.prompts.labels


def _union(annotations: Iterable[Annotation]) -> Runs:
    """Where each run ends of all masks together."""
    return run_ends(coco_mask.merge(list(map(_as_rle, annotations))))


def _as_rle(annotation: Annotation) -> Rle:
    return {"size": list(annotation.segmentation.size), "counts": annotation.segmentation.counts.encode()}


def _wrong_mask(annotation: Annotation, rle: Rle) -> Iterator[tuple[str, str, str]]:
    """(code, message, hint) of what is wrong with area and box."""
    area, box = area_and_box(rle)
    if box is None:
        yield "empty-segmentation", "the mask covers no pixel", "remove the annotation, or redraw it"
        return
    if area != annotation.area:
        yield "area", f"area is {annotation.area}, the mask has {area} pixels", "write the number of mask pixels"
    # SA-1B's own boxes are a pixel short on the right and at the bottom.
    if max(abs(a - b) for a, b in zip(box, annotation.bbox, strict=True)) > 1:
        message = f"bbox {list(annotation.bbox)} is not the mask's extent {list(box)}"
        yield "box-and-mask", message, "compute the box from the mask"


def _wrong_prompts(
    annotation: Annotation, size: tuple[int, int], inside: Sequence[bool], union: Runs | None
) -> Iterator[tuple[str, str, str]]:
    """(code, message, hint) of prompts that would teach something false.

    Args:
        annotation: with its prompts.
        size: (height, width) of the image, px.
        inside: whether the mask covers each point.
        union: where each run ends of all masks together; None where no point is negative.
    """
    prompts = annotation.prompts
    if prompts is None:
        return
    x0, y0, x1, y1 = prompts.box
    x, y, width, height = annotation.bbox
    if not (x0 < x1 and y0 < y1 and x0 < x + width and x1 > x and y0 < y + height and y1 > y):
        message = f"the prompt's box {list(prompts.box)} does not meet the mask"
        yield "prompt-box", message, "write x0, y0, x1, y1 in px, around the mask"
    if wrong := _wrong_labels(prompts):
        yield wrong
        return
    rows, columns = size
    occupied = inside if union is None else _covered(_pixels(prompts, size), union)
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


def _wrong_labels(prompts: Prompts) -> tuple[str, str, str] | None:
    """(code, message, hint) where points and labels are not pairs."""
    if len(prompts.points) == len(prompts.labels):
        return None
    message = f"{len(prompts.points)} points, but {len(prompts.labels)} labels"
    return "point-labels", message, "write one label for each point"


def _pixels(prompts: Prompts | None, size: tuple[int, int]) -> list[int]:
    """Each point as a pixel counted column by column in an image of this (height, width), px; -1 outside."""
    rows, columns = size
    points = () if prompts is None else prompts.points
    return [int(x) * rows + int(y) if x < columns and y < rows else -1 for x, y in points]


def _covered(pixels: Sequence[int], ends: Runs) -> list[bool]:
    """For each pixel, counted column by column, whether a mask covers it; False for -1. Decodes no mask."""
    # Runs alternate, background first; a pixel's run is the first that ends beyond it.
    runs = ends.searchsorted(pixels, "right").tolist()
    return [pixel >= 0 and run % 2 == 1 for pixel, run in zip(pixels, runs, strict=True)]
