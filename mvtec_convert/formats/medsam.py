"""MedSAM: images and masks as NumPy arrays of 1024 x 1024.

    {train,val}/imgs/<name>.npy     float32, shape (1024, 1024, 3), RGB from 0 to 1
    {train,val}/gts/<name>.npy      uint8, shape (1024, 1024), 0 background, 1, 2, ... the regions
    {train,val}/regions.json        the image's own size, and each region's class; the trainer ignores it

Images are squeezed to the square by bicubic interpolation, then stretched so that the darkest value is 0 and the
brightest 1, as `MedSAM_Inference.py` does to what it is shown. Masks are scaled by nearest neighbour; a region that
this would lose keeps one pixel, if that pixel is free. So a mask of up to 1024 px a side comes back exactly when it is
scaled back, a larger one nearly. The aspect ratio and classes are lost to the trainer. Good images are left out: it
fails on a mask without ids. An image takes 13 MB.

Source: `NpyDataset` in train_one_gpu.py, and pre_CT_MR.py (github.com/bowang-lab/MedSAM). More than 255 regions are
written as uint16, which it reads as well.
"""

from __future__ import annotations

import io
import shlex
import zlib
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, ClassVar

import numpy as np
import numpy.typing as npt
import orjson
from PIL import Image
from pydantic import ValidationError

from mvtec_convert import checks
from mvtec_convert.errors import ExportError, MaskError
from mvtec_convert.findings import Finding
from mvtec_convert.formats import Encoded
from mvtec_convert.geometry.headers import MAX_PIXELS
from mvtec_convert.geometry.pillow import read_image
from mvtec_convert.geometry.prompts import deepest_point
from mvtec_convert.geometry.regions import AnnotatedImage, Region
from mvtec_convert.labelled import (
    UNNAMED,
    LabelledImage,
    LabelledObject,
    bounded,
    key_of,
    open_array,
    split_named,
    split_order,
    whole_region,
)
from mvtec_convert.labels import LabelMap
from mvtec_convert.plan import Item, Plan, load_class_names
from mvtec_convert.schemas import problems
from mvtec_convert.schemas.medsam import ImageRecord, RegionsFile

SIDE = 1024  # px
REGIONS_FILE = "regions.json"
FLAT = 0.02  # of the range from 0 to 1; photographs span far more

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class MedSam:
    """The format; it has no options."""

    name: ClassVar[str] = "medsam"
    takes_background: ClassVar[bool] = False

    @property
    def judge(self) -> str:
        """What is compared: the reader's masks, scaled back to the image's size by nearest neighbour."""
        return f"masks of {SIDE} x {SIDE} px, scaled back"

    def image_path(self, item: Item) -> None:
        """None: images are written as arrays."""

    def refuse(self, plan: Plan) -> None:
        """Arrays hold any plan."""

    def encode(self, item: Item, image: AnnotatedImage, labels: LabelMap) -> Encoded:
        """Three rows: the record for regions.json, the pixels as 8-bit RGB, and the ids as a compressed .npy file.

        Raises:
            MaskError: the image cannot be decoded, or no pixel of it is background.
        """
        own = _ids(image)
        ids = _scaled(own, image)
        if ids.all():
            raise MaskError(
                "regions cover the whole image; MedSAM's trainer would take one of them for background",
                code="no-background",
                path=item.sample.masks[0],
                hint="leave the image out, or write another format",
            )
        pixels = np.bincount(ids.ravel(), minlength=len(image.regions) + 1)
        record = orjson.dumps(_record(item, image, pixels))
        rows = (record, _square(item.sample.image).tobytes(), zlib.compress(_npy(ids), 1))
        ious = _ious(image, _resized(ids, own.shape))
        return Encoded(item, image.width, image.height, image.defect_types, rows, ious)

    def write(self, out: Path, plan: Plan, encoded: Iterable[Encoded]) -> None:
        """The arrays, and one file of records a split."""
        with ExitStack() as stack:
            records = {split: stack.enter_context(_Records(out / split)) for split in plan.split_names}
            for image in encoded:
                record, pixels, ids = image.rows
                records[image.item.split].add(record)
                folder, name = out / image.item.split, f"{image.item.name}.npy"
                np.save(folder / "imgs" / name, _stretched(np.frombuffer(pixels, np.uint8).reshape(SIDE, SIDE, 3)))
                (folder / "gts" / name).write_bytes(zlib.decompress(ids))

    def next_step(self, out: Path) -> str:
        """MedSAM's own script."""
        return f"python train_one_gpu.py -i {shlex.quote(str(out / 'train'))}"

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        """Folders `imgs` and `gts` side by side, here or one below."""
        return any(checks.is_folder(place / "imgs") and checks.is_folder(place / "gts") for place in _places(folder))

    @classmethod
    def check(cls, folder: Path) -> Iterator[Finding]:
        """Check a dataset folder; the codes are explained in docs/findings.md."""
        yield from checks.limited(_check(folder))

    @classmethod
    def read(cls, folder: Path) -> Iterator[LabelledImage]:
        """The masks at the size that regions.json states, scaled as `judge` says; else as they are."""
        for split in _splits_to_read(folder):
            records = checks.sound(_records(split / REGIONS_FILE))
            for path in _masks_of(split):
                yield _labelled(path, split, folder, records.get(path.stem))

    @classmethod
    def class_names(cls, folder: Path) -> tuple[str, ...]:
        """Of `classes.json`, else of regions.json; without it regions have no class."""
        saved = load_class_names(folder)
        if saved is not None:
            return saved
        records = (checks.sound(_records(split / REGIONS_FILE)).values() for split in _splits_to_read(folder))
        names = {
            (region.class_id, region.class_name) for images in records for image in images for region in image.regions
        }
        return tuple(dict.fromkeys(name for _, name in sorted(names))) or (UNNAMED,)


FORMAT = MedSam
READERS = "MedSAM's trainer"


# --- writing ---------------------------------------------------------------------------------------------------------


class _Records:
    """A split's folders, and its regions.json in the making, one record a line."""

    def __init__(self, folder: Path) -> None:
        for name in ("imgs", "gts"):
            (folder / name).mkdir(parents=True)
        self._file: IO[bytes] = (folder / REGIONS_FILE).open("wb")
        self._comma = b'{"images":[\n'

    def __enter__(self) -> _Records:
        return self

    def add(self, record: bytes) -> None:
        self._file.write(self._comma + record)
        self._comma = b",\n"

    def __exit__(self, *error: object) -> None:
        with self._file:
            self._file.write(b'{"images":[]}\n' if self._comma != b",\n" else b"\n]}\n")


def _record(item: Item, image: AnnotatedImage, pixels: Array) -> dict[str, Any]:
    regions = [
        {
            "id": number,
            "class_id": item.class_of(region).id,
            "class_name": item.class_of(region).name,
            "area": region.area,
            "pixels": int(pixels[number]),
        }
        for number, region in enumerate(image.regions, start=1)
    ]
    return {"name": item.name, "width": image.width, "height": image.height, "regions": regions}


def _ids(image: AnnotatedImage) -> Array:
    """The regions, numbered from 1 in their order, shape (height, width), in the smallest dtype that holds them.

    A pixel has one id: where masks of different defects cover one another, the smaller region is on top.
    """
    ids = np.zeros((image.height, image.width), np.min_scalar_type(len(image.regions)))
    for number, region in sorted(enumerate(image.regions, start=1), key=lambda pair: -pair[1].area):
        window = ids[region.y : region.y + region.height, region.x : region.x + region.width]
        window[region.crop > 0] = number
    return ids


def _scaled(own: Array, image: AnnotatedImage) -> Array:
    """The ids at `SIDE` x `SIDE`; a region too small to be hit by a sample takes the pixel that its middle falls in."""
    ids = _resized(own, (SIDE, SIDE))
    left = np.bincount(ids.ravel(), minlength=len(image.regions) + 1)
    for number, region in enumerate(image.regions, start=1):
        if left[number] == 0:
            x, y = deepest_point(region)
            place = (y * SIDE // image.height, x * SIDE // image.width)
            ids[place] = ids[place] or number
    return ids


def _resized(ids: Array, shape: tuple[int, ...]) -> Array:
    """Nearest neighbour by pixel centres, as skimage's `resize` with order 0 samples; shape (height, width)."""
    rows, columns = (_sampled(new, old) for new, old in zip(shape, ids.shape, strict=True))
    return np.asarray(ids[rows[:, None], columns])


def _sampled(new: int, old: int) -> Array:
    """For each of `new` rows or columns, which of `old` it takes."""
    return np.asarray((2 * np.arange(new) + 1) * old // (2 * new))


def _ious(image: AnnotatedImage, back: Array) -> tuple[float, ...]:
    """The IoU of each region with what has its id in an array of the image's shape."""
    pixels = np.bincount(back.ravel(), minlength=len(image.regions) + 1).tolist()
    ious = []
    for number, region in enumerate(image.regions, start=1):
        window = back[region.y : region.y + region.height, region.x : region.x + region.width]
        both = int(np.count_nonzero((window == number) & (region.crop > 0)))
        ious.append(both / (region.area + pixels[number] - both))
    return tuple(ious)


def _square(path: Path) -> Array:
    """The image as 8-bit RGB, shape (SIDE, SIDE, 3), by bicubic interpolation, smoothed first where it shrinks."""
    pixels = read_image(path)
    if pixels.ndim == 2:  # greyscale of more than 8 bits
        pixels = (_stretched(pixels) * 255).astype(np.uint8)
    rgb = Image.fromarray(pixels).convert("RGB")
    return np.asarray(rgb.resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def _stretched(pixels: Array) -> npt.NDArray[np.float32]:
    """Values from 0, the darkest, to 1, the brightest; all 0 where they are equal."""
    low, high = float(pixels.min()), float(pixels.max())
    return np.asarray((pixels.astype(np.float32) - np.float32(low)) / np.float32(max(high - low, 1e-8)))


def _npy(array: Array) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


# --- reading ---------------------------------------------------------------------------------------------------------


def _splits_to_read(folder: Path) -> list[Path]:
    splits = _splits(folder)
    if not splits:
        raise ExportError("there is neither imgs nor gts", path=folder, hint="give the dataset's top folder")
    return sorted(splits, key=lambda split: split_order(split.name))


def _labelled(mask: Path, split: Path, folder: Path, record: ImageRecord | None) -> LabelledImage:
    ids = _mask_array(mask)
    if isinstance(ids, Finding):
        raise checks.refusal(ids)
    width, height = (SIDE, SIDE) if record is None else (record.width, record.height)
    if width * height > MAX_PIXELS:
        message = f"{mask.stem}: {width} x {height} px is more than the {MAX_PIXELS:,} pixels this tool decodes"
        raise ExportError(message, path=split / REGIONS_FILE, hint="cut the image into tiles")
    names = {} if record is None else {region.id: region.class_name for region in record.regions}
    image = split / "imgs" / mask.name
    return LabelledImage(
        image=image,
        key=key_of(image, folder),
        name=mask.stem,
        split=split_named(split.name if split != folder else folder.resolve().name),
        width=width,
        height=height,
        objects=bounded(_objects(ids, width, height, names), mask),
    )


def _objects(ids: Array, width: int, height: int, names: Mapping[int, str]) -> Iterator[LabelledObject]:
    """One object for each id, in their order, at the image's own size; the smallest id is background."""
    flat = ids.ravel()
    inside = np.flatnonzero(flat != flat.min())
    by_id = inside[np.argsort(flat[inside], kind="stable")]
    firsts = np.flatnonzero(np.diff(flat[by_id])) + 1
    for places in np.split(by_id, firsts) if len(by_id) else ():
        rows, columns = np.divmod(places, ids.shape[1])
        region = _own_region(rows, columns, ids.shape, width, height)
        if region is not None:
            x, y = region.x, region.y
            box = (float(x), float(y), float(x + region.width), float(y + region.height))
            yield LabelledObject(names.get(int(flat[places[0]]), UNNAMED), box, region)


def _own_region(rows: Array, columns: Array, shape: tuple[int, ...], width: int, height: int) -> Region | None:
    """The pixels of one id at the image's own size, scaled as `_resized` scales; None where none of them is left."""
    top, left = int(rows.min()), int(columns.min())
    crop = np.zeros((int(rows.max()) + 1 - top, int(columns.max()) + 1 - left), np.uint8)
    crop[rows - top, columns - left] = 1
    from_rows, from_columns = _sampled(height, shape[0]), _sampled(width, shape[1])
    y, bottom = np.searchsorted(from_rows, (top, top + crop.shape[0]))
    x, right = np.searchsorted(from_columns, (left, left + crop.shape[1]))
    scaled = crop[from_rows[y:bottom, None] - top, from_columns[x:right] - left]
    return whole_region(scaled, int(x), int(y))


# --- checking --------------------------------------------------------------------------------------------------------


def _splits(folder: Path) -> list[Path]:
    """The folders that hold arrays."""
    return [place for place in _places(folder) if any(checks.is_folder(place / part) for part in ("imgs", "gts"))]


def _masks_of(split: Path) -> list[Path]:
    """The masks of a split, sorted; the trainer looks for them at any depth, and for images right in imgs."""
    return sorted((split / "gts").rglob("*.npy"))


def _places(folder: Path) -> list[Path]:
    """The folder, and those in it, by name."""
    if not checks.is_folder(folder):
        return []
    return [folder, *sorted(path for path in folder.iterdir() if checks.is_folder(path))]


def _check(folder: Path) -> Iterator[Finding]:
    splits = _splits(folder)
    if not splits:
        hint = "put the arrays into imgs and gts, in one folder for each split"
        yield Finding("no-arrays", "there is neither imgs nor gts", str(folder), hint=hint)
    for split in splits:
        yield from _check_split(split)
    yield from checks.shared_images({split.name: sorted((split / "imgs").glob("*.npy")) for split in splits})


def _check_split(split: Path) -> Iterator[Finding]:
    masks = _masks_of(split)
    images = sorted((split / "imgs").glob("*.npy"))
    if not masks and not images:
        hint = "fine if nothing is to be trained on it; else use --split supervised"
        yield Finding("empty-split", f"{split.name} has no array", str(split), severity="warning", hint=hint)
    yield from _check_pairs(masks, images)
    for path in images:
        yield from _check_image(path)
    records = yield from _records(split / REGIONS_FILE)
    for path in masks:
        yield from _check_mask(path, records.pop(path.stem, None))
    for name in records:
        hint = f"restore the array, or remove the record from {REGIONS_FILE}"
        yield Finding("missing-mask", "the mask is missing", str(split / "gts" / f"{name}.npy"), hint=hint)


def _check_pairs(masks: list[Path], images: list[Path]) -> Iterator[Finding]:
    """Whether each mask has one image, and each image a mask."""
    pairs = Counter(path.name for path in masks)
    there = {path.name for path in images}
    for path in masks:
        if path.name not in there:
            hint = "restore imgs/" + path.name + ", or remove the mask"
            yield Finding("missing-image", "no image has this name: the trainer passes it over", str(path), hint=hint)
        if pairs[path.name] > 1:
            message = f"{pairs[path.name]} masks in gts have this name, and one image"
            yield Finding("duplicate-name", message, str(path), hint="give each mask, and its image, its own name")
    for path in images:
        if not pairs[path.name]:
            hint = "restore gts/" + path.name + ", or remove the image"
            yield Finding("orphan-image", "no mask has this name: the trainer never sees it", str(path), hint=hint)


def _opened(path: Path) -> Array | Finding:
    """The array, mapped and not read, or why it cannot be."""
    try:
        return open_array(path)
    except ExportError as error:
        return Finding("bad-npy", error.reason, str(path), hint=error.hint)


def _check_image(path: Path) -> Iterator[Finding]:
    array = _opened(path)
    if isinstance(array, Finding):
        yield array
    elif array.shape != (SIDE, SIDE, 3):
        hint = f"resize the image to {SIDE} x {SIDE}, RGB last"
        yield Finding("array-shape", f"its shape is {array.shape}, not {(SIDE, SIDE, 3)}", str(path), hint=hint)
    elif not np.issubdtype(array.dtype, np.floating):
        message = f"its type is {array.dtype}; the trainer wants numbers from 0 to 1"
        yield Finding("array-type", message, str(path), hint="divide by 255 and save as float32")
    else:
        low, high = float(array.min()), float(array.max())
        if not 0 <= low <= high <= 1:  # NaN is neither
            message = f"its values are from {low:g} to {high:g}, not from 0 to 1: the trainer stops"
            yield Finding("out-of-range", message, str(path), hint="divide by 255, and mind NaN")
        elif high - low < FLAT:
            message = f"its values are from {low:g} to {high:g}: nearly one colour"
            hint = "was it divided by 255 twice?"
            yield Finding("flat-image", message, str(path), severity="warning", hint=hint)


def _check_mask(path: Path, record: ImageRecord | None) -> Iterator[Finding]:
    array = _mask_array(path)
    if isinstance(array, Finding):
        yield array
    else:
        pixels = _pixels(array)
        yield from _check_ids(path, pixels)
        if record is not None:
            yield from _check_record(path, pixels, record)


def _mask_array(path: Path) -> Array | Finding:
    """The ids, shape (SIDE, SIDE), mapped and not read, or what is wrong with them."""
    array = _opened(path)
    if isinstance(array, Finding):
        return array
    if array.shape != (SIDE, SIDE):
        hint = f"resize the mask to {SIDE} x {SIDE} by nearest neighbour"
        return Finding("array-shape", f"its shape is {array.shape}, not {(SIDE, SIDE)}", str(path), hint=hint)
    if not np.issubdtype(array.dtype, np.integer) and array.dtype != np.bool_:
        message = f"its type is {array.dtype}; ids are whole numbers"
        return Finding("array-type", message, str(path), hint="save it as uint8, resized by nearest neighbour")
    return array


def _pixels(array: Array) -> dict[int, int]:
    """How many pixels each value has."""
    low, high = int(array.min()), int(array.max())
    if high - low < 1 << 16:  # far quicker than sorting
        counts = np.bincount(array.ravel().astype(np.int64) - low)
        values = np.flatnonzero(counts)
        return dict(zip((values + low).tolist(), counts[values].tolist(), strict=True))
    found, counts = np.unique(array, return_counts=True)
    return dict(zip(found.tolist(), counts.tolist(), strict=True))


def _check_ids(path: Path, pixels: dict[int, int]) -> Iterator[Finding]:
    """Whether the trainer finds a region to choose. It takes the smallest value for background, whatever it is."""
    if pixels.keys() == {0}:
        message = "no pixel has an id: the trainer fails on it"
        yield Finding("no-ids", message, str(path), hint="remove the mask and its image")
    elif min(pixels) < 0:
        message = f"the id {min(pixels)} is below 0: the trainer takes it for background"
        yield Finding("negative-id", message, str(path), hint="number the regions from 1")
    elif 0 not in pixels:
        message = f"no pixel is background: the trainer takes the id {min(pixels)} for it"
        yield Finding("no-background", message, str(path), hint="remove the mask and its image")


def _check_record(path: Path, pixels: dict[int, int], record: ImageRecord) -> Iterator[Finding]:
    """Whether regions.json and the mask speak of the same regions."""
    known = {region.id for region in record.regions}
    for unknown in sorted(pixels.keys() - known - {0}):
        message = f"{REGIONS_FILE} does not know the id {unknown}"
        yield Finding("unknown-id", message, str(path), hint=f"add it to {REGIONS_FILE}, or mend the mask")
    for region in record.regions:
        found = pixels.get(region.id, 0)
        if found != region.pixels:
            message = f"{REGIONS_FILE} says {region.pixels} pixels of region {region.id}, there are {found}"
            yield Finding("area", message, str(path), hint="export again")
        elif not found:
            message = f"region {region.id} ({region.class_name}, {region.area} px) is gone: it shared its pixel"
            hint = "cut the image into tiles, or join near regions with --merge-distance"
            yield Finding("lost-region", message, str(path), severity="warning", hint=hint)


def _records(path: Path) -> Generator[Finding, None, dict[str, ImageRecord]]:
    """Find what is wrong with regions.json; return its records by name, none where there is no such file."""
    if not checks.is_file(path):
        return {}
    file = checks.open_json(path, "see `mvtec-convert schema medsam` for the form")
    if isinstance(file, Finding):
        yield file
        return {}
    try:
        content = RegionsFile.model_validate(file.document)
    except ValidationError as error:
        yield from file.schema_findings(problems(error))
        return {}
    return {image.name: image for image in content.images}
