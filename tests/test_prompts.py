"""Prompts: points where a user would click, boxes as a user would draw them, the same each time."""

from __future__ import annotations

from collections import Counter

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvtec_convert.geometry import prompts
from mvtec_convert.geometry.prompts import NEAR_LEAST, ROUGH_LEAST, Prompt, PromptOptions, deepest_point, draw_prompts
from mvtec_convert.geometry.regions import Region, RegionOptions, find_regions
from tests.strategies import LARGE, SEEDS, Mask, Pixel, defects, framed, full, pixels, whole

ANY_DEFECT = st.one_of(defects(), framed(defects()))
RULES = st.sampled_from(["component", "image"])


def some_regions(mask: Mask, rule: str) -> tuple[Region, ...]:
    """Up to five regions; a checkerboard has hundreds, all alike."""
    return find_regions(mask, RegionOptions(rule=rule))[:5]


def depths(region: Region) -> dict[Pixel, float]:
    """Distance of each pixel of the region to the nearest that is not its own, beyond the image's border as well."""
    crop = np.pad(region.crop, 1)
    inside, outside = np.argwhere(crop), np.argwhere(crop == 0)
    squared = np.array([((outside - pixel) ** 2).sum(axis=1).min() for pixel in inside])
    return {
        (region.x + int(x) - 1, region.y + int(y) - 1): float(far)
        for (y, x), far in zip(inside, np.sqrt(squared), strict=True)
    }


def near_and_free(region: Region, occupied: Mask) -> set[Pixel]:
    """Pixels outside every region, at most 8 px away or the region's own size."""
    reach = max(NEAR_LEAST, region.width, region.height)
    free, own = np.argwhere(occupied == 0), np.argwhere(whole(region, occupied.shape))
    if not len(free):
        return set()
    squared = np.array([((own - pixel) ** 2).sum(axis=1).min() for pixel in free])
    return {(int(x), int(y)) for (y, x), far in zip(free, squared, strict=True) if far <= reach**2}


def split(prompt: Prompt) -> tuple[list[Pixel], list[Pixel]]:
    """(positive, negative) points."""
    marked = list(zip(prompt.points, prompt.labels, strict=True))
    return [point for point, label in marked if label == 1], [point for point, label in marked if label == 0]


# --- points -----------------------------------------------------------------------------------------------------------


@given(ANY_DEFECT, RULES, st.integers(0, 12), SEEDS)
def test_positive_points_are_pixels_of_the_region_as_many_as_asked_for(
    mask: Mask, rule: str, count: int, seed: int
) -> None:
    for region in some_regions(mask, rule):
        prompt = draw_prompts(region, mask, PromptOptions(points=count, seed=seed), "name")
        positives, negatives = split(prompt)
        own = pixels(whole(region, mask.shape))
        assert set(positives) <= own
        assert len(positives) == len(set(positives)) == min(count, len(own))
        assert negatives == []


@given(ANY_DEFECT, RULES)
def test_the_first_point_is_as_far_from_the_outside_as_any_and_of_those_the_first(mask: Mask, rule: str) -> None:
    for region in some_regions(mask, rule):
        depth = depths(region)  # row by row
        first = draw_prompts(region, mask, PromptOptions(points=3), "name").points[0]
        assert first == deepest_point(region) == max(depth, key=lambda pixel: depth[pixel])


def test_rough_distances_are_never_as_much_shorter_than_true_ones_as_it_is_counted_on() -> None:
    free = np.ones((701, 901), np.uint8)
    free[300, 400] = 0
    rows, columns = np.mgrid[:701, :901]
    true = np.hypot(rows - 300, columns - 400)
    rough = cv2.distanceTransform(free, cv2.DIST_L2, cv2.DIST_MASK_5)
    shares = rough[true > 0] / true[true > 0]
    assert ROUGH_LEAST < shares.min() < ROUGH_LEAST + 0.001


@pytest.mark.parametrize("seed", range(12))
def test_what_rough_distances_leave_out_is_not_the_deepest(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(seed)
    smooth = cv2.GaussianBlur(rng.random((260, 340)), (0, 0), float(rng.uniform(2, 25)))
    regions = find_regions((smooth > np.quantile(smooth, rng.uniform(0.2, 0.9))).astype(np.uint8))
    found = [deepest_point(region) for region in regions]
    monkeypatch.setattr(prompts, "MOST_SQUARES", -1)
    assert found == [deepest_point(region) for region in regions]
    monkeypatch.setattr(prompts, "MOST_SIDE", 0)
    assert found == [deepest_point(region) for region in regions]


def test_the_deepest_point_does_not_depend_on_where_in_memory_the_mask_lies() -> None:
    # Two of its pixels are equally deep, but OpenCV rounds the two square roots alike in some places only.
    rows, columns = np.mgrid[:32, :31]
    crop = ((rows - 15.5) ** 2 + (columns - 15) ** 2 < 15.1**2).astype(np.uint8)
    found = set()
    for shift in range(64):
        room = np.zeros(crop.size + 64, np.uint8)[shift : shift + crop.size].reshape(crop.shape)
        room[:] = crop
        found.add(deepest_point(Region(0, 0, room, int(crop.sum()))))
    assert len(found) == 1


def test_the_first_point_keeps_off_the_hole_in_the_middle() -> None:
    (ring,) = find_regions(np.pad(np.pad(np.zeros((9, 9), np.uint8), ((5, 5), (3, 7)), constant_values=1), 4))
    x, y = deepest_point(ring)
    assert (x, y) in pixels(whole(ring, (27, 27)))
    assert x > 4 + 3 + 9, "the right-hand side is the widest"


def test_the_image_border_counts_as_edge() -> None:
    (region,) = find_regions(full(21, 31))
    assert deepest_point(region)[1] == 10
    assert 10 <= deepest_point(region)[0] <= 20


@given(ANY_DEFECT, RULES, st.integers(0, 12), SEEDS)
def test_negative_points_are_near_but_outside_every_region_as_many_as_asked_for(
    mask: Mask, rule: str, count: int, seed: int
) -> None:
    for region in some_regions(mask, rule)[:2]:
        prompt = draw_prompts(region, mask, PromptOptions(points=0, negatives=count, seed=seed), "name")
        positives, negatives = split(prompt)
        allowed = near_and_free(region, mask)
        assert positives == []
        assert set(negatives) <= allowed
        assert len(negatives) == len(set(negatives)) == min(count, len(allowed))


def test_every_pixel_that_is_near_and_free_can_be_a_negative_point() -> None:
    mask = np.zeros((40, 50), np.uint8)
    mask[20:23, 30:34] = 1
    mask[18, 36:40] = 1
    region = next(region for region in find_regions(mask) if region.y == 20)
    drawn = split(draw_prompts(region, mask, PromptOptions(negatives=10_000), "name"))[1]
    assert set(drawn) == near_and_free(region, mask)
    assert len(drawn) > 200


def test_pixels_in_a_hole_of_the_region_can_be_negative_points_but_an_island_there_is_not() -> None:
    mask = np.pad(np.zeros((7, 7), np.uint8), 3, constant_values=1)
    mask[6, 6] = 1
    outer = find_regions(mask)[0]
    drawn = split(draw_prompts(outer, mask, PromptOptions(negatives=100), "name"))[1]
    assert set(drawn) == {(x, y) for x in range(3, 10) for y in range(3, 10)} - {(6, 6)}


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (30, 40)])
def test_a_defect_that_fills_the_image_has_no_negative_points(shape: tuple[int, int]) -> None:
    mask = full(*shape)
    (region,) = find_regions(mask)
    prompt = draw_prompts(region, mask, PromptOptions(points=2, negatives=5, box_jitter=3), "name")
    assert prompt.labels == (1,) * min(2, mask.size)


@given(ANY_DEFECT, st.integers(0, 5), st.integers(0, 5))
def test_positive_points_come_first_and_all_points_are_whole_numbers(mask: Mask, points: int, negatives: int) -> None:
    region = find_regions(mask)[0]
    prompt = draw_prompts(region, mask, PromptOptions(points, negatives), "name")
    assert list(prompt.labels) == sorted(prompt.labels, reverse=True)
    assert len(prompt.labels) == len(prompt.points)
    assert all(type(value) is int for point in prompt.points for value in point)


# --- boxes ------------------------------------------------------------------------------------------------------------


@given(ANY_DEFECT)
def test_without_jitter_the_box_is_the_regions(mask: Mask) -> None:
    for region in some_regions(mask, "component"):
        x, y, width, height = region.bbox
        assert draw_prompts(region, mask, PromptOptions(), "name").box == (x, y, x + width, y + height)


ROUNDING = 0.005 + 1e-9


@given(ANY_DEFECT, RULES, st.one_of(st.floats(0.01, 30), st.sampled_from([0.5, 5.0, 1000.0])), SEEDS)
def test_a_jittered_box_stays_a_box_in_the_image_and_no_edge_moves_farther_than_asked(
    mask: Mask, rule: str, jitter: float, seed: int
) -> None:
    height, width = mask.shape
    for region in some_regions(mask, rule):
        x0, y0, x1, y1 = draw_prompts(region, mask, PromptOptions(box_jitter=jitter, seed=seed), "name").box
        assert 0 <= x0 < x1 <= width
        assert 0 <= y0 < y1 <= height
        edges = np.array([region.x, region.y, region.x + region.width, region.y + region.height])
        assert np.abs(edges - (x0, y0, x1, y1)).max() <= jitter + ROUNDING


def test_jitter_moves_every_edge_either_way_and_as_far_as_asked() -> None:
    mask = np.zeros((100, 100), np.uint8)
    mask[40:60, 30:70] = 1
    (region,) = find_regions(mask)
    boxes = np.array([draw_prompts(region, mask, PromptOptions(box_jitter=5), str(i)).box for i in range(300)])
    moved: npt.NDArray[np.float64] = boxes - (30, 40, 70, 60)
    assert (moved.min(axis=0) < -4.5).all()
    assert (moved.max(axis=0) > 4.5).all()
    assert (np.abs(moved.mean(axis=0)) < 0.6).all()


# --- seeds ------------------------------------------------------------------------------------------------------------

ALL = PromptOptions(points=4, negatives=4, box_jitter=4, seed=5)


@pytest.mark.parametrize("name", ["blobs", "noise", "sieve"])
def test_the_same_name_and_seed_give_the_same_prompt(name: str) -> None:
    mask = LARGE[name]()
    region = max(find_regions(mask), key=lambda region: region.area)
    again = max(find_regions(mask.copy()), key=lambda region: region.area)
    assert draw_prompts(region, mask, ALL, "a") == draw_prompts(again, mask, ALL, "a")


def test_another_seed_or_another_name_gives_another_prompt_but_the_same_deepest_point() -> None:
    mask = LARGE["disc"]()
    (region,) = find_regions(mask)
    options = [ALL, PromptOptions(points=4, negatives=4, box_jitter=4, seed=6)]
    drawn = [draw_prompts(region, mask, which, name) for which in options for name in ("a", "b")]
    assert len({prompt.box for prompt in drawn}) == 4
    assert len({prompt.points for prompt in drawn}) == 4
    assert len({prompt.points[0] for prompt in drawn}) == 1


def test_any_two_other_points_are_as_likely_as_any_other_two_in_either_order() -> None:
    (region,) = find_regions(full(1, 5))
    drawn = Counter(draw_prompts(region, full(1, 5), PromptOptions(points=3), str(i)).points[1:] for i in range(3000))
    assert len(drawn) == 4 * 3
    assert all(190 < count < 310 for count in drawn.values())


def test_drawing_does_not_change_the_region_or_the_mask() -> None:
    mask = LARGE["disc"]()
    (region,) = find_regions(mask)
    crop, before = region.crop.copy(), mask.copy()
    draw_prompts(region, mask, ALL, "a")
    assert np.array_equal(region.crop, crop)
    assert np.array_equal(mask, before)


def test_a_prompt_is_the_same_everywhere() -> None:
    mask = np.zeros((30, 40), np.uint8)
    mask[10:20, 12:28] = 1
    (region,) = find_regions(mask)
    assert draw_prompts(region, mask, PromptOptions(3, 2, 2.5, 7), "carpet_hole_000/1") == Prompt(
        box=(12.92, 8.99, 25.64, 20.29),
        points=((16, 14), (13, 10), (25, 13), (20, 22), (32, 9)),
        labels=(1, 1, 1, 0, 0),
    )
