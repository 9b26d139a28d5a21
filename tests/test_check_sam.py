"""Every way a SAM dataset can be broken is found, told once, on the right line; sound ones pass."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

import mvtec_convert as mc
from mvtec_convert.formats import formats
from mvtec_convert.formats.sam import Sam
from tests import broken
from tests.broken import Case, draw_image, edit, errors, findings, ids, never_raises, remove, save, verify, write
from tests.opened import opened_files

FILE = "val/plate_hole_001.json"
IMAGE = "val/plate_hole_001.png"
GOOD = "val/plate_good_train_000.json"
FIRST, SECOND = 9, 75  # lines of the two annotations: a frame with a hole, a full square
IN_HOLE, IN_FRAME, IN_SQUARE, FREE = [11, 9], [7, 5], [32, 27], [2, 2]


def change(place: tuple[str | int, ...], **values: Any):
    """Set values at a place of the document; None removes a key."""
    return broken.change(FILE, *place, **values)


def image(**values: Any):
    return change(("image",), **values)


def first(**values: Any):
    return change(("annotations", 0), **values)


def prompts(**values: Any):
    return change(("annotations", 0, "prompts"), **values)


def rle(counts: Any, size: tuple[int, int] = (32, 40)):
    return first(segmentation={"size": list(size), "counts": counts})


CASES = [
    # the file
    Case("no file", lambda f: [path.unlink() for path in f.rglob("*.json")], "no-annotation-file", "set"),
    Case("no JSON", write(FILE, "{"), "bad-json", FILE, 1),
    Case("NaN", edit(FILE, '"area": 152', '"area": NaN'), "bad-json", FILE, 24),
    Case("a list", write(FILE, "[]"), "schema", FILE),
    Case("no image record", change((), image=None), "schema", FILE),
    Case("no annotations", change((), annotations=None), "schema", FILE),
    Case("nothing annotated", lambda f: [path.write_text(json.dumps(json.loads(path.read_text()) | {"annotations": []}))
         for path in (f / "val").glob("*.json")], "no-masks", "val", None, "warning"),
    # the image
    Case("image id of another", image(image_id=1), "duplicate-id", FILE),
    Case("image id as text", image(image_id="8"), "schema", FILE),
    Case("height 0", image(height=0), "schema", FILE),
    Case("image missing", remove(IMAGE), "missing-image", IMAGE),
    Case("image is no image", write(IMAGE, "text"), "bad-image", IMAGE),
    Case("image of another size", lambda f: draw_image(f / IMAGE, 1, (50, 32)), "image-size", IMAGE),
    Case("absolute file name", image(file_name="/etc/passwd.png"), "outside-folder", FILE),
    Case("file name that goes up", image(file_name="../train/plate_cut_000.png"), "outside-folder", FILE),
    Case("file name that is elsewhere", image(file_name="images/plate.png"), "outside-folder", FILE),
    Case("file name of Windows", image(file_name="..\\plate.png"), "outside-folder", FILE),
    Case("a name no file can have", image(file_name="x" * 5000), "missing-image"),
    Case("an image without a file", remove(FILE), "orphan-image", IMAGE),
    Case("an image in both splits", lambda f: shutil.copy(f / "train/plate_cut_000.png", f / IMAGE), "split-leak",
         IMAGE),
    # annotations
    Case("annotation id twice", first(id=2), "duplicate-id", FILE, SECOND),
    Case("annotation without an id", first(id=None), "schema", FILE, FIRST),
    Case("box is no list", first(bbox="6 4 14 12"), "schema", FILE, FIRST),
    Case("area 0", first(area=0), "schema", FILE, FIRST),
    Case("area off by one", first(area=151), "area", FILE, FIRST),
    Case("area of the box", first(area=168), "area", FILE, FIRST),
    Case("box elsewhere", first(bbox=[8, 4, 14, 12]), "box-and-mask", FILE, FIRST),
    Case("box of corners", first(bbox=[6, 4, 20, 16]), "box-and-mask", FILE, FIRST),
    Case("box is huge", first(bbox=[1e308, 4, 14, 12]), "box-and-mask", FILE, FIRST, also=frozenset({"prompt-box"})),
    Case("RLE of another size", rle("T6", (40, 32)), "rle-size", FILE, FIRST),
    Case("RLE of garbage", rle("hello"), "bad-rle", FILE, FIRST),
    Case("RLE as numbers", rle([100, 152, 1028]), "schema", FILE, FIRST),
    Case("RLE that overflows a C int", rle("0PnOOOOOOO0"), "bad-rle", FILE, FIRST),
    Case("RLE that is cut short", rle("T6<d00"), "bad-rle", FILE, FIRST),
    Case("RLE of nothing", lambda f: rle(coco_mask.encode(np.zeros((32, 40), np.uint8, "F"))["counts"].decode())(f),
         "empty-segmentation", FILE, FIRST, also=frozenset({"point-label"})),
    # prompts
    Case("no phrase", prompts(text=None), "schema", FILE, FIRST),
    Case("box as width and height", prompts(box=[20, 16, 14, 12]), "prompt-box", FILE, FIRST),
    Case("box around something else", prompts(box=[30, 20, 38, 30]), "prompt-box", FILE, FIRST),
    Case("a point without a label", prompts(points=[IN_FRAME, FREE], labels=[1]), "point-labels", FILE, FIRST),
    Case("a label that is no label", prompts(points=[IN_FRAME], labels=[-1]), "schema", FILE, FIRST),
    Case("positive in the hole", prompts(points=[IN_HOLE], labels=[1]), "point-label", FILE, FIRST),
    Case("positive beside the mask", prompts(points=[FREE], labels=[1]), "point-label", FILE, FIRST),
    Case("positive in another mask", prompts(points=[IN_SQUARE], labels=[1]), "point-label", FILE, FIRST),
    Case("negative in the mask", prompts(points=[IN_FRAME], labels=[0]), "point-label", FILE, FIRST),
    Case("negative in another mask", prompts(points=[IN_SQUARE], labels=[0]), "point-label", FILE, FIRST),
    Case("y before x", prompts(points=[IN_SQUARE[::-1]], labels=[0]), "point-label", FILE, FIRST),
    Case("point outside the image", prompts(points=[[1e300, 5]], labels=[0]), "point-label", FILE, FIRST),
    Case("point left of the image", prompts(points=[[-1, 5]], labels=[0]), "schema", FILE, FIRST),
    Case("label 1 only where there is a mask", prompts(points=[IN_FRAME, FREE], labels=[1, 1]), "point-label", FILE,
         FIRST),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=ids(CASES))
def test_what_is_broken_is_found(case, tiny, tmp_path):
    verify(case, tiny.copy("sam", tmp_path / "set"), "sam")


def test_points_where_they_should_be_pass(tiny, tmp_path):
    folder = tiny.copy("sam", tmp_path / "set")
    prompts(points=[IN_FRAME, [7.9, 5.9], IN_HOLE, FREE], labels=[1, 1, 0, 0])(folder)
    assert findings(folder, "sam") == []


def test_fresh_exports_of_the_sample_have_no_findings(sample_root, tmp_path):
    mc.to_sam(mc.load(sample_root), tmp_path / "out", points=3, negatives=3, box_jitter=5)
    assert findings(tmp_path / "out", "sam") == []


def test_mvtecs_own_split_gives_a_warning_only(tiny, tmp_path):
    mc.to_sam(mc.load(tiny.folder / "tree"), tmp_path / "out", split="official")
    assert [finding.code for finding in findings(tmp_path / "out", "sam")] == ["no-masks"]
    assert errors(tmp_path / "out", "sam") == []


@pytest.fixture
def sa1b(tmp_path) -> Path:
    """As SA-1B comes: one flat folder, one line a file, boxes a pixel short, scores above 1, no prompts."""
    mask = np.zeros((32, 40), np.uint8, "F")
    mask[4:16, 6:20] = 1
    counts = coco_mask.encode(mask)["counts"].decode()
    for i in (1, 2):
        record = {
            "bbox": [6.0, 4.0, 13.0, 11.0], "area": 168, "segmentation": {"size": [32, 40], "counts": counts},
            "predicted_iou": 1.0137, "point_coords": [[10.5, 8.25]], "crop_box": [0.0, 0.0, 40.0, 32.0],
            "id": 551690 + i, "stability_score": 0.98,
        }  # fmt: skip
        header = {"image_id": i, "width": 40, "height": 32, "file_name": f"sa_{i}.jpg"}
        write(f"sa_{i}.json", json.dumps({"image": header, "annotations": [record]}))(tmp_path)
        draw_image(tmp_path / f"sa_{i}.jpg", i)
    return tmp_path


def test_sa1b_passes(sa1b):
    assert any(format.recognises(sa1b) for format in formats().values())
    assert findings(sa1b, "sam") == []


def test_sa1b_is_really_read(sa1b):
    path = sa1b / "sa_2.json"
    path.write_text(path.read_text().replace('"area": 168', '"area": 167'))
    (finding,) = findings(sa1b, "sam")
    assert (finding.code, finding.path, finding.line) == ("area", str(path), 1)


def test_keys_in_another_order_are_recognised(sa1b):
    for path in sa1b.glob("*.json"):
        document = json.loads(path.read_text())
        document["annotations"] *= 100
        for i, annotation in enumerate(document["annotations"]):
            document["annotations"][i] = {**annotation, "id": i}
        path.write_text(json.dumps({"annotations": document["annotations"], "image": document["image"]}))
    assert any(format.recognises(sa1b) for format in formats().values())
    assert findings(sa1b, "sam") == []


def test_other_json_files_are_left_alone(sa1b):
    write("notes.json", '{"by": "someone"}')(sa1b)
    write("annotations/instances.json", '{"images": [], "annotations": []}')(sa1b)
    assert findings(sa1b, "sam") == []


def test_no_file_outside_the_folder_is_opened(tiny, tmp_path):
    folder = tiny.copy("sam", tmp_path / "set")
    outside = tmp_path / "outside.png"
    save(np.zeros((32, 40), np.uint8), outside)
    for name in ("../../outside.png", str(outside), "..\\..\\outside.png"):
        image(file_name=name)(folder)
        with opened_files() as opened:
            found = [finding.code for finding in findings(folder, "sam")]
        assert found == ["outside-folder"]
        assert opened
        assert outside not in {path.resolve() for path in opened}


@pytest.mark.parametrize("text", ["[" * 100_000, "1" * 100_000, '{"image": 1e999}', "\x00", '"\\ud800"', "null", ""])
def test_hostile_files_end_in_findings(text, tiny, tmp_path):
    folder = tiny.copy("sam", tmp_path / "set")
    write(FILE, text)(folder)
    (finding,) = findings(folder, "sam")
    assert (finding.severity, finding.path) == ("error", str(folder / FILE))


def test_a_claimed_size_beyond_all_memory_is_only_compared(tiny, tmp_path):
    folder = tiny.copy("sam", tmp_path / "set")
    image(width=2**40, height=2**20)(folder)
    first(segmentation={"size": [2**20, 2**40], "counts": "0" * 1000})(folder)
    assert {finding.code for finding in findings(folder, "sam")} == {"image-size", "rle-size", "bad-rle"}


def test_what_is_no_dataset_is_not_recognised(tmp_path):
    write("package.json", '{"name": "x", "image": "y"}')(tmp_path)
    assert not Sam.recognises(tmp_path)
    assert not Sam.recognises(tmp_path / "missing")


def test_random_damage_ends_in_findings(tiny, tmp_path):
    never_raises(tiny.copy("sam", tmp_path / "set"), "sam", (FILE, GOOD), rounds=60)
