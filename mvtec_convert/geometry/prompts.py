"""Regions to prompts for promptable segmenters: points and boxes, seeded.

Points are pixel indices (x, y): SAM adds the half pixel to the centre itself
(`PromptEncoder._embed_points` in the segment-anything repository). Boxes are (x0, y0, x1, y1) in px with exclusive
right and bottom edges.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Any, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from mvtec_convert.geometry.images import BinaryMask
from mvtec_convert.geometry.regions import Region

Point: TypeAlias = tuple[int, int]
Places: TypeAlias = tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]
"""Rows and columns of pixels."""

Box: TypeAlias = tuple[float, float, float, float]

SIDES = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], np.uint8)
ROUGH_LEAST = 0.982
"""A rough distance is at least so many times the true one. OpenCV's 5 x 5 mask walks in steps of 1, 1.4 and 2.1969 for
1, 1.4142 and 2.2361 px (`getDistanceTransformMask` in distransf.cpp), so it is the farthest too short where it takes
the last of these alone: 0.9825 times. Elsewhere its way is a sum of two kinds of step, and relatively longer."""
MOST_SIDE = 1 << 12  # px; squares of it are well within 32 bits
MOST_SQUARES = 1 << 18

NEAR_LEAST = 8
"""Negative points are drawn at most this many px from the region, or its own size away if that is more."""


@dataclass(frozen=True, slots=True)
class PromptOptions:
    """What to draw for each region.

    Attributes:
        points: positive points inside the region.
        negatives: points outside every region, near this one.
        box_jitter: each edge of the prompt box is moved by up to this many px, either way.
        seed: same seed, same prompts.
    """

    points: int = 1
    negatives: int = 0
    box_jitter: float = 0.0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a user of a promptable segmenter could have clicked for one region.

    Attributes:
        box: (x0, y0, x1, y1) px.
        points: (x, y) pixel indices, positive ones first, the first of them the deepest.
        labels: 1 for each positive, 0 for each negative point.
    """

    box: Box
    points: tuple[Point, ...]
    labels: tuple[int, ...]


def draw_prompts(region: Region, occupied: BinaryMask, options: PromptOptions, name: str) -> Prompt:
    """Draw one region's prompts.

    Args:
        region: the region to be found.
        occupied: mask of all the image's regions, shape (height, width); negatives keep off it. Where none are asked
            for, only its shape matters.
        options: how many points, how much jitter, which seed.
        name: names the region within the dataset; with the seed it decides the draw, so that neither the order of
            work nor other images matter.

    Returns:
        The prompt. It has fewer points than asked for where the region has fewer pixels, or where no pixel
        near it is free.
    """
    numbers = _numbers(f"{options.seed}/{name}")
    positives = _inside(region, options.points, numbers)
    negatives = _near(region, occupied, options.negatives, numbers)
    height, width = occupied.shape
    return Prompt(
        box=_jittered(region, width, height, options.box_jitter, numbers),
        points=(*positives, *negatives),
        labels=(1,) * len(positives) + (0,) * len(negatives),
    )


def deepest_point(region: Region) -> Point:
    """The pixel farthest from the region's edge and from its holes, the first such row by row.

    The border of the image counts as edge.
    """
    free = np.asarray(cv2.copyMakeBorder(region.crop, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0), np.uint8)
    row, column = divmod(_deepest(free), free.shape[1])
    return region.x + column - 1, region.y + row - 1


def _deepest(free: BinaryMask) -> int:
    """Of the pixels farthest from any that is 0 the first, as an index into the mask laid flat.

    True distances of all pixels take three times as long as rough ones, which leave a dozen to be measured.
    """
    if max(free.shape) <= MOST_SIDE:
        rough = cv2.distanceTransform(free, cv2.DIST_L2, cv2.DIST_MASK_5).ravel()
        # Of all that is 0, the nearest shares a side with what is not.
        edge = _places(np.flatnonzero(cv2.dilate(free, SIDES) != free), free.shape[1])
        first = np.array([rough.argmax()])
        least = int(_squares(_places(first, free.shape[1]), edge).min())
        deep = np.flatnonzero(rough >= ROUGH_LEAST * math.sqrt(least))
        if len(deep) * len(edge) <= MOST_SQUARES:
            return int(deep[_squares(_places(deep, free.shape[1]), edge).min(axis=1).argmax()])
    return int(_squared_distance(free).argmax())


def _places(flat: npt.NDArray[np.int64], width: int) -> Places:
    """Of indices into a mask laid flat."""
    rows, columns = np.divmod(flat.astype(np.int32), width)
    return rows, columns


def _squares(places: Places, others: Places) -> npt.NDArray[np.int32]:
    """Squared distance of each place to each other one, px squared, shape (places, others)."""
    rows: npt.NDArray[np.int32] = np.subtract.outer(places[0], others[0])
    columns: npt.NDArray[np.int32] = np.subtract.outer(places[1], others[1])
    rows *= rows
    columns *= columns
    rows += columns
    return rows


def _inside(region: Region, count: int, numbers: Iterator[float]) -> list[Point]:
    if count <= 0:
        return []
    first = deepest_point(region)
    if count == 1:
        return [first]
    others = region.crop.copy()
    others[first[1] - region.y, first[0] - region.x] = 0
    return [first, *_draw(others, region.x, region.y, count - 1, numbers)]


def _near(region: Region, occupied: BinaryMask, count: int, numbers: Iterator[float]) -> list[Point]:
    if count <= 0:
        return []
    reach = max(NEAR_LEAST, region.width, region.height)
    x0, y0 = max(region.x - reach, 0), max(region.y - reach, 0)
    window = occupied[y0 : region.y + region.height + reach, x0 : region.x + region.width + reach]
    away = np.ones(window.shape, np.uint8)
    away[region.y - y0 :, region.x - x0 :][: region.height, : region.width] -= region.crop
    return _draw((window == 0) & (_squared_distance(away) <= reach * reach), x0, y0, count, numbers)


def _squared_distance(free: BinaryMask) -> npt.NDArray[np.float32]:
    """Of each pixel that is not 0 to the nearest that is, px squared: a whole number.

    OpenCV's roots of one and the same square differ with where in memory they happen to lie.
    """
    distance = cv2.distanceTransform(free, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(np.rint(distance * distance), np.float32)


def _numbers(name: str) -> Iterator[float]:
    """Random numbers from 0 up to 1, the same for the same name. Made once the first is wanted: mostly none is."""
    rng = Random(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big"))
    while True:
        # Python promises the same numbers from `Random.random`, and from it alone, in every version.
        yield rng.random()


def _draw(mask: npt.NDArray[Any], x: int, y: int, count: int, numbers: Iterator[float]) -> list[Point]:
    """Up to `count` different pixels of a mask whose top left corner is at (x, y)."""
    free = np.flatnonzero(mask)
    chosen = list(_shuffled(len(free), min(count, len(free)), numbers))
    rows, columns = np.divmod(free[chosen], mask.shape[1])
    return list(zip((columns + x).tolist(), (rows + y).tolist(), strict=True))


def _shuffled(size: int, count: int, numbers: Iterator[float]) -> Iterator[int]:
    """The first `count` of the numbers below `size` in random order: Fisher and Yates, touching no others."""
    moved: dict[int, int] = {}
    for last in range(size - 1, size - 1 - count, -1):
        at = int(next(numbers) * (last + 1))
        yield moved.get(at, at)
        moved[at] = moved.get(last, last)


def _jittered(region: Region, width: int, height: int, jitter: float, numbers: Iterator[float]) -> Box:
    x0, y0, x1, y1 = region.x, region.y, region.x + region.width, region.y + region.height
    if jitter <= 0:
        return float(x0), float(y0), float(x1), float(y1)
    dx0, dy0, dx1, dy1 = (jitter * (2 * next(numbers) - 1) for _ in range(4))
    # An edge stops half a pixel short of the box's middle, so that no box turns inside out.
    middle_x, middle_y = (x0 + x1) / 2, (y0 + y1) / 2
    return (
        round(min(max(x0 + dx0, 0), middle_x - 0.5), 2),
        round(min(max(y0 + dy0, 0), middle_y - 0.5), 2),
        round(max(min(x1 + dx1, width), middle_x + 0.5), 2),
        round(max(min(y1 + dy1, height), middle_y + 0.5), 2),
    )
