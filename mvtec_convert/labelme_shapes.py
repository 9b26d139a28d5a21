"""Shapes of labelme as masks, by its own rules: Pillow, as `shape_to_mask` and `shapes_to_label` call it.

Coordinates are cut to whole pixels, and outlines are painted as well. Everything is px of the image, x before y.
Source: labelme/utils/shape.py in github.com/wkentaro/labelme, version 6.3.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from mvtec_convert.errors import MaskError
from mvtec_convert.geometry.images import BinaryMask, non_zero
from mvtec_convert.geometry.pillow import png_values
from mvtec_convert.geometry.regions import Region
from mvtec_convert.labelled import Box, Ring, whole_region
from mvtec_convert.schemas.labelme import Shape

LINE_WIDTH, POINT_RADIUS = 10, 5  # px; what `shape_to_mask` gives to what was drawn without a width
WITHOUT_WIDTH = {"line", "linestrip", "point", "points"}
ROUND = {"circle", "point", "points"}


def by_group(shapes: Iterable[Shape]) -> list[list[Shape]]:
    """The shapes of each object, in the order in which the objects begin: one label and one `group_id` are one."""
    groups: dict[Any, list[Shape]] = {}
    for i, shape in enumerate(shapes):
        key = (shape.label, shape.group_id) if shape.group_id is not None else i
        groups.setdefault(key, []).append(shape)
    return list(groups.values())


def mask_of(shapes: Sequence[Shape], width: int, height: int, path: Path) -> Region | None:
    """All shapes of one object, in an image of this size, px; None where no pixel is covered.

    Args:
        shapes: of the object; each with as many points as its kind has.
        width: of the image, px.
        height: of the image, px.
        path: of the file, for messages.

    Raises:
        MaskError: the mask of a shape cannot be decoded.
    """
    parts = [part for shape in shapes if (part := mask_of_shape(shape, width, height, path)) is not None]
    return united(parts) if parts else None


def mask_of_shape(shape: Shape, width: int, height: int, path: Path) -> Region | None:
    """One shape in an image of this size, px; see `mask_of`."""
    points = np.array(shape.points, np.float64)
    if shape.shape_type == "mask":
        return _pasted(decoded(shape, path), points[0], width, height)
    return filled(shape.shape_type or "polygon", points, width, height)


def united(parts: Sequence[Region]) -> Region:
    """All pixels of the parts as one region."""
    if len(parts) == 1:
        return parts[0]
    x, y = min(part.x for part in parts), min(part.y for part in parts)
    right, bottom = max(part.x + part.width for part in parts), max(part.y + part.height for part in parts)
    canvas = np.zeros((bottom - y, right - x), np.uint8)
    for part in parts:
        canvas[part.y - y : part.y - y + part.height, part.x - x : part.x - x + part.width] |= part.crop
    return Region(x, y, canvas, int(np.count_nonzero(canvas)))


def decoded(shape: Shape, path: Path) -> BinaryMask:
    """The mask of a shape.

    Raises:
        MaskError: it is missing, no PNG in base64, damaged, or no mask.
    """
    try:
        data = base64.b64decode(shape.mask or "", validate=True)
    except (binascii.Error, ValueError):
        raise MaskError("a mask is no base64", path=path, hint="draw the mask again") from None
    values = png_values(data, path)
    if values.ndim != 2:
        raise MaskError("a mask has colours", path=path, hint="draw the mask again")
    return non_zero(values)


def _pasted(mask: BinaryMask, origin: npt.NDArray[np.float64], width: int, height: int) -> Region | None:
    """A mask whose first pixel is at `origin` (x, y), as far as it is in the image."""
    x, y = (int(value) for value in origin.round())
    left, top = max(x, 0), max(y, 0)
    inside = mask[top - y : max(height - y, 0), left - x : max(width - x, 0)]
    return whole_region(inside, left, top) if inside.size else None


def filled(kind: str, points: npt.NDArray[np.float64], width: int, height: int) -> Region | None:
    """What `shape_to_mask` paints in an image of this size, on no more canvas than the shape needs."""
    ends = _extent(kind, points)
    # Pillow cuts decimals off; what is whole already it leaves alone, so that all may be moved.
    low, high = np.trunc(ends.min(axis=0)).astype(int), np.trunc(ends.max(axis=0)).astype(int)
    margin = LINE_WIDTH if kind in WITHOUT_WIDTH else 1
    left, top = (max(int(value) - margin, 0) for value in low)
    right, bottom = min(int(high[0]) + margin + 1, width), min(int(high[1]) + margin + 1, height)
    if left >= right or top >= bottom:
        return None
    canvas = Image.new("L", (right - left, bottom - top))
    _draw(ImageDraw.Draw(canvas), kind, ends if kind in ROUND else points, (left, top))
    return whole_region(np.asarray(canvas), left, top)


def _extent(kind: str, points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The corners (x, y) of what is drawn; for round shapes those of the boxes around their circles."""
    if kind == "circle":
        radius = math.dist(*points)
        return np.array([points[0] - radius, points[0] + radius])
    if kind in {"point", "points"}:
        return np.concatenate([[point - POINT_RADIUS, point + POINT_RADIUS] for point in points])
    return points


def _draw(draw: ImageDraw.ImageDraw, kind: str, points: npt.NDArray[np.float64], origin: tuple[int, int]) -> None:
    xy = [tuple(point) for point in (np.trunc(points) - origin).tolist()]
    if kind in ROUND:
        for corners in zip(xy[::2], xy[1::2], strict=True):
            draw.ellipse(corners, outline=1, fill=1)
    elif kind == "rectangle":
        (x0, y0), (x1, y1) = xy
        draw.rectangle((min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)), outline=1, fill=1)
    elif kind in {"line", "linestrip"}:
        draw.line(xy, fill=1, width=LINE_WIDTH)
    else:
        draw.polygon(xy, outline=1, fill=1)


def without(region: Region, other: Region) -> Region | None:
    """The region without the pixels of the other; None where nothing is left."""
    x0, y0 = max(region.x, other.x), max(region.y, other.y)
    x1 = min(region.x + region.width, other.x + other.width)
    y1 = min(region.y + region.height, other.y + other.height)
    if x0 >= x1 or y0 >= y1:
        return region
    crop = region.crop.copy()
    theirs = other.crop[y0 - other.y : y1 - other.y, x0 - other.x : x1 - other.x]
    crop[y0 - region.y : y1 - region.y, x0 - region.x : x1 - region.x][theirs > 0] = 0
    return whole_region(crop, region.x, region.y)


def box_of(shapes: Sequence[Shape]) -> Box:
    """The extent of the points of an object."""
    ends = np.concatenate([_extent(shape.shape_type or "polygon", np.array(shape.points)) for shape in shapes])
    (x0, y0), (x1, y1) = ends.min(axis=0).tolist(), ends.max(axis=0).tolist()
    return x0, y0, x1, y1


def outlines_of(shapes: Sequence[Shape]) -> tuple[Ring, ...]:
    """The polygons of an object that has nothing else."""
    if any(shape.shape_type not in {None, "polygon", "oriented_rectangle"} for shape in shapes):
        return ()
    return tuple(np.array(shape.points, np.float64) for shape in shapes)


def iou(mask: Region | None, region: Region) -> float:
    """IoU of what was read with the region itself, 0 to 1."""
    if mask is None:
        return 0.0
    if mask.bbox == region.bbox and np.array_equal(mask.crop, region.crop):
        return 1.0
    x, y = min(mask.x, region.x), min(mask.y, region.y)
    width = max(mask.x + mask.width, region.x + region.width) - x
    height = max(mask.y + mask.height, region.y + region.height) - y
    both = np.zeros((2, height, width), np.uint8)
    for canvas, each in zip(both, (mask, region), strict=True):
        canvas[each.y - y : each.y - y + each.height, each.x - x : each.x - x + each.width] = each.crop
    return float(np.count_nonzero(both.all(axis=0)) / np.count_nonzero(both.any(axis=0)))
