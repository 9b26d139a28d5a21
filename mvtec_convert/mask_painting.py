"""The objects of one image as one mask: what a pixel's value says, and what a single mask cannot say.

Where objects of one type overlap, their union is all that is left of them. Where two types do, a pixel is called after
the smaller object, so that none disappears.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mvtec_convert.errors import ExportError
from mvtec_convert.geometry.headers import MAX_PIXELS
from mvtec_convert.geometry.images import BinaryMask
from mvtec_convert.geometry.regions import Region, find_regions
from mvtec_convert.geometry.rle import decode, rasterise
from mvtec_convert.labelled import Box, LabelledImage, LabelledObject, Ring, whole_region


@dataclass(frozen=True, slots=True)
class Stroke:
    """One object to paint.

    Attributes:
        region: its pixels.
        value: what its pixels get, 1 to 255.
    """

    region: Region
    value: int


@dataclass(frozen=True, slots=True, eq=False)
class Painting:
    """The mask of one image.

    Attributes:
        mask: shape (height, width), 0 where nothing is, else the value of the object there.
        united: pixels that several objects of one value share.
        covered: pixels that objects of different values share; they have the value of the smaller one.
    """

    mask: BinaryMask
    united: int
    covered: int

    def regions(self) -> int:
        """How many regions there are when the mask is read again: 8-connected, each value by itself."""
        values = np.unique(self.mask)
        return sum(len(find_regions((self.mask == value).view(np.uint8))) for value in values[values > 0])


def paint(strokes: Sequence[Stroke], width: int, height: int) -> Painting:
    """All objects in one mask of this size, px, the smaller ones on top."""
    mask = np.zeros((height, width), np.uint8)
    united = covered = 0
    for stroke in sorted(strokes, key=lambda stroke: -stroke.region.area):
        region = stroke.region
        window = mask[region.y : region.y + region.height, region.x : region.x + region.width]
        pixels = region.crop > 0
        before = window[pixels]
        same = int(np.count_nonzero(before == stroke.value))
        united += same
        covered += int(np.count_nonzero(before)) - same
        window[pixels] = stroke.value
    return Painting(mask, united, covered)


def region_of(item: LabelledObject, image: LabelledImage, fill_boxes: bool) -> Region:
    """The pixels of an object.

    Args:
        item: of the image.
        image: the image.
        fill_boxes: whether a box stands for its pixels where there is no mask.

    Raises:
        ExportError: there is no mask, and boxes are not to be filled; or the box lies outside the image.
    """
    if item.region is not None:
        return item.region
    if not fill_boxes:
        what = "an outline that covers no pixel" if _is_outline(item) else "a box and no mask"
        hint = "--boxes fills boxes as if they were masks; better labels come from a tool that draws outlines"
        raise ExportError(f"an object of class {item.class_name!r} has {what}", path=image.image, hint=hint)
    filled = _filled_outline(item.outlines[0], image) if item.outlines else None
    region = filled or _filled_box(item.box, image)
    if region is None:
        message = f"an object of class {item.class_name!r} lies outside the image"
        raise ExportError(message, path=image.image, hint="mend its box")
    return region


def _is_outline(item: LabelledObject) -> bool:
    """Whether an object has an outline that is no rotated box."""
    return bool(item.outlines) and len(item.outlines[0]) != 4


def _filled_outline(ring: Ring, image: LabelledImage) -> Region | None:
    """A rotated box, as pycocotools fills it."""
    return whole_region(decode(rasterise([ring.ravel()], image.height, image.width)))


def _filled_box(box: Box, image: LabelledImage) -> Region | None:
    """The pixels whose centres are in the box; of a box between two centres, the pixel that it is in."""
    x0, x1 = _pixels(box[0], box[2], image.width)
    y0, y1 = _pixels(box[1], box[3], image.height)
    if x0 >= x1 or y0 >= y1:
        return None
    return Region(x0, y0, np.ones((y1 - y0, x1 - x0), np.uint8), (y1 - y0) * (x1 - x0))


def _pixels(low: float, high: float, size: int) -> tuple[int, int]:
    first, end = math.ceil(low - 0.5), math.ceil(high - 0.5)
    if first == end:
        first, end = math.floor(low), math.floor(low) + 1
    return max(first, 0), min(end, size)


def refuse_large(image: LabelledImage) -> None:
    """Raise ExportError where the mask of an image would be too large."""
    if image.width * image.height > MAX_PIXELS:
        message = f"{image.width} x {image.height} px is more than the {MAX_PIXELS:,} pixels this tool decodes"
        raise ExportError(message, path=image.image, hint="cut the image into tiles")
