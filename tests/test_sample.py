"""The built-in sample: MVTec AD's tree, exact masks, and the odd regions that a converter has to get right."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from mvtec_convert import sample
from mvtec_convert.errors import OutputError


@pytest.fixture(scope="session")
def tree(sample_root: Path) -> Path:
    """The sample, as it was drawn for all tests."""
    return sample_root


def files(tree: Path) -> dict[str, bytes]:
    """Content of every file, by its POSIX path in the tree."""
    return {path.relative_to(tree).as_posix(): path.read_bytes() for path in sorted(tree.rglob("*")) if path.is_file()}


def mask_of(image: Path) -> Path:
    """Where MVTec AD keeps the mask of a defective image."""
    category = image.parents[2]
    return category / "ground_truth" / image.parent.name / f"{image.stem}_mask.png"


def defective(tree: Path) -> list[Path]:
    """Images that show a defect."""
    return [path for path in sorted(tree.glob("*/test/*/*.png")) if path.parent.name != "good"]


def regions(tree: Path) -> Iterator[np.ndarray]:
    """Every 8-connected region of every mask, as a mask of the image's size."""
    for path in sorted(tree.glob("*/ground_truth/*/*.png")):
        count, labels = cv2.connectedComponents(np.asarray(Image.open(path)), connectivity=8)
        for label in range(1, count):
            yield (labels == label).astype(np.uint8)


def holes(region: np.ndarray) -> int:
    """Number of 4-connected pieces of background that the region encloses."""
    # The frame of background joins all that is not enclosed; the labels are this piece and the region itself.
    background = 1 - np.pad(region, 1)
    return cv2.connectedComponents(background, connectivity=4)[0] - 2


def is_hairline(region: np.ndarray) -> bool:
    """Long, and at no pixel two pixels away from its edge."""
    return region.sum() >= 40 and cv2.distanceTransform(region, cv2.DIST_L2, cv2.DIST_MASK_PRECISE).max() <= 1


def touches_border(region: np.ndarray) -> bool:
    return bool(region[0].any() or region[-1].any() or region[:, 0].any() or region[:, -1].any())


def test_each_defective_image_has_its_mask_and_each_mask_its_image(tree: Path) -> None:
    masks = sorted(tree.glob("*/ground_truth/*/*_mask.png"))
    assert [mask_of(image) for image in defective(tree)] == masks
    good = [*tree.glob("*/train/good/*.png"), *tree.glob("*/test/good/*.png")]
    assert len(files(tree)) == len(good) + 2 * len(masks)


def test_every_category_has_good_images_and_at_least_two_of_each_defect_type(tree: Path) -> None:
    assert {"carpet", "grid", "hazelnut"} == {path.name for path in tree.iterdir()}
    for category in tree.iterdir():
        for folder in [category / "train" / "good", *(category / "test").iterdir()]:
            names = sorted(path.name for path in folder.iterdir())
            assert len(names) >= 2
            assert names == [f"{index:03}.png" for index in range(len(names))]


def test_masks_are_grey_images_of_0_and_255_as_large_as_their_image(tree: Path) -> None:
    for path in defective(tree):
        with Image.open(path) as image, Image.open(mask_of(path)) as mask:
            assert mask.mode == "L"
            assert mask.size == image.size
            assert set(np.unique(np.asarray(mask)).tolist()) == {0, 255}


def test_only_the_grid_is_grey(tree: Path) -> None:
    for path in [*tree.glob("*/train/*/*.png"), *tree.glob("*/test/*/*.png")]:
        with Image.open(path) as image:
            assert image.mode == ("L" if path.parents[2].name == "grid" else "RGB")


def test_defective_images_differ_from_the_good_part_inside_the_mask_only(tree: Path) -> None:
    for path in defective(tree):
        category = sample.CATEGORIES[path.parents[2].name]
        key = f"{path.parents[2].name}/test/{path.parent.name}/{int(path.stem)}"
        part = category.draw(sample.random_for(key))
        good = np.asarray(Image.fromarray(sample.photograph(part)).convert(category.mode))
        seen, inside = np.asarray(Image.open(path)), np.asarray(Image.open(mask_of(path))) > 0
        changed = (seen != good).reshape(*inside.shape, -1).any(axis=2)
        assert not changed[~inside].any(), path
        assert changed[inside].mean() > 0.9, path


@pytest.mark.parametrize(
    "is_odd",
    [
        pytest.param(lambda region: region.sum() == 1, id="a single pixel"),
        pytest.param(is_hairline, id="a line one pixel wide"),
        pytest.param(holes, id="a hole"),
        pytest.param(touches_border, id="cut off by the border"),
    ],
)
def test_some_region_is_odd(tree: Path, is_odd) -> None:  # type: ignore[no-untyped-def]
    assert any(is_odd(region) for region in regions(tree))


def test_some_masks_have_several_regions(tree: Path) -> None:
    assert sum(1 for _ in regions(tree)) > len(defective(tree))


def test_drawing_twice_gives_the_same_bytes(tree: Path, tmp_path: Path) -> None:
    sample.write_sample(tmp_path)
    assert files(tmp_path) == files(tree)


def test_no_two_images_are_the_same(tree: Path) -> None:
    images = [content for path, content in files(tree).items() if "/ground_truth/" not in path]
    assert len(set(images)) == len(images)


def test_the_sample_is_small(tree: Path) -> None:
    assert sum(len(content) for content in files(tree).values()) < 30_000_000


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="not empty"):
        sample.write_sample(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
