"""Images with their labels, as the page shows them: what is said of each object, and its outlines as SVG paths.

A source dataset and an export come in the same form, `LabelledImage`, and leave it as `Picture`: without masks, so that
all of a dataset fits in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from mvtec_convert.dataset import GOOD, Sample
from mvtec_convert.geometry.polygons import edge_outlines
from mvtec_convert.geometry.regions import Region, RegionOptions, annotate
from mvtec_convert.labelled import Box, LabelledImage, LabelledObject, split_named
from mvtec_convert.statistics.measures import MEDIUM, SMALL

CELLS = 48
"""Cells of a heat map, in x and in y."""

PLACES = 100
"""Coordinates in paths are whole multiples of 1/100 px."""

Coverage = npt.NDArray[np.float32]
"""Shape (CELLS, CELLS): of each cell of the image, the share that objects cover; rows from the top."""


@dataclass(frozen=True, slots=True)
class Shape:
    """One object of an image, ready to draw. Everything is px of the image, x before y, far edges exclusive.

    Attributes:
        class_name: what it is called.
        box: (x0, y0, x1, y1).
        area: pixels of the mask; without a mask, the area of the polygons, else of the box.
        mask: SVG path to fill by the even-odd rule, on pixel edges; empty where there is no mask.
        outline: SVG path of the polygons where they are not the edges of the mask; else empty.
        points: (x, y, label) to prompt with, pixel indices.
        prompt_box: the box to prompt with, where it is not `box`.
        text: the phrase to ask for; None where there is none.
        is_crowd: whether trainers leave it out.
    """

    class_name: str
    box: Box
    area: float
    mask: str = ""
    outline: str = ""
    points: tuple[tuple[float, float, int], ...] = ()
    prompt_box: Box | None = None
    text: str | None = None
    is_crowd: bool = False

    @property
    def size(self) -> str:
        """`small`, `medium` or `large`, by COCO's bounds on the area."""
        return "small" if self.area < SMALL else "medium" if self.area < MEDIUM else "large"

    @property
    def extent(self) -> float:
        """The longer side of the box, px."""
        x0, y0, x1, y1 = self.box
        return max(x1 - x0, y1 - y0)


@dataclass(frozen=True, slots=True)
class Picture:
    """One image, ready to show.

    Attributes:
        image: file, key, split and size; its objects are in `shapes`.
        category: the object or texture shown; empty where nothing tells.
        types: its classes, or one that means that it has none.
        is_labelled: whether it shows an object, or has a class that is not `good`.
        shapes: the largest first, so that none hides another.
    """

    image: LabelledImage
    category: str
    types: tuple[str, ...]
    is_labelled: bool
    shapes: tuple[Shape, ...]

    @property
    def key(self) -> str:
        """POSIX path in its dataset, unique."""
        return self.image.key


def labelled(sample: Sample, options: RegionOptions) -> LabelledImage:
    """A sample of a source dataset in the form that exports are read in: a defect type is the class of its regions.

    Raises:
        MaskError: see `regions.annotate`.
    """
    image = annotate(sample, options)
    objects = tuple(LabelledObject(region.defect_type, _box(region), region) for region in image.regions)
    return LabelledImage(
        image=sample.image,
        key=sample.key,
        name=sample.stem,
        split=sample.split,
        width=image.width,
        height=image.height,
        objects=objects,
        # Where pixels name the defects, those are what the image shows.
        classes=() if sample.pixel_names and objects else (sample.defect_type,),
    )


def picture(image: LabelledImage, category: str, good: str) -> Picture:
    """What the page shows of an image.

    Args:
        image: with its labels.
        category: see `Picture`.
        good: the type of an image without an object and without a class.
    """
    types = image.class_names() or (good,)
    return Picture(
        image=replace(image, objects=(), split=split_named(image.split)),
        category=category,
        types=types,
        is_labelled=bool(image.objects) or not {*types} <= {GOOD, good},
        shapes=tuple(sorted(map(_shape, image.objects), key=lambda shape: -shape.area)),
    )


def coverage(image: LabelledImage) -> Coverage:
    """Where on the image its objects lie: their masks, and the boxes of those without a mask."""
    canvas = np.zeros((image.height, image.width), np.uint8)
    for item in image.objects:
        if item.region is not None:
            region = item.region
            canvas[region.y : region.y + region.height, region.x : region.x + region.width] |= region.crop
        else:
            x0, y0, x1, y1 = (max(0, round(edge)) for edge in item.box)
            canvas[y0:y1, x0:x1] = 1
    rows, columns = (np.arange(CELLS) * side // CELLS for side in canvas.shape)
    # Of a cell narrower than a pixel, `reduceat` takes that pixel.
    covered = np.add.reduceat(np.add.reduceat(canvas, rows, axis=0, dtype=np.uint32), columns, axis=1)
    heights, widths = _lengths(rows, image.height), _lengths(columns, image.width)
    return np.asarray(covered / np.outer(heights, widths), np.float32)


def _lengths(starts: npt.NDArray[np.int64], end: int) -> npt.NDArray[np.int64]:
    return np.maximum(np.diff(starts, append=end), 1)


def _box(region: Region) -> Box:
    return region.x, region.y, region.x + region.width, region.y + region.height


def _shape(item: LabelledObject) -> Shape:
    return Shape(
        class_name=item.class_name,
        box=item.box,
        area=_area(item),
        mask=path_data(_edges(item.region)) if item.region is not None else "",
        outline=path_data(item.outlines),
        points=item.points,
        prompt_box=None if item.prompt_box == item.box else item.prompt_box,
        text=item.text,
        is_crowd=item.is_crowd,
    )


def _edges(region: Region) -> Iterator[npt.NDArray[np.int64]]:
    for outline in edge_outlines(region):
        yield outline.outer
        yield from outline.holes


def _area(item: LabelledObject) -> float:
    if item.region is not None:
        return item.region.area
    if item.outlines:
        return float(sum(cv2.contourArea(ring.astype(np.float32)) for ring in item.outlines))
    x0, y0, x1, y1 = item.box
    return (x1 - x0) * (y1 - y0)


def path_data(rings: Iterable[npt.NDArray[Any]]) -> str:
    """Rings as SVG path data, by relative steps, `h` and `v` where a step is level or upright.

    Args:
        rings: each of shape (points, 2), x before y, px, closed.

    Returns:
        Coordinates to 1/100 px. They add up without error: the rounded points are what the steps lie between.
    """
    return "".join(map(_ring_data, rings))


def _ring_data(ring: npt.NDArray[Any]) -> str:
    points = np.rint(np.asarray(ring) * PLACES).astype(np.int64)
    steps = np.diff(points, axis=0).tolist()
    x, y = points[0].tolist()
    return f"M{_number(x)} {_number(y)}{''.join(_step(dx, dy) for dx, dy in steps)}z"


def _step(dx: int, dy: int) -> str:
    if dy == 0:
        return f"h{_number(dx)}" if dx else ""
    if dx == 0:
        return f"v{_number(dy)}"
    return f"l{_number(dx)} {_number(dy)}"


def _number(hundredths: int) -> str:
    whole, rest = divmod(abs(hundredths), PLACES)
    text = f"{whole}.{rest:02}".rstrip("0").rstrip(".")
    return f"-{text}" if hundredths < 0 else text
