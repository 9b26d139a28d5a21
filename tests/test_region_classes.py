"""What follows from a region having the class of its pixels: prompts, questions, balance, statistics, pages, checks."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import mvtec_convert as mc
from mvtec_convert.dataset import Dataset
from mvtec_convert.errors import SelectionError
from mvtec_convert.layouts.own import OwnData, load_own
from mvtec_convert.notebook import dataset_html, sample_html
from mvtec_convert.own_data import pixel_names
from mvtec_convert.reports.contents import of_dataset
from mvtec_convert.source_checks import check
from tests.layout_contract import MVTEC_LOCO, VISA

VALUES = {"1": "scratch", "2": "dent", "3": "hole"}
MASKS: dict[str, tuple[tuple[slice, slice, int], ...]] = {
    "a": ((np.s_[1:5], np.s_[1:5], 1), (np.s_[1:5], np.s_[5:9], 2)),  # a scratch that touches a dent
    "b": ((np.s_[2:6], np.s_[2:6], 1), (np.s_[9:10], np.s_[12:14], 2)),  # a scratch, and a dent of two pixels
    "c": ((np.s_[2:6], np.s_[2:6], 2),),
    "d": ((np.s_[3:9], np.s_[3:9], 1),),
}


@pytest.fixture
def parts(tmp_path: Path) -> Dataset:
    """Own data of four defective images and two good ones; no mask shows a hole."""
    root = tmp_path / "parts"
    (root / "photos").mkdir(parents=True)
    (root / "masks").mkdir()
    for name in (*MASKS, "good1", "good2"):
        Image.new("RGB", (24, 16), (90, 120, len(name) * 9 + ord(name[-1]))).save(root / "photos" / f"{name}.png")
    for name, drawn in MASKS.items():
        draw(root / "masks" / f"{name}.png", *drawn)
    (root / "values.json").write_text(json.dumps(VALUES))
    names = pixel_names(root / "values.json", None)
    own = OwnData(("photos/*.png",), ("masks/{stem}.png",), "bracket", good_when_no_mask=True, pixel_names=names)
    return load_own(root, own)


def draw(path: Path, *areas: tuple[slice, slice, int]) -> None:
    codes = np.zeros((16, 24), np.uint8)
    for rows, columns, value in areas:
        codes[rows, columns] = value
    Image.fromarray(codes).save(path)


def load_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


# --- classes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "classes", "counts"),
    [
        ("defect", ["dent", "hole", "scratch"], {"scratch": 3, "dent": 3}),
        ("category-defect", ["bracket-dent", "bracket-hole", "bracket-scratch"],
         {"bracket-scratch": 3, "bracket-dent": 3}),
        ("category", ["bracket"], {"bracket": 6}),
        ("single", ["defect"], {"defect": 6}),
    ],
)  # fmt: skip
def test_every_scheme_names_regions(
    names: Any, classes: list[str], counts: dict[str, int], parts: Dataset, tmp_path: Path
) -> None:
    summary = mc.to_coco(parts, tmp_path / "out", names=names)
    assert [entry["name"] for entry in load_json(tmp_path / "out" / "classes.json")["classes"]] == classes
    assert sum((split.regions for split in summary.splits.values()), Counter[str]()) == Counter(counts)


def test_ids_do_not_hang_on_which_images_are_chosen(parts: Dataset, tmp_path: Path) -> None:
    some = Dataset(parts.root, parts.layout, tuple(s for s in parts if s.stem in {"c", "good1"}))
    mc.to_coco(parts, tmp_path / "all")
    mc.to_coco(some, tmp_path / "some")
    assert load_json(tmp_path / "all" / "classes.json") == load_json(tmp_path / "some" / "classes.json")


def test_images_are_classified_by_their_own_type(tmp_path: Path) -> None:
    dataset = mc.load(MVTEC_LOCO.write(tmp_path / "loco"))
    summary = mc.to_yolo(dataset, tmp_path / "out", task="classify")
    assert mc.class_names(tmp_path / "out") == ("good", "logical_anomalies", "structural_anomalies")
    assert sum((split.regions for split in summary.splits.values()), Counter[str]()) == Counter(
        logical_anomalies=1, structural_anomalies=1
    )


def test_a_classifier_needs_no_names_of_pixels(parts: Dataset, tmp_path: Path) -> None:
    draw(parts.root / "masks" / "a.png", (np.s_[1:5], np.s_[1:5], 77))
    mc.to_yolo(parts, tmp_path / "out", task="classify")
    with pytest.raises(mc.MvtecConvertError, match="the value 77, 16 px: without a name"):
        mc.to_coco(parts, tmp_path / "coco")


def test_the_same_bytes_for_any_number_of_jobs(parts: Dataset, tmp_path: Path) -> None:
    for jobs in (1, 3):
        mc.to_sam(parts, tmp_path / str(jobs), layout="saco", jobs=jobs)
    files = [
        {path.name: path.read_bytes() for path in (tmp_path / jobs / "annotations").iterdir()} for jobs in ("1", "3")
    ]
    assert files[0] == files[1]


# --- words ------------------------------------------------------------------------------------------------------------


def questions(out: Path) -> dict[str, dict[str, tuple[int, int]]]:
    """By image, (number of answers, exhaustive) of each phrase that it is asked for."""
    found: dict[str, dict[str, tuple[int, int]]] = {}
    for path in sorted((out / "annotations").glob("*.json")):
        document = load_json(path)
        answers = Counter(annotation["image_id"] for annotation in document["annotations"])
        for row in document["images"]:
            asked = found.setdefault(Path(row["file_name"]).stem.rpartition("_")[2], {})
            asked[row["text_input"]] = (answers[row["id"]], row["is_instance_exhaustive"])
    return found


def test_an_image_answers_for_each_class_on_it_and_denies_the_others(parts: Dataset, tmp_path: Path) -> None:
    mc.to_sam(parts, tmp_path / "out", layout="saco")
    scratch, dent, hole = (f"{name} on bracket" for name in ("scratch", "dent", "hole"))
    none = {scratch: (0, 1), dent: (0, 1), hole: (0, 1)}
    asked = questions(tmp_path / "out")
    assert asked["a"] == none | {scratch: (1, 1), dent: (1, 1)}
    assert asked["c"] == none | {dent: (1, 1)}
    assert asked["good1"] == none


def test_what_min_area_left_out_is_neither_denied_nor_said_to_be_all(parts: Dataset, tmp_path: Path) -> None:
    mc.to_sam(parts, tmp_path / "out", layout="saco", min_area=5)
    asked = questions(tmp_path / "out")
    assert asked["b"] == {"scratch on bracket": (1, 1), "dent on bracket": (0, 0), "hole on bracket": (0, 1)}


def test_a_caption_has_the_phrase_of_each_class_and_each_region_its_own(parts: Dataset, tmp_path: Path) -> None:
    mc.to_yolo(parts, tmp_path / "out", world=True)
    said = {}
    for path in (tmp_path / "out" / "world").glob("grounding_*.json"):
        document = load_json(path)
        names = {category["id"]: category["name"] for category in document["categories"]}
        captions = {image["id"]: (Path(image["file_name"]).stem[-1], image["caption"]) for image in document["images"]}
        for annotation in document["annotations"]:
            name, caption = captions[annotation["image_id"]]
            ((start, end),) = annotation["tokens_positive"]
            assert caption[start:end] == names[annotation["category_id"]]
            said[name] = caption
    assert said["a"] == "dent on bracket. scratch on bracket"
    assert said["c"] == "dent on bracket"


def test_each_prompt_asks_for_its_own_region(parts: Dataset, tmp_path: Path) -> None:
    mc.to_sam(parts, tmp_path / "out")
    images = {image.name[-1]: image for image in mc.read_export(tmp_path / "out")}
    assert [(item.class_name, item.text) for item in images["a"].objects] == [
        ("scratch", "scratch on bracket"), ("dent", "dent on bracket")
    ]  # fmt: skip


# --- masks that cover one another -------------------------------------------------------------------------------------


def test_where_masks_overlap_both_regions_are_whole(tmp_path: Path) -> None:
    root = MVTEC_LOCO.write(tmp_path / "loco")
    folder = root / "pushpins" / "ground_truth" / "logical_anomalies" / "000"
    draw(folder / "000.png", (np.s_[2:10], np.s_[2:10], 255))
    draw(folder / "001.png", (np.s_[4:7], np.s_[4:12], 254))
    mc.to_coco(mc.load(root), tmp_path / "coco")
    found = {
        item.class_name: item.region.area
        for image in mc.read_export(tmp_path / "coco")
        if "logical" in image.name
        for item in image.objects
        if item.region is not None
    }
    assert found == {"missing_pushpin": 64, "bent_pin": 24}


def test_medsam_gives_a_pixel_to_the_smaller_region_and_measures_what_is_lost(tmp_path: Path) -> None:
    root = MVTEC_LOCO.write(tmp_path / "loco")
    folder = root / "pushpins" / "ground_truth" / "logical_anomalies" / "000"
    draw(folder / "000.png", (np.s_[2:10], np.s_[2:10], 255))
    draw(folder / "001.png", (np.s_[4:7], np.s_[4:8], 254))
    summary = mc.to_sam(mc.load(root), tmp_path / "out", layout="medsam")
    assert summary.fidelity is not None
    assert (summary.fidelity.exact, summary.fidelity.regions) == (2, 3)
    assert summary.fidelity.lowest == pytest.approx(52 / 64)


# --- counts -----------------------------------------------------------------------------------------------------------


def test_balance_counts_images_and_regions_of_each_class(parts: Dataset, tmp_path: Path) -> None:
    names = {"a", "b", "c", "d"}
    train = Dataset(parts.root, parts.layout, tuple(sample for sample in parts if sample.stem in names))
    summary = mc.to_coco(train, tmp_path / "out", split="official", balance="oversample")
    assert summary.balance is not None
    assert [(each.name, each.images, each.regions) for each in summary.balance.classes] == [
        ("dent", 3, 3), ("scratch", 3, 3)
    ]  # fmt: skip


def test_statistics_count_each_class_of_pixels(parts: Dataset) -> None:
    found = mc.stats(parts)
    (category,) = found.categories
    assert {name: (each.images, each.regions, each.pixels) for name, each in category.defect_types.items()} == {
        "dent": (3, 3, 34), "hole": (0, 0, 0), "scratch": (3, 3, 68)
    }  # fmt: skip
    assert (category.defective, category.part.good, category.regions) == (4, 2, 6)
    (distribution,) = (table for table in found.tables() if table.name == "distribution")
    assert [(row[1], row[2]) for row in distribution.rows] == [
        ("good", 2), ("dent", 3), ("hole", 0), ("scratch", 3), ("all", 6)
    ]  # fmt: skip
    entry = found.document()["categories"][0]["defect_types"]["dent"]
    assert (entry["images"], entry["train"], entry["test"]) == (3, 3, 0)


def test_an_image_whose_mask_cannot_be_read_is_defective_and_of_no_class(parts: Dataset) -> None:
    draw(parts.root / "masks" / "a.png", (np.s_[1:5], np.s_[1:5], 77))
    found = mc.stats(parts)
    (category,) = found.categories
    assert [finding.code for finding in found.findings] == ["unnamed-value"]
    assert (category.defective, category.part.good) == (4, 2)
    assert {name: each.images for name, each in category.defect_types.items()} == {"dent": 2, "hole": 0, "scratch": 2}


def test_a_page_and_a_notebook_name_regions_after_their_pixels(parts: Dataset) -> None:
    pictures = {shown.image.name: shown for shown in of_dataset(parts, mc.RegionOptions(), 1, None).pictures}
    assert pictures["a"].types == ("scratch", "dent")
    assert sorted(shape.class_name for shape in pictures["a"].shapes) == ["dent", "scratch"]
    assert pictures["good1"].types == ("good",)
    sample = next(sample for sample in parts if sample.stem == "a")
    assert "2 regions: 1 dent, 1 scratch" in sample_html(sample)
    assert "dent, hole, scratch" in dataset_html(parts)


# --- what is wrong ----------------------------------------------------------------------------------------------------


def codes_of(dataset: Dataset) -> list[tuple[str, str]]:
    return [(found.code, found.severity) for found in check(dataset).findings]


def test_named_values_are_nothing_to_warn_of(parts: Dataset) -> None:
    assert codes_of(parts) == []


def test_check_tells_of_values_without_a_name(parts: Dataset) -> None:
    draw(parts.root / "masks" / "a.png", (np.s_[1:5], np.s_[1:5], 77))
    assert codes_of(parts) == [("unnamed-value", "error")]


def test_check_tells_of_colours_where_values_are_named(parts: Dataset) -> None:
    mask = np.zeros((16, 24, 3), np.uint8)
    mask[2:5, 2:5] = (200, 0, 0)
    Image.fromarray(mask).save(parts.root / "masks" / "a.png")
    assert codes_of(parts) == [("coloured-mask", "error")]


def test_a_value_that_counts_as_another_is_a_warning(tmp_path: Path) -> None:
    root = VISA.write(tmp_path / "visa")
    draw(root / "pcb1" / "Data" / "Masks" / "Anomaly" / "000.png", (np.s_[2:5], np.s_[2:5], 99))
    assert ("unnamed-value", "warning") in codes_of(mc.load(root))
    summary = mc.to_coco(mc.load(root), tmp_path / "out")
    assert summary.splits["train"].regions["melt"] == 1


def test_a_threshold_that_would_do_nothing_is_refused(parts: Dataset, tmp_path: Path) -> None:
    for act in (lambda: mc.to_coco(parts, tmp_path / "out", threshold=127),
                lambda: mc.stats(parts, regions=mc.RegionOptions(threshold=127))):  # fmt: skip
        with pytest.raises(SelectionError, match="would do nothing"):
            act()
    mc.to_yolo(parts, tmp_path / "sorted", task="classify", threshold=0)


@pytest.mark.parametrize("table", ['{"1": "good"}', '{"1": "a/b"}', '{"1": " "}', '{"1": "a\\nb"}'])
def test_names_that_no_defect_can_have_are_refused(table: str, tmp_path: Path) -> None:
    path = tmp_path / "values.json"
    path.write_text(table)
    with pytest.raises(SelectionError, match=r"does not name a value|only images without a defect") as caught:
        pixel_names(path, None)
    assert caught.value.path == str(path)


@pytest.mark.parametrize(
    "config",
    [
        [{"defect_name": "good", "pixel_value": 1}],
        [{"defect_name": "a/b", "pixel_value": 1}],
        [{"defect_name": 7, "pixel_value": 1}],
        [{"defect_name": "a", "pixel_value": 1}, {"defect_name": "b", "pixel_value": 1}],
    ],
)
def test_a_config_that_names_no_defects_is_told(config: list[dict[str, Any]], tmp_path: Path) -> None:
    root = MVTEC_LOCO.write(tmp_path / "loco")
    (root / "pushpins" / "defects_config.json").write_text(json.dumps(config))
    assert [finding.code for finding in mc.load(root).findings] == ["bad-config"]
