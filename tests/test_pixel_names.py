"""Where pixels name the defect: each region shows one value, nothing is lost, and each comes back under its class."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import mvtec_convert as mc
from mvtec_convert.dataset import Dataset, PixelNames, Sample
from mvtec_convert.errors import MaskError
from mvtec_convert.geometry.pixel_names import layers, read_codes
from mvtec_convert.geometry.regions import Region, RegionOptions, annotate, read_regions
from tests.exports import coco_masks
from tests.strategies import SEEDS, components, nearest, painted, pixels, whole

Codes = npt.NDArray[np.uint8]

NAMES = PixelNames("value", ((1, "scratch"), (2, "dent"), (3, "scratch"), (200, "hole")))
VALUES = [value for value, _ in NAMES.names]
NAME_OF = dict(NAMES.names)
RED, GREEN = (255, 0, 0), (0, 255, 0)
COLOURS = PixelNames("colour", ((0xFF0000, "scratch"), (0x00FF00, "dent")))


few = settings(max_examples=30)
"""Each example writes files."""


def patches(height: int, width: int, seed: int) -> Codes:
    """Rectangles of different values over one another, that touch more often than not."""
    rng = np.random.default_rng(seed)
    codes = np.zeros((height, width), np.uint8)
    for _ in range(rng.integers(1, 9)):
        y, x = rng.integers(0, height), rng.integers(0, width)
        codes[y : y + rng.integers(1, 9), x : x + rng.integers(1, 9)] = rng.choice([0, *VALUES])
    return codes


def speckled(height: int, width: int, seed: int) -> Codes:
    """Any value at any place."""
    return np.random.default_rng(seed).choice(np.array([0, *VALUES], np.uint8), (height, width))


SIDES = st.integers(1, 14)
ANY_CODES = st.one_of(st.builds(patches, SIDES, SIDES, SEEDS), st.builds(speckled, SIDES, SIDES, SEEDS))
SEVERAL = st.tuples(SIDES, SIDES).flatmap(
    lambda size: st.lists(st.builds(patches, st.just(size[0]), st.just(size[1]), SEEDS), min_size=1, max_size=3)
)


def sample_of(
    folder: Path, files: list[npt.NDArray[Any]], names: PixelNames | None = NAMES, suffix: str = ".png"
) -> Sample:
    """A defective image of the size of the masks, with these masks."""
    height, width = files[0].shape[:2]
    folder.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height), (90, 120, 60)).save(folder / "image.png")
    for i, mask in enumerate(files):
        Image.fromarray(mask).save(folder / f"mask{i}{suffix}")
    masks = tuple(folder / f"mask{i}{suffix}" for i in range(len(files)))
    return Sample("bracket", "defect", "test", folder / "image.png", masks, "bracket/image.png", names)


def regions_of(sample: Sample, options: RegionOptions = RegionOptions()) -> tuple[Region, ...]:
    return annotate(sample, options).regions


def parts(codes: Codes) -> list[tuple[str, set[tuple[int, int]]]]:
    """The 8-connected components of each value, with its name: by flood fill, value by value."""
    return [(NAME_OF[value], part) for value in VALUES for part in components(codes == value)]


def in_order(named: list[tuple[str, set[tuple[int, int]]]]) -> list[tuple[str, list[tuple[int, int]]]]:
    return sorted((name, sorted(part)) for name, part in named)


# --- regions ----------------------------------------------------------------------------------------------------------


@few
@given(codes=ANY_CODES.filter(np.any))
def test_regions_are_the_components_of_each_value(codes: Codes, tmp_path_factory: pytest.TempPathFactory) -> None:
    sample = sample_of(tmp_path_factory.getbasetemp() / "components", [codes])
    found = [(region.defect_type, pixels(whole(region, codes.shape))) for region in regions_of(sample)]
    assert in_order(found) == in_order(parts(codes))


@few
@given(codes=ANY_CODES.filter(np.any))
def test_each_region_has_one_value_and_together_they_are_the_mask(
    codes: Codes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    sample = sample_of(tmp_path_factory.getbasetemp() / "union", [codes])
    covered = np.zeros(codes.shape, int)
    for region in regions_of(sample):
        mask = whole(region, codes.shape)
        (value,) = set(codes[mask > 0].tolist())
        assert NAME_OF[value] == region.defect_type
        covered += mask
    assert np.array_equal(covered, codes != 0)


@few
@given(files=SEVERAL.filter(lambda files: any(mask.any() for mask in files)))
def test_several_masks_are_laid_over_each_other_value_by_value(
    files: list[Codes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    sample = sample_of(tmp_path_factory.getbasetemp() / "several", files)
    wanted = [
        (NAME_OF[value], part)
        for value in VALUES
        for part in components(np.logical_or.reduce([mask == value for mask in files]))
    ]
    shape = files[0].shape
    found = [(region.defect_type, pixels(whole(region, shape))) for region in regions_of(sample)]
    assert in_order(found) == in_order(wanted)


@few
@given(codes=ANY_CODES.filter(np.any), distance=st.sampled_from([1.5, 4.0]))
def test_merging_joins_what_has_one_value_and_nothing_else(
    codes: Codes, distance: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    sample = sample_of(tmp_path_factory.getbasetemp() / "merged", [codes])
    merged = regions_of(sample, RegionOptions(merge_distance=distance))
    for region in merged:
        assert len(set(codes[whole(region, codes.shape) > 0].tolist())) == 1
    assert sum(region.area for region in merged) == np.count_nonzero(codes)
    for value in VALUES:
        groups = [p for p in (pixels(whole(r, codes.shape) * (codes == value)) for r in merged) if p]
        assert all(nearest(a, b) > distance for i, a in enumerate(groups) for b in groups[:i])


@few
@given(codes=ANY_CODES.filter(np.any))
def test_a_region_for_each_value_where_an_image_is_one_region(
    codes: Codes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    sample = sample_of(tmp_path_factory.getbasetemp() / "image", [codes])
    found = regions_of(sample, RegionOptions(rule="image"))
    assert Counter(region.defect_type for region in found) == Counter(
        NAME_OF[value] for value in VALUES if (codes == value).any()
    )


@few
@given(codes=ANY_CODES.filter(np.any), least=st.integers(2, 12))
def test_what_is_too_small_is_left_out_and_told_by_its_type(
    codes: Codes, least: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    sample = sample_of(tmp_path_factory.getbasetemp() / "small", [codes])
    found = annotate(sample, RegionOptions(min_area=least))
    kept = [(name, part) for name, part in parts(codes) if len(part) >= least]
    shown = [(region.defect_type, pixels(whole(region, codes.shape))) for region in found.regions]
    assert in_order(shown) == in_order(kept)
    assert found.incomplete == tuple(sorted({name for name, part in parts(codes) if len(part) < least}))


def test_regions_are_ordered_by_place_and_then_by_type(tmp_path: Path) -> None:
    one, other = np.zeros((2, 6, 8), np.uint8)
    one[2:4, 2:4], other[2:4, 2:4] = 200, 2
    one[0, 7] = 1
    found = regions_of(sample_of(tmp_path, [one, other]))
    assert [(region.bbox, region.defect_type) for region in found] == [
        ((7, 0, 1, 1), "scratch"), ((2, 2, 2, 2), "dent"), ((2, 2, 2, 2), "hole")
    ]  # fmt: skip


def test_values_without_a_name_are_one_layer_where_they_have_a_common_one() -> None:
    names = PixelNames("value", ((9, "hole"),), otherwise="combined")
    codes = np.array([[9, 1, 2, 0]], np.uint8)
    assert [(name, mask.tolist()) for name, mask in layers([codes], names)] == [
        ("hole", [[1, 0, 0, 0]]),
        ("combined", [[0, 1, 1, 0]]),
    ]


# --- reading ----------------------------------------------------------------------------------------------------------


def codes_of(image: Image.Image, folder: Path, names: PixelNames, name: str = "mask.png") -> list[list[int]]:
    image.save(folder / name)
    found: list[list[int]] = read_codes(folder / name, names).tolist()
    return found


def test_the_index_of_a_coloured_palette_is_the_value(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8)).convert("P")
    image.putdata([0, 1, 2])
    image.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    assert codes_of(image, tmp_path, NAMES) == [[0, 1, 2]]
    assert codes_of(image, tmp_path, COLOURS) == [[0, 0x800000, 0x008000]]


def test_the_grey_of_a_palette_of_greys_is_the_value(tmp_path: Path) -> None:
    image = Image.new("P", (3, 1))
    image.putdata([0, 1, 2])
    image.putpalette([0, 0, 0, 253, 253, 253, 254, 254, 254])
    assert codes_of(image, tmp_path, NAMES) == [[0, 253, 254]]


@pytest.mark.parametrize(
    ("names", "white"), [(((255, "hole"),), 255), (((1, "hole"),), 1), (((1, "a"), (255, "b")), 255), ((), 255)]
)
def test_white_of_one_bit_is_255_or_1_by_what_has_a_name(
    names: tuple[tuple[int, str], ...], white: int, tmp_path: Path
) -> None:
    image = Image.fromarray(np.array([[0, 255]], np.uint8)).convert("1")
    assert codes_of(image, tmp_path, PixelNames("value", names)) == [[0, white]]


def test_sixteen_bits_and_three_equal_channels_are_values_as_stored(tmp_path: Path) -> None:
    deep = Image.fromarray(np.array([[0, 1, 700]], np.uint16))
    assert codes_of(deep, tmp_path, NAMES) == [[0, 1, 700]]
    grey = Image.fromarray(np.repeat(np.array([[[0], [1], [200]]], np.uint8), 3, axis=2))
    assert codes_of(grey, tmp_path, NAMES) == [[0, 1, 200]]


def test_what_is_transparent_is_no_defect_whatever_its_colour(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[(255, 255, 255, 0), (*RED, 255), (*GREEN, 255)]], np.uint8))
    assert codes_of(image, tmp_path, COLOURS) == [[0, 0xFF0000, 0x00FF00]]


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tiff"])
def test_colours_name_defects(suffix: str, tmp_path: Path) -> None:
    mask = np.zeros((5, 8, 3), np.uint8)
    mask[1:4, 1:4], mask[1:4, 4:6] = RED, GREEN
    found = regions_of(sample_of(tmp_path, [mask], COLOURS, suffix))
    assert [(region.bbox, region.defect_type) for region in found] == [
        ((1, 1, 3, 3), "scratch"), ((4, 1, 2, 3), "dent")
    ]  # fmt: skip


# --- what is wrong ----------------------------------------------------------------------------------------------------


def refusal(sample: Sample) -> MaskError:
    with pytest.raises(MaskError) as caught:
        annotate(sample)
    return caught.value


def test_a_value_without_a_name_is_an_error_that_tells_the_value_and_the_names(tmp_path: Path) -> None:
    codes = np.zeros((6, 9), np.uint8)
    codes[1, 1:5], codes[3, 3] = 7, 2
    error = refusal(sample_of(tmp_path, [codes]))
    assert error.code == "unnamed-value"
    assert error.path == str(tmp_path / "mask0.png")
    assert error.reason == "the value 7, 4 px: without a name; named: 1 scratch, 2 dent, 3 scratch, 200 hole"
    assert "name the value" in str(error.hint)


def test_a_colour_without_a_name_is_an_error_that_tells_the_colour(tmp_path: Path) -> None:
    mask = np.zeros((4, 4, 3), np.uint8)
    mask[1, 1], mask[2, 2] = RED, (0, 0, 254)
    error = refusal(sample_of(tmp_path, [mask], COLOURS))
    assert "the colour #0000fe, 1 px" in error.reason
    assert "#ff0000 scratch" in error.reason


def test_smoothed_edges_are_told_as_such(tmp_path: Path) -> None:
    codes = np.tile(np.arange(0, 200, 10, dtype=np.uint8), (4, 1))
    error = refusal(sample_of(tmp_path, [codes]))
    assert "values from 10 to 190" in error.reason
    assert "anti-aliasing" in str(error.hint)


def test_colours_are_no_values(tmp_path: Path) -> None:
    mask = np.zeros((4, 4, 3), np.uint8)
    mask[1, 1] = RED
    error = refusal(sample_of(tmp_path, [mask]))
    assert error.code == "coloured-mask"
    assert "#ff0000" in error.reason


def test_a_black_mask_and_one_of_another_size_are_refused_as_any_other(tmp_path: Path) -> None:
    assert refusal(sample_of(tmp_path, [np.zeros((5, 5), np.uint8)])).code == "empty-mask"
    sample = sample_of(tmp_path, [np.ones((5, 5), np.uint8)])
    with pytest.raises(MaskError, match="5 x 5 px"):
        read_regions(sample, 5, 6)


# --- exports ----------------------------------------------------------------------------------------------------------


def test_every_class_comes_back_pixel_for_pixel_through_pycocotools(tmp_path: Path) -> None:
    drawn = {f"part{seed}": patches(30, 40, seed) for seed in range(6)}
    samples = []
    for name, codes in drawn.items():
        folder = tmp_path / "source" / name
        made = sample_of(folder, [codes])
        image = made.image.rename(folder / f"{name}.png")
        samples.append(Sample("bracket", "defect", "test", image, made.masks, f"bracket/{name}.png", NAMES))
    for form in ("polygon", "rle"):
        out = tmp_path / form
        mc.to_coco(Dataset(tmp_path / "source", "own", tuple(samples)), out, segmentation=form)
        masks = coco_masks(out)
        for name, codes in drawn.items():
            found = masks[f"bracket_defect_{name}"]
            classes = ["dent", "hole", "scratch"]
            wanted = [(classes.index(kind), painted(part, codes.shape)) for kind, part in parts(codes)]
            assert sorted((i, mask.tobytes()) for i, mask in found) == sorted((i, m.tobytes()) for i, m in wanted)
