"""Files of strangers: each named attack, and each case that fuzzing found, ends in a result, a refusal or a finding.

What other tests hold already: bombs of every kind of image (`test_images`), archives (`test_archives`), YAML
(`test_check_yolo`), names on a page (`test_report`) and in a terminal (`test_cli`). docs/robustness.md lists all.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import struct
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mvtec_convert as mc
from mvtec_convert.cli import licences
from mvtec_convert.cli.app import run
from mvtec_convert.errors import ExportError, MaskError, MvtecConvertError, OutputError, SelectionError, printable
from mvtec_convert.formats import medsam
from mvtec_convert.formats import yolo as yolo_format
from mvtec_convert.geometry.images import read_header
from mvtec_convert.geometry.saving import save_jpeg, save_png
from mvtec_convert.layouts.own import OwnData
from mvtec_convert.own_data import pixel_names, read_description
from mvtec_convert.phrases import load_phrases
from mvtec_convert.runs.records import Records
from mvtec_convert.splits import load as load_split
from tests.broken import Tiny, save, write
from tests.fuzz import valid
from tests.fuzz.readers import readers
from tests.fuzz.reruns import DAMAGES
from tests.fuzz.worker import run as fuzz
from tests.layout_contract import MVTEC_LOCO, OWN, VISA
from tests.publisher import publisher
from tests.test_pipeline import contents

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
ROUNDS_OF_EXPORTS = 3  # each of which runs four to be compared with before


@pytest.fixture(autouse=True)
def small_arrays(monkeypatch):
    """As the harness makes them for good, in processes of its own."""
    monkeypatch.setattr(medsam, "SIDE", valid.SMALL_SQUARE)


@pytest.mark.parametrize("name", readers())
def test_a_few_damaged_files_of_every_kind_end_well(name, tmp_path):
    rounds = ROUNDS_OF_EXPORTS if name in DAMAGES else ROUNDS
    *failures, summary = fuzz(name, tmp_path / "work", 0, range(rounds))
    assert not failures, failures[0]["failure"]
    assert sum(summary["counts"].values()) == rounds


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


# --- what an earlier run left ----------------------------------------------------------------------------------------


@pytest.fixture
def letters(tmp_path) -> Path:
    """Files of somebody else, under names that this tool clears away where they are its own."""
    folder = tmp_path / "letters"
    for name in ("tmp1", "unpacked/draft.txt", "images/train/plate_cut_003.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"years of work")
    return folder


@pytest.mark.parametrize("name", ["leftover-x", "leftover-", "leftover-01", "leftover-\u0663", f"leftover-{10**200}"])
@pytest.mark.parametrize("make", [Path.mkdir, Path.touch, lambda path: path.symlink_to("..")])
def test_what_is_called_like_a_leftover_is_none(make, name, plates, tmp_path):
    (tmp_path / ".out.partial").mkdir(mode=0o700)
    (tmp_path / ".out.partial" / "mvtec-convert.lock").touch()
    make(tmp_path / ".out.partial" / name)
    mc.to_coco(mc.load(plates), tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"plates", "out"}


@pytest.mark.parametrize("name", ["output", "replaced", "leftover-1", "journal"])
def test_what_a_link_in_the_hidden_folder_leads_to_is_left_alone(name, plates, letters, tmp_path):
    (tmp_path / ".out.partial").mkdir(mode=0o700)
    (tmp_path / ".out.partial" / "mvtec-convert.lock").touch()
    (tmp_path / ".out.partial" / name).symlink_to(letters)
    before = contents(letters)
    mc.to_coco(mc.load(plates), tmp_path / "out")
    mc.to_coco(mc.load(plates), tmp_path / "fresh")
    assert contents(letters) == before
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")
    assert {path.name for path in tmp_path.iterdir()} == {"plates", "letters", "out", "fresh"}


def test_an_image_that_a_power_cut_left_without_content_is_made_again(plates, tmp_path):
    """The time of a file may be on disk before what is in it."""
    for path in plates.rglob("*"):
        os.utime(path, (10**9, 10**9))
    records = Records(tmp_path / "records")
    mc.to_sam(mc.load(plates), tmp_path / "out", layout="sam2", records=records)
    fresh = contents(tmp_path / "out")
    room = tmp_path / ".out.partial"
    room.mkdir(mode=0o700)
    (room / "mvtec-convert.lock").touch()
    (tmp_path / "out").rename(room / "output")
    image = next((room / "output").rglob("*.jpg"))
    image.write_bytes(bytes(image.stat().st_size))
    os.utime(image, (10**9, 10**9))
    assert mc.to_sam(mc.load(plates), tmp_path / "out", layout="sam2", records=records).reused
    assert contents(tmp_path / "out") == fresh


@pytest.mark.parametrize("what", ["splits.json", "image", "phrases"])
def test_a_pipe_is_not_waited_for_by_what_recognises_files(what, plates, tmp_path):
    records = Records(tmp_path / "records", by_content=True)
    out = tmp_path / "out"
    mc.to_coco(mc.load(plates), out, records=records)
    pipe = next(out.rglob("*.png")) if what == "image" else tmp_path / "from" / what
    pipe.parent.mkdir(exist_ok=True)
    pipe.unlink(missing_ok=True)
    os.mkfifo(pipe)
    if what == "image":
        assert not mc.to_coco(mc.load(plates), out, records=records).is_up_to_date
        return
    with pytest.raises(MvtecConvertError):
        mc.to_coco(mc.load(plates), out, records=records, **{"phrases" if what == "phrases" else "split_from": pipe})


def test_files_beside_records_are_not_cleared_away(plates, tmp_path, monkeypatch):
    monkeypatch.setattr("mvtec_convert.runs.records.MOST_FILES", 2)
    for path in plates.rglob("*"):
        os.utime(path, (10**9, 10**9))
    place = tmp_path / "place"
    place.mkdir(mode=0o700)
    for number in range(5):
        (place / f"letter-{number}.txt").write_bytes(b"years of work")
    for number in range(3):
        mc.to_coco(mc.load(plates), tmp_path / f"out-{number}", records=Records(place))
    assert len(list(place.glob("letter-*"))) == 5
    assert len(list(place.glob("*.json"))) < 3


DOWNLOADED = "a.tar"


@pytest.fixture
def offered(monkeypatch) -> Iterator[tuple[str, str, str]]:
    """An archive at an address, its sha256, and what a part of it is called."""
    monkeypatch.setattr("mvtec_convert.downloads.transfer.PAUSE", 0.0)
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name in ("train", "test"):
            tar.addfile(tarfile.TarInfo(f"carpet/{name}/good/000.png"))
    with publisher() as server:
        server.files[DOWNLOADED] = stream.getvalue()
        url = server.url(DOWNLOADED)
        part = f"{hashlib.sha256(url.encode()).hexdigest()[:12]}-{DOWNLOADED}"
        yield url, hashlib.sha256(stream.getvalue()).hexdigest(), part


def fetch(offered: tuple[str, str, str], out: Path) -> None:
    url, digest, _ = offered
    mc.download("mvtec-ad", out, category="carpet", url=url, sha256=digest, accept_licence=True)


@pytest.mark.parametrize("suffix", ["", ".part", ".part.json"])
@pytest.mark.parametrize("make", [os.symlink, os.link, lambda letter, path: os.mkfifo(path)])
def test_a_download_writes_into_no_other_file(make, suffix, offered, letters, tmp_path):
    work = tmp_path / ".data.mvtec-convert-download"
    work.mkdir()
    make(letters / "tmp1", work / f"{offered[2]}{suffix}")
    before = contents(letters)
    fetch(offered, tmp_path / "data")
    assert contents(letters) == before
    assert len(contents(tmp_path / "data")) == 2
    assert not work.exists()


def test_a_download_clears_away_what_is_its_own_alone(offered, letters, tmp_path):
    work = tmp_path / ".data.mvtec-convert-download"
    before = contents(letters)
    work.symlink_to(letters)
    with pytest.raises(OutputError, match="a link"):
        fetch(offered, tmp_path / "data")
    assert contents(letters) == before
    work.unlink()
    work.mkdir()
    (work / "unpacked").symlink_to(letters)
    (work / "tmp1").mkdir()
    fetch(offered, tmp_path / "data")
    assert contents(letters) == before
    (tmp_path / ".other.mvtec-convert-download").mkdir()
    (tmp_path / ".other.mvtec-convert-download" / "lock").symlink_to(tmp_path / "new")
    with pytest.raises(OutputError):
        fetch(offered, tmp_path / "other")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "facts",
    [
        '{"validator": 5}',
        '{"validator": "a\\nb"}',
        '{"validator": ["v"]}',
        '{"size": "1"}',
        '{"size": []}',
        DEEP,
        "[]",
        "\0",
    ],
)
def test_facts_about_a_part_that_make_no_sense_are_no_facts(facts, offered, tmp_path):
    work = tmp_path / ".data.mvtec-convert-download"
    work.mkdir()
    if facts.startswith("{"):
        facts = json.dumps({"url": offered[0], "validator": '"v1"', "size": 9, **json.loads(facts)})
    (work / f"{offered[2]}.part").write_bytes(b"begin")
    (work / f"{offered[2]}.part.json").write_text(facts, encoding="utf-8")
    fetch(offered, tmp_path / "data")
    assert len(contents(tmp_path / "data")) == 2


@pytest.mark.parametrize("text", [DEEP, '{"mvtec-ad": []}', "\ud800", "9" * 100_000])
def test_licences_that_make_no_sense_were_not_accepted(text, tmp_path, monkeypatch):
    path = tmp_path / "licences.json"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    monkeypatch.setattr("mvtec_convert.cli.licences._file", lambda: path)
    assert not any(isinstance(url, str) for url in licences._load().values())
    path.unlink()
    os.mkfifo(path)
    assert licences._load() == {}


@pytest.mark.parametrize("write_one", [mc.preview, mc.report], ids=["preview", "report"])
def test_a_pipe_in_the_place_of_a_sheet_or_a_page_is_not_waited_for(write_one, tiny, tmp_path):
    out = tmp_path / ("a.png" if write_one is mc.preview else "a.html")
    os.mkfifo(out)
    with pytest.raises(OutputError, match="already there"):
        write_one(tiny.copy("coco", tmp_path / "set"), out)
