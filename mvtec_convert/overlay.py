"""Labels drawn over a picture, or over a part of it: masks, outlines, boxes and prompt points.

Coordinates of labels are px of the image, whose first pixel goes from (0, 0) to (1, 1); those of drawings are px of the
drawing. Colours are RGB, 0 to 255.
"""

from __future__ import annotations

import colorsys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from mvtec_convert.labelled import Box, LabelledObject, Ring

Pixels: TypeAlias = npt.NDArray[np.uint8]
"""Shape (height, width, 3), RGB."""

Colour: TypeAlias = tuple[int, int, int]

# Told apart on photographs and from one another, in the order of use.
FIRST_COLOURS: tuple[Colour, ...] = (
    (240, 66, 84), (66, 165, 245), (255, 208, 40), (190, 84, 222), (38, 198, 163), (255, 138, 208), (124, 200, 60),
    (255, 140, 0), (112, 116, 255), (0, 229, 255),
)  # fmt: skip
GOLDEN = 0.61803398875  # of the colour circle; steps of it come back late
WHITE, GREY = (255, 255, 255), 128
INSIDE, OUTSIDE = (20, 150, 60), (205, 30, 40)  # of prompt points

FILL = 0.38  # how much of the colour covers a mask
TINY = 30  # px of the drawing; what is no larger gets a thin outline
DASH = 5.0  # px of the drawing
SUBPIXEL = 4  # bits of the fraction that OpenCV draws with
FARTHEST = 1e5  # px of the drawing; labels may lie anywhere


def colours_of(names: Iterable[str]) -> dict[str, Colour]:
    """A colour for each class, the same for the same names in the same order."""
    return {name: _colour(i) for i, name in enumerate(dict.fromkeys(names))}


def _colour(number: int) -> Colour:
    if number < len(FIRST_COLOURS):
        return FIRST_COLOURS[number]
    red, green, blue = colorsys.hsv_to_rgb(number * GOLDEN % 1, 0.55 + 0.3 * (number % 2), 0.95)
    return round(red * 255), round(green * 255), round(blue * 255)


@dataclass(frozen=True, slots=True)
class View:
    """A part of an image, scaled, with the labels that lie there.

    Attributes:
        picture: the whole image; None where it cannot be read: grey then.
        width: of the whole image, px.
        height: of the whole image, px.
        window: the part, px of the image, whole numbers.
        size: (width, height) of the drawing, px.
    """

    picture: Pixels | None
    width: int
    height: int
    window: tuple[int, int, int, int]
    size: tuple[int, int]

    @property
    def scale(self) -> float:
        """How many px of the drawing a px of the image takes."""
        return self.size[0] / (self.window[2] - self.window[0])

    def place(self, points: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """Points of the image, shape (points, 2), on the drawing."""
        x0, y0, x1, y1 = self.window
        factors = np.array([self.size[0] / (x1 - x0), self.size[1] / (y1 - y0)])
        placed: npt.NDArray[np.float64] = (np.asarray(points, np.float64) - (x0, y0)) * factors
        return placed.clip(-FARTHEST, FARTHEST)

    def box(self, box: Sequence[float]) -> Box:
        """A box of the image on the drawing."""
        (x0, y0), (x1, y1) = self.place(np.array(box).reshape(2, 2)).tolist()
        return x0, y0, x1, y1

    def draw(self, objects: Sequence[LabelledObject], colours: Mapping[str, Colour]) -> Pixels:
        """The part with its labels; shape (height, width, 3)."""
        drawn = np.full((*self.size[::-1], 3), GREY, np.uint8) if self.picture is None else self._resized(self.picture)
        drawn = self._filled(drawn, objects, colours)
        for item in objects:
            self._draw_edges(drawn, item, colours[item.class_name])
        for item in objects:
            self._draw_points(drawn, item)
        return drawn

    def _resized(self, pixels: Pixels) -> Pixels:
        x0, y0, x1, y1 = self.window
        how = cv2.INTER_AREA if self.scale < 1 else cv2.INTER_NEAREST
        return np.ascontiguousarray(cv2.resize(pixels[y0:y1, x0:x1], self.size, interpolation=how), np.uint8)

    def _filled(self, drawn: Pixels, objects: Sequence[LabelledObject], colours: Mapping[str, Colour]) -> Pixels:
        """The masks in the colours of their classes; where a drawn pixel is half covered, half as strong."""
        for name in dict.fromkeys(item.class_name for item in objects if item.region is not None):
            mask = np.zeros((self.height, self.width), np.uint8)
            for item in objects:
                if item.region is not None and item.class_name == name:
                    x, y, width, height = item.region.bbox
                    there = mask[y : y + height, x : x + width]
                    there |= item.region.crop[: there.shape[0], : there.shape[1]]
            cover = self._resized(mask * np.uint8(255))[..., None] / 255 * FILL
            drawn = np.rint(drawn * (1 - cover) + np.array(colours[name]) * cover).astype(np.uint8)
        return drawn

    def _draw_edges(self, drawn: Pixels, item: LabelledObject, colour: Colour) -> None:
        has_outline = item.region is not None or len(item.outlines) > 0
        if has_outline:
            for ring in item.rings():
                _draw_ring(drawn, self.place(ring), colour, 1 if extent(item.box) * self.scale <= TINY else 2)
        if item.region is not None or not has_outline:
            _draw_ring(drawn, self.place(_corners(item.box)), colour, 1 if has_outline else 2)
        if item.prompt_box is not None and item.prompt_box != item.box:
            _draw_dashes(drawn, self.place(_corners(item.prompt_box)))

    def _draw_points(self, drawn: Pixels, item: LabelledObject) -> None:
        for x, y, label in item.points:
            ((column, row),) = self.place(np.array([[x, y]]) + 0.5).tolist()
            at, across = (round(column), round(row)), (2, 0)
            cv2.circle(drawn, at, 5, WHITE, -1, cv2.LINE_AA)
            cv2.circle(drawn, at, 4, INSIDE if label else OUTSIDE, -1, cv2.LINE_AA)
            for dx, dy in (across, across[::-1]) if label else (across,):
                cv2.line(drawn, (at[0] - dx, at[1] - dy), (at[0] + dx, at[1] + dy), WHITE, 1)


def extent(box: Box) -> float:
    """The longer side, px."""
    return max(box[2] - box[0], box[3] - box[1])


def _corners(box: Box) -> Ring:
    x0, y0, x1, y1 = box
    return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], np.float64)


def _draw_ring(drawn: Pixels, ring: Ring, colour: Colour, thickness: int) -> None:
    # OpenCV's whole coordinates are the middles of pixels.
    points = np.rint((ring - 0.5) * (1 << SUBPIXEL)).astype(np.int32)
    cv2.polylines(drawn, [points.reshape(-1, 1, 2)], True, colour, thickness, cv2.LINE_AA, SUBPIXEL)


def _draw_dashes(drawn: Pixels, ring: Ring) -> None:
    """A white closed line of dashes."""
    height, width = drawn.shape[:2]
    inside = ring.clip((-2, -2), (width + 1, height + 1))
    for start, end in zip(inside, np.roll(inside, -1, axis=0), strict=True):
        length = float(np.abs(end - start).max())
        for at in np.arange(0, length, 2 * DASH):
            a, b = (np.rint(start + (end - start) * min(part / length, 1)).astype(int) for part in (at, at + DASH))
            cv2.line(drawn, a.tolist(), b.tolist(), WHITE, 1, cv2.LINE_AA)
