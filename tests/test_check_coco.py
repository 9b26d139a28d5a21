"""Every way a COCO dataset can be broken is found, told once, on the right line; sound ones pass."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mvtec_convert as mc
from mvtec_convert.findings import Finding
from mvtec_convert.formats.coco import Coco
from mvtec_convert.jsonio import RecordLines, parse_lines
from mvtec_convert.runs.workers import at_most
from tests import broken
from tests.broken import (
    Case,
    draw_image,
    edit,
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
from tests.opened import opened_files

TRAIN = "annotations/instances_train.json"
VAL = "annotations/instances_val.json"
BOTH = (TRAIN, VAL)
IMAGE = "images/train/plate_cut_000.png"
OTHER = "images/val/plate_cut_001.png"
FRAME = [[6, 4, 6, 8, 10, 8, 14, 8, 14, 12, 10, 12, 10, 8, 6, 8, 6, 16, 20, 16, 20, 4]]
CORNER = [[36, 26, 36, 30, 40, 30, 40, 26]]
FIRST = 15  # line of the first annotation of train: three lines, ten images, two lines; a frame with a hole


def change(key: str, index: int, file: str = TRAIN, /, **values: Any):
    """Set values of one record; None removes a key."""
    return broken.change(file, key, index, **values)


def annotation(index: int = 0, **values: Any):
    return change("annotations", index, **values)


def image(**values: Any):
    return change("images", 0, **values)


def whole(**values: Any):
    """Set values of the document; None removes a key."""

    def breaks(folder: Path) -> None:
        document = {**json.loads((folder / TRAIN).read_text()), **values}
        (folder / TRAIN).write_text(json.dumps({key: value for key, value in document.items() if value is not None}))

    return breaks


def from_zero(file: Path) -> None:
    """Number the categories from 0."""
    document = json.loads(file.read_text())
    for category in document["categories"]:
        category["id"] -= 1
    for record in document["annotations"]:
        record["category_id"] -= 1
    records_on_lines(document, file)


def polygon(*numbers: float, **values: Any):
    return annotation(segmentation=[list(numbers)], **values)


def counts(counts: Any, size: tuple[int, int] = (32, 40), **values: Any):
    return annotation(segmentation={"size": list(size), "counts": counts}, **values)


COMPRESSED = frozenset({"compressed-rle"})

CASES = [
    # the file
    Case("no file", remove("annotations"), "no-annotation-file", "set"),
    Case("no JSON", write(TRAIN, "{"), "bad-json", TRAIN, 1),
    Case("empty file", write(TRAIN, ""), "bad-json", TRAIN, 1),
    Case("NaN", edit(TRAIN, '"area":152', '"area":NaN'), "bad-json", TRAIN, FIRST),
    Case("Infinity", edit(TRAIN, '"area":152', '"area":-Infinity'), "bad-json", TRAIN, FIRST),
    Case("byte order mark", lambda f: write(TRAIN, b"\xef\xbb\xbf" + (f / TRAIN).read_bytes())(f), "bad-json", TRAIN,
         1),
    Case("UTF-16", lambda f: write(TRAIN, (f / TRAIN).read_text().encode("utf-16"))(f), "bad-json", TRAIN, 1),
    Case("cut short", lambda f: write(TRAIN, (f / TRAIN).read_bytes()[:2000])(f), "bad-json", TRAIN, FIRST + 8),
    Case("deep", write(TRAIN, "[" * 100_000), "bad-json", TRAIN, 1),
    Case("a list", write(TRAIN, "[]"), "schema", TRAIN),
    Case("no annotations", whole(annotations=None), "schema", TRAIN),
    Case("images is an object", whole(images={}), "schema", TRAIN),
    Case("a record is a number", whole(annotations=[5]), "schema", TRAIN, 1),
    Case("nothing annotated", whole(annotations=[]), "no-annotations", TRAIN, None, "warning"),
    Case("no images", whole(images=[], annotations=[]), "empty-split", TRAIN, also=frozenset({"no-annotations"})),
    # images
    Case("duplicate image id", image(id=2), "duplicate-id", TRAIN, 4, also=frozenset({"unknown-image"})),
    Case("image id as text", image(id="1"), "schema", TRAIN, 3, also=frozenset({"unknown-image"})),
    Case("no width", image(width=None), "schema", TRAIN, 3),
    Case("width 0", image(width=0), "schema", TRAIN, 3),
    Case("empty file name", image(file_name=""), "schema", TRAIN, 3),
    Case("image missing", remove(IMAGE), "missing-image", IMAGE),
    Case("image is no image", write(IMAGE, "text"), "bad-image", IMAGE),
    Case("image of another size", lambda f: draw_image(f / IMAGE, 1, (50, 32)), "image-size", IMAGE),
    Case("width and height swapped", image(width=32, height=40), "image-size", IMAGE),
    Case("file name listed twice", image(file_name="plate_cut_002.png"), "duplicate-image", TRAIN, 4),
    Case("absolute file name", image(file_name="/etc/passwd.png"), "outside-folder", TRAIN, 3),
    Case("file name that goes up", image(file_name="../train/plate_cut_000.png"), "outside-folder", TRAIN, 3),
    Case("file name with a drive", image(file_name="C:/x.png"), "outside-folder", TRAIN, 3),
    Case("network share", image(file_name="\\\\host\\x\\y.png"), "outside-folder", TRAIN, 3),
    Case("backslashes that go up", image(file_name="..\\x.png"), "outside-folder", TRAIN, 3),
    Case("backslashes", image(file_name="train\\plate_cut_000.png"), "windows-path", TRAIN, 3),
    Case("a name no file can have", image(file_name="x" * 5000), "missing-image"),
    Case("a name with a null", image(file_name="a\0b.png"), "missing-image", "a\0b.png"),
    # categories
    Case("duplicate category id", change("categories", 0, id=2), "duplicate-id", TRAIN, 1,
         also=frozenset({"category-mismatch", "unknown-category"})),
    Case("one name for two categories", lambda f: [change("categories", 0, file, name="hole")(f) for file in BOTH],
         "class-names", TRAIN, 1),
    Case("category id below 0", change("categories", 0, id=-1), "schema", TRAIN, 1,
         also=frozenset({"category-mismatch", "unknown-category"})),
    Case("other categories in val", change("categories", 1, VAL, name="gap"), "category-mismatch", VAL),
    Case("a category never used", lambda f: [edit(name, '"categories":[', '"categories":[{"id":0,"name":"all"},')(f)
         for name in BOTH], "unused-category", TRAIN, 1, "warning"),
    Case("classes from 0", lambda f: [from_zero(f / file) for file in BOTH], "category-zero", TRAIN, 1, "warning"),
    # references
    Case("duplicate annotation id", annotation(id=2), "duplicate-id", TRAIN, FIRST + 1),
    Case("annotation id 0", annotation(id=0), "id-zero", TRAIN, FIRST, "warning"),
    Case("annotation id true", annotation(id=True), "schema", TRAIN, FIRST),
    Case("no such image", annotation(image_id=99), "unknown-image", TRAIN, FIRST),
    Case("no such category", annotation(category_id=0), "unknown-category", TRAIN, FIRST),
    Case("crowd", annotation(iscrowd=1), "crowd", TRAIN, FIRST, "warning"),
    Case("no iscrowd", annotation(iscrowd=None), "schema", TRAIN, FIRST),
    Case("iscrowd 2", annotation(iscrowd=2), "schema", TRAIN, FIRST),
    Case("an annotation twice", annotation(1, bbox=[6, 4, 14, 12], area=152, segmentation=FRAME),
         "duplicate-annotation", TRAIN, FIRST + 1, "warning"),
    # box and area
    Case("box outside", annotation(bbox=[30, 4, 14, 12]), "outside-image", TRAIN, FIRST,
         also=frozenset({"box-and-mask"})),
    Case("box half a pixel outside", annotation(1, bbox=[36.5, 26, 4, 4], segmentation=CORNER),
         "outside-image", TRAIN, FIRST + 1, "warning"),
    Case("box of corners", annotation(bbox=[6, 4, 34, 28], area=152), "box-and-mask", TRAIN, FIRST, "warning"),
    Case("box elsewhere", annotation(bbox=[30, 20, 5, 5]), "box-and-mask", TRAIN, FIRST),
    Case("box without width", annotation(bbox=[6, 4, 0, 12]), "schema", TRAIN, FIRST),
    Case("box of three", annotation(bbox=[6, 4, 14]), "schema", TRAIN, FIRST),
    Case("box as text", annotation(bbox=["6", 4, 14, 12]), "schema", TRAIN, FIRST),
    Case("huge box", annotation(bbox=[1e308, 4, 1e308, 12]), "outside-image", TRAIN, FIRST,
         also=frozenset({"box-and-mask"})),
    Case("area 0", annotation(area=0), "schema", TRAIN, FIRST),
    Case("area far off", annotation(area=9), "area", TRAIN, FIRST),
    Case("area of the box", annotation(area=168), "area", TRAIN, FIRST, "warning", base="coco-counts"),
    Case("area off by one in RLE", annotation(area=151), "area", TRAIN, FIRST, base="coco-counts"),
    Case("area somewhat off", annotation(area=100), "area", TRAIN, FIRST, "warning"),
    # polygons
    Case("no polygon", annotation(segmentation=[]), "empty-segmentation", TRAIN, FIRST),
    Case("no segmentation", annotation(segmentation=None), "schema", TRAIN, FIRST),
    Case("an empty polygon", annotation(segmentation=[[]]), "schema", TRAIN, FIRST),
    Case("a polygon of four numbers", polygon(6, 4, 20, 16), "schema", TRAIN, FIRST),
    Case("a polygon as a box would be", annotation(segmentation=[6, 4, 20, 16]), "schema", TRAIN, FIRST),
    Case("an odd polygon", polygon(6, 4, 20, 4, 20, 16, 6), "odd-polygon", TRAIN, FIRST),
    Case("a polygon of text", polygon("6", 4, 20, 4, 20, 16), "schema", TRAIN, FIRST),
    Case("a polygon outside", polygon(6, 4, 80, 4, 80, 16), "outside-image", TRAIN, FIRST),
    Case("a polygon far outside", polygon(6, 4, 1e300, 4, 20, 16), "outside-image", TRAIN, FIRST),
    Case("a polygon of one point", polygon(*[6, 4] * 4), "empty-segmentation", TRAIN, FIRST),
    Case("a polygon that goes to and fro", polygon(*[0, 0, 40, 32] * 100_000), "long-outline", TRAIN, FIRST, "warning"),
    # run lengths
    Case("RLE of another size", counts("PP1", (40, 32)), "rle-size", TRAIN, FIRST, also=COMPRESSED),
    Case("RLE that is too long", counts([100, 152, 1029]), "bad-rle", TRAIN, FIRST),
    Case("RLE that is too short", counts([100, 152]), "bad-rle", TRAIN, FIRST),
    Case("RLE below 0", counts([100, -152, 1332]), "schema", TRAIN, FIRST),
    Case("RLE with fractions", counts([100, 0.5, 1179.5]), "schema", TRAIN, FIRST),
    Case("RLE without counts", counts(None), "schema", TRAIN, FIRST),
    Case("RLE of garbage", counts("hello world"), "bad-rle", TRAIN, FIRST, also=COMPRESSED),
    Case("RLE that stops in a number", counts("T6<d000o"), "bad-rle", TRAIN, FIRST, also=COMPRESSED),
    Case("RLE that overflows a C int", counts("0PnOOOOOOO0"), "bad-rle", TRAIN, FIRST, also=COMPRESSED),
    Case("RLE with seven groups", counts("0`n13TTVoooo?"), "bad-rle", TRAIN, FIRST, also=COMPRESSED),
    Case("RLE with huge numbers", counts([2**62, 2**62]), "bad-rle", TRAIN, FIRST),
    Case("compressed RLE", lambda f: None, "compressed-rle", TRAIN, None, "warning", base="coco-rle"),
    Case("RLE of nothing", counts([1280]), "empty-segmentation", TRAIN, FIRST),
    # splits
    Case("an image in both splits", lambda f: shutil.copy(f / IMAGE, f / OTHER), "split-leak", OTHER),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=ids(CASES))
def test_what_is_broken_is_found(case, tiny, tmp_path):
    verify(case, tiny.copy(case.base or "coco", tmp_path / "set"), "coco")


@pytest.mark.parametrize("segmentation", ["polygon", "rle-uncompressed"])
def test_fresh_exports_of_the_sample_have_no_findings(sample_root, tmp_path, segmentation):
    mc.to_coco(mc.load(sample_root), tmp_path / "out", segmentation=segmentation)
    assert findings(tmp_path / "out", "coco") == []


def test_compressed_run_lengths_are_told_once_a_file(sample_root, tmp_path):
    mc.to_coco(mc.load(sample_root), tmp_path / "out", segmentation="rle")
    found = findings(tmp_path / "out", "coco")
    assert [finding.code for finding in found] == ["compressed-rle", "compressed-rle"]
    assert [finding.path for finding in found] == [str(tmp_path / "out" / file) for file in BOTH]


def test_simplified_exports_have_no_errors(sample_root, tmp_path):
    mc.to_coco(mc.load(sample_root / "carpet"), tmp_path / "out", simplify=0.6, first_id=0)
    assert errors(tmp_path / "out", "coco") == []


def test_mvtecs_own_split_gives_a_warning_only(tiny, tmp_path):
    mc.to_coco(mc.load(tiny.folder / "tree"), tmp_path / "out", split="official")
    assert [finding.code for finding in findings(tmp_path / "out", "coco")] == ["no-annotations"]


# --- what others write -----------------------------------------------------------------------------------------------


def roboflow_file(split: int) -> dict[str, Any]:
    """Ids from 0, a category that holds the others, boxes alone, image names with a hash."""
    return {
        "info": {"year": "2025", "version": "1", "description": "Exported from roboflow.com"},
        "licenses": [{"id": 1, "url": "https://creativecommons.org/licenses/by/4.0/", "name": "CC BY 4.0"}],
        "categories": [
            {"id": 0, "name": "defects", "supercategory": "none"},
            {"id": 1, "name": "dent", "supercategory": "defects"},
        ],
        "images": [
            {"id": i, "license": 1, "file_name": f"{split}{i}_jpg.rf.{'0b' * 16}.jpg", "height": 32, "width": 40}
            for i in range(3)
        ],
        "annotations": [
            {"id": i, "image_id": i, "category_id": 1, "bbox": [5, 6.5, 10.25, 8], "area": 82.0, "segmentation": [],
             "iscrowd": 0}
            for i in range(2)
        ],
    }  # fmt: skip


@pytest.fixture
def roboflow(tmp_path) -> Path:
    for number, split in enumerate(("train", "valid", "test")):
        document = roboflow_file(number)
        write(f"{split}/_annotations.coco.json", json.dumps(document))(tmp_path)
        for i, record in enumerate(document["images"]):
            draw_image(tmp_path / split / record["file_name"], 10 * number + i)
    return tmp_path


def test_roboflows_layout_has_no_errors(roboflow):
    assert Coco.recognises(roboflow)
    found = findings(roboflow, "coco")
    assert {(finding.code, finding.severity) for finding in found} == {
        ("only-boxes", "warning"), ("id-zero", "warning"), ("unused-category", "warning"),
    }  # fmt: skip


@pytest.mark.parametrize(("split", "name"), [("valid", "val"), ("train", "training")])
def test_a_split_that_rf_detr_reads_is_missed(roboflow, split, name):
    (roboflow / split).rename(roboflow / name)
    (finding,) = [finding for finding in findings(roboflow, "coco") if finding.code == "missing-split"]
    assert finding.path == str(roboflow)
    assert finding.severity == "warning"
    assert f"without {split}/_annotations.coco.json" in finding.message


def test_one_split_of_roboflows_is_a_dataset_too(roboflow):
    for part in (roboflow / "train", roboflow / "train" / "_annotations.coco.json"):
        assert "missing-split" not in {finding.code for finding in findings(part, "coco")}


def test_roboflows_splits_are_compared(roboflow):
    first = next((roboflow / "train").glob("0*.jpg"))
    shutil.copy(first, next((roboflow / "valid").glob("11*.jpg")))
    (finding,) = errors(roboflow, "coco")
    assert finding.code == "split-leak"
    assert "in valid and in train" in finding.message


@pytest.fixture
def cvat(tmp_path) -> Path:
    """As CVAT writes it: contour polygons with fractions, float areas, attributes, an uncompressed mask, one line."""
    for number, subset in enumerate(("Train", "Validation")):
        images = [
            {"id": i, "width": 40, "height": 32, "file_name": f"{subset}_{i}.png", "license": 0, "flickr_url": "",
             "coco_url": "", "date_captured": 0}
            for i in (1, 2)
        ]  # fmt: skip
        contour = [6.5, 4.5, 19.5, 4.5, 19.5, 15.5, 6.5, 15.5]  # centres of the outermost pixels
        counts = [0, 4, 28, 4, 28 + 32 * 38]
        annotations = [
            {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [contour], "area": 143.0,
             "bbox": [6.5, 4.5, 13.0, 11.0], "iscrowd": 0, "attributes": {"occluded": False, "rotation": 0.0}},
            {"id": 2, "image_id": 1, "category_id": 2, "segmentation": {"counts": counts, "size": [32, 40]},
             "area": 8, "bbox": [0.0, 0.0, 2.0, 4.0], "iscrowd": 0},
        ]  # fmt: skip
        categories = [{"id": i, "name": name, "supercategory": ""} for i, name in ((1, "dent"), (2, "scratch"))]
        document = {"licenses": [{"name": "", "id": 0, "url": ""}], "info": {}, "categories": categories}
        document |= {"images": images, "annotations": annotations}
        write(f"annotations/instances_{subset}.json", json.dumps(document))(tmp_path)
        for record in images:
            draw_image(tmp_path / "images" / subset / record["file_name"], 10 * number + record["id"])
    return tmp_path


def test_cvats_layout_passes(cvat):
    assert Coco.recognises(cvat)
    assert findings(cvat, "coco") == []


def test_captions_and_keypoints_of_the_same_images_are_no_leak(cvat):
    source = cvat / "annotations/instances_Train.json"
    shutil.copy(source, source.with_name("person_keypoints_Validation.json"))
    write("annotations/captions_Train.json", '{"images": [], "annotations": [{"id": 1, "caption": "x"}]}')(cvat)
    assert findings(cvat, "coco") == []


def test_one_file_may_be_given(tiny, tmp_path, roboflow):
    folder = tiny.copy("coco", tmp_path / "set")
    assert Coco.recognises(folder / TRAIN)
    assert findings(folder / TRAIN, "coco") == []
    annotation(area=9)(folder)
    (finding,) = findings(folder / TRAIN, "coco")
    assert (finding.code, finding.path, finding.line) == ("area", str(folder / TRAIN), FIRST)
    assert errors(roboflow / "train/_annotations.coco.json", "coco") == []


def test_lines_of_records_are_right_in_any_layout(tiny, tmp_path):
    folder = tiny.copy("coco", tmp_path / "set")
    annotation(3, area=9)(folder)
    document = json.loads((folder / TRAIN).read_text())
    expected = {None: 1, 2: 0}
    for indent in expected:
        text = json.dumps(document, indent=indent)
        (folder / TRAIN).write_text(text)
        if indent:
            expected[indent] = 1 + text[: text.index('"id": 4', text.index('"annotations"'))].count("\n") - 1
        (finding,) = findings(folder, "coco")
        assert (finding.line, finding.message[:15]) == (expected[indent], "annotations[3]:")
    records_on_lines(document, folder / TRAIN)
    assert findings(folder, "coco")[0].line == FIRST + 3


def test_no_file_outside_the_folder_is_opened(tiny, tmp_path):
    folder = tiny.copy("coco", tmp_path / "set")
    outside = tmp_path / "outside.png"
    save(np.zeros((32, 40), np.uint8), outside)
    for name in ("../../../outside.png", str(outside), "a/../../../../outside.png", "..\\..\\..\\outside.png"):
        image(file_name=name)(folder)
        with opened_files() as opened:
            found = [finding.code for finding in findings(folder, "coco")]
        assert "outside-folder" in found
        assert any(path.suffix == ".png" for path in opened)
        assert outside not in {path.resolve() for path in opened}


def test_several_workers_find_what_one_does_in_the_same_order(sample_root, tmp_path, monkeypatch):
    out = tmp_path / "out"
    mc.to_coco(mc.load(sample_root), out)
    for split in ("train", "val"):
        file = out / f"annotations/instances_{split}.json"
        said = file.read_bytes()
        assert isinstance(parse_lines(file)["annotations"], RecordLines)
        file.write_bytes(said.replace(b'"area":', b'"area":9', 3).replace(b'"image_id":5,', b'"image_id":9999,'))
        for path in sorted((out / "images" / split).iterdir())[::9]:
            path.unlink()

    def found(jobs: int) -> list[Finding]:
        with at_most(jobs):
            return list(Coco.check(out))

    alone = found(1)
    assert {finding.code for finding in alone} >= {"area", "unknown-image", "missing-image"}
    monkeypatch.setattr("mvtec_convert.coco_checks.WORTH_FORKING", 2)
    assert found(3) == alone
    monkeypatch.setattr("mvtec_convert.runs.workers.WORTH_FORKING", 2)
    assert found(2) == alone


def test_many_findings_of_a_file_stay_readable_and_quick(tiny, tmp_path):
    folder = tiny.copy("coco", tmp_path / "set")
    whole(annotations=[{"id": "x"}] * 20_000)(folder)
    began = time.monotonic()
    found = findings(folder, "coco")
    assert time.monotonic() - began < 10
    assert len(found) == 21
    assert found[-1].message == "and 59980 more like this"


def test_a_claimed_size_beyond_all_memory_is_only_compared(tiny, tmp_path):
    folder = tiny.copy("coco", tmp_path / "set")
    image(width=2**40, height=2**20)(folder)
    annotation(segmentation={"size": [2**20, 2**40], "counts": [0, 2**60]})(folder)
    assert {finding.code for finding in findings(folder, "coco")} == {"image-size"}


def test_a_million_wrong_numbers_end_in_findings(tiny, tmp_path):
    folder = tiny.copy("coco", tmp_path / "set")
    annotation(segmentation=[["x"] * 1_000_000])(folder)
    (finding,) = findings(folder, "coco")
    assert (finding.code, finding.line) == ("schema", FIRST)


def test_what_is_no_dataset_is_not_recognised(tmp_path):
    write("package.json", '{"name": "x"}')(tmp_path)
    assert not Coco.recognises(tmp_path)
    assert not Coco.recognises(tmp_path / "package.json")
    assert not Coco.recognises(tmp_path / "missing")


def test_random_damage_ends_in_findings(tiny, tmp_path):
    never_raises(tiny.copy("coco", tmp_path / "set"), "coco", BOTH, rounds=60)


def test_random_damage_ends_in_findings_rle(tiny, tmp_path):
    never_raises(tiny.copy("coco-rle", tmp_path / "set"), "coco", (TRAIN,), rounds=60)
