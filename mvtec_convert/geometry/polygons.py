"""Regions to outlines: exact rings, keyhole polygons, polygons with fewer points, rotated boxes.

Two families of rings, because readers fill polygons in two ways (measured in docs/formats.md):

- *edge rings* run along the edges of pixels, on integer corners. A reader that fills what lies inside the line
  (pycocotools) gives the region back exactly.
- *pixel rings* run through the pixels themselves. A reader that also paints the line (`cv2.fillPoly`: Ultralytics,
  supervision) gives the region back exactly.

Holes are joined to the ring around them by a *bridge*, there and back along one horizontal line (a keyhole polygon), so
that one ring says it all. Points are (x, y) in px, in the image's frame unless stated otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain, count, islice
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

from mvtec_convert.geometry.borders import Borders, Contour, Outline, Ring, outlines, trace
from mvtec_convert.geometry.images import BinaryMask
from mvtec_convert.geometry.regions import Region
from mvtec_convert.geometry.rle import intersection_over_union, rasterise, run_lengths

if TYPE_CHECKING:
    from shapely import LinearRing


def edge_outlines(region: Region) -> list[Outline]:
    """Rings along pixel edges, one outline for each 8-connected part, on integer corners.

    Every segment is horizontal or vertical. Parts that touch at a corner only are one part, as 8-connectivity has it.
    """
    return outlines(_borders(region))


def keyhole_polygons(region: Region) -> list[Ring]:
    """The region as edge rings with its holes joined by bridges: one ring for each connected part.

    pycocotools rasterises them to exactly the region's pixels.
    """
    return next(keyhole_polygons_of([region]))


def keyhole_polygons_of(regions: Sequence[Region]) -> Iterator[list[Ring]]:
    """The same for each of some regions, in less time than one by one."""
    parts = [_borders(region) for region in regions]
    found = iter(outlines([*chain.from_iterable(parts)]) if parts else ())
    for some in parts:
        yield [_join_holes(outline) if outline.holes else outline.outer for outline in islice(found, len(some))]


def _borders(region: Region) -> Sequence[Borders]:
    return region.borders or trace(region.crop, region.x, region.y)


def _join_holes(outline: Outline) -> Ring:
    """Bridge every hole to what lies to its left.

    Holes are taken from left to right, so that a bridge always meets the outer ring or a hole already joined.
    """
    joined = outline.outer
    begun = [(_leftmost(hole), hole) for hole in outline.holes]
    for (start, x, y), hole in sorted(begun, key=lambda found: found[0][1:]):
        after, anchor = _anchor(joined, x, y)
        bridge = np.array([anchor, (x, y), anchor], np.int64)
        keyhole = (bridge[:1], hole[start:], hole[:start], bridge[1:])
        joined = np.concatenate([joined[: after + 1], *keyhole, joined[after + 1 :]])
    return _without_repeats(joined)


def _without_repeats(ring: Ring) -> Ring:
    """Without points that equal the one before."""
    moves = ring != np.concatenate([ring[-1:], ring[:-1]])
    return np.asarray(ring[moves[:, 0] | moves[:, 1]], np.int64)


def _leftmost(ring: Ring) -> tuple[int, int, int]:
    """(index, x, y) of the top one of the leftmost points."""
    index = int(((ring[:, 0] << 32) + ring[:, 1]).argmin())
    x, y = ring[index].tolist()
    return index, x, y


def _anchor(ring: Ring, x: int, y: int) -> tuple[int, tuple[int, int]]:
    """Where a bridge to the left of (x, y) meets the ring: the index of the point before it, and (x, y) of the place.

    That is straight to the left where the wall there is upright, else the nearer end of the slope.
    """
    above = ring[:, 1] <= y
    crossing = np.flatnonzero(above != np.concatenate([above[1:], above[:1]]))
    walls = ring[crossing]
    run, rise = (ring[(crossing + 1) % len(ring)] - walls).T
    wall_x = walls[:, 0] + (y - walls[:, 1]) * run / rise
    left = np.flatnonzero(wall_x < x)
    if not len(left):  # simplification moved the hole's corner past the wall
        index = int(((ring - (x, y)) ** 2).sum(axis=1).argmin())
        return index, (int(ring[index, 0]), int(ring[index, 1]))
    nearest = left[int(np.argmax(wall_x[left]))]
    index = int(crossing[nearest])
    if run[nearest] == 0:
        return index, (int(ring[index, 0]), y)
    ends = [index, (index + 1) % len(ring)]
    index = min(ends, key=lambda end: int(((ring[end] - (x, y)) ** 2).sum()))
    return index, (int(ring[index, 0]), int(ring[index, 1]))


# --- rings through pixels --------------------------------------------------------------------------------------------


def pixel_ring(region: Region) -> Ring:
    """One ring of pixel indices that `cv2.fillPoly` fills to exactly the region, if the region is connected.

    Holes are joined by bridges through the region's own pixels; steps are horizontal or vertical wherever the region
    has a pixel to step on, so that a reader that resamples the ring stays on it. Parts that are not connected (merged
    regions) are joined by a straight line through the background, which such a reader paints: one ring cannot say more.
    """
    crop = np.pad(region.crop, 1)
    parts = [_pixel_walk(crop, part.outer, part.holes) for part in trace(crop, 0, 0)]
    ring = parts[0]
    for part in parts[1:]:
        ring = _join_nearest(ring, part)
    return _without_straight_points(np.array(ring, np.int64)) + (region.x - 1, region.y - 1)


def coarse_pixel_rings(region: Region, tolerance: float) -> list[Ring]:
    """Rings through pixels with fewer points, one for each 8-connected part, its holes joined by bridges.

    A part that is thinner than the tolerance may have one or two points, a hole that is is left out.

    Args:
        region: what to outline.
        tolerance: how far a ring may pass from a pixel that it went through, px (Douglas-Peucker).
    """
    rings = []
    for part in _borders(region):
        ring = _coarse(part.outer, tolerance)
        kept = (coarse for hole in part.holes if len(coarse := _coarse(hole, tolerance)) > 2)
        rings.append(_join_holes(Outline(ring, tuple(kept))) if len(ring) > 2 else ring)
    return rings


def _coarse(contour: Contour, tolerance: float) -> Ring:
    return np.asarray(cv2.approxPolyDP(contour, tolerance, closed=True), np.int64).reshape(-1, 2)


def _pixel_walk(crop: BinaryMask, outer: Contour, holes: Sequence[Contour]) -> list[tuple[int, int]]:
    walk = _square_steps(crop, outer)
    for ring in sorted((_square_steps(crop, hole) for hole in holes), key=min):
        x, y = min(ring)
        bridge = [(x, y)]
        while crop[y, bridge[-1][0] - 1]:
            bridge.append((bridge[-1][0] - 1, y))
        at, start = walk.index(bridge[-1]), ring.index((x, y))
        walk[at:at] = [*reversed(bridge), *ring[start + 1 :], *ring[:start], *bridge]
    return walk


def _square_steps(crop: BinaryMask, contour: Contour) -> list[tuple[int, int]]:
    """The contour with diagonal steps turned into two square ones, where the region has a pixel to step on."""
    following = np.roll(contour, -1, axis=0)
    walk: list[tuple[int, int]] = []
    for (x0, y0), (x1, y1) in zip(contour.tolist(), following.tolist(), strict=True):
        walk.append((x0, y0))
        if x0 != x1 and y0 != y1:
            if crop[y0, x1]:
                walk.append((x1, y0))
            elif crop[y1, x0]:
                walk.append((x0, y1))
    return walk


def _join_nearest(first: list[tuple[int, int]], second: list[tuple[int, int]]) -> list[tuple[int, int]]:
    a, b = np.array(first), np.array(second)
    best = [((b - point) ** 2).sum(axis=1).min() for point in a]
    i = int(np.argmin(best))
    j = int(((b - a[i]) ** 2).sum(axis=1).argmin())
    return [*first[: i + 1], *second[j:], *second[: j + 1], *first[i:]]


def _without_straight_points(ring: Ring) -> Ring:
    """Drop points in the middle of horizontal and vertical runs, but not where the walk turns back."""
    before, after = ring - np.roll(ring, 1, axis=0), np.roll(ring, -1, axis=0) - ring
    straight = (before == after).all(axis=1) & ((before == 0).any(axis=1))
    return ring[~straight] if not straight.all() else ring


# --- fewer points, and rotated boxes ----------------------------------------------------------------------------------

TOLERANCE_STEPS = 24
MOST_TRIES = 400  # outlines rasterised for one region; bounds the time that ragged regions take


def simplify(region: Region, iou: float) -> list[Ring]:
    """Keyhole polygons of few points whose rasterisation keeps at least `iou` with the region.

    The coarsest Douglas-Peucker outline that holds is taken, then every hole and point that it can do without is
    removed, the least important first, within a bounded number of tries. Where nothing coarser holds, the exact
    polygons come back.

    Args:
        region: what to outline.
        iou: lowest IoU allowed, 0 to 1, under pycocotools' rasteriser.
    """
    local = Region(0, 0, region.crop, region.area)
    exact = edge_outlines(local)
    truth = run_lengths(local, region.height, region.width)

    tries = count()

    def holds(outlines: list[Outline]) -> bool:
        if next(tries) > MOST_TRIES:
            return False
        flat = [_join_holes(outline).ravel() for outline in outlines]
        return intersection_over_union(rasterise(flat, region.height, region.width), truth) >= iou

    tolerances = np.geomspace(max(region.width, region.height) / 2, 0.4, TOLERANCE_STEPS)
    coarser = (_douglas_peucker(exact, float(tolerance)) for tolerance in tolerances)
    best = _thin_out(next(filter(holds, coarser), exact), holds)
    return [_join_holes(outline) + (region.x, region.y) for outline in best]


def _douglas_peucker(outlines: list[Outline], tolerance: float) -> list[Outline]:
    from shapely import Polygon  # takes a while; exact outlines do without

    polygons = [Polygon(outline.outer, outline.holes).simplify(tolerance) for outline in outlines]
    return [
        Outline(_open_ring(polygon.exterior), tuple(_open_ring(hole) for hole in polygon.interiors))
        if isinstance(polygon, Polygon) and not polygon.is_empty
        else outline
        for polygon, outline in zip(polygons, outlines, strict=True)
    ]


def _open_ring(ring: LinearRing) -> Ring:
    import shapely

    return np.rint(shapely.get_coordinates(ring)[:-1]).astype(np.int64)


def _thin_out(outlines: list[Outline], holds: Callable[[list[Outline]], bool]) -> list[Outline]:
    """Remove holes, then points, as long as `holds` says so."""
    for part, outline in enumerate(outlines):
        for hole in sorted(outline.holes, key=_ring_area):
            fewer = tuple(ring for ring in outlines[part].holes if ring is not hole)
            outlines = _kept_if(outlines, part, Outline(outlines[part].outer, fewer), holds)
        for which in range(-1, len(outlines[part].holes)):
            outlines = _thin_out_ring(outlines, part, which, holds)
    return outlines


def _thin_out_ring(
    outlines: list[Outline], part: int, which: int, holds: Callable[[list[Outline]], bool]
) -> list[Outline]:
    """Remove points of the outer ring (`which` = -1) or of one hole, smallest triangle first."""
    needed: set[tuple[int, int]] = set()
    while True:
        outline = outlines[part]
        ring = outline.outer if which < 0 else outline.holes[which]
        points = [(x, y) for x, y in ring.tolist()]
        by_area = np.argsort(_triangle_areas(ring)).tolist()
        least = next((i for i in by_area if points[i] not in needed), None)
        if len(ring) <= 3 or least is None:
            return outlines
        shorter = np.delete(ring, least, axis=0)
        holes = tuple(shorter if i == which else hole for i, hole in enumerate(outline.holes))
        after = _kept_if(outlines, part, Outline(shorter if which < 0 else outline.outer, holes), holds)
        if after is outlines:
            needed.add(points[least])
        outlines = after


def _kept_if(
    outlines: list[Outline], part: int, changed: Outline, holds: Callable[[list[Outline]], bool]
) -> list[Outline]:
    attempt = [*outlines[:part], changed, *outlines[part + 1 :]]
    return attempt if holds(attempt) else outlines


def _triangle_areas(ring: Ring) -> npt.NDArray[np.float64]:
    # np.roll takes longer than all the rest.
    a, b = np.concatenate([ring[-1:], ring[:-1]]) - ring, np.concatenate([ring[1:], ring[:1]]) - ring
    return np.asarray(np.abs(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]) / 2, np.float64)


def _ring_area(ring: Ring) -> float:
    x, y = ring[:, 0], ring[:, 1]
    return float(abs((x * np.roll(y, -1) - np.roll(x, -1) * y).sum()) / 2)


def oriented_box(region: Region, height: int, width: int) -> npt.NDArray[np.float64]:
    """The smallest rotated rectangle around the region's pixel edges that lies inside the image.

    The smallest of all has a side along an edge of the convex hull; near the border its corners may lie outside the
    image, where no label can put them. The upright box is always a candidate, so there is always an answer.

    Returns:
        Shape (4, 2), corners (x, y) in px, clockwise as seen on screen.
    """
    import shapely

    corners = np.concatenate([outline.outer for outline in edge_outlines(region)])
    hull = shapely.get_coordinates(shapely.MultiPoint(corners).convex_hull)
    sides = np.diff(hull, axis=0)
    angles = np.unique(np.append(np.arctan2(sides[:, 1], sides[:, 0]) % (np.pi / 2), 0.0))
    along = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    across = np.stack([-along[:, 1], along[:, 0]], axis=1)
    u, v = hull @ along.T, hull @ across.T
    low_u, high_u, low_v, high_v = u.min(0), u.max(0), v.min(0), v.max(0)
    boxes = np.stack(
        [low_u[:, None] * along + low_v[:, None] * across, high_u[:, None] * along + low_v[:, None] * across,
         high_u[:, None] * along + high_v[:, None] * across, low_u[:, None] * along + high_v[:, None] * across],
        axis=1,
    )  # fmt: skip
    slack = 1e-6  # px; rotating there and back leaves rounding errors
    inside = ((boxes >= -slack) & (boxes <= np.array([width, height]) + slack)).all(axis=(1, 2))
    areas = np.where(inside, (high_u - low_u) * (high_v - low_v), np.inf)
    best: npt.NDArray[np.float64] = np.clip(boxes[int(np.argmin(areas))], 0, [width, height])
    return best
