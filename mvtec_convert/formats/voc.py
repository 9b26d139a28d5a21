"""Pascal VOC: boxes as XML, masks as palette images.

    VOCdevkit/VOC2012/
        JPEGImages/<name>.jpg
        Annotations/<name>.xml              boxes, counted from 1, the last pixel inside
        SegmentationClass/<name>.png        0 background, then the classes by `labelmap.txt`; 255 is void, and not used
        SegmentationObject/<name>.png       0 background, then the objects in the order of the XML file
        ImageSets/{Main,Segmentation}/{train,val,trainval,test}.txt
        labelmap.txt                        class:colour, as CVAT has it

torchvision's reader appends `.jpg` to every name, so images that are no JPEG become one (quality 95, colour not
subsampled) and their pixels are only nearly the same; masks and boxes are exact. Reading takes any suffix, and the
folder with or without `VOCdevkit/VOC2012` around it.

Sources: the VOC2012 development kit (host.robots.ox.ac.uk/pascal/VOC/voc2012, "Annotation" and "Segmentation"),
torchvision's `datasets/voc.py`, docs.cvat.ai ("Pascal VOC").
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar
from xml.etree import ElementTree as Xml

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydantic import ValidationError

from mvtec_convert import checks
from mvtec_convert.dataset import SPLIT_NAMES
from mvtec_convert.errors import ExportError, MaskError, SelectionError
from mvtec_convert.findings import Finding
from mvtec_convert.formats import Encoded
from mvtec_convert.geometry.headers import MAX_PIXELS
from mvtec_convert.geometry.images import is_jpeg, read_header
from mvtec_convert.geometry.pillow import png_values
from mvtec_convert.geometry.regions import AnnotatedImage, Region
from mvtec_convert.jsonio import read_bytes
from mvtec_convert.labelled import LabelledImage, LabelledObject, bounded, key_of, whole_region
from mvtec_convert.labels import LabelMap
from mvtec_convert.plan import Item, Plan, load_class_names
from mvtec_convert.schemas import problems
from mvtec_convert.schemas.voc import Annotation, Object
from mvtec_convert.xmlio import Element, read_xml

READERS = "torchvision, and what else reads Pascal VOC"
HOME = "VOCdevkit/VOC2012"
VOID = 255
MOST = VOID - 1
"""Classes of a dataset, and objects of an image: all values of a pixel but background and void."""

MOST_LIST = 1 << 26  # bytes
ROUNDING = 1.0  # px that a box may reach over the border; tools count from 0 or from 1
LISTS = frozenset({"object"})
HINT = "see `mvtec-convert schema voc` for what it holds"


@dataclass(frozen=True, slots=True)
class Voc:
    """The format has no options."""

    name: ClassVar[str] = "voc"

    @property
    def judge(self) -> str:
        """Who reads the regions back."""
        return "masks, by Pillow as torchvision calls it"

    def image_path(self, item: Item) -> str:
        """`JPEGImages/<name>.jpg`."""
        return f"{HOME}/JPEGImages/{item.name}.jpg"

    def refuse(self, plan: Plan) -> None:
        """One byte says the class."""
        if len(plan.labels.classes) > MOST:
            hint = "fewer classes: --names defect, --names category or --names single"
            raise SelectionError(
                f"VOC's masks hold {MOST} classes, this selection has {len(plan.labels.classes)}", hint=hint
            )

    def encode(self, item: Item, image: AnnotatedImage, labels: LabelMap) -> Encoded:
        """The XML document, and the two masks as PNG."""
        if len(image.regions) > MOST:
            hint = "let pieces be one region (--regions image, --merge-distance), or leave specks out (--min-area)"
            message = f"{len(image.regions)} regions, but VOC's masks hold {MOST} objects"
            raise MaskError(message, code="too-many-objects", path=item.sample.image, hint=hint)
        classes = _painted(image, [item.class_of(region).id + 1 for region in image.regions])
        objects = _painted(image, range(1, len(image.regions) + 1))
        rows = (_annotation(item, image), _palette_png(classes), _palette_png(objects))
        read = png_values(rows[2], item.sample.image)
        ious = tuple(_iou(read, i, region) for i, region in enumerate(image.regions, start=1))
        return Encoded(item, image.width, image.height, image.defect_types, rows, ious)

    def write(self, out: Path, plan: Plan, encoded: Iterable[Encoded]) -> None:
        """Three files an image, then the lists and the label map."""
        home = out / HOME
        folders = ("Annotations", "SegmentationClass", "SegmentationObject", "ImageSets/Main", "ImageSets/Segmentation")
        for name in folders:
            (home / name).mkdir(parents=True)
        names: dict[str, list[str]] = {split: [] for split in plan.split_names}
        for image in encoded:
            name = image.item.name
            names[image.item.split].append(name)
            for folder, suffix, row in zip(folders, (".xml", ".png", ".png"), image.rows, strict=False):
                (home / folder / (name + suffix)).write_bytes(row)
        names["trainval"] = sorted([*names.get("train", ()), *names.get("val", ())])
        for split, listed in names.items():
            for kind in ("Main", "Segmentation"):
                _save_lines(listed, home / "ImageSets" / kind / f"{split}.txt")
        colours = _palette()
        known = ["background", *plan.labels.names]
        lines = [f"{name}:{','.join(map(str, colours[i]))}::" for i, name in enumerate(known)]
        _save_lines(["# label:color_rgb:parts:actions", *lines], home / "labelmap.txt")

    def next_step(self, out: Path) -> str:
        """The reader of torchvision."""
        return f"from torchvision.datasets import VOCDetection; VOCDetection({str(out)!r}, image_set='train')"

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        """`Annotations` with XML files, beside images or not."""
        return _home(folder) is not None

    @classmethod
    def check(cls, folder: Path) -> Iterator[Finding]:
        """Check a dataset folder; the codes are explained in docs/findings.md."""
        yield from checks.limited(_check(folder))

    @classmethod
    def read(cls, folder: Path) -> Iterator[LabelledImage]:
        """Masks of SegmentationObject, where it has some; else the boxes alone."""
        home = _home_to_read(folder)
        for split, names in _splits(home).items():
            for name in names:
                yield _labelled(home, folder, split, name)

    @classmethod
    def class_names(cls, folder: Path) -> tuple[str, ...]:
        """Of `classes.json`, else of all objects by name."""
        home = _home_to_read(folder)
        saved = load_class_names(folder)
        if saved is not None:
            return saved
        return tuple(sorted({item.name for path in _files(home) for item in _read(path)[0].object}))


FORMAT = Voc


# --- writing ---------------------------------------------------------------------------------------------------------


def _annotation(item: Item, image: AnnotatedImage) -> bytes:
    top = Xml.Element("annotation")
    source = item.sample.image
    depth = read_header(source).channels if is_jpeg(source) else 3
    _add(top, folder="VOC2012", filename=f"{item.name}.jpg")
    _add(Xml.SubElement(top, "source"), database="mvtec-convert")
    _add(Xml.SubElement(top, "size"), width=image.width, height=image.height, depth=depth)
    _add(top, segmented=int(bool(image.regions)))
    for region in image.regions:
        entry = Xml.SubElement(top, "object")
        _add(entry, name=item.class_of(region).name, pose="Unspecified", truncated=0, difficult=0)
        x, y, width, height = region.bbox
        _add(Xml.SubElement(entry, "bndbox"), xmin=x + 1, ymin=y + 1, xmax=x + width, ymax=y + height)
    Xml.indent(top)
    return bytes(Xml.tostring(top, encoding="utf-8", xml_declaration=True)) + b"\n"


def _add(parent: Xml.Element, **texts: object) -> None:
    for tag, text in texts.items():
        Xml.SubElement(parent, tag).text = str(text)


def _painted(image: AnnotatedImage, values: Iterable[int]) -> npt.NDArray[np.uint8]:
    canvas = np.zeros((image.height, image.width), np.uint8)
    for region, value in zip(image.regions, values, strict=True):
        canvas[region.y : region.y + region.height, region.x : region.x + region.width][region.crop > 0] = value
    return canvas


def _palette_png(values: npt.NDArray[np.uint8]) -> bytes:
    image = Image.fromarray(values)
    image.putpalette(_palette().tobytes())
    stream = io.BytesIO()
    image.save(stream, "PNG", compress_level=1)
    return stream.getvalue()


def _palette() -> npt.NDArray[np.uint8]:
    """VOC's colours (`VOClabelcolormap.m`), shape (256, 3), RGB: the bits of a value, three by three, from the top."""
    values = np.arange(256)
    colours = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= (((values >> (3 * bit + channel)) & 1) << (7 - bit)).astype(np.uint8)
    return colours


def _iou(read: npt.NDArray[Any], value: int, region: Region) -> float:
    found = read == value
    inside = np.count_nonzero(
        found[region.y : region.y + region.height, region.x : region.x + region.width] & region.crop
    )
    return float(inside / (np.count_nonzero(found) + region.area - inside))


def _save_lines(lines: Sequence[str], path: Path) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")


# --- reading ---------------------------------------------------------------------------------------------------------


def _home(folder: Path) -> Path | None:
    """The folder that holds `Annotations`: this one, or the year's below it."""
    if not checks.is_folder(folder):
        return None
    places = [folder, *sorted(folder.glob("VOC[0-9]*")), *sorted(folder.glob("VOCdevkit/VOC[0-9]*"))]
    return next((place for place in places if any((place / "Annotations").glob("*.xml"))), None)


def _home_to_read(folder: Path) -> Path:
    home = _home(folder)
    if home is None:
        hint = "give the folder that holds Annotations, JPEGImages and ImageSets"
        raise ExportError("no XML file in Annotations", path=folder, hint=hint)
    return home


def _files(home: Path) -> list[Path]:
    return sorted((home / "Annotations").glob("*.xml"))


def _splits(home: Path) -> dict[str, list[str]]:
    """Names of images by split, as the lists of `Main` have them; without lists, all are of one."""
    found: dict[str, list[str]] = {}
    known = {path.stem for path in _files(home)}
    for split in SPLIT_NAMES:
        listed = _listed(home / "ImageSets" / "Main" / f"{split}.txt")
        if listed is not None:
            found[split] = list(dict.fromkeys(name for name in listed if name in known))
    found = {split: names for split, names in found.items() if names}
    return found or {home.resolve().name: sorted(known)}


def _listed(path: Path) -> list[str] | None:
    """The first word of each line; None where there is no such list."""
    if not checks.is_file(path):
        return None
    text = read_bytes(path, MOST_LIST).decode("utf-8", "replace")
    return [line.split()[0] for line in text.splitlines() if line.strip()]


def _read(path: Path) -> tuple[Annotation, Element]:
    """What an XML file says, and its elements.

    Raises:
        ExportError: it is no XML, or lacks something.
    """
    top = read_xml(path)
    try:
        return Annotation.model_validate(top.value(LISTS)), top
    except ValidationError as error:
        raise ExportError(problems(error)[0], path=path, hint=HINT) from None


def _image_of(home: Path, stem: str) -> Path:
    """The image of an XML file: that of its name, torchvision's `.jpg` before all others."""
    image = home / "JPEGImages" / f"{stem}.jpg"
    others = (image.with_name(f"{stem}{suffix}") for suffix in sorted(checks.IMAGE_SUFFIXES))
    return image if checks.is_file(image) else next(filter(checks.is_file, others), image)


def _labelled(home: Path, folder: Path, split: str, name: str) -> LabelledImage:
    path = home / "Annotations" / f"{name}.xml"
    content, _ = _read(path)
    width, height = content.size.width, content.size.height
    if width * height > MAX_PIXELS:
        message = f"{width} x {height} px is more than the {MAX_PIXELS:,} pixels this tool decodes"
        raise ExportError(message, path=path, hint="cut the image into tiles")
    try:
        mask = _object_mask(home, name)
    except MaskError as error:
        raise ExportError(error.reason, path=error.path, hint=error.hint) from None
    if mask is not None and mask.shape != (height, width):
        message = f"the mask is {mask.shape[1]} x {mask.shape[0]} px, its image {width} x {height} px"
        raise ExportError(message, path=_mask_path(home, name), hint="save the mask at the size of its image")
    image = _image_of(home, name)
    objects = bounded((_object(item, i, mask) for i, item in enumerate(content.object, start=1)), path)
    return LabelledImage(image, key_of(image, folder), name, split, width, height, objects)


def _object(item: Object, number: int, mask: npt.NDArray[Any] | None) -> LabelledObject:
    box = item.bndbox
    region = None
    if mask is not None and number <= MOST:
        region = whole_region((mask == number).view(np.uint8))
    return LabelledObject(item.name, (box.xmin - 1, box.ymin - 1, box.xmax, box.ymax), region)


def _mask_path(home: Path, name: str) -> Path:
    return home / "SegmentationObject" / f"{name}.png"


def _object_mask(home: Path, name: str) -> npt.NDArray[Any] | None:
    """Number of the object of each pixel; None where there is no mask.

    Raises:
        MaskError: it is no PNG of one channel, or is damaged.
    """
    path = _mask_path(home, name)
    if not checks.is_file(path):
        return None
    values = png_values(read_bytes(path, 1 << 28), path)
    if values.ndim != 2:
        raise MaskError("the mask has colours, not a palette", path=path, hint="save it with VOC's palette")
    return values


# --- checking --------------------------------------------------------------------------------------------------------


def _check(folder: Path) -> Iterator[Finding]:
    home = _home(folder)
    if home is None:
        hint = "give the folder that holds Annotations, JPEGImages and ImageSets"
        yield Finding("no-annotation-file", "no XML file in Annotations", str(folder), hint=hint)
        return
    files = _files(home)
    for path in files:
        yield from _check_file(home, path)
    stems = {path.stem for path in files}
    for image in checks.images_below(home / "JPEGImages"):
        if image.stem not in stems:
            hint = "write one, without objects if nothing is on it, or remove the image"
            yield Finding("orphan-image", "an image without its XML file", str(image), hint=hint)
    yield from _check_lists(home, stems)
    if (home / "ImageSets" / "Main").is_dir():
        yield from checks.shared_images(
            {split: [_image_of(home, n) for n in names] for split, names in _splits(home).items()}
        )


def _check_lists(home: Path, stems: set[str]) -> Iterator[Finding]:
    lists = sorted((home / "ImageSets" / "Main").glob("*.txt"))
    if not lists:
        hint = "write train.txt and val.txt there, a name without suffix on each line"
        yield Finding("no-lists", "no list of images in ImageSets/Main", str(home), hint=hint)
    for path in lists:
        try:
            listed = _listed(path) or []
        except ExportError as error:
            yield Finding("bad-list", error.reason, str(path), hint="write one name a line")
            continue
        if not listed:
            hint = "fine if nothing is to be read of it"
            yield Finding("empty-split", f"{path.stem} lists no image", str(path), None, "warning", hint)
        for number, name in enumerate(listed, start=1):
            if name not in stems:
                message = f"{name} has no XML file in Annotations"
                yield Finding("unknown-image", message, str(path), number, hint="add it, or remove the line")


def _check_file(home: Path, path: Path) -> Iterator[Finding]:
    try:
        top = read_xml(path)
    except ExportError as error:
        yield Finding("bad-xml", error.reason, str(path), hint=error.hint or "restore the file, or write it again")
        return
    try:
        content = Annotation.model_validate(top.value(LISTS))
    except ValidationError as error:
        for sentence in problems(error)[: checks.PROBLEMS_TOLD]:
            yield Finding("schema", sentence, str(path), top.line, hint=HINT)
        return
    image = _image_of(home, path.stem)
    yield from checks.image(image, (content.size.width, content.size.height))
    if image.suffix != ".jpg":
        message = f"ends in {image.suffix}: torchvision looks for {path.stem}.jpg"
        yield Finding("wrong-suffix", message, str(image), None, "warning", "save it as JPEG")
    lines = [element.line for element in top.all("object")]
    for item, line in zip(content.object, lines, strict=True):
        yield from _check_box(content, item, path, line)
    yield from _check_mask(home, content, path, lines)


def _check_box(content: Annotation, item: Object, path: Path, line: int) -> Iterator[Finding]:
    box = item.bndbox
    if box.xmin > box.xmax or box.ymin > box.ymax:
        hint = "write the smaller number first"
        yield Finding("empty-box", f"the box of {item.name} ends before it begins", str(path), line, hint=hint)
    beyond = max(1 - box.xmin, 1 - box.ymin, box.xmax - content.size.width, box.ymax - content.size.height)
    if beyond > 0:
        message = f"the box of {item.name} is {beyond:g} px outside the image; pixels are counted from 1"
        severity: Any = "error" if beyond > ROUNDING else "warning"
        yield Finding("outside-image", message, str(path), line, severity, "cut it at the border")


def _check_mask(home: Path, content: Annotation, path: Path, lines: Sequence[int]) -> Iterator[Finding]:
    """Whether the mask has each object, where its box says it is."""
    mask_path = _mask_path(home, path.stem)
    try:
        mask = _object_mask(home, path.stem)
    except (MaskError, ExportError) as error:
        yield Finding("bad-mask", error.reason, str(mask_path), hint=error.hint)
        return
    if mask is None:
        return
    if mask.shape != (content.size.height, content.size.width):
        message = (
            f"the mask is {mask.shape[1]} x {mask.shape[0]} px, its image {content.size.width} x {content.size.height}"
        )
        yield Finding("mask-size", message, str(mask_path), hint="save it at the size of its image")
        return
    unknown = sorted({*np.unique(mask).tolist()} - {0, VOID} - {*range(1, len(content.object) + 1)})
    if unknown:
        message = f"the value {unknown[0]} stands for no object of the XML file"
        yield Finding("unknown-object", message, str(mask_path), hint="number the objects as the XML file lists them")
    for number, (item, line) in enumerate(zip(content.object[:MOST], lines, strict=False), start=1):
        region = whole_region((mask == number).view(np.uint8))
        if region is None:
            message = f"{item.name} has no pixel of the value {number} in its mask"
            yield Finding("lost-object", message, str(path), line, hint="draw it, or remove the object")
            continue
        x, y, width, height = region.bbox
        box, true = item.bndbox, (x + 1, y + 1, x + width, y + height)
        if max(abs(a - b) for a, b in zip(true, (box.xmin, box.ymin, box.xmax, box.ymax), strict=True)) > ROUNDING:
            message = f"the box of {item.name} is not the extent of its mask, {list(true)}"
            yield Finding("box-and-mask", message, str(path), line, "warning", "compute the box from the mask")
