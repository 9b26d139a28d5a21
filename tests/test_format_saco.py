"""SA-Co's files: who is asked what, in the published form, and every way they can be broken."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

import mvtec_convert as mc
from mvtec_convert.formats.coco import Coco
from mvtec_convert.formats.saco import SaCo
from tests import broken
from tests.broken import (
    Case,
    draw_image,
    draw_tree,
    errors,
    findings,
    ids,
    never_raises,
    records_on_lines,
    remove,
    save,
    verify,
    write,
)
from tests.exports import extent, regions_of, same_regions, true_masks
from tests.fitting import fits
from tests.trees import make_tree

TRAIN, VAL = "annotations/saco_train.json", "annotations/saco_val.json"
IMAGE = "images/train/plate_cut_000.png"
ROWS = 20  # of train: ten images, two phrases
FIRST = 3 + ROWS + 2  # line of the first annotation of train

PUBLISHED = {
    # scripts/eval/gold/README.md of facebookresearch/sam3
    "images": [
        {"id": 10000000, "file_name": "1/1001/metaclip_1_1001_c122868928880ae52b33fae1.jpeg", "text_input": "chili",
         "width": 600, "height": 600, "queried_category": "0", "is_instance_exhaustive": 1, "is_pixel_exhaustive": 1},
        {"id": 10000001, "file_name": "1/1001/metaclip_1_1001_c122868928880ae52b33fae1.jpeg",
         "text_input": "the fish ball", "width": 600, "height": 600, "queried_category": "2001",
         "is_instance_exhaustive": 1, "is_pixel_exhaustive": 1},
    ],
    "annotations": [
        {"id": 1, "image_id": 10000000, "source": "manual", "area": 0.002477777777777778,
         "bbox": [0.44333332777023315, 0.0, 0.10833333432674408, 0.05833333358168602],
         "segmentation": {"counts": "`kk42fb01O1O1O1O001O1O1O001O1O00001O1O001O001O0000000000O1001000O010O02O001N10001N"
                          "0100000O10O1000O10O010O100O1O1O1O1O0000001O0O2O1N2N2Nobm4", "size": [600, 600]},
         "category_id": 1, "iscrowd": 0},
        {"id": 2, "image_id": 10000000, "source": "manual", "area": 0.001275,
         "bbox": [0.5116666555404663, 0.5716666579246521, 0.061666667461395264, 0.036666665226221085],
         "segmentation": {"counts": "aWd51db05M1O2N100O1O1O1O1O1O010O100O10O10O010O010O01O100O100O1O00100O1O100O1O2MZe"
                          "e4", "size": [600, 600]},
         "category_id": 1, "iscrowd": 0},
    ],
    "categories": [{"id": 1, "name": "object"}],
}  # fmt: skip


@pytest.fixture(scope="module")
def carpet(sample_root) -> mc.Dataset:
    return mc.load(sample_root / "carpet")


def both(folder: Path) -> list[dict[str, Any]]:
    return [json.loads((folder / name).read_text()) for name in (TRAIN, VAL)]


def asked(folder: Path) -> dict[str, dict[str, int]]:
    """For each image and each phrase it is asked for, the number of annotations."""
    found: dict[str, dict[str, int]] = {}
    for document in both(folder):
        answers = [annotation["image_id"] for annotation in document["annotations"]]
        for row in document["images"]:
            found.setdefault(Path(row["file_name"]).stem, {})[row["text_input"]] = answers.count(row["id"])
    return found


# --- writing ---------------------------------------------------------------------------------------------------------


def test_an_image_is_asked_for_its_defect_and_for_all_others_of_its_category(carpet, sample_root, tmp_path):
    mc.to_sam(carpet, tmp_path / "out", layout="saco")
    found = asked(tmp_path / "out")
    assert len(found) == len(carpet) == 37
    phrases = {
        "color": "color stain on carpet", "cut": "cut in carpet", "hole": "hole in carpet",
        "metal_contamination": "metal piece on carpet", "thread": "loose thread on carpet",
    }  # fmt: skip
    truth = true_masks(sample_root, "carpet")
    for name, answers in found.items():
        assert set(answers) == set(phrases.values())
        positive = {phrases[truth[name][0]]: len(regions_of(truth[name][1]))} if name in truth else {}
        assert {phrase: count for phrase, count in answers.items() if count} == positive


def test_masks_boxes_and_areas_are_those_of_the_source(carpet, sample_root, tmp_path):
    mc.to_sam(carpet, tmp_path / "out", layout="saco")
    truth = true_masks(sample_root)
    read: dict[str, list[np.ndarray]] = {}
    for document in both(tmp_path / "out"):
        rows = {row["id"]: row for row in document["images"]}
        for annotation in document["annotations"]:
            row = rows[annotation["image_id"]]
            mask = coco_mask.decode(annotation["segmentation"])
            read.setdefault(Path(row["file_name"]).stem, []).append(mask)
            x0, y0, x1, y1 = extent(mask)
            width, height = row["width"], row["height"]
            assert mask.shape == (height, width)
            assert annotation["bbox"] == [x0 / width, y0 / height, (x1 - x0) / width, (y1 - y0) / height]
            assert annotation["area"] == mask.sum() / (width * height)
            assert (annotation["category_id"], annotation["iscrowd"]) == (1, 0)
    assert len(read) == 23
    assert all(same_regions(masks, regions_of(truth[name][1])) for name, masks in read.items())


def test_records_have_the_published_keys_and_types(carpet, tmp_path):
    mc.to_sam(carpet, tmp_path / "out", layout="saco")
    for document in both(tmp_path / "out"):
        fits(document, "saco")
        for key in ("images", "annotations"):
            published = {name: type(value) for name, value in PUBLISHED[key][0].items()}
            for record in document[key]:
                kinds = {name: type(value) for name, value in record.items()}
                kinds |= {"area": float} if key == "annotations" else {}
                assert kinds == published
    fits(PUBLISHED, "saco")


def test_a_phrase_has_one_number_in_all_splits(sample_root, tmp_path):
    mc.to_sam(mc.load(sample_root), tmp_path / "out", layout="saco")
    pairs = {(row["text_input"], row["queried_category"]) for d in both(tmp_path / "out") for row in d["images"]}
    assert len(pairs) == len({phrase for phrase, _ in pairs}) == 14
    assert {number for _, number in pairs} == {str(i) for i in range(14)}


def test_images_are_asked_for_their_own_category_alone(sample_root, tmp_path):
    mc.to_sam(mc.load(sample_root), tmp_path / "out", layout="saco")
    for name, answers in asked(tmp_path / "out").items():
        category = name.split("_")[0]
        assert all(category in phrase for phrase in answers), (name, answers)


def test_what_shows_several_defects_has_no_negatives_and_is_none(tmp_path):
    tree = make_tree(
        tmp_path / "data",
        {
            "wood/train/good": "000.png 001.png",
            **{f"wood/test/{defect}": "000.png 001.png" for defect in ("combined", "hole", "scratch")},
            **{
                f"wood/ground_truth/{defect}": "000_mask.png 001_mask.png" for defect in ("combined", "hole", "scratch")
            },
        },
    )
    mc.to_sam(mc.load(tree), tmp_path / "out", layout="saco", background="all")
    found = asked(tmp_path / "out")
    assert found["wood_combined_000"] == {"damaged area of wood": 1}
    assert found["wood_hole_000"] == {"hole in wood": 1, "scratch on wood": 0}
    assert found["wood_good_train_000"] == {"damaged area of wood": 0, "hole in wood": 0, "scratch on wood": 0}


def test_one_phrase_for_two_defects_is_asked_once(carpet, tmp_path):
    own = tmp_path / "own.json"
    own.write_text(json.dumps({"phrases": {"carpet": {"cut": "damage", "hole": "damage"}}}))
    mc.to_sam(carpet, tmp_path / "out", layout="saco", phrases=own)
    found = asked(tmp_path / "out")
    assert found["carpet_cut_000"]["damage"] > 0
    assert all(len(answers) == 4 for answers in found.values())
    assert findings(tmp_path / "out", "saco") == []


def test_good_images_of_a_category_without_defects_are_asked_for_those_of_others(tmp_path):
    tree = make_tree(
        tmp_path / "data",
        {
            "nut/train/good": "000.png 001.png",
            "bolt/train/good": "000.png 001.png",
            "bolt/test/bent": "000.png 001.png",
            "bolt/ground_truth/bent": "000_mask.png 001_mask.png",
        },
    )
    mc.to_sam(mc.load(tree), tmp_path / "out", layout="saco")
    assert asked(tmp_path / "out")["nut_good_train_000"] == {"bent on bolt": 0}


def test_a_question_whose_regions_were_left_out_is_not_exhaustive(tmp_path):
    draw_tree(tmp_path / "tree")
    mask = tmp_path / "tree/plate/ground_truth/cut/000_mask.png"
    pixels = np.zeros((32, 40), np.uint8)
    pixels[4:16, 6:20] = pixels[30, 30] = 255
    save(pixels, mask)
    for min_area, wanted in ((0, 1), (2, 0)):
        mc.to_sam(mc.load(tmp_path / "tree"), tmp_path / "out", layout="saco", min_area=min_area)
        rows = [row for document in both(tmp_path / "out") for row in document["images"]]
        flags = {(row["is_instance_exhaustive"], row["is_pixel_exhaustive"]) for row in rows}
        own = [row for row in rows if "cut_000" in row["file_name"] and row["text_input"] == "cut on plate"]
        assert [(row["is_instance_exhaustive"], row["is_pixel_exhaustive"]) for row in own] == [(wanted, wanted)]
        assert flags == {(1, 1), (wanted, wanted)}
        assert sum((row["is_instance_exhaustive"]) == 0 for row in rows) == 1 - wanted
    notes = findings(tmp_path / "out", "saco")
    assert [(note.code, note.severity) for note in notes] == [("not-exhaustive", "warning")]


# --- checking --------------------------------------------------------------------------------------------------------


def change(key: str, index: int, file: str = TRAIN, /, **values: Any):
    """Set values of one record; None removes a key."""
    return broken.change(file, key, index, **values)


def annotation(**values: Any):
    return change("annotations", 0, **values)


def row(index: int = 0, **values: Any):
    return change("images", index, **values)


def whole(**values: Any):
    def breaks(folder: Path) -> None:
        (folder / TRAIN).write_text(json.dumps({**json.loads((folder / TRAIN).read_text()), **values}))

    return breaks


def in_px(folder: Path) -> None:
    """As COCO would have it."""
    annotation(bbox=[6, 4, 14, 12], area=152)(folder)


def without_negatives(folder: Path) -> None:
    document = json.loads((folder / TRAIN).read_text())
    answered = {annotation["image_id"] for annotation in document["annotations"]}
    document["images"] = [row for row in document["images"] if row["id"] in answered]
    records_on_lines(document, folder / TRAIN)


def every_row(**values: Any):
    """Set values of all rows of one image."""
    return lambda folder: [row(index, **values)(folder) for index in (0, 1)]


def image_renamed(name: str):
    return every_row(file_name=name)


CASES = [
    # the file
    Case("no files", remove("annotations"), "no-annotation-file", "set"),
    Case("no JSON", write(TRAIN, "{"), "bad-json", TRAIN, 1),
    Case("a list", write(TRAIN, "[]"), "schema", TRAIN),
    Case("no categories", whole(categories=None), "schema", TRAIN),
    Case("nothing annotated", whole(annotations=[]), "no-annotations", TRAIN, None, "warning"),
    Case("no rows", whole(images=[], annotations=[]), "empty-split", TRAIN, also=frozenset({"no-annotations"})),
    Case("no negatives", without_negatives, "no-negatives", TRAIN, None, "warning"),
    # rows
    Case("duplicate row id", row(id=2), "duplicate-id", TRAIN, 4, also=frozenset({"unknown-image"})),
    Case("a question twice", row(1, text_input="cut on plate", queried_category="0"), "duplicate-row", TRAIN, 4),
    Case("no text", row(text_input=None), "schema", TRAIN, 3),
    Case("empty text", row(text_input=""), "schema", TRAIN, 3),
    Case("a slug", row(text_input="plate_cut", queried_category="7"), "slug-prompt", TRAIN, 3, "warning"),
    Case("a long prompt", row(text_input="very " * 31, queried_category="7"), "long-prompt", TRAIN, 3, "warning"),
    Case("a phrase with two numbers", row(2, queried_category="5"), "phrase-number", TRAIN, 5, "warning"),
    Case("a number for two phrases", row(0, text_input="gap in plate"), "phrase-number", TRAIN, 5, "warning"),
    Case("a number in words", row(queried_category="one"), "schema", TRAIN, 3),
    Case("not exhaustive", row(is_instance_exhaustive=0), "not-exhaustive", TRAIN, 3, "warning"),
    Case("exhaustive 2", row(is_instance_exhaustive=2), "schema", TRAIN, 3),
    # images
    Case("image missing", remove(IMAGE), "missing-image", IMAGE),
    Case("image is no image", write(IMAGE, "text"), "bad-image", IMAGE),
    Case("image of another size", lambda f: draw_image(f / IMAGE, 1, (50, 32)), "image-size", IMAGE),
    Case("absolute file name", image_renamed("/etc/passwd.png"), "outside-folder", TRAIN, 3),
    Case("file name that goes up", image_renamed("../../x.png"), "outside-folder", TRAIN, 3),
    Case("backslashes", image_renamed("train\\plate_cut_000.png"), "windows-path", TRAIN, 3),
    Case("an image in both splits", lambda f: shutil.copy(f / IMAGE, f / "images/val/plate_cut_001.png"), "split-leak",
         "images/val/plate_cut_001.png"),
    # annotations
    Case("duplicate annotation id", annotation(id=2), "duplicate-id", TRAIN, FIRST + 1),
    Case("no such row", annotation(image_id=99), "unknown-image", TRAIN, FIRST),
    Case("no such category", annotation(category_id=2), "unknown-category", TRAIN, FIRST),
    Case("crowd", annotation(iscrowd=1), "crowd", TRAIN, FIRST, "warning"),
    Case("no iscrowd", annotation(iscrowd=None), "schema", TRAIN, FIRST),
    Case("box in px", in_px, "not-normalised", TRAIN, FIRST),
    Case("area in px", annotation(area=152), "not-normalised", TRAIN, FIRST),
    Case("box below 0", annotation(bbox=[-0.1, 0.125, 0.35, 0.375]), "not-normalised", TRAIN, FIRST),
    Case("box without width", annotation(bbox=[0.15, 0.125, 0, 0.375]), "schema", TRAIN, FIRST),
    Case("box of corners", annotation(bbox=[0.15, 0.125, 0.5, 0.5]), "box-and-mask", TRAIN, FIRST),
    Case("area of the box", annotation(area=168 / 1280), "area", TRAIN, FIRST),
    Case("a polygon", annotation(segmentation=[[6, 4, 20, 4, 20, 16]]), "schema", TRAIN, FIRST),
    Case("RLE of numbers", annotation(segmentation={"size": [32, 40], "counts": [100, 1180]}), "schema", TRAIN, FIRST),
    Case("RLE of another size", annotation(segmentation={"size": [40, 32], "counts": "PP1"}), "rle-size", TRAIN, FIRST),
    Case("RLE of garbage", annotation(segmentation={"size": [32, 40], "counts": "hello"}), "bad-rle", TRAIN, FIRST),
    Case("RLE of nothing", annotation(segmentation={"size": [32, 40], "counts": "PX1"}), "empty-segmentation", TRAIN,
         FIRST),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=ids(CASES))
def test_what_is_broken_is_found(case, tiny, tmp_path):
    verify(case, tiny.copy("saco", tmp_path / "set"), "saco")


def test_damage_at_random_ends_in_findings(tiny, tmp_path):
    never_raises(tiny.copy("saco", tmp_path / "set"), "saco", [TRAIN], 60)


def test_fresh_exports_of_the_sample_have_no_findings(sample_root, tmp_path):
    mc.to_sam(mc.load(sample_root), tmp_path / "out", layout="saco")
    assert mc.validate(tmp_path / "out").findings == ()


def test_the_published_example_has_no_errors(tmp_path):
    draw_image(tmp_path / PUBLISHED["images"][0]["file_name"], 1, (600, 600))
    write("gold_fg_food_merged_a_release_test.json", json.dumps(PUBLISHED))(tmp_path)
    assert SaCo.recognises(tmp_path)
    assert findings(tmp_path, "saco") == []


def test_it_is_told_from_coco_without_the_manifest(carpet, tmp_path):
    mc.to_sam(carpet, tmp_path / "out", layout="saco")
    (tmp_path / "out" / "mvtec-convert.json").unlink()
    assert mc.validate(tmp_path / "out").format == "saco"
    assert not Coco.recognises(tmp_path / "out")
    mc.to_coco(carpet, tmp_path / "coco")
    assert not SaCo.recognises(tmp_path / "coco")
    assert not SaCo.recognises(tmp_path / "missing")


def test_one_file_may_be_given(tiny, tmp_path):
    folder = tiny.copy("saco", tmp_path / "set")
    assert SaCo.recognises(folder / TRAIN)
    assert findings(folder / TRAIN, "saco") == []
    in_px(folder)
    (finding,) = errors(folder / TRAIN, "saco")
    assert (finding.code, finding.line) == ("not-normalised", FIRST)
