"""Borders and the rings of pixel edges that follow from them, judged by the edges themselves, counted one by one."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvtec_convert.geometry.borders import Outline, Ring, outlines, trace
from mvtec_convert.geometry.polygons import keyhole_polygons, keyhole_polygons_of
from mvtec_convert.geometry.regions import Region, RegionOptions, find_regions
from tests.strategies import LARGE, Mask, defects, framed

ANY_DEFECT = st.one_of(defects(), framed(defects()))
SMALL = [(3, 4), (4, 3), (2, 6), (1, 12)]
"""Of 12 pixels, in every way; what a border does at a pixel is decided by the eight around it."""


def every_mask(shape: tuple[int, int]) -> list[Mask]:
    bits = np.arange(1, 1 << 12)[:, None] >> np.arange(12) & 1
    return list(bits.astype(np.uint8).reshape(-1, *shape))


def edges_of(mask: Mask) -> Counter[tuple[int, int, int, int]]:
    """Every pixel edge between inside and outside as a step, (x, y, dx, dy), with the inside on its left on screen."""
    inside = np.pad(mask, 1) > 0
    found: Counter[tuple[int, int, int, int]] = Counter()
    for y, x in np.argwhere(inside).tolist():
        left, top = x - 1, y - 1
        if not inside[y, x - 1]:
            found[left, top, 0, 1] += 1
        if not inside[y + 1, x]:
            found[left, top + 1, 1, 0] += 1
        if not inside[y, x + 1]:
            found[left + 1, top + 1, 0, -1] += 1
        if not inside[y - 1, x]:
            found[left + 1, top, -1, 0] += 1
    return found


def walked(ring: Ring) -> list[tuple[int, int, int, int]]:
    """The ring in steps of one pixel edge."""
    found = []
    for (x0, y0), (x1, y1) in zip(ring.tolist(), np.roll(ring, -1, axis=0).tolist(), strict=True):
        dx, dy = int(np.sign(x1 - x0)), int(np.sign(y1 - y0))
        found += [(x0 + dx * i, y0 + dy * i, dx, dy) for i in range(max(abs(x1 - x0), abs(y1 - y0)))]
    return found


def rings_of(found: list[Outline]) -> list[Ring]:
    return [ring for outline in found for ring in (outline.outer, *outline.holes)]


def judge(mask: Mask) -> None:
    found = outlines(trace(mask, 0, 0))
    rings = rings_of(found)
    assert Counter(step for ring in rings for step in walked(ring)) == edges_of(mask)
    for ring in rings:
        moves = np.roll(ring, -1, axis=0) - ring
        assert ((moves == 0).sum(axis=1) == 1).all()
        assert ((moves == 0) != np.roll(moves == 0, 1, axis=0)).all(), "a point where the ring does not turn"
    for outline in found:
        assert tuple(outline.outer[0]) == min(map(tuple, outline.outer.tolist()), key=lambda point: point[::-1])
        for hole in outline.holes:
            assert tuple(hole[0]) == min(map(tuple, hole.tolist()), key=lambda point: point[::-1])


@pytest.mark.parametrize("shape", SMALL)
def test_of_every_small_mask_rings_walk_each_edge_once_and_turn_at_each_point(shape: tuple[int, int]) -> None:
    for mask in every_mask(shape):
        judge(mask)


@given(ANY_DEFECT)
def test_of_any_mask_rings_walk_each_edge_once_and_turn_at_each_point(mask: Mask) -> None:
    judge(mask)


@pytest.mark.parametrize("name", LARGE)
def test_of_large_masks_rings_walk_each_edge_once_and_turn_at_each_point(name: str) -> None:
    judge(LARGE[name]())


@given(ANY_DEFECT, st.integers(-5, 5000), st.integers(-5, 5000))
def test_where_a_mask_lies_only_moves_its_rings(mask: Mask, x: int, y: int) -> None:
    here, there = outlines(trace(mask, 0, 0)), outlines(trace(mask, x, y))
    for ring, moved in zip(rings_of(here), rings_of(there), strict=True):
        assert np.array_equal(ring + (x, y), moved)


@given(ANY_DEFECT, st.sampled_from([1, 7, 255]))
def test_borders_that_a_region_was_found_by_are_those_of_its_crop(mask: Mask, value: int) -> None:
    for region in find_regions(mask * np.uint8(value)):
        again = trace(region.crop, region.x, region.y)
        for kept, traced in zip(region.borders, again, strict=True):
            for contour, other in zip((kept.outer, *kept.holes), (traced.outer, *traced.holes), strict=True):
                assert np.array_equal(contour, other)


@given(st.lists(ANY_DEFECT, max_size=4), st.sampled_from(["component", "image"]))
def test_polygons_of_many_regions_are_those_of_each(masks: list[Mask], rule: str) -> None:
    regions: list[Region] = [region for mask in masks for region in find_regions(mask, RegionOptions(rule=rule))]
    together = list(keyhole_polygons_of(regions))
    for found, region in zip(together, regions, strict=True):
        alone = keyhole_polygons(region)
        assert all(np.array_equal(ring, other) for ring, other in zip(found, alone, strict=True))


def test_merged_regions_have_polygons_of_all_their_parts() -> None:
    mask = np.array([[1, 0, 1, 0, 0, 1]], np.uint8)
    near, far = find_regions(mask, RegionOptions(merge_distance=2))
    assert (len(keyhole_polygons(near)), len(keyhole_polygons(far))) == (2, 1)
