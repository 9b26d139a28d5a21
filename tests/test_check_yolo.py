"""Every way a YOLO dataset can be broken is found, told once, in the right place; sound ones pass."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import mvtec_convert as mc
from mvtec_convert.formats.yolo import Yolo
from tests.broken import Case, draw_image, edit, errors, findings, ids, never_raises, remove, save, verify, write

CUT = "labels/train/plate_cut_000.txt"
HOLE = "labels/train/plate_hole_000.txt"
IMAGE = "images/train/plate_cut_000.png"
BOX = "0 0.325000 0.312500 0.350000 0.375000"
POLYGON = "0 0.1 0.1 0.5 0.1 0.5 0.5"
NAMES = "names:\n  0: cut\n  1: hole\n"


def copied(source: str, target: str):
    """Copy a file within the dataset."""
    return lambda folder: shutil.copy(folder / source, folder / target)


def linked(name: str, target: str):
    """Move a folder, and leave a link to it."""

    def breaks(folder: Path) -> None:
        (folder / name).rename(folder / target)
        (folder / name).symlink_to(folder / target)

    return breaks


def both(*steps):
    return lambda folder: [step(folder) for step in steps]


def data(text: str):
    return write("data.yaml", text)


def row(text: str):
    """Replace the first row of a label file."""
    return edit(CUT, BOX, text)


CASES = [
    # data.yaml
    Case("no data.yaml", remove("data.yaml"), "no-data-yaml"),
    Case("data.yaml is no YAML", edit("data.yaml", "names:", "names: ["), "bad-yaml", "data.yaml", 5),
    Case("data.yaml is UTF-16", lambda f: data((f / "data.yaml").read_text().encode("utf-16"))(f), "bad-yaml"),
    Case("data.yaml is empty", data(""), "schema", "data.yaml"),
    Case("data.yaml is a list", data("- train\n"), "schema", "data.yaml"),
    Case("no val", edit("data.yaml", "val: images/val\n", ""), "schema", "data.yaml"),
    Case("val is nothing", edit("data.yaml", "images/val", ""), "schema", "data.yaml", 2),
    Case("a name that YAML reads as false", edit("data.yaml", "0: cut", "0: no"), "schema", "data.yaml", 3),
    Case("neither names nor nc", edit("data.yaml", NAMES, ""), "class-names", "data.yaml"),
    Case("nc without names", edit("data.yaml", NAMES, "nc: 2\n"), "class-names", "data.yaml", 3, "warning"),
    Case("gap in names", edit("data.yaml", "1: hole", "1: hole\n  3: x"), "class-ids", "data.yaml", 3,
         also=frozenset({"unused-class"})),
    Case("nc is not the number of names", edit("data.yaml", "names", "nc: 3\nnames"), "class-count", "data.yaml", 3),
    Case("one name twice", edit("data.yaml", "1: hole", "1: cut"), "class-names", "data.yaml", 3),
    Case("slash in a name", edit("data.yaml", "1: hole", "1: hole/gap"), "class-names", "data.yaml", 3, "warning"),
    Case("path", edit("data.yaml", "train:", "path: .\ntrain:"), "yaml-path", "data.yaml", 1, "warning"),
    Case("path of another machine", edit("data.yaml", "train:", "path: /data/x\ntrain:"), "yaml-path", "data.yaml", 1,
         "warning"),
    Case("a class never used", edit("data.yaml", "1: hole", "1: hole\n  2: dent"), "unused-class", "labels/train",
         None, "warning"),
    # images
    Case("no train folder", edit("data.yaml", "images/train", "images/training"), "no-split-folder", "data.yaml"),
    Case("train outside the dataset", edit("data.yaml", "images/train", "/etc"), "outside-folder", "data.yaml"),
    Case("train above the dataset", edit("data.yaml", "images/train", "../../etc"), "outside-folder", "data.yaml"),
    Case("a name that no file can have", edit("data.yaml", "images/val", "i" * 5000), "no-split-folder", "data.yaml"),
    Case("a split without images", both(write("images/none/notes.txt", "x"), edit("data.yaml", "val: images/val",
         "val: images/none")), "empty-split", "images/none"),
    Case("a list that is no text", both(write("list.txt", b"\xff\xfe\x00"), edit("data.yaml", "val: images/val",
         "val: list.txt")), "bad-list", "list.txt", also=frozenset({"empty-split"})),
    Case("an empty list", both(write("list.txt", "\n"), edit("data.yaml", "val: images/val", "val: list.txt")),
         "empty-split", "list.txt"),
    Case("a list that leads out", both(write("list.txt", "./images/val/plate_cut_001.png\n/etc/x.png\n"),
         edit("data.yaml", "val: images/val", "val: list.txt")), "outside-folder", "list.txt", 2,
         also=frozenset({"orphan-label"})),
    Case("a list relative to nowhere", both(write("list.txt", "images/val/plate_cut_001.png\n"), edit("data.yaml",
         "val: images/val", "val: list.txt"), remove("labels/val/plate_hole_001.txt"),
         remove("labels/val/plate_good_train_000.txt")), "list-path", "list.txt", 1, "warning"),
    Case("a listed image is missing", both(write("list.txt", "./images/val/plate_cut_001.png\n./images/val/gone.png\n"),
         edit("data.yaml", "val: images/val", "val: list.txt")), "missing-image", "images/val/gone.png",
         also=frozenset({"orphan-label"})),
    Case("a split that is a link", linked("images/val", "photos"), "linked-folder", "images/val"),
    Case("an image is no image", write(IMAGE, "text"), "bad-image", IMAGE),
    Case("an image is cut short", lambda f: write(IMAGE, (f / IMAGE).read_bytes()[:1500])(f), "bad-image", IMAGE),
    Case("an image below 10 px", lambda f: draw_image(f / IMAGE, size=(9, 40)), "tiny-image", IMAGE, None, "warning"),
    Case("one name, two suffixes", lambda f: draw_image((f / IMAGE).with_suffix(".bmp"), 77), "shared-label", IMAGE),
    Case("an image in two splits", copied(IMAGE, "images/val/other.png"), "split-leak", "images/val/other.png"),
    Case("an image in two splits under one name", copied(IMAGE, IMAGE.replace("train", "val")), "split-leak",
         "images/val/plate_cut_000.png"),
    Case("train is val", edit("data.yaml", "images/val", "images/train"), "split-leak", ".png"),
    Case("one name for two images", lambda f: draw_image(f / IMAGE.replace("train", "val"), 99), "same-name",
         "images/val", None, "warning"),
    # labels
    Case("labels without an image", write("labels/train/gone.txt", BOX), "orphan-label", "labels/train/gone.txt"),
    Case("an image is gone", remove(IMAGE), "orphan-label", CUT),
    Case("labels in UTF-16", lambda f: write(CUT, BOX.encode("utf-16"))(f), "bad-label-file", CUT),
    Case("labels with a byte order mark", lambda f: write(CUT, b"\xef\xbb\xbf" + BOX.encode())(f), "bad-label-file",
         CUT, 1),
    Case("a row too short", row("0 0.5 0.5 0.1"), "row-length", CUT, 1),
    Case("a row with a confidence", row(BOX + " 0.9"), "row-length", CUT, 1),
    Case("half a point", write(CUT, POLYGON + " 0.3\n"), "row-length", CUT, 1, also=frozenset({"mixed-rows"})),
    Case("a line of spaces", row(BOX + "\n  "), "row-length", CUT, 2),
    Case("no number", row("0 a 0.5 0.1 0.1"), "not-a-number", CUT, 1),
    Case("a class name", row("cut 0.5 0.5 0.1 0.1"), "not-a-number", CUT, 1),
    Case("a comma", row("0 0,5 0,5 0,1 0,1"), "not-a-number", CUT, 1),
    Case("not a number", row("0 nan 0.5 0.1 0.1"), "out-of-range", CUT, 1),
    Case("infinite", row("0 0.5 inf 0.1 0.1"), "out-of-range", CUT, 1),
    Case("huge", row("0 0.5 1e308 0.1 0.1"), "out-of-range", CUT, 1),
    Case("pixels", row("0 20 16 14 12"), "out-of-range", CUT, 1),
    Case("just above one", row("0 0.5 1.000001 0.1 0.1"), "out-of-range", CUT, 1),
    Case("negative", row("0 -0.1 0.5 0.1 0.1"), "out-of-range", CUT, 1),
    Case("no width", row("0 0.5 0.5 0 0.1"), "out-of-range", CUT, 1),
    Case("class too high", row(BOX.replace("0 ", "2 ", 1)), "unknown-class", CUT, 1),
    Case("class below 0", row("-" + BOX.replace("0 ", "1 ", 1)), "unknown-class", CUT, 1),
    Case("class with a fraction", row(BOX.replace("0 ", "0.5 ", 1)), "unknown-class", CUT, 1),
    Case("class is nan", row(BOX.replace("0 ", "nan ", 1)), "unknown-class", CUT, 1),
    Case("class is huge", row(BOX.replace("0 ", "1e300 ", 1)), "unknown-class", CUT, 1),
    Case("a box over the border", row("0 0.1 0.5 0.5 0.1"), "outside-image", CUT, 1),
    Case("a row twice", row(f"{BOX}\n{BOX}"), "duplicate-row", CUT, 2, "warning"),
    Case("a row twice, written otherwise", row(f"{BOX}\n0.0 0.325 0.3125 0.35 0.375"), "duplicate-row", CUT, 2,
         "warning"),
    Case("two polygons with one box", write(CUT, f"{POLYGON}\n0 0.1 0.1 0.1 0.5 0.5 0.5\n"), "duplicate-row", CUT, 2,
         "warning", also=frozenset({"mixed-rows"})),
    Case("boxes and polygons in one file", row(f"{BOX}\n{POLYGON}"), "mixed-rows", CUT, 2, also=frozenset()),
    Case("boxes and polygons in different files", write(HOLE, "1" + POLYGON[1:]), "mixed-rows", "labels/train", None,
         "warning"),
    Case("an empty polygon", lambda f: write(CUT, "0 0.1 0.1 0.1 0.5 0.1 0.3\n")(f), "empty-polygon", CUT, 1,
         base="yolo-segment"),
    Case("a polygon over the border", lambda f: write(CUT, "0 0.1 0.1 1.1 0.1 0.1 0.3\n")(f), "out-of-range", CUT, 1,
         base="yolo-segment"),
    Case("labels in capitals", lambda f: (f / CUT).rename((f / CUT).with_suffix(".TXT")), "orphan-label",
         CUT.replace(".txt", ".TXT")),
    Case("labels in capitals without an image", write("labels/train/gone.TXT", BOX), "orphan-label", "gone.TXT"),
    Case("a split without boxes", lambda f: [path.write_text("") for path in (f / "labels/val").iterdir()], "no-boxes",
         "labels/val", None, "warning"),
    Case("a label cache", write("labels/train.cache", "x"), "stale-cache", "labels/train.cache", None, "warning"),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=ids(CASES))
def test_what_is_broken_is_found(case, tiny, tmp_path):
    verify(case, tiny.copy(case.base or "yolo", tmp_path / "set"), "yolo")


@pytest.mark.parametrize("task", ["detect", "segment", "obb"])
def test_fresh_exports_of_the_sample_have_no_findings(sample_root, tmp_path, task):
    mc.to_yolo(mc.load(sample_root), tmp_path / "out", task=task)
    assert findings(tmp_path / "out", "yolo") == []


def test_mvtecs_own_split_gives_warnings_only(tiny, tmp_path):
    mc.to_yolo(mc.load(tiny.folder / "tree"), tmp_path / "out", split="official")
    assert {finding.code for finding in findings(tmp_path / "out", "yolo")} == {"no-boxes"}
    assert errors(tmp_path / "out", "yolo") == []


@pytest.fixture
def roboflow(tmp_path) -> Path:
    """As Roboflow writes it: names as a list, nc, paths that lead up, split folders around images and labels."""
    for i, split in enumerate(("train", "valid", "test")):
        for j in range(2):
            name = f"board_{i}{j}_jpg.rf.{'0a1b' * 8}"
            draw_image(tmp_path / split / "images" / f"{name}.jpg", 10 * i + j)
            write(f"{split}/labels/{name}.txt", f"{j} 0.51328125 0.4984375 0.2 0.3")(tmp_path)
    write("README.dataset.txt", "# boards\n")(tmp_path)
    document = (
        "train: ../train/images\nval: ../valid/images\ntest: ../test/images\n\nnc: 2\nnames: ['dent', 'scratch']\n"
    )
    write("data.yaml", document + "\nroboflow:\n  workspace: w\n  version: 1\n")(tmp_path)
    return tmp_path


def test_roboflows_layout_passes(roboflow):
    assert Yolo.recognises(roboflow)
    assert findings(roboflow, "yolo") == []


def test_roboflows_layout_is_really_read(roboflow):
    label = next((roboflow / "valid" / "labels").iterdir())
    label.write_text("2 0.5 0.5 0.2 0.3")
    (finding,) = findings(roboflow, "yolo")
    assert (finding.code, finding.path, finding.line) == ("unknown-class", str(label), 1)


def test_the_data_yaml_itself_may_be_given(roboflow):
    assert Yolo.recognises(roboflow / "data.yaml")
    assert findings(roboflow / "data.yaml", "yolo") == []
    shutil.rmtree(roboflow / "valid")
    assert [finding.code for finding in findings(roboflow / "data.yaml", "yolo")] == ["no-split-folder"]


def test_lists_of_folders_and_lists_of_images_pass(tmp_path):
    for i, name in enumerate(("a/x", "b/x", "val/y", "val/z")):
        draw_image(tmp_path / "images" / f"{name}.png", i)
        write(f"labels/{name}.txt", "0 0.5 0.5 0.2 0.3\r1 0.5 0.5 0.2 0.2\r\n")(
            tmp_path
        )  # also the line ends of old Macs
    write("val.txt", f"./images/val/y.png\n{tmp_path}/images/val/z.png\n")(tmp_path)
    write("data.yaml", "train: [images/a, images/b]\nvalidation: val.txt\nnames: {0: cut, 1: hole}\n")(tmp_path)
    assert findings(tmp_path, "yolo") == []


def test_an_image_without_labels_is_background_and_classes_may_be_written_as_floats(tiny, tmp_path):
    folder = tiny.copy("yolo", tmp_path / "set")
    (folder / "labels/train/plate_good_000.txt").unlink()
    edit(CUT, "0 0.3", "0.0 0.3")(folder)
    write("labels/train/classes.txt", "cut\nhole\n")(folder)
    write("labels/train/README.TXT", "by hand\n")(folder)
    assert findings(folder, "yolo") == []


def test_one_leak_is_told_once_for_each_image(tiny, tmp_path):
    folder = tiny.copy("yolo", tmp_path / "set")
    edit("data.yaml", "images/val", "images/train")(folder)
    found = findings(folder, "yolo")
    assert len(found) == len({finding.path for finding in found}) == 10


def test_many_findings_alike_are_counted_not_listed(tiny, tmp_path):
    folder = tiny.copy("yolo", tmp_path / "set")
    (folder / CUT).write_text("".join(f"0 {i} 0.5 0.1 0.1\n" for i in range(2, 5002)))
    found = findings(folder, "yolo")
    assert len(found) == 21
    assert (found[-1].code, found[-1].message, found[-1].line) == ("out-of-range", "and 4980 more like this", 21)


BOMB = "a: &a {x: 1}\n" + "".join(
    f"{new}: &{new} {{<<: [{', '.join(['*' + old] * 9)}]}}\n"
    for old, new in zip("abcdefghij", "bcdefghijk", strict=True)
)
NESTED = "a: &a [x]\n" + "".join(
    f"{new}: &{new} [{', '.join(['*' + old] * 9)}]\n" for old, new in zip("abcdefghij", "bcdefghijk", strict=True)
)
HOSTILE = {
    "merge keys": BOMB,
    "aliases": NESTED + "train: *k\nval: *j\nnames: *k\n",
    "a list that holds itself": "train: &a [*a]\nval: *a\nnames: *a\n",
    "deep": "names: " + "[" * 2000,  # twice as deep as Python's calls may be
    "a long number": f"train: images/train\nval: {'9' * 5000}\nnames: [a]\n",
    "no date": "train: 2024-99-99\n",
    "tags": '!!python/object/apply:os.system ["true"]',
    "empty tags": '!!int ""',
    "many classes": "train: images/train\nval: images/val\nnc: 99999999999\n",
    "control characters": "train: \x00\n",
    "a name with a null": 'train: "a\\0b"\nval: "\\ud800"\nnames: [a]\n',
    "the whole disk": "path: /\ntrain: .\nval: ../..\nnames: [a]\n",
    "a device": "train: /dev/zero\nval: /dev/stdin\nnames: [a]\n",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_data_yaml_ends_in_findings(text, tiny, tmp_path):
    folder = tiny.copy("yolo", tmp_path / "set")
    data(text)(folder)
    found = findings(folder, "yolo")
    assert any(finding.severity == "error" and finding.path.endswith("data.yaml") for finding in found)
    assert len(found) < 100


def test_hostile_labels_end_in_findings(tiny, tmp_path):
    folder = tiny.copy("yolo", tmp_path / "set")
    write(CUT, "0 " + "2 " * 1_000_000 + "\n" + "0 " * 1_000_000)(folder)
    write(HOLE, "\n" * 200_000 + " \n" * 200_000)(folder)
    found = findings(folder, "yolo")
    assert {(finding.code, finding.line) for finding in found} == {
        ("out-of-range", 1), ("row-length", 2), ("mixed-rows", None),
    }  # fmt: skip


def test_what_is_no_dataset_is_not_recognised(tmp_path):
    write("docker-compose.yml", "services: {}\n")(tmp_path)
    assert not Yolo.recognises(tmp_path)
    assert not Yolo.recognises(tmp_path / "missing")
    assert [finding.code for finding in findings(tmp_path, "yolo")] == ["no-data-yaml"]


def test_names_in_hidden_folders_are_not_looked_at(tiny, tmp_path):
    folder = tiny.copy("yolo", tmp_path / "set")
    write("images/train/.cache/x.png", "no image")(folder)
    write("images/train/._plate.png", "no image")(folder)
    assert findings(folder, "yolo") == []


def test_grey_images_pass(tiny, tmp_path):
    import numpy as np

    folder = tiny.copy("yolo", tmp_path / "set")
    save(np.eye(40, dtype=np.uint8), folder / IMAGE)
    assert findings(folder, "yolo") == []


def test_random_damage_ends_in_findings(tiny, tmp_path):
    never_raises(tiny.copy("yolo", tmp_path / "set"), "yolo", (CUT, "data.yaml"), rounds=60)


def test_random_damage_ends_in_findings_segment(tiny, tmp_path):
    never_raises(tiny.copy("yolo-segment", tmp_path / "set"), "yolo", (CUT,), rounds=60)
