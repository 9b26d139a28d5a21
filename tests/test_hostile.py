"""Files of strangers: each named attack, and each case that fuzzing found, ends in a result, a refusal or a finding.

What other tests hold already: bombs of every kind of image (`test_images`), archives (`test_archives`), YAML
(`test_check_yolo`), names on a page (`test_report`) and in a terminal (`test_cli`). docs/robustness.md lists all.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mvtec_convert as mc
from mvtec_convert.cli.app import run
from mvtec_convert.errors import ExportError, MaskError, MvtecConvertError, OutputError, SelectionError, printable
from mvtec_convert.formats import medsam
from mvtec_convert.formats import yolo as yolo_format
from mvtec_convert.images import read_header, save_jpeg, save_png
from mvtec_convert.layouts.own import OwnData
from mvtec_convert.own_data import pixel_names, read_description
from mvtec_convert.phrases import load_phrases
from mvtec_convert.splits import load as load_split
from tests.broken import Tiny, save, write
from tests.fuzz import valid
from tests.fuzz.readers import readers
from tests.fuzz.worker import run as fuzz
from tests.layout_contract import MVTEC_LOCO, OWN, VISA

TRAIN = "annotations/instances_train.json"
LABELS = "labels/train/plate_cut_000.txt"
DEEP = "[" * 100_000


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Tiny:
    return Tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def plates(tmp_path) -> Path:
    """A sound source of seven images."""
    return valid.plates(tmp_path / "plates")


def codes(folder: Path) -> set[str]:
    return {finding.code for finding in mc.validate(folder).findings}


def coco(folder: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    document = json.loads((folder / TRAIN).read_text(encoding="utf-8"))
    change(document)
    (folder / TRAIN).write_text(json.dumps(document), encoding="utf-8")
    return folder


# --- fuzzing ---------------------------------------------------------------------------------------------------------

ROUNDS = 6


@pytest.fixture(autouse=True)
def small_arrays(monkeypatch):
    """As the harness makes them for good, in processes of its own."""
    monkeypatch.setattr(medsam, "SIDE", valid.SMALL_SQUARE)


@pytest.mark.parametrize("name", readers())
def test_a_few_damaged_files_of_every_kind_end_well(name, tmp_path):
    *failures, summary = fuzz(name, tmp_path / "work", 0, range(ROUNDS))
    assert not failures, failures[0]["failure"]
    assert sum(summary["counts"].values()) == ROUNDS


# --- images ----------------------------------------------------------------------------------------------------------


def bomb(width: int = 30_000, height: int = 30_000) -> bytes:
    """A sound grey PNG whose pixels, all black, are packed to a few kB."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    packer = zlib.compressobj(9)
    row = bytes(1 + width)
    pixels = b"".join(packer.compress(row) for _ in range(height // 100)) + packer.flush()  # cut short: no time is lost
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def test_a_bomb_is_refused_wherever_it_lies(plates, tmp_path, capsys):
    mask = plates / "plate" / "ground_truth" / "cut" / "003_mask.png"
    mask.write_bytes(bomb())
    assert mask.stat().st_size < 50_000
    assert run(["check", str(plates)]) == 1
    assert "30000 x 30000 px is more than the 134,217,728 pixels" in capsys.readouterr().out
    with pytest.raises(MvtecConvertError, match="30000 x 30000"):
        mc.to_coco(mc.load(plates), tmp_path / "out")
    sound = valid.plates(tmp_path / "sound")
    mc.to_yolo(mc.load(sound), tmp_path / "export", images="copy")
    next((tmp_path / "export" / "images" / "train").iterdir()).write_bytes(bomb())
    assert codes(tmp_path / "export") == {"bad-image"}


def test_an_image_longer_than_jpeg_allows_is_refused(tmp_path):
    save(np.zeros((1, 65_501), np.uint8), tmp_path / "long.png")
    with pytest.raises(MaskError, match="at most 65,500 px"):
        save_jpeg(tmp_path / "long.png", tmp_path / "long.jpg")


@pytest.mark.parametrize(("value", "fits"), [(65_535, True), (65_536, False), (-1, False)])
def test_32_bits_become_16_where_they_fit(value, fits, tmp_path):
    save(np.full((2, 3), value, np.int32), tmp_path / "deep.tif")
    if not fits:
        with pytest.raises(MaskError, match="PNG cannot hold I"):
            save_png(tmp_path / "deep.tif", tmp_path / "saved.png")
        return
    save_png(tmp_path / "deep.tif", tmp_path / "saved.png")
    assert read_header(tmp_path / "saved.png").mode == "I;16"


# --- JSON, YAML, TOML, CSV -------------------------------------------------------------------------------------------

EXPORTED = {
    "coco": TRAIN,
    "yolo": "world/class_texts.json",
    "sam": "train/plate_cut_000.json",
}


@pytest.mark.parametrize("base", EXPORTED)
@pytest.mark.parametrize("name", ["", "splits.json", "classes.json", "mvtec-convert.json", "balance.json"])
@pytest.mark.parametrize("text", [DEEP, '{"a":' * 100_000, "9" * 100_000, '"\\ud800"', "\0", b"\xff\xfe[\0]\0"])
def test_json_of_no_sense_is_a_finding(base, name, text, tiny, tmp_path):
    folder = tiny.copy(base, tmp_path / "set")
    write(name or EXPORTED[base], text)(folder)
    assert codes(folder) & {"bad-json", "schema"}
    with pytest.raises(SelectionError):
        load_split(folder / (name or EXPORTED[base]))


@pytest.mark.parametrize(
    "text", [DEEP, "[" * 5000 + "]" * 5000, "\0", '{"1": "\\ud800"}', b"\xff\xfe{\0}\0", " " * 2**21]
)
def test_options_that_make_no_sense_are_refused(text, tmp_path):
    for name, read in {
        "a.json": lambda path: pixel_names(path, None),
        "b.json": lambda path: pixel_names(None, path),
        "c.json": load_phrases,
        "mvtec-convert.toml": read_description,
        "values.toml": lambda path: pixel_names(path, None),
    }.items():
        write(name, text)(tmp_path)
        with pytest.raises(SelectionError):
            read(tmp_path / name)


@pytest.mark.parametrize("name", ["..", ".", "a/b", "a\\b", "a\nb", "\x1b[31m", "", " ", "\ud800", 7, None])
def test_a_config_names_no_class_that_is_a_path_or_a_command(name, tmp_path):
    config = MVTEC_LOCO.write(tmp_path) / "pushpins" / "defects_config.json"
    config.write_text(json.dumps([{"defect_name": name, "pixel_value": 255}]), encoding="utf-8")
    assert [finding.code for finding in mc.load(tmp_path).findings] == ["bad-config"]


@pytest.mark.parametrize("text", [DEEP, "{}", "\0", "[[]]", '[{"pixel_value": true}]'])
def test_a_config_that_makes_no_sense_is_told(text, tmp_path):
    write("pushpins/defects_config.json", text)(MVTEC_LOCO.write(tmp_path))
    findings = mc.load(tmp_path).findings
    assert {finding.code for finding in findings} <= {"bad-config"}
    assert findings or text == "{}"


def huge_table() -> str:
    """A table that takes tens of GB where each short row gets a value for each column."""
    return "image,label," + ",".join(map(str, range(10_000))) + "\n" + "a.JPG,x\n" * 100_000


@pytest.mark.parametrize(
    ("text", "is_sound"),
    [
        (huge_table(), True),
        ("image,label,mask\r000.JPG,melt,\r", True),
        ("\ufeffimage,label\n000.JPG,melt\n", True),
        ("image,label\n000.JPG\n", False),
        ("image,label\n000.JPG,..\n", False),
        ("image,label\n000.JPG,\x1b[31m\n", False),
        ("image,label\n000.JPG," + "x" * 200_000, False),
        ("image\n", False),
        ("\0", False),
        (b"\xff\xfei\0", False),
    ],
)
def test_a_table_is_read_as_far_as_it_is_needed(text, is_sound, tmp_path):
    write("pcb1/image_anno.csv", text)(VISA.write(tmp_path))
    assert [finding.code for finding in mc.load(tmp_path).findings] == ([] if is_sound else ["bad-config"])


def test_a_file_of_holes_is_not_read_into_memory(tmp_path):
    for tree, name in ((VISA, "pcb1/image_anno.csv"), (MVTEC_LOCO, "pushpins/defects_config.json")):
        root = tree.write(tmp_path / name[:4])
        with (root / name).open("wb") as file:
            file.truncate(1 << 40)
        (finding,) = mc.load(root).findings
        assert (finding.code, "1.1 TB" in finding.message) == ("bad-config", True)


def test_a_template_is_filled_and_not_obeyed(tmp_path):
    for template in ("{defect:>99999999999}", "{defect.__class__}", "{0}", "{", "{{defect}}", "{defect!r:>9999}"):
        write("phrases.json", json.dumps({"template": template}))(tmp_path)
        with pytest.raises(SelectionError, match="alone"):
            load_phrases(tmp_path / "phrases.json")


# --- paths -----------------------------------------------------------------------------------------------------------

AWAY = ["../x", "/etc", "a/../../x", "C:\\x", "C:x", "\\\\host\\share", "..\\x", "//host/share"]


@pytest.mark.parametrize("name", AWAY)
def test_no_name_in_an_export_leads_out_of_it(name, tiny, tmp_path):
    folder = coco(tiny.copy("coco", tmp_path / "coco"), lambda d: d["images"][0].update(file_name=f"{name}.png"))
    assert "outside-folder" in codes(folder)
    with pytest.raises(ExportError, match="leads out"):
        list(mc.read_export(folder))
    folder = tiny.copy("yolo", tmp_path / "yolo")
    write("data.yaml", f"train: {json.dumps(name)}\nval: images/val\nnames: [cut, hole]\n")(folder)
    assert codes(folder) & {"outside-folder", "no-split-folder"}


@pytest.mark.parametrize("pattern", [f"{name}/*.png" for name in AWAY] + ["..", "/**/*.png"])
def test_no_description_leads_out_of_its_folder(pattern, tmp_path):
    root = OWN.write(tmp_path)
    write("mvtec-convert.toml", f"images = {json.dumps(pattern)}\nmasks = 'drawn/*.png'\n")(root)
    with pytest.raises(SelectionError, match="leads out of the folder"):
        mc.load(root)


@pytest.mark.parametrize(
    "pattern",
    [
        "[z-a]*.png",
        "a\0.png",
        "*a*a*a*a*a*a.png",
        "**/**/**/*.png",
        "a/" * 5000 + "*.png",
        "\ud800",
        "{category}" * 5,
    ],
)
def test_a_pattern_that_cannot_be_matched_in_time_is_refused(pattern):
    with pytest.raises(SelectionError):
        OwnData((pattern,), ("m",))


def test_ranges_are_read_as_a_shell_reads_them(tmp_path):
    root = OWN.write(tmp_path)
    for pattern, found in {
        "photos/[ab].jpg": {"a", "b"},
        "photos/[!ab].jpg": {"c"},
        "photos/[a-c].jpg": {"a", "b", "c"},
    }.items():
        dataset = mc.layouts.own.load_own(root, OwnData((pattern,), ("drawn/{stem}*.png",), good_when_no_mask=True))
        assert {sample.stem for sample in dataset} == found


def test_links_in_circles_end(plates, tmp_path, tiny):
    for name in ("one", "two", "three"):
        (plates / "plate" / "train" / "good" / name).symlink_to("..")
        (plates / "plate" / name).symlink_to(".")
    assert {finding.code for finding in mc.check(mc.load(plates)).findings} == {"dead-link"}
    root = OWN.write(tmp_path / "own")
    for name in ("one", "two", "three"):
        (root / "photos" / name).symlink_to("..")
    write("mvtec-convert.toml", "images = '**/*.jpg'\nmasks = '**/{stem}.png'\ngood_when_no_mask = true\n")(root)
    assert [sample.image.name for sample in mc.load(root)] == ["a.jpg", "b.jpg", "c.jpg"]
    for base in ("coco", "yolo", "sam"):
        folder = tiny.copy(base, tmp_path / base)
        for place in [path for path in folder.rglob("*") if path.is_dir()]:
            (place / "up").symlink_to("..")
        assert not [finding for finding in mc.validate(folder).findings if finding.severity == "error"]
        assert list(mc.read_export(folder))


def test_a_dead_link_is_not_passed_over(tiny, tmp_path):
    folder = tiny.copy("yolo", tmp_path / "yolo")
    (folder / "images" / "train" / "self.png").symlink_to("self.png")
    assert codes(folder) == {"missing-image"}
    (folder / "images" / "train" / "self.png").unlink()
    replaced = {"yolo": (LABELS, "bad-label-file"), "coco": (TRAIN, "bad-json"), "sam": (EXPORTED["sam"], "bad-json")}
    for base, (name, code) in replaced.items():
        for make in (lambda path: path.symlink_to("nowhere"), os.mkfifo):
            folder = tiny.copy(base, tmp_path / f"{base}-{make.__name__}")
            (folder / name).unlink()
            make(folder / name)
            assert code in codes(folder)
            with pytest.raises(ExportError):
                list(mc.read_export(folder))


@pytest.mark.parametrize("name", [TRAIN, "splits.json", "mvtec-convert.json"])
@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "hole"])
def test_what_is_no_file_is_not_waited_for(kind, name, tiny, tmp_path):
    folder = tiny.copy("coco", tmp_path / "set")
    path = folder / name
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    else:
        with path.open("wb") as file:
            file.truncate(1 << 40)
    mc.validate(folder)
    with suppress(MvtecConvertError):
        list(mc.read_export(folder))
    with pytest.raises(SelectionError, match="no split to be read"):
        load_split(path)


def test_a_name_of_255_bytes_is_a_name(plates, tmp_path):
    image = plates / "plate" / "train" / "good" / "000.png"
    image.rename(image.with_name("x" * 251 + ".png"))
    assert {finding.code for finding in mc.check(mc.load(plates)).findings} == {"bad-name"}
    with pytest.raises(MvtecConvertError):
        mc.to_coco(mc.load(plates), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_a_list_calls_images_may_be_longer_than_any_name(tiny, tmp_path):
    folder = tiny.copy("yolo", tmp_path / "set")
    write("train.txt", "./images/" + "x" * 300 + "/" + "y" * 70_000 + ".png\n./a\0b/c.png\n")(folder)
    write("data.yaml", "train: train.txt\nval: images/val\nnames: [cut, hole]\n")(folder)
    assert "missing-image" in codes(folder)


def test_a_copy_has_no_name_that_json_cannot_hold_and_no_pipe(plates, tmp_path):
    Path(os.fsdecode(os.fsencode(plates / "plate") + b"/notes\xff.txt")).write_text("x", encoding="utf-8")
    os.mkfifo(plates / "plate" / "pipe")
    found = mc.check(mc.load(plates))
    assert {finding.code for finding in found.findings} == {"bad-name", "special-file"}
    repairs = mc.repair(mc.load(plates), found, tmp_path / "copy")
    assert {repair.path for repair in repairs} == {"plate/notes\\udcff.txt", "plate/pipe"}
    assert mc.check(mc.load(tmp_path / "copy")).findings == ()


def test_a_copy_takes_no_file_along_that_a_link_points_to_but_images(plates, tmp_path):
    private = tmp_path / "private"
    private.mkdir()
    (private / "key").write_text("secret", encoding="utf-8")
    save(np.zeros((20, 24, 3), np.uint8), private / "photo.png")
    links = {"notes.txt": "key", "test/good/a.png": "key", "test/good/photo.png": "photo.png", "more": "."}
    for name, target in links.items():
        (plates / "plate" / name).symlink_to(private / target)
    found = mc.check(mc.load(plates))
    repairs = {repair.path: repair.to for repair in mc.repair(mc.load(plates), found, tmp_path / "copy")}
    copied = [path for path in (tmp_path / "copy").rglob("*") if path.is_file()]
    assert not [path for path in copied if path.read_bytes() == b"secret"]
    assert repairs["plate/notes.txt"] is repairs["plate/test/good/a.png"] is repairs["plate/more/key"] is None
    assert repairs["plate/test/good/photo.png"] == "plate/test/good/photo.png"


def test_a_copy_that_would_fill_the_disk_is_not_begun(plates, tmp_path):
    with (plates / "plate" / "notes.txt").open("wb") as file:
        file.truncate(1 << 42)
    with pytest.raises(OutputError, match=r"4\.4 TB are needed"):
        mc.repair(mc.load(plates), mc.check(mc.load(plates)), tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


# --- geometry --------------------------------------------------------------------------------------------------------

OVERFLOWING = [
    [0, 2**60], [2**63, 1], [2**64], [-1, 1281], [2**31, 2**31], [2**32 + 1280], [0] * 10 + [2**62, 2**62], [1e30],
    [True], [1280, -(2**31), 2**31], "oooooooooooo0", "_" * 50, "0" * 9, "\x7f", "é", "", "P" * 100_000, "nan",
]  # fmt: skip


@pytest.mark.parametrize("counts", OVERFLOWING, ids=lambda counts: str(counts)[:20])
def test_run_lengths_that_overflow_are_told_before_pycocotools_sees_them(counts, tiny, tmp_path):
    segmentation = {"size": [32, 40], "counts": counts}
    folder = coco(tiny.copy("coco", tmp_path / "set"), lambda d: d["annotations"][0].update(segmentation=segmentation))
    assert codes(folder) & {"bad-rle", "schema"}
    with pytest.raises(ExportError):
        list(mc.read_export(folder))


@pytest.mark.parametrize("value", ["1e308", "-1e308", "1e999", "NaN", "Infinity", "1e17", '"1"', "null"])
def test_points_that_are_nowhere_are_told(value, tiny, tmp_path):
    folder = tiny.copy("coco", tmp_path / "set")
    text = (folder / TRAIN).read_text(encoding="utf-8")
    (folder / TRAIN).write_text(text.replace("[[6,4,", f"[[{value},4,", 1), encoding="utf-8")
    assert codes(folder) & {"bad-json", "schema", "outside-image"}
    with pytest.raises(ExportError):
        list(mc.read_export(folder))


@pytest.mark.parametrize("value", ["1e308", "-1e308", "1e999", "nan", "inf", "1e17", "\x00", "1_0"])
def test_rows_that_are_nowhere_are_told(value, tiny, tmp_path):
    folder = tiny.copy("yolo-segment", tmp_path / "set")
    write(LABELS, f"0 0.1 {value} 0.2 0.2 0.3 0.1\n")(folder)
    assert codes(folder) & {"out-of-range", "not-a-number", "row-length"}
    with pytest.raises(ExportError):
        list(mc.read_export(folder))


def test_a_polygon_of_many_points_is_read_or_refused(tiny, tmp_path):
    angle = np.linspace(0, 2 * np.pi, 100_000)
    circle = np.stack([20 + 8 * np.cos(angle), 16 + 8 * np.sin(angle)], axis=1)
    folder = coco(
        tiny.copy("coco", tmp_path / "coco"),
        lambda d: d["annotations"][0].update(segmentation=[circle.round(3).ravel().tolist()]),
    )
    mc.validate(folder)
    assert sum(len(image.objects) for image in mc.read_export(folder)) > 1
    noise = np.random.default_rng(0).random(100_000).round(5)
    folder = tiny.copy("yolo-segment", tmp_path / "yolo")
    write(LABELS, "0 " + " ".join(map(str, noise)) + "\n")(folder)
    mc.validate(folder)
    with pytest.raises(ExportError, match="than can be filled in a few seconds"):
        list(mc.read_export(folder))


def test_crossings_are_counted_row_by_row():
    square = np.array([1, 1, 4, 4])  # its two sides cross the rows 1 to 3
    assert yolo_format._crossed(square) == 3 * 2**2
    assert yolo_format._crossed(np.array([5, 5, 5])) == 0
    noise = np.random.default_rng(0).integers(0, 50, 200)
    edges = list(zip(noise, np.roll(noise, 1), strict=True))
    rows = [sum(min(edge) <= row < max(edge) for edge in edges) for row in range(50)]
    assert yolo_format._crossed(noise) == sum(row**2 for row in rows)


def test_ten_thousand_classes_are_classes(tiny, tmp_path):
    names = [f"class {i}" for i in range(10_000)]
    folder = tiny.copy("yolo", tmp_path / "yolo")
    write("data.yaml", "train: images/train\nval: images/val\nnames:\n" + "".join(f"- {name}\n" for name in names))(
        folder
    )
    assert codes(folder) == {"unused-class"}
    assert len(mc.class_names(folder)) == 10_000
    folder = coco(
        tiny.copy("coco", tmp_path / "coco"),
        lambda d: d.update(categories=[{"id": i, "name": name} for i, name in enumerate(names, start=1)]),
    )
    assert codes(folder) >= {"unused-category", "category-mismatch"}


# --- text ------------------------------------------------------------------------------------------------------------

BOX = "0 0.5 0.5 0.2 0.3\n1 0.5 0.5 0.4 0.2\n"


@pytest.mark.parametrize(
    ("text", "rows"),
    [(BOX.replace("\n", "\r"), 2), (BOX.replace("\n", "\r\n"), 2), ("\ufeff" + BOX, None), (BOX.encode("utf-16"), None),
     (BOX + "\0", None), (BOX.encode("utf-32"), None), (b"\x1b[31m", None), (BOX.replace("\n", "\u2028"), 2)],
)  # fmt: skip
def test_labels_of_any_line_ends_and_encodings(text, rows, tiny, tmp_path):
    folder = tiny.copy("yolo", tmp_path / "set")
    write(LABELS, text)(folder)
    errors = {finding.code for finding in mc.validate(folder).findings if finding.severity == "error"}
    if rows is None:
        assert errors & {"bad-label-file", "not-a-number", "row-length"}
        return
    assert not errors
    assert sum(len(image.objects) for image in mc.read_export(folder) if image.name == "plate_cut_000") == rows


@pytest.mark.parametrize("command", ["validate", "stats"])
def test_what_files_say_cannot_command_the_terminal(command, tiny, tmp_path, capsys):
    evil = "\x1b]0;owned\x07\x1b[2J\u202egnp"
    folder = coco(
        tiny.copy("coco", tmp_path / "set"),
        lambda d: (
            d["categories"][0].update(name=evil),
            d["images"][0].update(file_name=evil + ".png"),
            d["annotations"][0].update(category_id=99, bbox=[evil]),
        ),
    )
    run([command, str(folder)])
    said = capsys.readouterr()
    text = said.out + said.err
    assert "\\x1b" in text or command == "stats"
    assert all(line == printable(line) for line in text.splitlines()), ascii(text)
