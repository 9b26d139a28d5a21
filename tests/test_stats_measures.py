"""Measures of regions, against sets of pixels counted one by one."""

from __future__ import annotations

from itertools import chain

import numpy as np
import pytest
from hypothesis import given

from mvtec_convert.geometry.regions import RegionOptions, find_regions
from mvtec_convert.statistics.measures import (
    MEDIUM,
    SMALL,
    Regions,
    SizeCounts,
    measure,
    measure_box,
    size_counts,
    spread,
)
from tests.strategies import components, defects, flood, framed, pixels


def drawn(*rows: str) -> np.ndarray:
    return np.array([[character == "#" for character in row] for row in rows], np.uint8)


def holes(mask: np.ndarray) -> int:
    """Background in 4-connected parts that do not reach the frame around the mask."""
    height, width = mask.shape
    free = {(x, y) for x in range(-1, width + 1) for y in range(-1, height + 1)} - pixels(mask)
    count = -1  # the outside
    while free:
        free -= flood(free, next(iter(free)), diagonal=False)
        count += 1
    return count


def gathered(*measured) -> Regions:
    return Regions.of([*chain.from_iterable(measured)])


@given(framed(defects()))
def test_every_measure_is_what_counting_pixels_gives(mask: np.ndarray):
    height, width = mask.shape
    (region,) = find_regions(mask, RegionOptions(rule="image"))
    found = measure(region, width, height)
    assert found.pieces == len(components(mask))
    assert found.holes == holes(mask)
    assert found.area == len(pixels(mask))
    where = pixels(mask)
    assert found.touches_border == any(x in (0, width - 1) or y in (0, height - 1) for x, y in where)
    assert found.width == max(x for x, _ in where) - min(x for x, _ in where) + 1
    assert found.height == max(y for _, y in where) - min(y for _, y in where) + 1


def test_a_ring_has_a_hole_and_pieces_that_meet_at_a_corner_are_one():
    (ring,) = find_regions(drawn("###", "#.#", "###"))
    assert measure(ring, 3, 3)[-2:] == (1, 1)
    (chain_of_two,) = find_regions(drawn("#.", ".#"))
    assert measure(chain_of_two, 2, 2)[-2:] == (0, 1)
    (two,) = find_regions(drawn("#..#"), RegionOptions(rule="image"))
    assert measure(two, 4, 1)[-2:] == (0, 2)


def test_cocos_bounds_at_the_original_size_and_scaled():
    assert (SMALL, MEDIUM) == (1024, 9216)
    assert size_counts(np.array([1023.0, 1024, 9215, 9216])) == SizeCounts(1, 2, 1)
    # At 640 an image of 1280 x 960 px is halved, and areas are a quarter.
    found = gathered(measure_box((0, 0, 64, 63.9), 64 * 63.9, 1280, 960), measure_box((0, 0, 64, 64), 4096, 960, 1280))
    assert found.area_at(640) == pytest.approx([64 * 63.9 / 4, 1024])
    assert size_counts(found.area_at(640)) == SizeCounts(1, 1, 0)
    # A smaller image is scaled up, as Ultralytics does.
    assert gathered(measure_box((0, 0, 16, 16), 256, 320, 200)).area_at(640) == pytest.approx([1024])


def test_relative_area_and_aspect():
    found = gathered(measure_box((10, 10, 30, 20), 200, 100, 50), measure_box((0, 0, 5, 20), 100, 100, 50))
    assert found.relative_area == pytest.approx([0.04, 0.02])
    assert found.aspect == pytest.approx([2, 4])


def test_a_box_without_extent_has_no_aspect_and_spoils_no_quartile():
    found = gathered(measure_box((1, 1, 1, 5), 0, 10, 10), measure_box((0, 0, 4, 2), 8, 10, 10))
    assert found.aspect[0] == np.inf
    assert spread(found.aspect) == (2, 2, 2, 2, 2)


def test_boxes_have_no_holes_and_no_pieces_and_touch_the_border_within_half_a_pixel():
    found = gathered(measure_box((0.3, 4, 5, 6), 9, 10, 10), measure_box((1, 4, 9.4, 6), 9, 10, 10))
    assert found.masks == 0
    assert found.touches_border.tolist() == [1, 0]
    assert not (found.holes > 0).any()


def test_quartiles_are_interpolated():
    assert spread(np.array([1.0, 2, 3, 4])) == (1, 1.75, 2.5, 3.25, 4)
    assert spread(np.array([])) is None


def test_parts_are_joined_in_order():
    one, two = gathered(measure_box((0, 0, 1, 1), 1, 9, 9)), gathered(measure_box((0, 0, 2, 2), 4, 9, 9))
    assert Regions.joined([one, gathered(), two]).area.tolist() == [1, 4]
    assert len(Regions.joined([])) == 0
