"""What an exported dataset says of its images, in one form for every format: what it teaches, not what it was made of.

Each format's `read` gives these, whoever wrote the files; see `exports.read_export`. Everything is px of the image, x
before y, right and bottom edges exclusive.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from mvtec_convert.dataset import SPLIT_NAMES
from mvtec_convert.errors import ExportError
from mvtec_convert.geometry.headers import MAX_PIXELS
from mvtec_convert.geometry.images import BinaryMask
from mvtec_convert.geometry.polygons import edge_outlines
from mvtec_convert.geometry.regions import Region, RegionOptions, find_regions
from mvtec_convert.opening import open_file

Box: TypeAlias = tuple[float, float, float, float]
"""(x0, y0, x1, y1)."""

Ring: TypeAlias = npt.NDArray[np.float64]
"""Shape (points, 2); closed (the last point joins the first, which is not repeated)."""

UNNAMED = "object"
"""The class of objects that a format, or a file, gives no class."""

MOST_ARRAY_PIXELS = 1 << 24
"""Of an image that is stored as a NumPy array, which may be a hole in a file; MedSAM's have 2**20."""

MOST_MASK_PIXELS = 4 * MAX_PIXELS
"""Of all masks of one image, each cut to its extent; run lengths of a few bytes can stand for any number of pixels."""

MOST_OBJECTS = 100_000
"""Of one image."""


@dataclass(frozen=True, slots=True, eq=False)
class LabelledObject:
    """One object of an image, as the format's reader takes it.

    Attributes:
        class_name: what a model learns to call it.
        box: as the file states it, or as the reader computes it where the file has none.
        region: the mask, filled by the reader's own rasteriser; None where the format has boxes alone, or where the
            mask has no pixel.
        outlines: the polygons that the file holds, or a rotated box; empty where it holds none.
        points: (x, y, label) prompts, pixel indices; label 1 inside, 0 outside.
        prompt_box: the box to prompt with, where the file has one beside `box`.
        text: the phrase to ask for.
        is_crowd: whether trainers leave it out (COCO's `iscrowd`).
    """

    class_name: str
    box: Box
    region: Region | None = None
    outlines: tuple[Ring, ...] = ()
    points: tuple[tuple[float, float, int], ...] = ()
    prompt_box: Box | None = None
    text: str | None = None
    is_crowd: bool = False

    def rings(self) -> tuple[Ring, ...]:
        """What to draw as its outline: the file's polygons, else the mask's pixel edges (holes too), else the box."""
        if self.outlines:
            return self.outlines
        if self.region is not None:
            edges = edge_outlines(self.region)
            return tuple(ring.astype(np.float64) for edge in edges for ring in (edge.outer, *edge.holes))
        x0, y0, x1, y1 = self.box
        return (np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], np.float64),)


@dataclass(frozen=True, slots=True, eq=False)
class LabelledImage:
    """One image with its labels.

    Attributes:
        image: the file; it may be missing where the labels state the size. See `read_picture`.
        key: POSIX path of the image in the dataset, unique.
        name: what the image is called in exports of other formats, where the file says so; else its file name without
            suffix.
        split: `train`, `val` or `test`, or what another tool calls it.
        width: px, as the labels state it, else from the image's header.
        height: px.
        objects: in the order of the file.
        classes: of the whole image, where the format classifies images.
        asked: phrases that the image is asked for (SA-Co); without an object of that text the answer is nothing.
    """

    image: Path
    key: str
    name: str
    split: str
    width: int
    height: int
    objects: tuple[LabelledObject, ...] = ()
    classes: tuple[str, ...] = ()
    asked: tuple[str, ...] = ()

    def class_names(self) -> tuple[str, ...]:
        """Every class on it, each once."""
        return tuple(dict.fromkeys((*self.classes, *(item.class_name for item in self.objects))))


def read_picture(image: LabelledImage) -> npt.NDArray[np.uint8]:
    """The pixels that the labels are about: 8-bit RGB, shape (height, width, 3), as they are stored.

    An image stored as a NumPy array is scaled to the size that the labels state, which is the image's own.

    Raises:
        MaskError: the image is missing, damaged or too large.
        ExportError: an array that is no image.
    """
    if image.image.suffix != ".npy":
        from mvtec_convert.geometry.pillow import read_rgb

        return read_rgb(image.image)
    array = open_array(image.image)
    is_image = array.ndim == 3 and array.shape[2] == 3 and np.issubdtype(array.dtype, np.floating)
    if not is_image or not 0 < array.shape[0] * array.shape[1] <= MOST_ARRAY_PIXELS:
        raise ExportError(f"an array of {array.dtype} and shape {array.shape} is no image", path=image.image)
    pixels = np.nan_to_num(array.astype(np.float32) * 255).clip(0, 255).astype(np.uint8)
    return np.asarray(cv2.resize(pixels, (image.width, image.height), interpolation=cv2.INTER_AREA), np.uint8)


def open_array(path: Path) -> npt.NDArray[Any]:
    """A .npy file, mapped and not read; nothing in it is executed.

    Raises:
        ExportError: it is none, or is damaged.
    """
    try:
        with open_file(path):  # what is no regular file might be waited for for ever
            array: Any = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # a damaged header may raise nearly anything
        reason = error.strerror if isinstance(error, OSError) else error
        hint = "write it again with numpy.save"
        raise ExportError(f"cannot be read: {reason}", path=path, hint=hint) from None
    if isinstance(array, np.ndarray):
        return array
    array.close()
    raise ExportError("an archive of arrays, not one array", path=path, hint="write it with numpy.save")


def split_named(name: str) -> str:
    """A split by this tool's names: Roboflow and others say `valid` or `validation` for val."""
    return "val" if name in {"valid", "validation"} else name


def split_order(name: str) -> tuple[int, str]:
    """Sorts splits: train, val and test, then what else there is, by name."""
    split = split_named(name)
    return SPLIT_NAMES.index(split) if split in SPLIT_NAMES else len(SPLIT_NAMES), split


def key_of(image: Path, root: Path) -> str:
    """POSIX path of an image in the dataset at `root`."""
    return image.relative_to(root).as_posix()


def whole_region(mask: BinaryMask, x: int = 0, y: int = 0) -> Region | None:
    """All of a mask as one region, or None where nothing is set.

    Args:
        mask: shape (height, width), uint8, non-zero where the object is.
        x: left edge of the mask in the image, px.
        y: top edge of the mask in the image, px.
    """
    found = find_regions(mask, RegionOptions(rule="image"))
    return Region(found[0].x + x, found[0].y + y, found[0].crop, found[0].area) if found else None


def bounded(objects: Iterable[LabelledObject], path: Path) -> tuple[LabelledObject, ...]:
    """The objects of one image, as long as they fit in memory.

    Raises:
        ExportError: they are more than `MOST_OBJECTS`, or their masks have more than `MOST_MASK_PIXELS`; names `path`,
            the file they are from.
    """
    kept: list[LabelledObject] = []
    pixels = 0
    for item in objects:
        pixels += 0 if item.region is None else item.region.crop.size
        if pixels > MOST_MASK_PIXELS or len(kept) == MOST_OBJECTS:
            what = f"{MOST_OBJECTS:,} objects" if len(kept) == MOST_OBJECTS else f"{MOST_MASK_PIXELS:,} pixels of masks"
            hint = "cut the image into tiles, or remove masks that cover each other"
            raise ExportError(f"more than {what} in one image", path=path, hint=hint)
        kept.append(item)
    return tuple(kept)
