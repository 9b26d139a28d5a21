"""Masks to regions: nothing lost, nothing added, each region one connected piece, boxes exact."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from mvtec_convert.dataset import Sample
from mvtec_convert.errors import MaskError
from mvtec_convert.geometry.regions import Region, RegionOptions, annotate, find_regions
from tests.strategies import LARGE, Mask, Pixel, components, defects, framed, masks, nearest, noise, pixels, whole

ANY_MASK = st.one_of(masks(), framed(masks()))


def pixel_sets(regions: tuple[Region, ...], mask: Mask) -> list[set[Pixel]]:
    """Each region's pixels in the image, in the order given."""
    return [pixels(whole(region, mask.shape)) for region in regions]


def same_sets(a: list[set[Pixel]], b: list[set[Pixel]]) -> bool:
    """Whether both lists hold the same sets, in any order."""
    return sorted(map(sorted, a)) == sorted(map(sorted, b))


def merged_by_brute_force(mask: Mask, distance: float) -> list[set[Pixel]]:
    """Components, joined for as long as two of them have a pair of pixels at most `distance` apart."""
    groups = components(mask)
    while True:
        pair = next((p for p in combinations(groups, 2) if nearest(*p) <= distance), None)
        if pair is None:
            return groups
        groups = [group for group in groups if group not in pair] + [pair[0] | pair[1]]


# --- components -------------------------------------------------------------------------------------------------------


@given(ANY_MASK)
def test_regions_are_the_8_connected_components(mask: Mask) -> None:
    found = pixel_sets(find_regions(mask), mask)
    assert same_sets(found, components(mask))


@pytest.mark.parametrize("name", LARGE)
def test_regions_of_large_masks_are_the_8_connected_components(name: str) -> None:
    mask = LARGE[name]()
    assert same_sets(pixel_sets(find_regions(mask), mask), components(mask))


@given(ANY_MASK)
def test_regions_together_are_the_mask_and_no_two_share_a_pixel(mask: Mask) -> None:
    painted = np.zeros(mask.shape, int)
    for region in find_regions(mask):
        painted += whole(region, mask.shape)
    assert np.array_equal(painted, mask)


@given(ANY_MASK, st.integers(1, 255))
def test_any_value_but_0_is_defect(mask: Mask, value: int) -> None:
    scaled = mask * np.uint8(value)
    before = scaled.copy()
    assert same_sets(pixel_sets(find_regions(scaled), mask), components(mask))
    assert np.array_equal(scaled, before), "the mask given was changed"


def test_mixed_values_are_one_region() -> None:
    (region,) = find_regions(np.array([[1, 2, 255, 128]], np.uint8))
    assert region.crop.tolist() == [[1, 1, 1, 1]]


@given(ANY_MASK)
def test_boxes_are_the_extent_of_the_pixels_and_areas_their_number(mask: Mask) -> None:
    for region in find_regions(mask):
        places = pixels(whole(region, mask.shape))
        left, top = min(x for x, _ in places), min(y for _, y in places)
        right, bottom = max(x for x, _ in places) + 1, max(y for _, y in places) + 1
        assert region.bbox == (left, top, right - left, bottom - top)
        assert region.area == len(places)


@given(ANY_MASK, st.sampled_from(["component", "image"]), st.sampled_from([0.0, 3.0]))
def test_crops_are_tight_and_hold_contiguous_bytes_0_and_1(mask: Mask, rule: str, distance: float) -> None:
    for region in find_regions(mask, RegionOptions(rule=rule, merge_distance=distance)):
        crop = region.crop
        assert crop.dtype == np.uint8
        assert crop.ndim == 2
        assert crop.flags.c_contiguous
        assert set(np.unique(crop).tolist()) <= {0, 1}
        assert all(edge.any() for edge in (crop[0], crop[-1], crop[:, 0], crop[:, -1]))
        assert all(type(value) is int for value in (*region.bbox, region.area))


@given(ANY_MASK)
def test_regions_come_in_order_of_top_then_left(mask: Mask) -> None:
    corners = [(region.y, region.x) for region in find_regions(mask)]
    assert corners == sorted(corners)


def test_of_regions_with_one_corner_the_smaller_comes_first() -> None:
    mask = np.fliplr(np.eye(8, dtype=np.uint8))
    mask[:4, :4] |= np.fliplr(np.eye(4, dtype=np.uint8))
    mask[0, 0] = 1
    assert [region.bbox for region in find_regions(mask)] == [(0, 0, 1, 1), (0, 0, 4, 4), (0, 0, 8, 8)]


@given(ANY_MASK)
def test_the_same_mask_gives_the_same_regions(mask: Mask) -> None:
    first, second = find_regions(mask), find_regions(np.asfortranarray(mask).copy(order="C"))
    assert [(r.bbox, r.crop.tobytes()) for r in first] == [(r.bbox, r.crop.tobytes()) for r in second]


def test_an_empty_mask_has_no_regions() -> None:
    assert find_regions(np.zeros((7, 5), np.uint8)) == ()


def test_a_mask_that_is_a_view_of_another_is_read_right() -> None:
    mask = noise(40, 30, 0.4, 3)[5:31:2, 3:29]
    assert same_sets(pixel_sets(find_regions(mask), mask), components(mask))


# --- options ----------------------------------------------------------------------------------------------------------


@given(st.one_of(defects(), framed(defects())))
def test_rule_image_makes_all_pixels_one_region(mask: Mask) -> None:
    (region,) = find_regions(mask, RegionOptions(rule="image"))
    assert np.array_equal(whole(region, mask.shape), mask)
    assert region.area == mask.sum()


def test_rule_image_makes_no_region_of_an_empty_mask() -> None:
    assert find_regions(np.zeros((3, 3), np.uint8), RegionOptions(rule="image")) == ()


DISTANCES = st.one_of(
    st.sampled_from([1.0, 1.5, 2.0, 8**0.5, 3.0, 5.0, 5**0.5, 13**0.5, 100.0]), st.floats(0.125, 12, width=16)
)


@given(ANY_MASK.filter(lambda mask: len(components(mask)) < 25), DISTANCES)
def test_merging_joins_what_a_search_of_all_pixel_pairs_joins(mask: Mask, distance: float) -> None:
    found = find_regions(mask, RegionOptions(merge_distance=distance))
    assert same_sets(pixel_sets(found, mask), merged_by_brute_force(mask, distance))


@example(gap=(3, 4))
@given(st.tuples(st.integers(0, 12), st.integers(0, 12)).filter(lambda gap: max(gap) > 1))
def test_merge_distance_is_from_centre_to_centre_and_includes_its_limit(gap: tuple[int, int]) -> None:
    mask = np.zeros((20, 20), np.uint8)
    mask[2, 3] = mask[2 + gap[1], 3 + gap[0]] = 1
    far = float(np.hypot(*gap))
    assert len(find_regions(mask, RegionOptions(merge_distance=far))) == 1
    assert len(find_regions(mask, RegionOptions(merge_distance=far - 0.01))) == 2


def test_merge_distance_is_that_of_the_nearest_pixels_where_boxes_overlap() -> None:
    mask = np.zeros((12, 12), np.uint8)
    mask[:, 0] = mask[11] = 1
    mask[8, 3:8] = mask[1:8, 7] = 1
    assert len(find_regions(mask, RegionOptions(merge_distance=2.99))) == 2
    assert len(find_regions(mask, RegionOptions(merge_distance=3))) == 1


def test_merging_goes_on_from_region_to_region() -> None:
    mask = np.zeros((1, 30), np.uint8)
    mask[0, [0, 3, 6, 9, 20]] = 1
    regions = find_regions(mask, RegionOptions(merge_distance=3))
    assert [region.bbox for region in regions] == [(0, 0, 10, 1), (20, 0, 1, 1)]


def test_merge_distance_0_merges_nothing() -> None:
    mask = np.array([[1, 0, 1]], np.uint8)
    assert len(find_regions(mask, RegionOptions(merge_distance=0))) == 2


@given(ANY_MASK, st.integers(0, 30))
def test_min_area_drops_the_regions_of_fewer_pixels_and_no_others(mask: Mask, least: int) -> None:
    found = pixel_sets(find_regions(mask, RegionOptions(min_area=least)), mask)
    assert same_sets(found, [piece for piece in components(mask) if len(piece) >= least])


def test_min_area_counts_after_merging() -> None:
    mask = np.array([[1, 1, 0, 1, 0, 0, 0, 0, 1]], np.uint8)
    (region,) = find_regions(mask, RegionOptions(merge_distance=2, min_area=3))
    assert region.bbox == (0, 0, 4, 1)


# --- samples ----------------------------------------------------------------------------------------------------------


def write_pair(folder: Path, image_size: tuple[int, int], *masks: Mask) -> Sample:
    """A defective sample of `category/test/hole` whose files exist."""
    Image.new("RGB", image_size).save(folder / "000.png")
    paths = []
    for i, mask in enumerate(masks):
        paths.append(folder / f"{i}_mask.png")
        Image.fromarray(mask * np.uint8(255)).save(paths[-1])
    return Sample("carpet", "hole", "test", folder / "000.png", tuple(paths), "carpet/test/hole/000.png")


def test_an_annotated_image_gives_its_mask_back(tmp_path: Path) -> None:
    mask = LARGE["sieve"]()
    height, width = mask.shape
    annotated = annotate(write_pair(tmp_path, (width, height), mask))
    assert (annotated.width, annotated.height) == (width, height)
    assert np.array_equal(annotated.mask(), mask)
    assert len(annotated.regions) > 100


def test_several_masks_of_one_image_are_united(tmp_path: Path) -> None:
    left, right = np.zeros((2, 6, 9), np.uint8)
    left[1:3, 1:4] = 1
    right[2:5, 3:6] = 1
    annotated = annotate(write_pair(tmp_path, (9, 6), left, right))
    assert np.array_equal(annotated.mask(), left | right)
    assert len(annotated.regions) == 1


def test_good_images_have_no_regions(tmp_path: Path) -> None:
    Image.new("L", (8, 5)).save(tmp_path / "000.png")
    good = Sample("carpet", "good", "train", tmp_path / "000.png", (), "carpet/train/good/000.png")
    annotated = annotate(good)
    assert (annotated.width, annotated.height, annotated.regions) == (8, 5, ())
    assert annotated.mask().shape == (5, 8)
    assert not annotated.mask().any()


def test_a_mask_of_another_size_than_its_image_is_an_error_that_names_both_sizes(tmp_path: Path) -> None:
    pair = write_pair(tmp_path, (6, 9), np.ones((6, 9), np.uint8))
    with pytest.raises(MaskError, match="9 x 6 px, its image 6 x 9 px") as caught:
        annotate(pair)
    assert caught.value.path == str(pair.masks[0])
    assert caught.value.hint


def test_an_empty_mask_of_a_defective_image_is_an_error(tmp_path: Path) -> None:
    pair = write_pair(tmp_path, (9, 6), np.zeros((6, 9), np.uint8))
    with pytest.raises(MaskError, match="no defect pixel") as caught:
        annotate(pair)
    assert caught.value.path == str(pair.masks[0])
    assert caught.value.hint


def test_min_area_may_leave_a_defective_image_without_regions(tmp_path: Path) -> None:
    mask = np.zeros((6, 9), np.uint8)
    mask[2, 2] = 1
    assert annotate(write_pair(tmp_path, (9, 6), mask), RegionOptions(min_area=2)).regions == ()
