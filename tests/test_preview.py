"""The contact sheet: what it draws lies where the labels say, which images it shows, and what it leaves alone."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

import mvtec_convert as mc
from mvtec_convert import contact_sheet, overlay, previews
from mvtec_convert.cli.app import run
from mvtec_convert.errors import ExportError, OutputError, SelectionError
from mvtec_convert.exports import class_names, read_export
from mvtec_convert.formats import medsam
from mvtec_convert.labelled import LabelledImage, LabelledObject, whole_region
from mvtec_convert.overlay import FILL, View, colours_of
from mvtec_convert.previews import preview
from mvtec_convert.summary import MOST_INEXACT, Fidelity
from tests.broken import draw_tree, save
from tests.test_labelled import BOXES_ONLY, EXPORTS, foreign_coco

GREY = 90
SIZE = (96, 72)  # width, height of the plain images
FOURFOLD = 2 * contact_sheet.MARGIN + 4 * SIZE[0]
"""Width of a sheet of one plain image that makes each of its pixels 4 x 4."""

CHANCE = 40
"""Pixels of smoothed lines that may look like filled ones, of some 25,000."""


def blob() -> np.ndarray:
    """A mask with a hole, not symmetrical."""
    mask = np.zeros(SIZE[::-1], np.uint8)
    mask[20:60, 30:80] = 1
    mask[30:44, 50:58] = 0
    mask[50:60, 30:44] = 0
    return mask


@pytest.fixture
def plain(tmp_path) -> Path:
    """A source of one category: plain grey images, one good, and two with the blob as `dent`."""
    root = tmp_path / "source"
    picture = np.full((*SIZE[::-1], 3), GREY, np.uint8)
    for place in ("train/good/000", "test/dent/000", "test/dent/001"):
        save(picture + (place[-1] == "1"), root / "plate" / f"{place}.png")  # no two the same
    for name in ("000", "001"):
        save(blob() * 255, root / "plate" / "ground_truth" / "dent" / f"{name}_mask.png")
    return root


@pytest.fixture(scope="module")
def yolo(tmp_path_factory) -> Path:
    """An export of thirteen images, five of them without a defect."""
    folder = tmp_path_factory.mktemp("yolo")
    draw_tree(folder / "tree")
    mc.to_yolo(mc.load(folder / "tree"), folder / "export", task="segment")
    return folder / "export"


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB")).astype(int)


def fill_of(colour: tuple[int, int, int], ground: int = GREY) -> np.ndarray:
    """What the pixels of a mask look like on plain ground."""
    return np.rint(ground * (1 - FILL) + np.array(colour) * FILL).astype(int)


def is_colour(sheet: np.ndarray, colour: Any, within: int = 1) -> np.ndarray:
    return (np.abs(sheet - np.array(colour)) <= within).all(axis=-1)


def shrunk(mask: np.ndarray) -> np.ndarray:
    """The pixels all of whose eight neighbours are in the mask as well."""
    padded = np.pad(mask, 1)
    height, width = mask.shape
    return np.min([padded[y : y + height, x : x + width] for y in range(3) for x in range(3)], axis=0)


def tile_of(sheet: np.ndarray) -> np.ndarray:
    """The picture of the one tile of a sheet of `FOURFOLD` px, found by its plain ground."""
    rows = np.flatnonzero(is_colour(sheet, (GREY, GREY, GREY)).sum(axis=1) > 10)
    left = contact_sheet.MARGIN
    return sheet[rows[0] : rows[-1] + 1, left : left + 4 * SIZE[0]]


# --- what is drawn, and where ----------------------------------------------------------------------------------------


def test_on_the_sheet_the_mask_lies_where_the_label_says(plain, tmp_path):
    mc.to_yolo(mc.load(plain), tmp_path / "export", task="segment")
    key = preview(tmp_path / "export", tmp_path / "sheet.png", count=1, width=FOURFOLD).shown[0]
    tile = tile_of(pixels(tmp_path / "sheet.png"))
    assert tile.shape[:2] == (4 * SIZE[1], 4 * SIZE[0])
    ground = GREY + key.endswith("001.png")
    filled = is_colour(tile, fill_of(colours_of(["dent"])["dent"], ground))
    large = np.kron(blob(), np.ones((4, 4), np.uint8))
    assert np.count_nonzero(filled & (large == 0)) < CHANCE
    inside = np.kron(shrunk(blob()), np.ones((4, 4), np.uint8)) > 0
    assert filled[inside].mean() > 0.95  # the bridge to the hole covers some


def test_labels_that_are_shifted_are_seen_shifted(plain, tmp_path):
    mc.to_yolo(mc.load(plain), tmp_path / "export", task="segment")
    shutil.copytree(tmp_path / "export", tmp_path / "wrong")
    for label in (tmp_path / "wrong" / "labels").rglob("*.txt"):
        rows = [line.split() for line in label.read_text().splitlines()]
        for row in rows:
            row[1::2] = [f"{float(x) - 6 / SIZE[0]:.6f}" for x in row[1::2]]
        label.write_text("".join(" ".join(row) + "\n" for row in rows))
    where = []
    for name in ("export", "wrong"):
        key = preview(tmp_path / name, tmp_path / f"{name}.png", count=1, width=FOURFOLD).shown[0]
        tile = tile_of(pixels(tmp_path / f"{name}.png"))
        where.append(
            np.argwhere(is_colour(tile, fill_of(colours_of(["dent"])["dent"], GREY + key.endswith("001.png"))))
        )
    right, wrong = where
    assert np.median(right[:, 1]) - np.median(wrong[:, 1]) == pytest.approx(4 * 6, abs=4)
    assert np.median(right[:, 0]) == pytest.approx(np.median(wrong[:, 0]), abs=4)


@pytest.mark.parametrize("name", [name for name in EXPORTS if name not in {*BOXES_ONLY, "classify", "coco-simple"}])
def test_in_every_format_the_fill_is_the_mask_of_the_source(name, plain, tmp_path, monkeypatch):
    monkeypatch.setattr(medsam, "SIDE", 128)
    options = {"names": "single"} if name == "sam3-three" else {}
    ratios = {"ratios": (0.5, 0.5)} if name != "sam3-three" else {}
    if name == "sam3-three":
        shutil.copytree(plain / "plate", plain / "disc")
    EXPORTS[name](mc.load(plain), tmp_path / "export", **options, **ratios)
    colours = colours_of(class_names(tmp_path / "export"))
    for image in read_export(tmp_path / "export"):
        ground = np.full((*SIZE[::-1], 3), GREY, np.uint8)
        view = View(ground, *SIZE, (0, 0, *SIZE), (4 * SIZE[0], 4 * SIZE[1]))
        drawn = view.draw(image.objects, colours)
        if not image.objects:
            assert (drawn == GREY).all()
            continue
        filled = is_colour(drawn.astype(int), fill_of(colours[image.objects[0].class_name]))
        large = np.kron(blob(), np.ones((4, 4), np.uint8))
        assert np.count_nonzero(filled & (large == 0)) < CHANCE
        centres = np.kron(shrunk(blob()), np.pad(np.ones((2, 2), np.uint8), 1)) > 0
        assert filled[centres].mean() > 0.9  # prompt points and bridges to holes cover some


@pytest.mark.parametrize("name", ["yolo", "yolo-obb"])
def test_boxes_are_drawn_along_their_edges(name, plain, tmp_path):
    EXPORTS[name](mc.load(plain), tmp_path / "export", ratios=(0.5, 0.5))
    image = next(image for image in read_export(tmp_path / "export") if image.objects)
    ground = np.full((*SIZE[::-1], 3), GREY, np.uint8)
    drawn = View(ground, *SIZE, (0, 0, *SIZE), (4 * SIZE[0], 4 * SIZE[1])).draw(image.objects, colours_of(["dent"]))
    rows, columns = np.nonzero((drawn != GREY).any(axis=-1))
    assert np.abs(np.array([columns.min(), rows.min(), columns.max(), rows.max()]) - [120, 80, 319, 239]).max() <= 3
    assert (drawn[90:230, 130:310] == GREY).all()  # nothing but the edges


def test_a_window_shows_its_part_of_the_labels():
    mask = np.zeros((100, 200), np.uint8)
    mask[40:44, 150:153] = 1
    item = LabelledObject("dent", (150, 40, 153, 44), whole_region(mask))
    ground = np.full((100, 200, 3), GREY, np.uint8)
    drawn = View(ground, 200, 100, (145, 35, 155, 45), (400, 400)).draw([item], colours_of(["dent"]))
    filled = is_colour(drawn.astype(int), fill_of(colours_of(["dent"])["dent"]))
    rows, columns = np.nonzero(filled)
    assert (
        np.abs(np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]) - [200, 200, 320, 360]).max()
        < 4
    )


def test_a_speck_in_a_large_image_is_enlarged(tmp_path):
    mask = np.zeros((1024, 1024), np.uint8)
    mask[700:708, 300:306] = 1
    item = LabelledObject("dent", (300, 700, 306, 708), whole_region(mask))
    save(np.full((1024, 1024, 3), GREY, np.uint8), tmp_path / "x.png")
    image = LabelledImage(tmp_path / "x.png", "x.png", "x", "train", 1024, 1024, (item,))
    colours = colours_of(["dent"])
    sheet = contact_sheet.draw_sheet([image], colours, contact_sheet.Heading("a", "b"), 420, {})
    filled = is_colour(np.asarray(sheet).astype(int), fill_of(colours["dent"]))
    _, _, pieces, _ = cv2.connectedComponentsWithStats(filled.astype(np.uint8))
    width, height = max(pieces[1:], key=lambda piece: piece[cv2.CC_STAT_AREA])[2:4]
    assert height > 30  # without the inset it is 3 px
    assert width / height == pytest.approx(6 / 8, abs=0.1)


def test_prompts_are_drawn_on_their_pixels():
    points = ((10.0, 20.0, 1), (70.0, 50.0, 0))
    item = LabelledObject("dent", (5, 5, 80, 60), points=points, prompt_box=(0, 0, 90, 70))
    ground = np.full((*SIZE[::-1], 3), GREY, np.uint8)
    view = View(ground, *SIZE, (0, 0, *SIZE), (4 * SIZE[0], 4 * SIZE[1]))
    drawn = view.draw([item], colours_of(["dent"])).astype(int)
    for (x, y, label), colour in zip(points, (overlay.INSIDE, overlay.OUTSIDE), strict=True):
        near = is_colour(drawn[int(4 * y) - 4 : int(4 * y) + 8, int(4 * x) - 4 : int(4 * x) + 8], colour)
        assert near.sum() > 10, label
        assert is_colour(drawn, colour).sum() < 80
    assert drawn[:2].min(axis=-1).max() > 200  # the dashes of the prompt's box are white


def test_what_the_image_is_called_stands_on_it(plain, tmp_path):
    EXPORTS["classify"](mc.load(plain), tmp_path / "export", ratios=(0.5, 0.5))
    preview(tmp_path / "export", tmp_path / "sheet.png", count=1, width=FOURFOLD, classes=["dent"])
    colours = colours_of(["dent", "good"])
    tile = tile_of(pixels(tmp_path / "sheet.png"))
    tag = np.argwhere(is_colour(tile, colours["dent"]))
    assert len(tag) > 200
    assert tag.max(axis=0)[0] < 60
    assert not is_colour(tile, colours["good"]).any()


def test_images_that_are_missing_or_of_another_size_are_told(tmp_path):
    square = [20, 10, 30, 10, 30, 25, 20, 25]
    foreign_coco(tmp_path / "sound", [{"segmentation": [square]}])
    shutil.copytree(tmp_path / "sound", tmp_path / "wrong")
    (tmp_path / "wrong" / "photo 7.png").unlink()
    Image.new("RGB", (30, 30)).save(tmp_path / "wrong" / "photo 9.png")
    for name, is_told in (("sound", False), ("wrong", True)):
        found = preview(tmp_path / name, tmp_path / f"{name}.png")
        assert len(found.shown) == 2
        sheet = pixels(tmp_path / f"{name}.png")
        red = is_colour(sheet, contact_sheet.WARNING)
        assert red.any() == is_told
        assert is_colour(sheet, colours_of(class_names(tmp_path / name))["dent"]).any()
        middle = sheet.shape[1] // 2
        assert not is_told or (red[:, :middle].any() and red[:, middle:].any())


def test_labels_far_outside_and_hundreds_of_them_are_drawn_in_a_moment(tmp_path):
    annotations = [{"segmentation": [], "bbox": [1e12, -1e12, 1e9, 1e13]}]
    annotations += [{"segmentation": [], "bbox": [i % 40, i % 30, 2, 2]} for i in range(800)]
    foreign_coco(tmp_path / "set", annotations)
    assert preview(tmp_path / "set", tmp_path / "sheet.png").images == 2


def test_any_name_can_be_written(tmp_path):
    file = foreign_coco(tmp_path / "set", [{"segmentation": [[2, 2, 30, 2, 30, 20]]}])
    text = file.read_text().replace('"dent"', '"' + "裂纹 \\u001b[31m\\ud83d\\ude00 " + "x" * 3000 + '"')
    file.write_text(text, encoding="utf-8")
    assert preview(tmp_path / "set", tmp_path / "sheet.png", width=320).images == 2


def test_colours_are_told_apart():
    colours = list(colours_of([f"class {i}" for i in range(40)]).values())
    assert len(set(colours)) == 40
    first = np.array(colours[:10])
    distances = np.linalg.norm(first[:, None] - first[None], axis=-1) + np.eye(10) * 999
    assert distances.min() > 60


# --- which images ----------------------------------------------------------------------------------------------------


def test_the_seed_decides_what_is_shown_and_every_byte(yolo, tmp_path):
    sheets = {}
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        sheets[name] = preview(yolo, tmp_path / f"{name}.png", count=4, seed=seed)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert sheets["a"].shown == sheets["b"].shown != sheets["c"].shown


def test_every_class_and_some_background_are_shown(yolo, tmp_path):
    for seed in range(8):
        found = preview(yolo, tmp_path / "sheet.png", count=6, seed=seed)
        names = [Path(key).stem for key in found.shown]
        assert len(set(names)) == 6
        assert {name.split("_")[1] for name in names} == {"cut", "hole", "good"}
        assert sum("good" in name for name in names) == 1
    assert found.images == 13
    assert len(preview(yolo, tmp_path / "sheet.png", count=100).shown) == 13


def test_images_come_in_the_order_of_the_dataset(yolo, tmp_path):
    order = [image.key for image in read_export(yolo)]
    shown = preview(yolo, tmp_path / "sheet.png", count=8).shown
    assert list(shown) == sorted(shown, key=order.index)


def test_splits_and_classes_can_be_chosen(yolo, tmp_path):
    found = preview(yolo, tmp_path / "sheet.png", split="val", count=50)
    assert all(key.startswith("images/val/") for key in found.shown)
    assert found.images == len(found.shown) == sum(image.split == "val" for image in read_export(yolo))
    found = preview(yolo, tmp_path / "sheet.png", classes=["hole"], count=50)
    assert [Path(key).stem.split("_")[1] for key in found.shown] == ["hole"] * 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "vall"}, "no split 'vall' in this dataset; it has: train, val"),
        ({"classes": ["hol"]}, "no class 'hol' in this dataset; it has: cut, hole (did you mean 'hole'?)"),
        ({"count": 0}, "from 1 to"),
        ({"count": 10**9}, "from 1 to"),
        ({"width": 10}, "px wide"),
        ({"format": "nothing"}, "no format"),
    ],
)
def test_what_cannot_be_shown_is_said(yolo, tmp_path, options, message):
    with pytest.raises(SelectionError) as error:
        preview(yolo, tmp_path / "sheet.png", **options)
    assert message in str(error.value)
    assert not (tmp_path / "sheet.png").exists()


def test_the_worst_come_first_with_their_iou(sample_root, tmp_path):
    mc.to_coco(mc.load(sample_root / "carpet"), tmp_path / "export", simplify=0.9)
    recorded = previews.manifest_of(tmp_path / "export").fidelity.inexact
    truth = {image.name: image for image in read_export(tmp_path / "export")}
    found = preview(tmp_path / "export", tmp_path / "sheet.png", worst=True, count=5)
    names = [Path(key).stem for key in found.shown]
    assert [recorded[name] for name in names] == sorted(recorded.values())[:5]
    assert all(truth[name].objects for name in names)
    val = preview(tmp_path / "export", tmp_path / "sheet.png", worst=True, split="val", count=2)
    assert all("/val/" in key for key in val.shown)


def test_where_all_came_back_exactly_the_lot_decides_and_the_sheet_says_so(yolo, tmp_path, monkeypatch):
    headings = []
    draw = previews.draw_sheet
    monkeypatch.setattr(previews, "draw_sheet", lambda *given: headings.append(given[2]) or draw(*given))
    by_lot = preview(yolo, tmp_path / "lot.png", count=2)
    worst = preview(yolo, tmp_path / "worst.png", worst=True, count=2)
    assert worst.shown == by_lot.shown
    assert re.match(r"all \d+ regions came back exactly; 2 of \d+ images, by lot", headings[1].subtitle)


def test_nobody_knows_the_worst_of_what_others_wrote(tmp_path):
    foreign_coco(tmp_path / "set", [])
    with pytest.raises(SelectionError, match="was not recorded"):
        preview(tmp_path / "set", tmp_path / "sheet.png", worst=True)


# --- what is written -------------------------------------------------------------------------------------------------


def written(path: Path) -> Callable[[], None]:
    """A check that a file is still as it is now."""
    before = path.read_bytes()
    return lambda: None if path.read_bytes() == before else pytest.fail(f"{path} was changed")


def test_an_earlier_sheet_is_replaced_and_nothing_else(yolo, tmp_path):
    sheet = tmp_path / "sheet.png"
    preview(yolo, sheet, count=1)
    preview(yolo, sheet, count=2)
    photo, text, image = tmp_path / "photo.png", tmp_path / "notes.png", next(yolo.rglob("*.png"))
    Image.new("RGB", (9, 9)).save(photo)
    text.write_text("notes")
    (tmp_path / "link.png").symlink_to(sheet)
    unchanged = [written(path) for path in (photo, text, image, sheet)]
    for path in (
        photo,
        text,
        image,
        yolo / "new.png",
        tmp_path / "link.png",
        tmp_path / "sheet.jpg",
        tmp_path / "no" / "a.png",
    ):
        with pytest.raises(OutputError) as error:
            preview(yolo, path)
        assert error.value.hint
    for check in unchanged:
        check()
    assert {path.name for path in tmp_path.iterdir()} == {"sheet.png", "photo.png", "notes.png", "link.png"}


def test_a_sheet_appears_whole_or_not_at_all(yolo, tmp_path, monkeypatch):
    preview(yolo, tmp_path / "sheet.png", count=1)
    unchanged = written(tmp_path / "sheet.png")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OutputError, match="No space left"):
        preview(yolo, tmp_path / "sheet.png", count=2)
    unchanged()
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.png"]


def test_the_dataset_is_only_read(yolo, tmp_path):
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in yolo.rglob("*") if path.is_file()}
    preview(yolo, tmp_path / "sheet.png")
    assert {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in yolo.rglob("*") if p.is_file()} == before


def test_labels_that_cannot_be_read_are_an_error_and_no_sheet(yolo, tmp_path):
    shutil.copytree(yolo, tmp_path / "broken")
    next((tmp_path / "broken" / "labels").rglob("*cut*.txt")).write_text("0 0.5\n")
    with pytest.raises(ExportError, match=r"\.txt:1"):
        preview(tmp_path / "broken", tmp_path / "sheet.png")
    assert not (tmp_path / "sheet.png").exists()


# --- on the command line ---------------------------------------------------------------------------------------------


def test_the_command_says_what_it_drew_and_where(yolo, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(["preview", str(yolo), "-n", "3", "--class", "cut", "--class", "hole"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "yolo dataset: 3 of 8 images drawn",
        "written to export-preview.png",
    ]
    assert pixels(tmp_path / "export-preview.png").shape[1] == 1600
    assert run(["preview", str(yolo), "--out", "x.png", "--width", "700", "--seed", "4", "--split", "val"]) == 0
    assert pixels(tmp_path / "x.png").shape[1] == 700
    assert run(["preview", str(tmp_path)]) == 2
    assert "recognised" in capsys.readouterr().err


def test_it_is_part_of_the_public_interface():
    assert mc.preview is preview
    assert mc.read_export is read_export


def test_of_many_inexact_images_the_worst_are_recorded():
    fidelity = Fidelity("anyone")
    for i in range(3 * MOST_INEXACT):
        fidelity.add(f"image {i}", (1.0, 0.5 + (i * 7919 % (3 * MOST_INEXACT)) / 10_000))
    fidelity.add("exact", (1.0,))
    recorded = fidelity.document()["inexact"]
    assert list(recorded.values()) == [0.5 + i / 10_000 for i in range(MOST_INEXACT)]
