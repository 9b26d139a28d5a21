"""labelme, to look at labels and to correct them.

    {train,val}/<name>.png
    {train,val}/<name>.json     beside it: its shapes; none for a good image
    labels.txt                  the classes, for `labelme --labels`

Masks are made of shapes as `mvtec_convert.labelme_shapes` says: coordinates are cut to whole pixels, and the outline
itself is painted. So a polygon goes through the centres of the region's outermost pixels, its holes joined by bridges,
and comes back exactly; drawn at centres, it also lies on the region where labelme shows it. A region of several parts
is several polygons with one `group_id`, which is how labelme says one object. A `mask` is exact by nature, but can only
be moved there, or drawn anew.

Its own tools give two labels a meaning: `_background_` takes away from what was drawn before, `__ignore__` is nothing.
Source: `LabelFile` in labelme/_label_file.py in github.com/wkentaro/labelme, version 6.3.
"""

from __future__ import annotations

import base64
import shlex
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import orjson
from pydantic import ValidationError

from mvtec_convert import checks
from mvtec_convert.checks import JsonFile
from mvtec_convert.errors import ExportError, MaskError
from mvtec_convert.findings import Finding
from mvtec_convert.formats import Encoded
from mvtec_convert.geometry.headers import MAX_PIXELS
from mvtec_convert.geometry.images import image_size
from mvtec_convert.geometry.polygons import coarse_pixel_rings, pixel_ring
from mvtec_convert.geometry.regions import AnnotatedImage, Region, find_regions
from mvtec_convert.geometry.saving import grey_png
from mvtec_convert.labelled import LabelledImage, LabelledObject, bounded, key_of, split_named, split_order
from mvtec_convert.labelme_shapes import (
    LINE_WIDTH,
    POINT_RADIUS,
    WITHOUT_WIDTH,
    box_of,
    by_group,
    decoded,
    filled,
    iou,
    mask_of,
    mask_of_shape,
    outlines_of,
    united,
    without,
)
from mvtec_convert.labels import LabelMap
from mvtec_convert.plan import Item, Plan, load_class_names
from mvtec_convert.schemas import problems
from mvtec_convert.schemas.labelme import LabelmeFile, Shape

Pixels: TypeAlias = npt.NDArray[np.int64]
"""A ring through pixels; shape (points, 2), x before y, px."""

VERSION = "5.5.0"
"""Of labelme, which asks for a file of its own first number; files of 5 are read by 6 as well."""

LABELS_FILE = "labels.txt"
BACKGROUND, IGNORE = "_background_", "__ignore__"
POINTS = {"rectangle": 2, "circle": 2, "line": 2, "mask": 2, "point": 1, "oriented_rectangle": 4}
"""How many points a shape has; a polygon has three or more, any other at least one."""

BOXES = {"rectangle", "oriented_rectangle"}
ROUNDING = 1.0  # px that points may lie beyond the image
LONGEST_OUTLINE = 4e6  # px; Pillow walks along all of it, also outside the image
FILES_ASKED = 20
GLANCE = 1 << 12  # bytes at the beginning and at the end of a file that tell what it is
HINT = "see `mvtec-convert schema labelme` for the form"
TOLERANCES = 16  # that are tried to make a polygon simpler


@dataclass(frozen=True, slots=True)
class Labelme:
    """Options of the format.

    Attributes:
        shape: `polygon`, whose points can be moved in labelme, or `mask`.
        simplify: lowest IoU with the mask that a polygon of fewer points may have; None keeps it exact.
    """

    name: ClassVar[str] = "labelme"
    shape: Literal["polygon", "mask"] = "polygon"
    simplify: float | None = None

    @property
    def judge(self) -> str:
        """Who reads the regions back."""
        return "masks, by Pillow as labelme calls it"

    def image_path(self, item: Item) -> str:
        """`<split>/<name>.<suffix>`."""
        return f"{item.split}/{item.file_name}"

    def refuse(self, plan: Plan) -> None:
        """It holds any plan."""

    def encode(self, item: Item, image: AnnotatedImage, labels: LabelMap) -> Encoded:
        """The image's whole JSON document."""
        named = [(region, item.class_of(region).name) for region in image.regions]
        shapes = [shape for i, (region, label) in enumerate(named) for shape in self._shapes(region, label, i)]
        document: dict[str, Any] = {
            "version": VERSION,
            "flags": {},
            "shapes": shapes,
            "imagePath": item.file_name,
            "imageData": None,
            "imageHeight": image.height,
            "imageWidth": image.width,
        }
        row = orjson.dumps(document, option=orjson.OPT_INDENT_2)
        read = by_group([Shape.model_validate(shape) for shape in orjson.loads(row)["shapes"]])
        masks = [mask_of(group, image.width, image.height, Path(item.file_name)) for group in read]
        ious = tuple(iou(mask, region) for mask, region in zip(masks, image.regions, strict=True))
        return Encoded(item, image.width, image.height, image.defect_types, (row,), ious)

    def write(self, out: Path, plan: Plan, encoded: Iterable[Encoded]) -> None:
        """One JSON file an image, and the list of classes."""
        for split in plan.split_names:
            (out / split).mkdir(exist_ok=True)
        for image in encoded:
            (out / image.item.split / f"{image.item.name}.json").write_bytes(image.rows[0] + b"\n")
        text = "".join(f"{name}\n" for name in plan.labels.names)
        (out / LABELS_FILE).write_text(text, encoding="utf-8", newline="\n")

    def next_step(self, out: Path) -> str:
        """The tool itself; what is corrected there comes back by `mvtec-convert masks`."""
        return f"labelme {shlex.quote(str(out))} --labels {shlex.quote(str(out / LABELS_FILE))}"

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        """JSON files that say `shapes` and `imagePath`."""
        return any(_says_labelme(path) for path in _json_files(folder)[:FILES_ASKED])

    @classmethod
    def check(cls, folder: Path) -> Iterator[Finding]:
        """Check a dataset folder; the codes are explained in docs/findings.md."""
        yield from checks.limited(_check(folder))

    @classmethod
    def read(cls, folder: Path) -> Iterator[LabelledImage]:
        """Masks by Pillow, as labelme calls it; rectangles are boxes. Images without a file have no object."""
        yield from _read(folder)

    @classmethod
    def class_names(cls, folder: Path) -> tuple[str, ...]:
        """Of `classes.json`, then the other labels by name."""
        labels: set[str] = set()
        for path in _files_to_read(folder):
            _, content = checks.read_json_as(path, LabelmeFile, HINT)
            labels |= {shape.label for shape in content.shapes} - {BACKGROUND, IGNORE}
        return tuple(dict.fromkeys((*(load_class_names(folder) or ()), *sorted(labels))))

    # --- writing ---

    def _shapes(self, region: Region, label: str, number: int) -> list[dict[str, Any]]:
        """The shapes of one region; several parts share a group."""
        if self.shape == "mask":
            corner = [region.x + region.width - 1, region.y + region.height - 1]
            mask = base64.b64encode(grey_png(region.crop)).decode()
            return [_shape(label, [[region.x, region.y], corner], None, "mask", mask)]
        rings = [pixel_ring(part) for part in _parts(region)]
        if self.simplify is not None:
            rings = _simplified(region, self.simplify) or rings
        group = number if len(rings) > 1 else None
        return [_shape(label, (_three(ring) + 0.5).tolist(), group, "polygon", None) for ring in rings]


FORMAT = Labelme
READERS = "labelme, to look at labels and correct them"


def _shape(label: str, points: list[Any], group: int | None, kind: str, mask: str | None) -> dict[str, Any]:
    return {
        "label": label,
        "points": points,
        "group_id": group,
        "description": "",
        "shape_type": kind,
        "flags": {},
        "mask": mask,
    }


def _parts(region: Region) -> list[Region]:
    """The connected parts of a region, in the image's frame."""
    return [Region(region.x + part.x, region.y + part.y, part.crop, part.area) for part in find_regions(region.crop)]


def _three(ring: Pixels) -> Pixels:
    """The ring with its points repeated where there are fewer than three, which labelme asks for."""
    return ring if len(ring) > 2 else np.resize(ring, (3, 2))


def _simplified(region: Region, least: float) -> list[Pixels] | None:
    """The coarsest polygons that keep this IoU with the region; None where none do."""
    for tolerance in np.geomspace(max(region.width, region.height) / 2, 0.5, TOLERANCES).tolist():
        rings = coarse_pixel_rings(region, tolerance)
        size = region.x + region.width, region.y + region.height
        parts = [filled("polygon", _three(ring).astype(np.float64), *size) for ring in rings]
        if iou(united([part for part in parts if part is not None]), region) >= least:
            return rings
    return None


# --- reading ---------------------------------------------------------------------------------------------------------


def _read(folder: Path) -> Iterator[LabelledImage]:
    files = _files_to_read(folder)
    unlabelled = _unlabelled(folder, files)
    for path in sorted([*files, *unlabelled], key=lambda path: (split_order(_split_of(path, folder)), path)):
        if path in unlabelled:
            width, height = image_size(path)
            yield LabelledImage(path, key_of(path, folder), path.stem, _split_of(path, folder), width, height)
            continue
        file, content = checks.read_json_as(path, LabelmeFile, HINT)
        image = checks.sound(_image_of(file, content, folder))
        size = (content.imageWidth, content.imageHeight)
        width, height = size if size[0] and size[1] else image_size(image)  # type: ignore[assignment]
        if width * height > MAX_PIXELS:
            message = f"{width} x {height} px is more than the {MAX_PIXELS:,} pixels this tool decodes"
            raise ExportError(message, path=path, hint="cut the image into tiles")
        objects = bounded(_objects(file, content, width, height), path)
        split = split_named(_split_of(path, folder))
        yield LabelledImage(image, key_of(image, folder), image.stem, split, width, height, objects)


def _objects(file: JsonFile, content: LabelmeFile, width: int, height: int) -> Iterator[LabelledObject]:
    for i, shape in enumerate(content.shapes):
        for code, message, hint in _wrong_points(shape):
            raise checks.refusal(file.finding(code, message, "shapes", i, hint=hint))
    try:
        yield from _sound_objects(content.shapes, width, height, file.path)
    except MaskError as error:
        raise ExportError(error.reason, path=error.path, hint=error.hint) from None


def _sound_objects(shapes: Sequence[Shape], width: int, height: int, path: Path) -> Iterator[LabelledObject]:
    erased = _erased(shapes, width, height, path)
    for group in by_group(shapes):
        label = group[0].label
        if label in {BACKGROUND, IGNORE}:
            continue
        kinds = {shape.shape_type for shape in group}
        box = box_of(group)
        if len(group) == 1 and kinds <= BOXES:
            corners = () if kinds == {"rectangle"} else (np.array(group[0].points, np.float64),)
            yield LabelledObject(label, box, None, corners)
            continue
        region = mask_of(group, width, height, path)
        last = next(i for i, shape in enumerate(shapes) if shape is group[-1])
        for number, background in erased:
            region = without(region, background) if number > last and region is not None else region
        if region is not None:
            x, y, across, down = region.bbox
            box = (x, y, x + across, y + down)
        yield LabelledObject(label, box, region, () if erased else outlines_of(group))


def _erased(shapes: Sequence[Shape], width: int, height: int, path: Path) -> list[tuple[int, Region]]:
    """(place in the list, pixels) of each shape that takes away."""
    found = [
        (i, mask_of_shape(shape, width, height, path)) for i, shape in enumerate(shapes) if shape.label == BACKGROUND
    ]
    return [(i, region) for i, region in found if region is not None]


def _split_of(path: Path, folder: Path) -> str:
    return path.relative_to(folder).parent.name or folder.resolve().name


def _json_files(folder: Path) -> list[Path]:
    """The JSON files of a dataset; no hidden ones."""
    if not folder.is_dir():
        return []
    found = (path for path in folder.rglob("*.json") if checks.is_file(path))
    return sorted(path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts))


def _labelme_files(folder: Path) -> list[Path]:
    """Those that say what labelme says, and damaged ones beside an image of their name."""
    return [path for path in _json_files(folder) if _says_labelme(path) or _beside(path) is not None]


def _says_labelme(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            start = file.read(GLANCE)
            file.seek(max(0, path.stat().st_size - GLANCE))
            text = start + file.read()
    except OSError:
        return False
    return b'"shapes"' in text and (b'"imagePath"' in text or b'"imageHeight"' in text)


def _beside(path: Path) -> Path | None:
    """The image of a file's name beside it."""
    places = (path.with_suffix(suffix) for suffix in sorted(checks.IMAGE_SUFFIXES))
    return next(filter(checks.is_file, places), None)


def _files_to_read(folder: Path) -> list[Path]:
    files = _labelme_files(folder)
    if not files:
        raise ExportError("no JSON file with shapes", path=folder, hint="labelme writes one beside each image")
    return files


def _unlabelled(folder: Path, files: Sequence[Path]) -> set[Path]:
    """Images without a file of their name, in the folders of those that have one."""
    stems = {path.with_suffix("") for path in files}
    folders = {path.parent for path in files if _beside(path) is not None}
    images = (path for place in folders for path in place.iterdir() if path.suffix.lower() in checks.IMAGE_SUFFIXES)
    return {path for path in images if path.with_suffix("") not in stems and not path.name.startswith(".")}


def _image_of(file: JsonFile, content: LabelmeFile, root: Path) -> Generator[Finding, None, Path]:
    """The image of a file: where `imagePath` says; else, as the file may have come from elsewhere, that beside it."""
    name = content.imagePath.replace("\\", "/")
    place = None if Path(name).is_absolute() or ":" in name else checks.below(root, file.path.parent / name)
    beside = _beside(file.path)
    if place is not None and (checks.is_file(place) or beside is None):
        return place
    if beside is None:
        message = f"imagePath {content.imagePath} leads out of the dataset, and no image of its name is beside it"
        yield file.finding("outside-folder", message, hint="put the image beside its JSON file")
    return beside or file.path.with_suffix(".png")


# --- checking --------------------------------------------------------------------------------------------------------


def _check(folder: Path) -> Iterator[Finding]:
    files = _labelme_files(folder)
    if not files:
        hint = "labelme writes one beside each image"
        yield Finding("no-annotation-file", "no JSON file with shapes", str(folder), hint=hint)
    images_by_split: dict[str, list[Path]] = {}
    owners: dict[Path, Path] = {}
    for path in files:
        file = checks.open_json(path, HINT)
        if isinstance(file, Finding):
            yield file
            continue
        try:
            content = LabelmeFile.model_validate(file.document)
        except ValidationError as error:
            yield from file.schema_findings(problems(error))
            continue
        image = yield from _image_of(file, content, folder)
        if owners.setdefault(image, path) != path:
            message = f"{image.name} is also the image of {owners[image].name}"
            yield file.finding("duplicate-image", message, hint="keep one file for each image")
        images_by_split.setdefault(_split_of(path, folder), []).append(image)
        yield from _check_content(file, content, image)
    for path in sorted(_unlabelled(folder, files)):
        hint = "fine if nothing is on it; else draw it"
        yield Finding(
            "no-label-file", "no JSON file: taken for an image without objects", str(path), None, "warning", hint
        )
    yield from checks.shared_images(images_by_split)


def _check_content(file: JsonFile, content: LabelmeFile, image: Path) -> Iterator[Finding]:
    """Image and shapes of one file."""
    width, height = content.imageWidth, content.imageHeight
    stated = (width, height) if width and height else None
    yield from checks.image(image, stated)
    if stated is None:
        try:
            stated = image_size(image)
        except MaskError:
            return  # told just now
    if stated[0] * stated[1] > MAX_PIXELS:
        return
    for i, shape in enumerate(content.shapes):
        wrong = list(_wrong_points(shape))
        for code, message, hint in wrong or _wrong_shape(shape, *stated, file.path):
            severity: Any = "warning" if code in WARNINGS else "error"
            yield file.finding(code, message, "shapes", i, severity, hint)


WARNINGS = {"outside-image", "drawn-width"}


def _wrong_points(shape: Shape) -> Iterator[tuple[str, str, str]]:
    """(code, message, hint) of a shape that labelme cannot make a mask of, or that would take for ever."""
    kind = shape.shape_type or "polygon"
    wanted, count = POINTS.get(kind), len(shape.points)
    if (wanted is not None and count != wanted) or (kind == "polygon" and count < 3):
        many = "three or more" if wanted is None else str(wanted)
        yield "point-count", f"a {kind} has {many} points, not {count}", "draw it again"
        return
    points = np.array(shape.points, np.float64)
    farthest = float(np.abs(points).max())
    if farthest > LONGEST_OUTLINE:
        yield "long-outline", f"a point is {farthest:g} px away", "draw it again, inside the image"
    elif (length := np.abs(points - np.roll(points, 1, axis=0)).max(axis=1).sum()) > LONGEST_OUTLINE:
        yield "long-outline", f"the outline is {length:,.0f} px long", "draw it again, inside the image"


def _wrong_shape(shape: Shape, width: int, height: int, path: Path) -> Iterator[tuple[str, str, str]]:
    """(code, message, hint) of what is wrong with a shape on an image of this size, px."""
    kind = shape.shape_type or "polygon"
    points = np.array(shape.points, np.float64)
    beyond = max(-points.min(), (points - (width, height)).max())
    if beyond > ROUNDING:
        yield "outside-image", f"a point lies {beyond:g} px outside the image", "move it in"
    if kind in WITHOUT_WIDTH:
        size = f"a disc of {2 * POINT_RADIUS + 1}" if kind.startswith("point") else f"{LINE_WIDTH}"
        yield "drawn-width", f"a {kind} has no width: labelme's own tools make it {size} px wide", "draw a polygon"
    try:
        region = mask_of_shape(shape, width, height, path)
    except MaskError as error:
        yield "bad-mask", error.reason, "draw the mask again"
        return
    if region is None:
        yield "empty-shape", f"the {kind} covers no pixel of the image", "remove it, or draw it again"
    elif kind == "mask" and (mask := decoded(shape, path)).shape != _stated_shape(points):
        message = f"the mask is {mask.shape[1]} x {mask.shape[0]} px, its points say otherwise; labelme 5 refuses it"
        yield "bad-mask", message, "write its first and its last pixel as its points"


def _stated_shape(points: npt.NDArray[np.float64]) -> tuple[int, int]:
    """(height, width) of a mask by its first and last pixel."""
    (x0, y0), (x1, y1) = points.astype(int).tolist()
    return y1 - y0 + 1, x1 - x0 + 1
