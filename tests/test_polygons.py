"""Outlines, judged by the readers that will fill them: pycocotools inside the line, OpenCV on the line as well."""

from __future__ import annotations

from collections import Counter

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from mvtec_convert.geometry.borders import Ring
from mvtec_convert.geometry.polygons import edge_outlines, keyhole_polygons, oriented_box, pixel_ring, simplify
from mvtec_convert.geometry.regions import Region, RegionOptions, find_regions
from tests.strategies import (
    LARGE,
    Mask,
    components,
    connected,
    defects,
    disc,
    flood,
    framed,
    nested,
    pieces,
    pixels,
    whole,
)

ANY_DEFECT = st.one_of(defects(), framed(defects()))
RULES = st.sampled_from(["component", "image"])
IMAGE = RegionOptions(rule="image")


def only(mask: Mask) -> Region:
    """All of the mask as one region."""
    (region,) = find_regions(mask, IMAGE)
    return region


def filled_inside(rings: list[Ring], shape: tuple[int, int]) -> Mask:
    """The mask that pycocotools makes of COCO polygons."""
    height, width = shape
    flat = [ring.ravel().tolist() for ring in rings]
    return coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(flat, height, width)))


def filled_with_line(ring: Ring, shape: tuple[int, int]) -> Mask:
    """The mask that OpenCV, and so Ultralytics and supervision, make of one polygon."""
    return cv2.fillPoly(np.zeros(shape, np.uint8), [ring.astype(np.int32)], 1)


def steps(ring: Ring) -> npt.NDArray[np.int64]:
    """From each point to the next, the last to the first."""
    return np.roll(ring, -1, axis=0) - ring


def holes(mask: Mask) -> int:
    """Number of 4-connected pieces of background that the mask's pixels enclose."""
    free, count = pixels(1 - np.pad(mask, 1)), 0
    while free:
        free -= flood(free, min(free), diagonal=False)
        count += 1
    return count - 1


def iou(a: Mask, b: Mask) -> float:
    return float((a & b).sum() / (a | b).sum())


def points_in(rings: list[Ring]) -> int:
    return sum(len(ring) for ring in rings)


# --- rings along edges ------------------------------------------------------------------------------------------------


@settings(max_examples=300)
@given(ANY_DEFECT, RULES)
def test_keyhole_polygons_are_rasterised_to_exactly_the_region(mask: Mask, rule: str) -> None:
    for region in find_regions(mask, RegionOptions(rule=rule)):
        assert np.array_equal(filled_inside(keyhole_polygons(region), mask.shape), whole(region, mask.shape))


@pytest.mark.parametrize("name", LARGE)
def test_keyhole_polygons_of_large_masks_are_rasterised_to_exactly_the_mask(name: str) -> None:
    mask = LARGE[name]()
    assert np.array_equal(filled_inside(keyhole_polygons(only(mask)), mask.shape), mask)


@given(ANY_DEFECT, RULES)
def test_keyhole_polygons_run_on_integer_corners_along_pixel_edges(mask: Mask, rule: str) -> None:
    for region in find_regions(mask, RegionOptions(rule=rule)):
        for ring in keyhole_polygons(region):
            assert ring.dtype == np.int64
            assert ring.shape[1] == 2
            assert len(ring) >= 4
            assert ((steps(ring) != 0).sum(axis=1) <= 1).all(), "a slanted edge"
            x0, y0, width, height = region.bbox
            assert (ring >= (x0, y0)).all()
            assert (ring <= (x0 + width, y0 + height)).all()


def unit_edges(ring: Ring) -> Counter[tuple[int, int, bool]]:
    """How often the ring runs along each pixel edge: (x, y, upright) of its upper left end."""
    walked: Counter[tuple[int, int, bool]] = Counter()
    for (x, y), (dx, dy) in zip(ring.tolist(), steps(ring).tolist(), strict=True):
        walked.update((x, y + i, True) for i in range(min(dy, 0), max(dy, 0)))
        walked.update((x + i, y, False) for i in range(min(dx, 0), max(dx, 0)))
    return walked


@given(ANY_DEFECT)
def test_bridges_run_there_and_back_inside_the_region_and_never_through_a_hole(mask: Mask) -> None:
    inside = np.pad(mask, 1)
    walked = sum((unit_edges(ring) for ring in keyhole_polygons(only(mask))), Counter())
    for (x, y, upright), times in walked.items():
        here, before = inside[y + 1, x + 1], inside[y + 1, x] if upright else inside[y, x + 1]
        assert here or before, "an edge with the region on neither side"
        assert times % 2 == (here != before)


@given(ANY_DEFECT)
def test_no_point_of_a_keyhole_polygon_follows_itself(mask: Mask) -> None:
    for ring in keyhole_polygons(only(mask)):
        assert (steps(ring) != 0).any(axis=1).all()


@given(ANY_DEFECT)
def test_there_is_one_ring_for_each_connected_part(mask: Mask) -> None:
    parts = components(mask)
    rings = keyhole_polygons(only(mask))
    assert len(rings) == len(parts)
    drawn = [frozenset(pixels(filled_inside([ring], mask.shape))) for ring in rings]
    assert set(drawn) == set(map(frozenset, parts))


@given(ANY_DEFECT)
def test_outlines_have_one_ring_for_each_hole(mask: Mask) -> None:
    assert sum(len(outline.holes) for outline in edge_outlines(only(mask))) == sum(map(holes, pieces(mask)))


@given(ANY_DEFECT)
def test_the_ring_of_a_part_without_holes_has_no_point_too_many(mask: Mask) -> None:
    for outline in edge_outlines(only(mask)):
        for ring in (outline.outer, *outline.holes):
            turns = np.roll(steps(ring), 1, axis=0) * steps(ring)
            assert (turns == 0).all(), "two steps in one direction"


def test_a_single_pixel_is_a_square_of_four_points() -> None:
    (ring,) = keyhole_polygons(Region(7, 3, np.ones((1, 1), np.uint8), 1))
    assert sorted(map(tuple, ring.tolist())) == [(7, 3), (7, 4), (8, 3), (8, 4)]


@pytest.mark.parametrize("height", [1, 2, 3, 5])
def test_polygons_have_at_least_six_numbers_however_small_the_region(height: int) -> None:
    for region in find_regions(np.eye(height, dtype=np.uint8)):
        assert all(ring.size >= 6 for ring in keyhole_polygons(region))


# --- rings through pixels ---------------------------------------------------------------------------------------------


@settings(max_examples=300)
@given(st.one_of(connected(), framed(connected())))
def test_a_pixel_ring_is_filled_by_opencv_to_exactly_the_region(mask: Mask) -> None:
    (region,) = find_regions(mask)
    assert np.array_equal(filled_with_line(pixel_ring(region), mask.shape), mask)


@pytest.mark.parametrize("name", LARGE)
def test_pixel_rings_of_large_masks_are_filled_to_exactly_their_regions(name: str) -> None:
    mask = LARGE[name]()
    for region in find_regions(mask)[:50]:
        assert np.array_equal(filled_with_line(pixel_ring(region), mask.shape), whole(region, mask.shape))


@given(st.one_of(connected(), framed(connected())))
def test_a_pixel_ring_goes_straight_or_diagonal_from_pixel_to_pixel_of_the_region(mask: Mask) -> None:
    (region,) = find_regions(mask)
    ring = pixel_ring(region)
    dx, dy = np.abs(steps(ring)).T
    assert ((dx == 0) | (dy == 0) | (dx == dy)).all()
    assert mask[ring[:, 1], ring[:, 0]].all()


@given(st.one_of(connected(), framed(connected())))
def test_every_pixel_that_a_pixel_ring_steps_over_is_the_regions(mask: Mask) -> None:
    (region,) = find_regions(mask)
    ring = pixel_ring(region)
    for (x, y), (dx, dy) in zip(ring.tolist(), steps(ring).tolist(), strict=True):
        count = max(abs(dx), abs(dy))
        assert all(mask[y + dy * i // count, x + dx * i // count] for i in range(count))


@given(ANY_DEFECT)
def test_a_pixel_ring_around_several_parts_covers_them_all(mask: Mask) -> None:
    filled = filled_with_line(pixel_ring(only(mask)), mask.shape)
    assert not (mask & (1 - filled)).any()


# --- fewer points -----------------------------------------------------------------------------------------------------

LEAST = st.sampled_from([0.5, 0.8, 0.9, 0.95, 0.99, 1.0])


@given(ANY_DEFECT, LEAST)
def test_simplified_polygons_keep_the_iou_asked_for(mask: Mask, least: float) -> None:
    rings = simplify(only(mask), least)
    assert iou(filled_inside(rings, mask.shape), mask) >= least


@given(ANY_DEFECT, LEAST)
def test_simplified_polygons_have_no_more_points_than_the_exact_ones(mask: Mask, least: float) -> None:
    region = only(mask)
    assert points_in(simplify(region, least)) <= points_in(keyhole_polygons(region))


@given(ANY_DEFECT, LEAST)
def test_simplified_polygons_are_polygons_inside_the_image(mask: Mask, least: float) -> None:
    height, width = mask.shape
    for ring in simplify(only(mask), least):
        assert len(ring) >= 3
        assert (ring >= 0).all()
        assert (ring <= (width, height)).all()


@pytest.mark.parametrize("name", ["blobs", "disc"])
@pytest.mark.parametrize("least", [0.9, 0.98])
def test_simplified_polygons_of_large_round_masks_keep_the_iou_with_far_fewer_points(name: str, least: float) -> None:
    mask = LARGE[name]()
    rings, exact = simplify(only(mask), least), keyhole_polygons(only(mask))
    assert iou(filled_inside(rings, mask.shape), mask) >= least
    assert points_in(rings) <= points_in(exact) / 5


def test_a_large_disc_needs_fewer_than_16_points_at_95_percent() -> None:
    mask = np.zeros((300, 300), np.uint8)
    disc(mask, 150, 140, 100.5, 1)
    (ring,) = simplify(only(mask), 0.95)
    assert len(ring) < 16
    assert points_in(keyhole_polygons(only(mask))) > 200


@pytest.mark.parametrize("least", [0.9, 0.99, 1.0])
def test_a_plain_rectangle_stays_four_points(least: float) -> None:
    mask = np.zeros((60, 80), np.uint8)
    mask[10:50, 20:70] = 1
    (ring,) = simplify(only(mask), least)
    assert {tuple(point) for point in ring.tolist()} == {(20, 10), (70, 10), (70, 50), (20, 50)}
    assert len(ring) == 4


@pytest.mark.parametrize("name", ["blobs", "nested", "disc"])
def test_at_an_iou_of_1_simplified_polygons_are_exact(name: str) -> None:
    mask = LARGE[name]()
    region = find_regions(mask)[0]
    assert np.array_equal(filled_inside(simplify(region, 1.0), mask.shape), whole(region, mask.shape))


def test_the_more_iou_is_asked_for_the_more_points_there_are() -> None:
    region = only(LARGE["disc"]())
    counts = [points_in(simplify(region, least)) for least in (0.8, 0.9, 0.95, 0.98, 0.995)]
    assert counts == sorted(counts)
    assert counts[0] < counts[-1]


def test_simplified_polygons_lie_where_the_region_lies() -> None:
    crop = LARGE["disc"]()
    near, far = Region(0, 0, crop, int(crop.sum())), Region(31, 77, crop, int(crop.sum()))
    for a, b in zip(simplify(near, 0.95), simplify(far, 0.95), strict=True):
        assert np.array_equal(a + (31, 77), b)


# --- rotated boxes ----------------------------------------------------------------------------------------------------


def pixel_corners(mask: Mask) -> npt.NDArray[np.float64]:
    """All four corners of every pixel, (x, y)."""
    places = np.array(sorted(pixels(mask)), float)
    return np.unique(np.concatenate([places + offset for offset in [(0, 0), (1, 0), (0, 1), (1, 1)]]), axis=0)


def box_area(box: npt.NDArray[np.float64]) -> float:
    x, y = box.T
    return float(abs((x * np.roll(y, -1) - np.roll(x, -1) * y).sum()) / 2)


def smallest_area(points: npt.NDArray[np.float64]) -> float:
    """Area of the smallest rectangle around the points: every 0.1 degree, and finer around the best three."""

    def areas(degrees: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        angles = np.deg2rad(degrees)
        u = np.outer(points[:, 0], np.cos(angles)) + np.outer(points[:, 1], np.sin(angles))
        v = np.outer(points[:, 1], np.cos(angles)) - np.outer(points[:, 0], np.sin(angles))
        return np.ptp(u, axis=0) * np.ptp(v, axis=0)

    coarse = np.arange(0, 90, 0.1)
    best = coarse[np.argsort(areas(coarse), kind="stable")[:3]]
    return float(areas(np.concatenate([angle + np.linspace(-0.1, 0.1, 101) for angle in best])).min())


def away_from_border(mask: Mask) -> Mask:
    """The mask with so wide a margin that every rectangle around its pixels lies in the image."""
    return np.pad(mask, 2 * max(mask.shape))


@given(ANY_DEFECT)
def test_an_oriented_box_covers_every_pixel_corner(mask: Mask) -> None:
    box = oriented_box(only(mask), *mask.shape)
    points = pixel_corners(mask)
    for corner, following in zip(box, np.roll(box, -1, axis=0), strict=True):
        side, out = following - corner, points - corner
        beyond = -(side[0] * out[:, 1] - side[1] * out[:, 0]) / np.hypot(*side)
        assert beyond.max() <= 1e-6


@given(ANY_DEFECT)
def test_an_oriented_box_is_a_rectangle_inside_the_image_clockwise_on_screen(mask: Mask) -> None:
    assert_rectangle_inside(oriented_box(only(mask), *mask.shape), mask.shape)


def assert_rectangle_inside(box: npt.NDArray[np.float64], shape: tuple[int, ...]) -> None:
    assert box.shape == (4, 2)
    assert (box >= 0).all()
    assert (box <= (shape[1], shape[0])).all()
    sides = np.roll(box, -1, axis=0) - box
    for side, after in zip(sides, np.roll(sides, -1, axis=0), strict=True):
        assert abs(side @ after) <= 1e-4 * np.hypot(*side) * np.hypot(*after)
        assert side[0] * after[1] - side[1] * after[0] > 0, "not clockwise: y points down"


@given(ANY_DEFECT)
def test_an_oriented_box_is_no_larger_than_the_upright_box(mask: Mask) -> None:
    region = only(mask)
    assert box_area(oriented_box(region, *mask.shape)) <= region.width * region.height + 1e-6


@given(defects())
def test_away_from_the_border_an_oriented_box_is_the_smallest_that_a_sweep_of_all_angles_finds(mask: Mask) -> None:
    mask = away_from_border(mask)
    area, swept = box_area(oriented_box(only(mask), *mask.shape)), smallest_area(pixel_corners(mask))
    assert area <= swept + 1e-6
    assert area >= swept * 0.99


@pytest.mark.parametrize("degrees", [5, 17, 30, 45, 60, 72.5, 88])
@pytest.mark.parametrize("size", [(120, 30), (90, 60)])
def test_a_rotated_rectangle_has_its_own_angle(degrees: float, size: tuple[int, int]) -> None:
    long, short = size
    along = np.array([np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))])
    rows, columns = np.mgrid[:200, :220]
    offset = np.stack([columns + 0.5 - 110, rows + 0.5 - 100], axis=-1)
    u, v = offset @ along, offset @ np.array([-along[1], along[0]])
    mask = ((np.abs(u) <= long / 2) & (np.abs(v) <= short / 2)).astype(np.uint8)
    box = oriented_box(only(mask), 200, 220)
    sides = np.roll(box, -1, axis=0) - box
    x, y = max(sides, key=lambda side: np.hypot(*side))
    found = np.rad2deg(np.arctan2(y, x)) % 180
    assert min(abs(found - degrees), 180 - abs(found - degrees)) < 1.5
    assert sorted(np.hypot(*sides.T)) == pytest.approx([short, short, long, long], abs=2.5)


@pytest.mark.parametrize("quarter_turns", range(4))
@pytest.mark.parametrize("flip", [False, True])
def test_a_slanted_region_that_touches_one_border_has_a_whole_rectangle_inside_the_image(
    quarter_turns: int, flip: bool
) -> None:
    mask = np.zeros((60, 50), np.uint8)
    for i in range(30):
        mask[10 + i : 13 + i, i] = 1
    mask = np.ascontiguousarray(np.rot90(np.fliplr(mask) if flip else mask, quarter_turns))
    assert_rectangle_inside(oriented_box(only(mask), *mask.shape), mask.shape)


def test_near_the_border_the_box_is_the_upright_one_where_no_other_fits() -> None:
    mask = np.tri(12, dtype=np.uint8)
    box = oriented_box(only(mask), 12, 12)
    assert sorted(map(tuple, box.tolist())) == [(0, 0), (0, 12), (12, 0), (12, 12)]


def test_nested_regions_have_boxes_of_their_own() -> None:
    mask = nested(24, 30, 3, 0)
    boxes = [oriented_box(region, *mask.shape) for region in find_regions(mask)]
    assert [box_area(box) for box in boxes] == pytest.approx([24 * 30, 12 * 18])
