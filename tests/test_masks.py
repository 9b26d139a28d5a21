"""Datasets turned into trees of masks: read back by Pillow and pycocotools, which share nothing with the writer."""

from __future__ import annotations

import filecmp
import json
import os
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as coco_mask

import mvtec_convert as mc
from mvtec_convert.cli.app import run
from mvtec_convert.dataset import PixelNames
from mvtec_convert.errors import BadSourceError, ExportError, OutputError, SelectionError
from mvtec_convert.geometry.regions import find_regions
from mvtec_convert.mask_painting import Stroke, paint
from mvtec_convert.origins import FolderNames
from tests import strategies
from tests.exports import true_masks

REAL = os.environ.get("MVTEC_ROOT")
WIDTH, HEIGHT = 24, 16

EXPORTS: Mapping[str, Callable[[mc.Dataset, Path], Any]] = {
    "coco": lambda dataset, out: mc.to_coco(dataset, out),
    "coco-rle": lambda dataset, out: mc.to_coco(dataset, out, segmentation="rle"),
    "coco-numbers": lambda dataset, out: mc.to_coco(dataset, out, segmentation="rle-uncompressed"),
    "coco-official": lambda dataset, out: mc.to_coco(dataset, out, split="official"),
    "coco-category": lambda dataset, out: mc.to_coco(dataset, out, names="category"),
    "coco-both": lambda dataset, out: mc.to_coco(dataset, out, names="category-defect"),
    "coco-single": lambda dataset, out: mc.to_coco(dataset, out, names="single"),
    "roboflow": lambda dataset, out: mc.to_coco(dataset, out, layout="roboflow"),
    "sa1b": lambda dataset, out: mc.to_sam(dataset, out),
    "sam3": lambda dataset, out: mc.to_sam(dataset, out, layout="sam3"),
    "saco": lambda dataset, out: mc.to_sam(dataset, out, layout="saco"),
    "yolo": lambda dataset, out: mc.to_yolo(dataset, out, task="segment"),
}
WITHOUT_GOOD = {
    "sam2": lambda dataset, out: mc.to_sam(dataset, out, layout="sam2"),
    "medsam": lambda dataset, out: mc.to_sam(dataset, out, layout="medsam"),
}


def images_of(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*.png")}


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


@pytest.mark.usefixtures("_small_medsam")
@pytest.mark.parametrize("name", [*EXPORTS, *WITHOUT_GOOD])
def test_what_is_exported_comes_back_pixel_for_pixel_under_its_own_names(sample_root, tmp_path, name):
    """The sample is whole to YOLO's rasteriser too; see `test_real_masks_come_back` for what is lost of others."""
    {**EXPORTS, **WITHOUT_GOOD}[name](mc.load(sample_root), tmp_path / "export")
    found = mc.to_masks(tmp_path / "export", tmp_path / "back")
    wanted = images_of(sample_root)
    if name in WITHOUT_GOOD:  # their trainers take no good images, so that the export has none
        wanted = {path for path in wanted if "/good/" not in path}
        assert len(found.notes) == 6
    assert images_of(tmp_path / "back") == wanted
    for path in wanted:
        if "/ground_truth/" in path:
            back = pixels(tmp_path / "back" / path)
            assert back.dtype == np.uint8
            assert np.array_equal(back, 255 * (pixels(sample_root / path) > 0)), path
        elif name not in WITHOUT_GOOD and not filecmp.cmp(tmp_path / "back" / path, sample_root / path):
            assert np.array_equal(pixels(tmp_path / "back" / path), pixels(sample_root / path)), path
    assert found.masks == found.exact == sum("/ground_truth/" in path for path in wanted)
    assert (found.united, found.covered, found.renamed) == (0, 0, {})


@pytest.fixture(scope="module")
def real_masks() -> dict[str, tuple[str, np.ndarray]]:
    return true_masks(Path(str(REAL)))


@pytest.mark.skipif(not REAL, reason="MVTEC_ROOT is not set")
@pytest.mark.parametrize("name", ["coco", "coco-rle", "coco-numbers", "sa1b", "yolo"])
def test_real_masks_come_back(real_masks, tmp_path, name):
    """Each of 58 masks pixel for pixel; through YOLO's polygons too, though not for every region anyone may draw."""
    dataset = mc.load(Path(str(REAL))).filter(category=["grid", "hazelnut_toy", "toothbrush"])
    EXPORTS[name](dataset, tmp_path / "export")
    mc.to_masks(tmp_path / "export", tmp_path / "back", as_png=False)
    back = true_masks(tmp_path / "back")
    assert back.keys() == real_masks.keys()
    assert len(real_masks) == 58
    for mask_name, (defect, mask) in real_masks.items():
        assert back[mask_name][0] == defect
        assert np.array_equal(back[mask_name][1], mask), mask_name


def test_a_tree_holds_nothing_but_images_and_links_them(sample_root, tmp_path):
    mc.to_coco(mc.load(sample_root), tmp_path / "export")
    mc.to_masks(tmp_path / "export", tmp_path / "back")
    files = [path for path in (tmp_path / "back").rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".png"}
    image = tmp_path / "back" / "carpet" / "test" / "hole" / "000.png"
    assert image.samefile(sample_root / "carpet" / "test" / "hole" / "000.png")
    assert mc.load(tmp_path / "back").layout == "mvtec_ad"
    assert not mc.load(tmp_path / "back").findings
    mc.to_masks(tmp_path / "export", tmp_path / "copy", images="copy")
    assert not (tmp_path / "copy" / "carpet" / "test" / "hole" / "000.png").samefile(image)


# --- datasets of other tools -----------------------------------------------------------------------------------------


def polygon(mask: np.ndarray) -> list[list[float]]:
    """A box of pixels as a COCO polygon along its edges."""
    ys, xs = np.nonzero(mask)
    x0, y0, x1, y1 = (float(value) for value in (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1))
    return [[x0, y0, x1, y0, x1, y1, x0, y1]]


def rle(mask: np.ndarray) -> dict[str, Any]:
    """Run lengths as numbers, by a loop over the columns."""
    counts, value = [0], 0
    for pixel in mask.T.ravel().tolist():
        if pixel != value:
            counts.append(0)
            value = pixel
        counts[-1] += 1
    return {"size": list(mask.shape), "counts": counts}


def compressed(mask: np.ndarray) -> dict[str, Any]:
    encoded = coco_mask.encode(np.asfortranarray(mask))
    return {"size": encoded["size"], "counts": encoded["counts"].decode()}


def block(x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[y0:y1, x0:x1] = 1
    return mask


def ring() -> np.ndarray:
    mask = block(10, 4, 20, 14)
    mask[7:11, 13:17] = 0
    return mask


Object = tuple[str, Any, np.ndarray]
"""Class, how its mask is written (`polygon`, `rle`, `compressed`; None: a box alone), mask."""


def coco(
    file: Path,
    images: Mapping[str, list[Object]],
    folder: Path,
    first_id: int = 1,
    more: Mapping[str, Any] | None = None,
    placeholder: str | None = None,
    suffix: str = "PNG",
) -> None:
    """A COCO file and its images, as a tool writes it."""
    names = sorted({name for objects in images.values() for name, _, _ in objects})
    categories = [{"id": i, "name": name, "supercategory": placeholder or ""} for i, name in enumerate(names, first_id)]
    if placeholder:  # Roboflow's project, of which no annotation is
        categories.insert(0, {"id": 0, "name": placeholder, "supercategory": "none"})
    document: dict[str, Any] = {"images": [], "annotations": [], "categories": categories}
    for number, (name, objects) in enumerate(images.items(), start=first_id):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (WIDTH, HEIGHT), (90, number, 60)).save(path, suffix)
        document["images"].append({"id": number, "file_name": name, "width": WIDTH, "height": HEIGHT})
        for class_name, form, mask in objects:
            ys, xs = np.nonzero(mask)
            bbox = [float(xs.min()), float(ys.min()), float(np.ptp(xs) + 1), float(np.ptp(ys) + 1)]
            annotation = {
                "id": len(document["annotations"]) + first_id, "image_id": number, "bbox": bbox,
                "category_id": next(entry["id"] for entry in categories if entry["name"] == class_name),
                "area": float(mask.sum()), "iscrowd": 0, "segmentation": [] if form is None else form(mask),
            }  # fmt: skip
            document["annotations"].append({**annotation, **(more or {})})
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(document), encoding="utf-8")


def test_an_export_of_cvat(tmp_path):
    """COCO 1.0: images of several folders, masks as run lengths of numbers with attributes beside them."""
    images = {
        "line 1/000.png": [("scratch", polygon, block(2, 2, 9, 5)), ("scratch", rle, ring())],
        "line 2/000.png": [("scratch", rle, block(0, 0, 3, 3))],
        "line 1/001.png": [],
        "line 2/001.png": [],
    }
    root = tmp_path / "housing"
    more = {"attributes": {"occluded": False, "rotation": 0.0}}
    coco(root / "annotations" / "instances_default.json", images, root / "images" / "default", more=more)
    found = mc.to_masks(root, tmp_path / "back")
    masks = tmp_path / "back" / "housing" / "ground_truth" / "scratch"
    assert np.array_equal(pixels(masks / "000_mask.png"), 255 * (block(2, 2, 9, 5) | ring()))
    assert np.array_equal(pixels(masks / "line 2_000_mask.png"), 255 * block(0, 0, 3, 3))
    # It knows no splits: one of the two good images goes to train, whichever, so that test has one as well.
    assert [found.images["housing", split, "good"] for split in ("train", "test")] == [1, 1]
    assert (found.objects, found.regions) == (3, 3)


def test_an_export_of_roboflow(tmp_path):
    """Annotations beside the images, the project as category 0, names with what Roboflow adds."""
    root = tmp_path / "Housing v2"
    train = {
        "a_png.rf.01.jpg": [("dent", polygon, block(3, 3, 8, 9)), ("scratch", compressed, ring())],
        "b_png.rf.02.jpg": [],
        "c_png.rf.03.jpg": [("dent", polygon, block(0, 0, 24, 16))],
    }
    valid = {"d_png.rf.04.jpg": [("dent", polygon, block(1, 1, 2, 2))], "e_png.rf.05.jpg": []}
    for split, images in (("train", train), ("valid", valid)):
        coco(root / split / "_annotations.coco.json", images, root / split, 0, placeholder="defects", suffix="JPEG")
    found = mc.to_masks(root, tmp_path / "back", category="housing")
    assert dict(found.images) == {
        ("housing", "test", "dent"): 2,
        ("housing", "test", "combined"): 1,
        ("housing", "train", "good"): 1,
        ("housing", "test", "good"): 1,
    }
    assert (tmp_path / "back" / "housing" / "train" / "good" / "b_png.rf.02.png").is_file()
    jpeg, png = root / "train" / "b_png.rf.02.jpg", tmp_path / "back" / "housing" / "train" / "good" / "b_png.rf.02.png"
    assert np.array_equal(pixels(png), pixels(jpeg))
    mc.to_masks(root, tmp_path / "as-is", category="housing", as_png=False)
    assert (tmp_path / "as-is" / "housing" / "train" / "good" / "b_png.rf.02.jpg").samefile(jpeg)


def test_an_export_of_label_studio(tmp_path):
    """`result.json` beside `images`, ids from 0, names with the upload's number, and `ignore`."""
    images = {
        "images/3f2a91c0-part_1.png": [("dent", polygon, block(3, 3, 8, 9))],
        "images/77d01b5e-part_10.png": [("dent", compressed, ring())],
        "images/9c00ab12-part_2.png": [],
    }
    coco(tmp_path / "project" / "result.json", images, tmp_path / "project", first_id=0, more={"ignore": 0})
    found = mc.to_masks(tmp_path / "project", tmp_path / "back")
    folder = tmp_path / "back" / "project" / "ground_truth" / "dent"
    assert np.array_equal(pixels(folder / "3f2a91c0-part_1_mask.png"), 255 * block(3, 3, 8, 9))
    assert np.array_equal(pixels(folder / "77d01b5e-part_10_mask.png"), 255 * ring())
    assert found.notes == ["project has no good image in test: no one can tell how many false alarms a detector raises"]


def simple(tmp_path: Path, images: Mapping[str, list[Object]], name: str = "parts") -> Path:
    coco(tmp_path / name / "annotations" / "instances_train.json", images, tmp_path / name / "images" / "train")
    return tmp_path / name


def test_our_own_names_are_understood_where_another_tool_has_lost_our_files(tmp_path):
    images = {
        "carpet_hole_000.png": [("hole", polygon, block(1, 1, 3, 3))],
        "carpet_hole_001.png": [("cut", polygon, block(1, 1, 3, 3))],  # someone has corrected it
        "carpet_good_train_000.png": [],
        "carpet_good_000.png": [],
    }
    mc.to_masks(simple(tmp_path, images), tmp_path / "back", category="carpet")
    assert images_of(tmp_path / "back" / "carpet") == {
        "test/hole/000.png", "ground_truth/hole/000_mask.png", "test/cut/carpet_hole_001.png",
        "ground_truth/cut/carpet_hole_001_mask.png", "train/good/000.png", "test/good/000.png",
    }  # fmt: skip


# --- several types in one image --------------------------------------------------------------------------------------


@pytest.fixture
def several(tmp_path) -> Path:
    images = {
        "a.png": [("dent", polygon, block(0, 0, 10, 10)), ("scratch", polygon, block(8, 8, 12, 12))],
        "b.png": [("dent", polygon, block(2, 2, 6, 6)), ("dent", polygon, block(4, 4, 9, 9))],
        "c.png": [],
        "d.png": [("crack", polygon, block(1, 1, 4, 4)), ("scratch", polygon, block(10, 10, 12, 12))],
    }
    return simple(tmp_path, images)


def test_an_image_with_several_types_is_combined_and_its_mask_tells_them_apart(several, tmp_path):
    found = mc.to_masks(several, tmp_path / "back")
    truth = tmp_path / "back" / "parts" / "ground_truth"
    assert json.loads((truth / "combined" / "values.json").read_text()) == {
        "255": "dent",
        "254": "scratch",
        "253": "crack",
    }
    wanted = np.where(block(8, 8, 12, 12), 254, 255 * block(0, 0, 10, 10))  # the smaller one is on top
    assert np.array_equal(pixels(truth / "combined" / "a_mask.png"), wanted)
    assert np.array_equal(pixels(truth / "dent" / "b_mask.png"), 255 * (block(2, 2, 6, 6) | block(4, 4, 9, 9)))
    assert (found.covered, found.united, found.objects, found.regions) == (4, 4, 6, 5)
    assert "values.json beside their masks tells them apart" in found.notes[-1]
    names = PixelNames("value", ((253, "crack"), (254, "scratch"), (255, "dent")))
    kinds = {sample.stem: (sample.defect_type, sample.pixel_names) for sample in mc.load(tmp_path / "back")}
    assert kinds == {"a": ("combined", names), "b": ("dent", None), "c": ("good", None), "d": ("combined", names)}


def test_the_types_of_combined_images_survive_a_round_trip(several, tmp_path):
    mc.to_masks(several, tmp_path / "back")
    summary = mc.to_coco(mc.load(tmp_path / "back"), tmp_path / "coco")
    counted = sum((split.regions for split in summary.splits.values()), start=Counter())
    assert counted == {"dent": 2, "scratch": 2, "crack": 1}
    mc.to_masks(tmp_path / "coco", tmp_path / "again")
    first, second = (images_of(tmp_path / name / "parts") for name in ("back", "again"))
    assert first == second
    for path in (path for path in first if "ground_truth" in path):
        values = [
            json.loads((tmp_path / name / "parts/ground_truth/combined/values.json").read_text())
            for name in ("back", "again")
        ]
        seen = [pixels(tmp_path / name / "parts" / path) for name in ("back", "again")]
        if "/combined/" not in path:
            assert np.array_equal(*seen)
            continue
        for value, called in values[0].items():
            (other,) = (int(key) for key, name in values[1].items() if name == called)
            assert np.array_equal(seen[0] == int(value), seen[1] == other), (path, called)


def test_values_that_cannot_be_read_are_an_error_of_the_source(several, tmp_path):
    mc.to_masks(several, tmp_path / "back")
    (tmp_path / "back" / "parts" / "ground_truth" / "combined" / "values.json").write_text("[]")
    (finding,) = mc.load(tmp_path / "back").errors
    assert (finding.code, Path(finding.path).name) == ("bad-config", "values.json")


def test_a_class_called_combined_needs_no_values(tmp_path):
    mc.to_masks(simple(tmp_path, {"a.png": [("combined", polygon, block(1, 1, 3, 3))]}), tmp_path / "back")
    assert images_of(tmp_path / "back" / "parts") == {"test/combined/a.png", "ground_truth/combined/a_mask.png"}
    assert not list((tmp_path / "back").rglob("values.json"))


@given(st.lists(st.tuples(strategies.connected(), st.integers(1, 3), st.integers(0, 9), st.integers(0, 9)), max_size=4))
def test_every_pixel_belongs_to_the_smallest_object_there(drawn):
    strokes, wanted = [], np.zeros((120, 120), np.uint8)
    for mask, value, x, y in drawn:
        (region,) = find_regions(mask)
        region = type(region)(x, y, region.crop[: 120 - y, : 120 - x], int(region.crop[: 120 - y, : 120 - x].sum()))
        strokes.append(Stroke(region, value))
    owners: dict[tuple[int, int], list[Stroke]] = {}
    for stroke in strokes:
        for dy, dx in np.argwhere(stroke.region.crop):
            owners.setdefault((stroke.region.y + dy, stroke.region.x + dx), []).append(stroke)
    painting = paint(strokes, 120, 120)
    for place, there in owners.items():
        least = min(stroke.region.area for stroke in there)
        assert painting.mask[place] in {stroke.value for stroke in there if stroke.region.area == least}
        wanted[place] = 1
    assert np.array_equal(painting.mask > 0, wanted)
    assert painting.united + painting.covered == sum(len(there) - 1 for there in owners.values())


# --- names -----------------------------------------------------------------------------------------------------------


def test_classes_get_folders_that_every_file_system_and_reader_takes(tmp_path):
    names = ["Good", "good", "Dent", "dent", "a/b", "CON", ".hidden", "combined", "Combined", " ", "x" * 300]
    images = {f"{i}.png": [(name, polygon, block(1, 1, 3, 3))] for i, name in enumerate(names)}
    found = mc.to_masks(simple(tmp_path, images), tmp_path / "back")
    folders = [path.name for path in (tmp_path / "back" / "parts" / "test").iterdir()]
    assert len(folders) == len({folder.casefold() for folder in folders}) == len(names)
    assert set(folders) == {
        "Good_defect", "good_defect-2", "Dent", "dent-2", "a_b", "a_CON", "hidden", "combined", "Combined-2", "unnamed",
        "x" * 100,
    }  # fmt: skip
    assert found.renamed["good"] == "good_defect-2"
    assert sum(not sample.is_good for sample in mc.load(tmp_path / "back")) == len(names)


@given(st.lists(st.text(min_size=1, max_size=8), max_size=8))
def test_no_two_names_share_a_folder(names):
    folders = FolderNames(["good"], "_defect")
    found = {name: folders.of(name) for name in names}
    assert len({folder.casefold() for folder in found.values()}) == len(found)
    for name, folder in found.items():
        assert folder == folders.of(name)
        assert folder.casefold() != "good"
        assert folder == folder.strip(" .")
        assert not set(folder) & set('<>:"/\\|?*\0\n')


def test_masks_are_called_as_their_images_where_anomalib_would_pair_them_wrongly(tmp_path):
    """It sorts images and masks: 1.png, 10.png, but 10_mask.png, 1_mask.png."""
    images = {f"{i}.png": [("dent", polygon, block(1, 1, 2 + i, 3))] for i in (1, 10, 2)}  # 2 * (i + 1) pixels
    mc.to_masks(simple(tmp_path, images), tmp_path / "back")
    test, truth = (tmp_path / "back" / "parts" / part / "dent" for part in ("test", "ground_truth"))
    assert sorted(path.name for path in test.iterdir()) == sorted(path.name for path in truth.iterdir())
    assert {path.stem: pixels(path).astype(bool).sum() // 2 for path in truth.iterdir()} == {"1": 2, "10": 11, "2": 3}
    assert len(mc.load(tmp_path / "back")) == 3


@pytest.mark.parametrize(
    ("folder", "category"), [("parts", "parts"), ("parts/train", "parts"), ("parts/test", "parts")]
)
def test_a_split_is_no_category(tmp_path, folder, category):
    coco(tmp_path / folder / "_annotations.coco.json", {"a.png": []}, tmp_path / folder)
    assert {key[0] for key in mc.to_masks(tmp_path / folder, tmp_path / "back").images} == {category}
    with pytest.raises(SelectionError, match="cannot be a category"):
        mc.to_masks(tmp_path / folder, tmp_path / "other", category="train")


# --- good images -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("train", "wanted"), [(None, 8), (0.0, 0), (0.5, 5), (0.99, 9), (1.0, 10)])
def test_good_images_are_shared_out(tmp_path, train, wanted):
    folder = simple(tmp_path, {f"{i:02}.png": [] for i in range(10)})
    found = mc.to_masks(folder, tmp_path / "back", train=train)
    assert found.images["parts", "train", "good"] == wanted
    assert found.images["parts", "test", "good"] == 10 - wanted
    mc.to_masks(folder, tmp_path / "again", train=train)
    assert images_of(tmp_path / "back") == images_of(tmp_path / "again")
    assert "no image has an object, so all of them are good" in found.notes


def test_a_split_of_the_source_is_kept_unless_a_share_is_given(tmp_path):
    for split, count in (("train", 3), ("val", 2)):
        images = {f"{split}{i}.png": [] for i in range(count)}
        coco(tmp_path / "p" / "annotations" / f"instances_{split}.json", images, tmp_path / "p" / "images" / split)
    found = mc.to_masks(tmp_path / "p", tmp_path / "back")
    assert images_of(tmp_path / "back" / "p" / "train") == {f"good/train{i}.png" for i in range(3)}
    assert found.images["p", "test", "good"] == 2
    assert mc.to_masks(tmp_path / "p", tmp_path / "half", train=0.4).images["p", "train", "good"] == 2
    with pytest.raises(SelectionError, match="from 0 to 1"):
        mc.to_masks(tmp_path / "p", tmp_path / "more", train=1.5)


# --- boxes -----------------------------------------------------------------------------------------------------------


def test_boxes_are_filled_when_asked_and_refused_otherwise(tmp_path):
    folder = simple(tmp_path, {"a.png": [("dent", None, block(3, 4, 9, 11)), ("dent", polygon, block(12, 1, 14, 3))]})
    with pytest.raises(ExportError, match="a box and no mask") as caught:
        mc.to_masks(folder, tmp_path / "back")
    assert "--boxes" in str(caught.value.hint)
    assert not (tmp_path / "back").exists()
    mc.to_masks(folder, tmp_path / "back", boxes=True)
    mask = tmp_path / "back" / "parts" / "ground_truth" / "dent" / "a_mask.png"
    assert np.array_equal(pixels(mask), 255 * (block(3, 4, 9, 11) | block(12, 1, 14, 3)))


@pytest.mark.parametrize("task", ["detect", "obb"])
def test_boxes_of_yolo_hold_the_regions(sample_root, tmp_path, task):
    mc.to_yolo(mc.load(sample_root / "carpet"), tmp_path / "export", task=task)
    mc.to_masks(tmp_path / "export", tmp_path / "back", boxes=True)
    for path in (sample_root / "carpet" / "ground_truth").rglob("*.png"):
        back = pixels(tmp_path / "back" / path.relative_to(sample_root)) > 0
        true = pixels(path) > 0
        # A rotated box passes through the outermost pixels, some of whose centres are then outside.
        assert (true & ~back).sum() <= (0 if task == "detect" else 0.02 * true.sum() + 4)
        if task == "detect":
            for region in find_regions(true.astype(np.uint8)):
                assert back[region.y : region.y + region.height, region.x : region.x + region.width].all()


# --- what is wrong ---------------------------------------------------------------------------------------------------


def test_all_images_that_cannot_be_used_are_listed_and_nothing_is_written(tmp_path):
    folder = simple(tmp_path, {f"{i}.png": [("dent", polygon, block(1, 1, 3, 3))] for i in range(4)})
    images = folder / "images" / "train"
    (images / "0.png").unlink()
    (images / "1.png").write_bytes(b"no image")
    Image.new("RGB", (9, 9)).save(images / "2.png")
    with pytest.raises(BadSourceError) as caught:
        mc.to_masks(folder, tmp_path / "back")
    found = {(finding.code, Path(finding.path).name) for finding in caught.value.findings}
    assert found == {("missing-image", "0.png"), ("bad-image", "1.png"), ("image-size", "2.png")}
    assert [path.name for path in tmp_path.iterdir()] == ["parts"]


def test_a_target_that_is_there_or_in_the_way_is_refused(tmp_path):
    folder = simple(tmp_path, {"a.png": []})
    with pytest.raises(OutputError, match="inside the dataset"):
        mc.to_masks(folder, folder / "masks")
    (tmp_path / "back").mkdir()
    (tmp_path / "back" / "mine.txt").touch()
    with pytest.raises(OutputError, match="not empty"):
        mc.to_masks(folder, tmp_path / "back")


def test_classes_of_images_are_no_masks(sample_root, tmp_path):
    mc.to_yolo(mc.load(sample_root / "carpet"), tmp_path / "export", task="classify")
    with pytest.raises(SelectionError, match="no masks and no boxes"):
        mc.to_masks(tmp_path / "export", tmp_path / "back")


def test_names_of_another_layout_are_told(tmp_path):
    images = {"a.png": [("logical_anomalies", polygon, block(1, 1, 3, 3))]}
    found = mc.to_masks(simple(tmp_path, images), tmp_path / "back")
    assert found.next_step.endswith(" --source-layout mvtec_ad")
    assert any("mvtec_loco" in note for note in found.notes)


def test_damaged_files_of_ours_are_an_error_and_foreign_ones_of_that_name_are_not(sample_root, tmp_path):
    folder = simple(tmp_path, {"a.png": []})
    (folder / "classes.json").write_text('["dent"]')
    mc.to_masks(folder, tmp_path / "back")
    mc.to_coco(mc.load(sample_root / "carpet"), tmp_path / "export")
    (tmp_path / "export" / "classes.json").write_text('["dent"]')
    with pytest.raises(ExportError, match=r"classes\.json"):
        mc.to_masks(tmp_path / "export", tmp_path / "other")


# --- the command -----------------------------------------------------------------------------------------------------


def test_the_command_says_what_came_of_it(several, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(["masks", str(several), "--category", "bracket"]) == 0
    shown = capsys.readouterr()
    assert "masks     3 of 3 read back as the labels say, pixel for pixel" in shown.out
    assert "objects   6, read back as 5 regions; 4 pixels of overlapping objects of one type united" in shown.out
    assert "next      mvtec-convert stats parts-masks" in shown.out
    assert "note: bracket has no good image in test" in shown.err
    assert (tmp_path / "parts-masks" / "bracket" / "test" / "combined" / "a.png").is_file()
    assert run(["masks", str(several)]) == 2
    assert "not empty" in capsys.readouterr().err
