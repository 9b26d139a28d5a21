"""Run lengths: the same as pycocotools makes from whole masks, and no broken ones let through to it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from mvtec_convert.geometry.regions import Region, RegionOptions, find_regions
from mvtec_convert.geometry.rle import (
    Rle,
    area_and_box,
    compress,
    decode,
    decompress,
    intersection_over_union,
    rasterise,
    run_lengths,
    unsound,
)
from tests.strategies import LARGE, Mask, connected, defects, framed, masks, whole

ANY_MASK = st.one_of(masks(), framed(masks()))


def encoded(mask: Mask) -> Rle:
    """What pycocotools makes of a whole mask."""
    return coco_mask.encode(np.asfortranarray(mask))


def counted(mask: Mask) -> list[int]:
    """Run lengths pixel by pixel: column by column, background first."""
    runs, value = [0], 0
    for pixel in mask.T.ravel().tolist():
        if pixel != value:
            runs.append(0)
            value = pixel
        runs[-1] += 1
    return runs


def text(mask: Mask) -> str:
    return encoded(mask)["counts"].decode()


# --- from regions -----------------------------------------------------------------------------------------------------


@given(ANY_MASK, st.sampled_from(["component", "image"]))
def test_run_lengths_are_what_pycocotools_makes_of_the_whole_mask(mask: Mask, rule: str) -> None:
    height, width = mask.shape
    for region in find_regions(mask, RegionOptions(rule=rule)):
        assert run_lengths(region, height, width) == encoded(whole(region, mask.shape))


@pytest.mark.parametrize("name", LARGE)
def test_run_lengths_of_large_masks_are_what_pycocotools_makes_of_them(name: str) -> None:
    mask = LARGE[name]()
    (region,) = find_regions(mask, RegionOptions(rule="image"))
    assert run_lengths(region, *mask.shape) == encoded(mask)


@given(connected())
def test_run_lengths_of_a_region_without_margins_are_those_of_its_crop(mask: Mask) -> None:
    (region,) = find_regions(mask)
    alone = Region(0, 0, region.crop, region.area)
    assert run_lengths(alone, region.height, region.width) == encoded(region.crop)


# --- compression ------------------------------------------------------------------------------------------------------


@given(ANY_MASK)
def test_decompress_reads_what_pycocotools_wrote(mask: Mask) -> None:
    assert decompress(encoded(mask)) == counted(mask)


@given(ANY_MASK)
def test_compress_writes_what_pycocotools_writes(mask: Mask) -> None:
    assert compress(counted(mask), *mask.shape) == encoded(mask)


@given(ANY_MASK)
def test_decode_gives_the_mask_back(mask: Mask) -> None:
    decoded = decode(encoded(mask))
    assert decoded.dtype == np.uint8
    assert np.array_equal(decoded, mask)


@given(st.lists(st.one_of(st.integers(0, 70), st.integers(0, 2**28)), min_size=1, max_size=30))
def test_any_run_lengths_survive_compression(runs: list[int]) -> None:
    assert decompress(compress(runs, 2**14, 2**14)) == runs


@given(ANY_MASK)
def test_area_and_box_is_that_of_the_pixels(mask: Mask) -> None:
    rows, columns = np.nonzero(mask)
    expected = None
    if len(rows):
        expected = (columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1)
    assert area_and_box(encoded(mask)) == (int(mask.sum()), expected)


@given(defects(), st.integers(0, 2**32 - 1))
def test_intersection_over_union_counts_pixels(mask: Mask, seed: int) -> None:
    other = (np.random.default_rng(seed).random(mask.shape) < 0.5).astype(np.uint8)
    expected = (mask & other).sum() / (mask | other).sum()
    assert intersection_over_union(encoded(mask), encoded(other)) == pytest.approx(expected)
    assert intersection_over_union(encoded(mask), encoded(mask)) == 1.0


def test_overlapping_polygons_are_united() -> None:
    squares = [[0, 0, 4, 0, 4, 4, 0, 4], [2, 2, 6, 2, 6, 6, 2, 6]]
    expected = np.zeros((7, 8), np.uint8)
    expected[0:4, 0:4] = expected[2:6, 2:6] = 1
    assert rasterise(squares, 7, 8) == encoded(expected)


# --- unsound ----------------------------------------------------------------------------------------------------------


@given(ANY_MASK)
def test_sound_run_lengths_are_accepted_in_both_forms(mask: Mask) -> None:
    assert unsound(mask.shape, text(mask)) is None
    assert unsound(mask.shape, counted(mask)) is None


@given(ANY_MASK, st.integers(1, 10**6))
def test_run_lengths_beyond_the_mask_are_named(mask: Mask, surplus: int) -> None:
    runs = counted(mask)
    runs[-1] += surplus
    height, width = mask.shape
    expected = f"the run lengths sum to {mask.size + surplus}, not to {height} x {width} = {mask.size} pixels"
    assert unsound(mask.shape, runs) == expected
    assert unsound(mask.shape, compress(runs, height, width)["counts"].decode()) == expected


@given(ANY_MASK)
def test_run_lengths_short_of_the_mask_are_named(mask: Mask) -> None:
    runs = counted(mask)
    runs[-1] -= 1
    for counts in (runs, compress(runs, *mask.shape)["counts"].decode()):
        assert f"sum to {mask.size - 1}, not" in (unsound(mask.shape, counts) or "")


@given(st.lists(st.integers(0, 9), min_size=2, max_size=6), st.integers(1, 9))
def test_negative_run_lengths_are_named_even_where_the_sum_is_right(runs: list[int], below: int) -> None:
    broken = [*runs, -below, below]
    size = (1, sum(broken))
    assert unsound(size, broken) == "run lengths below 0"
    assert unsound(size, written(broken)) == "run lengths below 0"


def written(runs: list[int]) -> str:
    """Any numbers in the compressed form, as `rleToString` in maskApi.c writes them, negative ones too."""
    out = ""
    for i, run in enumerate(runs):
        value, more = run - (runs[i - 2] if i > 2 else 0), True
        while more:
            six = value & 0x1F
            value >>= 5
            more = value != -1 if six & 0x10 else value != 0
            out += chr(48 + (six | 0x20 if more else six))
    return out


@given(ANY_MASK)
def test_the_writer_of_these_tests_writes_what_pycocotools_writes(mask: Mask) -> None:
    assert written(counted(mask)) == text(mask)


@pytest.mark.parametrize("character", ["~", " ", "!", "/", "p", "\x00", "\n", "é", "\u4e2d", "\U0001f600"])
def test_characters_that_the_form_does_not_have_are_named(character: str) -> None:
    mask = np.eye(9, dtype=np.uint8)
    sound = text(mask)
    for at in range(len(sound) + 1):
        assert unsound(mask.shape, sound[:at] + character + sound[at:]) == "not compressed run lengths"


def test_a_number_cut_in_its_middle_is_named() -> None:
    mask = np.zeros((100, 100), np.uint8)
    mask[50:70, 50:70] = 1
    sound = text(mask)
    cut = [at for at in range(1, len(sound)) if ord(sound[at - 1]) - 48 & 0x20]
    assert cut, "no number of this mask takes two characters"
    for at in cut:
        assert unsound(mask.shape, sound[:at]) == "compressed run lengths that stop in the middle of a number"


@pytest.mark.parametrize("groups", [6, 7, 12, 13, 30])
def test_numbers_written_longer_than_any_run_are_named(groups: int) -> None:
    # 20 in five bits and zeros ever after: right as a number, but pycocotools shifts them beyond its integers.
    overlong = chr(48 + (20 | 32)) + "P" * (groups - 1) + "0"
    assert unsound((4, 5), overlong) == "not compressed run lengths"


@given(defects())
def test_every_true_beginning_of_sound_text_is_unsound(mask: Mask) -> None:
    sound = text(mask)
    for at in range(len(sound)):
        assert unsound(mask.shape, sound[:at]) is not None


@pytest.mark.parametrize("counts", ["", [], "0" * 50, "o" * 40, "O" * 40, "_" * 40, [2**70], [-1, 2**70 + 1]])
def test_odd_run_lengths_are_answered_with_a_reason(counts: str | list[int]) -> None:
    assert unsound((4, 5), counts)


def test_lone_surrogates_are_answered_with_a_reason() -> None:
    assert unsound((4, 5), "d\ud800")


@given(st.integers(1, 12), st.integers(1, 12), st.text(st.characters(min_codepoint=46, max_codepoint=114), max_size=12))
def test_whatever_text_is_accepted_pycocotools_reads_as_a_mask_of_that_many_pixels(
    height: int, width: int, counts: str
) -> None:
    if unsound((height, width), counts) is None:
        rle = {"size": [height, width], "counts": counts.encode()}
        decoded = coco_mask.decode(rle)
        assert decoded.shape == (height, width)
        assert decoded.sum() == coco_mask.area(rle) == sum(decompress(rle)[1::2])


@given(st.lists(st.integers(-3, 12), max_size=8), st.integers(1, 5), st.integers(1, 5))
def test_whatever_numbers_are_accepted_pycocotools_reads_as_a_mask_of_that_many_pixels(
    runs: list[int], height: int, width: int
) -> None:
    if unsound((height, width), runs) is None:
        assert coco_mask.decode(compress(runs, height, width)).sum() == sum(runs[1::2])
    else:
        assert any(run < 0 for run in runs) or sum(runs) != height * width
