"""The borders of masks, pixel by pixel, as OpenCV follows them; and the rings of pixel edges that they stand for.

OpenCV goes along a border from pixel to pixel with what is not 0 on its left hand, as seen on screen: around a part
against the clock, around a hole with it (S. Suzuki, K. Abe: Topological structural analysis of digitized binary images
by border following, 1985). From where it comes to a pixel and where it leaves, it follows along which of the pixel's
edges the background lies.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

Ring: TypeAlias = npt.NDArray[np.int64]
"""Shape (points, 2), x before y, px; closed (the last point joins the first, which is not repeated)."""

Contour: TypeAlias = npt.NDArray[np.int32]
"""Every pixel of a border in turn: shape (pixels, 2), x before y; each touches the next, the last the first."""


@dataclass(frozen=True, slots=True)
class Outline:
    """One connected part of a region by its rings.

    Attributes:
        outer: the ring around the part.
        holes: one ring for each hole in it.
    """

    outer: Ring
    holes: tuple[Ring, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Borders:
    """Of one 8-connected part of a mask.

    Attributes:
        outer: around the part, from the leftmost of its topmost pixels.
        holes: around each hole, which are 4-connected, from the pixel to the left of the leftmost of its topmost ones.
    """

    outer: Contour
    holes: tuple[Contour, ...]


def trace(mask: npt.NDArray[np.uint8], x: int, y: int) -> list[Borders]:
    """The borders of each part.

    Args:
        mask: shape (height, width), not 0 where there is something.
        x: where its left edge lies, px.
        y: where its top edge lies, px.
    """
    contours, hierarchy = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE, offset=(x, y))
    if len(contours) == 1:
        return [Borders(_points(contours[0]), ())]
    parts: dict[int, list[Contour]] = {}
    for i, (_, _, _, parent) in enumerate(hierarchy[0].tolist() if contours else ()):
        parts.setdefault(i if parent < 0 else parent, []).append(_points(contours[i]))
    return [Borders(outer, tuple(holes)) for outer, *holes in parts.values()]


def _points(contour: npt.NDArray[Any]) -> Contour:
    return np.asarray(contour, np.int32).reshape(-1, 2)


# --- along pixel edges -----------------------------------------------------------------------------------------------

# Directions against the clock from down; corners of a pixel likewise from the upper left one. Between corner k and the
# next lies the edge along which one walks down, right, up and left.
_DIRECTIONS = ((0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1))
_STAYS = len(_DIRECTIONS)
"""In place of a direction, where a border is one pixel only."""
_CORNERS = ((0, 0), (0, 1), (1, 1), (1, 0))
_MOST = len(_CORNERS)


def _turns(came: int, leaves: int) -> list[int]:
    """The corners of a pixel at which the ring of edges turns, in turn.

    One comes to corner `came // 2`, which was told with the pixel before, if one turns there. One leaves at the corner
    at which the edges of the next pixel begin, and turns there only if that pixel is a diagonal neighbour.
    """
    if _STAYS in (came, leaves):
        return list(range(_MOST))
    first, last = came // 2, (leaves + 1) // 2 + 1
    edges = (last - first) % _MOST or _MOST
    return [(first + edge) % _MOST for edge in range(1, edges + leaves % 2)]


def _by_step() -> npt.NDArray[np.intp]:
    """The direction by 3 x + y of a step; what is below 0 counts from the end."""
    directions = np.full(9, _STAYS, np.intp)
    for direction, (x, y) in enumerate(_DIRECTIONS):
        directions[3 * x + y] = direction
    return directions


_DIRECTION = _by_step()
# For each pair of directions, how many turns there are, which of them is the upper left corner, and where they are:
# `_MOST` rows, of which as many count.
_TURNS = [_turns(came, leaves) for came in range(_STAYS + 1) for leaves in range(_STAYS + 1)]
_NUMBER = np.array([len(turns) for turns in _TURNS], np.intp)
_UPPER_LEFT = np.array([turns.index(0) if 0 in turns else 0 for turns in _TURNS], np.intp)
_CORNER = np.array([_CORNERS[corner] for turns in _TURNS for corner in (turns + [0] * _MOST)[:_MOST]], np.int32)


def outlines(parts: Sequence[Borders]) -> list[Outline]:
    """Each part by rings of pixel edges, with a point on each integer corner where they turn, and on no other.

    Rings go as the borders do: an outer one from the upper left corner of the first pixel, that of a hole from the
    upper left corner of the hole's first pixel. All in one go: calls of numpy are what takes time, not points.
    """
    contours = [contour for part in parts for contour in (part.outer, *part.holes)]
    are_holes = [is_hole for part in parts for is_hole in (False, *(True for _ in part.holes))]
    points = contours[0] if len(contours) == 1 else np.concatenate(contours)
    lengths = np.array([len(contour) for contour in contours])
    last = lengths.cumsum() - 1
    first = last - lengths + 1

    places = 3 * points[:, 0] + points[:, 1]
    steps = np.empty_like(places)
    np.subtract(places[1:], places[:-1], out=steps[:-1])
    steps[last] = places[first] - places[last]
    leaves = _DIRECTION.take(steps, mode="wrap")
    came = np.empty_like(leaves)
    came[1:] = leaves[:-1]
    came[first] = leaves[last]

    pairs = (_STAYS + 1) * came + leaves
    numbers = _NUMBER.take(pairs)
    ends = numbers.cumsum()
    turns = np.arange(ends[-1])
    turns += (_MOST * pairs - ends + numbers).repeat(numbers)
    corners = points.repeat(numbers, axis=0)
    corners += _CORNER.take(turns, axis=0)

    # The upper left corner of a hole is the upper right one of the pixel to its left, the last to turn at.
    begin = np.where(are_holes, numbers[first] - 1, _UPPER_LEFT.take(pairs[first]))
    rings = iter(_split(corners.astype(np.int64), ends[last].tolist(), begin.tolist()))
    return [Outline(next(rings), tuple(islice(rings, len(part.holes)))) for part in parts]


def _split(points: Ring, ends: Sequence[int], begin: Sequence[int]) -> Iterator[Ring]:
    """The rings, each of which begins at one of its points, given by its index."""
    for start, end, first in zip((0, *ends), ends, begin, strict=False):
        ring = points[start:end]
        yield np.concatenate([ring[first:], ring[:first]]) if first else ring
