"""The check of a source: one tiny broken tree for each finding, sound trees without any, and real data."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageFilter

import mvtec_convert as mc
from mvtec_convert.cli.app import run
from mvtec_convert.source_checks.masks import are_shades, middle
from tests.broken import SIZE, Tiny, documented, draw_image, remove, save, write
from tests.fitting import fits
from tests.strategies import Mask, masks
from tests.test_images import png

GOOD = "plate/train/good/000.png"
IMAGE = "plate/test/cut/000.png"
MASK = "plate/ground_truth/cut/000_mask.png"
OTHER_MASK = "plate/ground_truth/cut/001_mask.png"
REAL_ROOT = os.environ.get("MVTEC_ROOT")

Break = Callable[[Path], Any]


@pytest.fixture
def root(tiny: Tiny, tmp_path: Path) -> Path:
    """A copy to break."""
    return Path(shutil.copytree(tiny.folder / "tree", tmp_path / "tree"))


def listed(root: Path, **options: Any) -> list[tuple[str, str, str]]:
    """(severity, code, path from the root) of every finding."""
    findings = mc.check(mc.load(root), **options).findings
    return [(f.severity, f.code, Path(f.path).relative_to(root).as_posix()) for f in findings]


# --- ways to break a tree ---------------------------------------------------------------------------------------------


def copy(source: str, target: str) -> Break:
    return lambda root: shutil.copy(root / source, root / target)


def rename(name: str, other: str) -> Break:
    return lambda root: (root / name).rename((root / name).with_name(other))


def save_as(name: str, format: str, mode: str | None = None) -> Break:
    """Save an image anew under its name, in a format that the name may deny."""

    def breaks(root: Path) -> None:
        with Image.open(root / name) as image:
            changed = image.convert(mode or image.mode)
        changed.save(root / name, format)

    return breaks


def as_jpeg(name: str, **options: Any) -> Break:
    """Put a JPEG of the right suffix in the place of an image."""

    def breaks(root: Path) -> None:
        with Image.open(root / name) as image:
            image.save((root / name).with_suffix(".jpg"), **options)
        (root / name).unlink()

    return breaks


def turned_by_exif(name: str, orientation: int) -> Break:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return as_jpeg(name, exif=exif, quality=95)


def paint(name: str, pixels: np.ndarray) -> Break:
    return lambda root: save(pixels, root / name)


def name_values(root: Path) -> None:
    """Say what values mean in the masks of the folder, which are white."""
    (root / MASK).with_name("values.json").write_text('{"255": "cut", "1": "scratch", "2": "dent"}')


def coloured() -> np.ndarray:
    return np.stack([blob(200), blob(0), blob(0)], axis=-1)


def cut_short(name: str, by: int = 40) -> Break:
    return lambda root: (root / name).write_bytes((root / name).read_bytes()[:-by])


def flip_a_byte(name: str) -> Break:
    def breaks(root: Path) -> None:
        data = bytearray((root / name).read_bytes())
        data[len(data) // 2] ^= 0xFF
        (root / name).write_bytes(data)

    return breaks


def link(name: str, target: str) -> Break:
    return lambda root: (root / name).symlink_to(target)


def link_out(name: str) -> Break:
    def breaks(root: Path) -> None:
        draw_image(root.parent / "far.png", 77)
        (root / name).symlink_to(root.parent / "far.png")

    return breaks


def each(*breaks: Break) -> Break:
    return lambda root: [one(root) for one in breaks]


def blob(value: int = 255, background: int = 0) -> np.ndarray:
    """A rectangle of 18 x 12 px in an image of `SIZE`."""
    pixels = np.full(SIZE[::-1], background, np.uint8)
    pixels[10:22, 12:30] = value
    return pixels


def blurred(pixels: np.ndarray, radius: float = 1) -> np.ndarray:
    return np.array(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(radius)))


def classes() -> np.ndarray:
    """Three values: two that touch, and a line one pixel wide."""
    pixels = blob(1)
    pixels[10:16, 12:20] = 2
    pixels[28, 2:30] = 3
    return pixels


def border_but_one_row() -> np.ndarray:
    pixels = np.full(SIZE[::-1], 255, np.uint8)
    pixels[-1] = 0
    return pixels


@dataclass(frozen=True)
class Case:
    """One way to break a tree, and what the check must say to it, and no more.

    Attributes:
        name: of the test.
        breaks: what is done to the tree.
        code: expected code.
        path: expected path, from the root.
        severity: expected severity.
        says: a part of the message.
    """

    name: str
    breaks: Break
    code: str
    path: str
    severity: str = "error"
    says: str = ""


def warning(name: str, breaks: Break, code: str, path: str, says: str = "") -> Case:
    return Case(name, breaks, code, path, "warning", says)


def junk(name: str, told: str = "") -> Case:
    return warning(f"junk {name}", write(name, "x"), "junk-file", told or name)


GOOD_FOLDER = "plate/train/good"
LONG = f"{GOOD_FOLDER}/{'x' * 240}.png"
CASES = [
    Case("missing mask", remove(MASK), "missing-mask", IMAGE),
    Case("orphaned mask", remove(IMAGE), "orphan-mask", MASK),
    Case("two masks", copy(MASK, "plate/ground_truth/cut/000.png"), "ambiguous-mask", IMAGE),
    Case("two images", copy(IMAGE, "plate/test/cut/000.bmp"), "ambiguous-image", "plate/test/cut/000.bmp"),
    Case("defects in train", lambda root: (root / "plate/test/cut").rename(root / "plate/train/cut") and
         shutil.rmtree(root / "plate/ground_truth/cut"), "train-defect", "plate/train/cut"),
    Case("line end in a name", rename(GOOD, "0\n0.png"), "bad-name", f"{GOOD_FOLDER}/0\n0.png", says="control char"),
    Case("empty mask", paint(MASK, blob(0)), "empty-mask", MASK),
    Case("mask of another size", paint(MASK, blob()[:-1]), "mask-size", MASK, says="40 x 31 px, its image 40 x 32 px"),
    Case("mask that is none", write(MASK, "hello"), "bad-image", MASK, says="not an image"),
    Case("mask cut short", cut_short(MASK), "bad-image", MASK),
    Case("damaged mask", flip_a_byte(MASK), "bad-image", MASK),
    Case("image that is none", write(GOOD, "hello"), "bad-image", GOOD, says="not an image"),
    Case("empty image file", write(IMAGE, b""), "bad-image", IMAGE),
    Case("image cut short", cut_short(GOOD), "bad-image", GOOD),
    Case("damaged image", flip_a_byte(GOOD), "bad-image", GOOD),
    Case("JPEG cut short", each(as_jpeg(GOOD), cut_short(f"{GOOD_FOLDER}/000.jpg", 200)), "bad-image",
         f"{GOOD_FOLDER}/000.jpg", says="cut short"),
    Case("image turned by EXIF", turned_by_exif(GOOD, 3), "exif-rotation", f"{GOOD_FOLDER}/000.jpg"),
    warning("smoothed mask", paint(MASK, blurred(blob())), "grey-mask", MASK, "are above 127"),
    warning("smoothed dark mask", paint(MASK, blurred(blob(100))), "grey-mask", MASK, "are above 50"),
    warning("JPEG mask", as_jpeg(MASK, quality=60), "grey-mask", MASK.replace("png", "jpg")),
    warning("classes in a mask", paint(MASK, classes()), "mask-values", MASK,
            "0: 80.94 %, 1: 13.12 %, 2: 3.75 %, 3: 2.19 %"),
    Case("value without a name", each(name_values, paint(MASK, classes())), "unnamed-value", MASK,
         says="the value 3, 28 px"),
    Case("colours where values are named", each(name_values, paint(MASK, coloured())), "coloured-mask", MASK,
         says="#c80000"),
    warning("inverted mask", paint(MASK, blob(0, 255)), "inverted-mask", MASK, "83 % of the image is defect, its wh"),
    warning("nearly all is defect", paint(MASK, border_but_one_row()), "inverted-mask", MASK, "97 % of the image"),
    Case("train in test", copy(GOOD, "plate/test/good/009.png"), "split-leak", GOOD, says="plate/test/good/009.png"),
    Case("good and defective", copy(IMAGE, "plate/test/good/009.png"), "conflicting-images", "plate/test/good/009.png"),
    Case("two types", copy(IMAGE, "plate/test/hole/000.png"), "conflicting-images", "plate/test/hole/000.png"),
    warning("twice in a folder", copy(GOOD, f"{GOOD_FOLDER}/009.png"), "identical-images", f"{GOOD_FOLDER}/009.png"),
    warning("one mask for two", copy(MASK, OTHER_MASK), "identical-masks", OTHER_MASK),
    warning("two sizes", lambda root: draw_image(root / GOOD, 99, (44, 32)), "mixed-sizes", GOOD,
            "40 x 32 px (12), 44 x 32 px (1)"),
    warning("two kinds of pixels", save_as(GOOD, "PNG", "L"), "mixed-channels", GOOD, "RGB (12), grey (1)"),
    warning("JPEG called PNG", save_as(GOOD, "JPEG"), "false-suffix", GOOD, "the content is JPEG"),
    warning("BMP mask called PNG", save_as(MASK, "BMP"), "false-suffix", MASK, "the content is BMP"),
    warning("WebP", write(f"{GOOD_FOLDER}/009.WEBP", "x"), "unread-image", f"{GOOD_FOLDER}/009.WEBP"),
    junk("Thumbs.db"), junk("plate/.DS_Store"), junk("plate/test/thumbs.DB"), junk("__MACOSX/plate/._x", "__MACOSX"),
    junk(f"{GOOD_FOLDER}/._000.png"), junk("plate/.ipynb_checkpoints/000.png", "plate/.ipynb_checkpoints"),
    Case("dead link", link(f"{GOOD_FOLDER}/007.png", "nowhere"), "dead-link", f"{GOOD_FOLDER}/007.png"),
    Case("link in a circle", link(f"{GOOD_FOLDER}/up", ".."), "dead-link", f"{GOOD_FOLDER}/up"),
    warning("link that leads out", link_out(f"{GOOD_FOLDER}/007.png"), "outside-folder", f"{GOOD_FOLDER}/007.png"),
    warning("name of a device", rename(GOOD, "aux.png"), "bad-name", f"{GOOD_FOLDER}/aux.png", "Windows"),
    warning("colon in a name", rename(GOOD, "10:30.png"), "bad-name", f"{GOOD_FOLDER}/10:30.png", "Windows"),
    warning("name with a dot behind", lambda root: (root / "plate/notes.").mkdir(), "bad-name", "plate/notes."),
    warning("pipe", lambda root: os.mkfifo(root / GOOD_FOLDER / "007.png"), "special-file", f"{GOOD_FOLDER}/007.png"),
    warning("escape sequence in a name", write("plate/notes\x1b[31m.txt", "x"), "bad-name", "plate/notes\x1b[31m.txt"),
    Case("long name", rename(GOOD, f"{'x' * 240}.png"), "bad-name", LONG, says="251 bytes"),
    warning("case of a name", lambda root: draw_image(root / GOOD_FOLDER / "001.PNG", 98), "case-collision",
            f"{GOOD_FOLDER}/001.png"),
    warning("two spellings of one letter", lambda root: [draw_image(root / GOOD_FOLDER / name, seed) for seed, name in
            enumerate(("\u00e4.png", "a\u0308.png"), start=90)], "case-collision", f"{GOOD_FOLDER}/\u00e4.png"),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_each_way_to_break_a_tree_gives_its_finding_and_no_other(case: Case, root: Path) -> None:
    case.breaks(root)
    (finding,) = mc.check(mc.load(root), near_duplicates=True).findings
    assert (finding.code, finding.severity) == (case.code, case.severity)
    assert Path(finding.path).relative_to(root).as_posix() == case.path
    assert case.says in finding.message
    assert finding.hint
    assert (case.code, case.severity) in documented()["sourcedatasets"]


def test_every_documented_finding_of_a_source_has_a_case() -> None:
    tested = {(case.code, case.severity) for case in CASES} | {("near-duplicate", "warning")}
    tested |= {
        ("nested-dataset", "warning"),
        ("unlabelled", "warning"),
        ("orphan-mask", "warning"),
        ("bad-config", "error"),
    }  # test_layout_*.py
    tested |= {("unnamed-value", "warning")}  # test_region_classes.py
    assert documented()["sourcedatasets"] == tested


def test_sound_trees_have_no_findings(tiny: Tiny, sample_root: Path) -> None:
    assert listed(tiny.folder / "tree", near_duplicates=True) == []
    assert listed(sample_root, near_duplicates=True) == []


def test_nothing_is_written(root: Path) -> None:
    paint(MASK, blurred(blob()))(root)
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    listed(root, near_duplicates=True)
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before


def test_all_findings_are_told_at_once_and_the_same_for_any_number_of_threads(root: Path) -> None:
    told = ["bad-image", "grey-mask", "exif-rotation", "junk-file"]
    for breaks in (write(MASK, "x"), paint(MASK.replace("000", "001"), blurred(blob())), turned_by_exif(GOOD, 3)):
        breaks(root)
    write("Thumbs.db", "x")(root)
    found = listed(root, jobs=1)
    assert sorted(code for _, code, _ in found) == sorted(told)
    assert listed(root, jobs=5) == found == sorted(found, key=lambda entry: entry[2])


def test_other_categories_are_left_alone(root: Path) -> None:
    shutil.copytree(root / "plate", root / "other")
    for name in ("other/Thumbs.db", "plate/Thumbs.db", "Thumbs.db"):
        write(name, "x")(root)
    checked = mc.check(mc.load(root).filter(category="plate"))
    assert [Path(f.path).relative_to(root).as_posix() for f in checked.findings] == ["Thumbs.db", "plate/Thumbs.db"]
    assert list(checked.differences) == ["plate"]


def test_one_category_may_be_the_root(root: Path) -> None:
    write("plate/test/Thumbs.db", "x")(root)
    assert listed(root / "plate") == [("warning", "junk-file", "test/Thumbs.db")]


def test_a_mask_drawn_on_the_upright_image_is_no_second_finding(root: Path) -> None:
    turned_by_exif(IMAGE, 6)(root)
    paint(MASK, blob().T.copy())(root)
    assert {code for _, code, _ in listed(root)} == {"exif-rotation", "mixed-sizes"}


def test_a_kind_of_image_that_no_layout_reads_is_known_by_its_content(root: Path) -> None:
    save_as(GOOD, "GIF")(root)
    assert ("warning", "false-suffix", GOOD) in listed(root)


def test_images_that_are_the_same_in_three_places_are_told_for_each_place_but_the_first(root: Path) -> None:
    for name in (f"{GOOD_FOLDER}/008.png", "plate/test/good/009.png", "plate/test/good/010.png"):
        copy(GOOD, name)(root)
    assert [(code, path) for _, code, path in listed(root)] == [
        ("identical-images", "plate/test/good/010.png"),
        ("split-leak", GOOD),
        ("split-leak", f"{GOOD_FOLDER}/008.png"),
    ]


# --- masks ------------------------------------------------------------------------------------------------------------


@given(mask=masks(), value=st.integers(100, 255), radius=st.sampled_from([0.6, 1, 2, 4]))
def test_smoothed_masks_hold_shades(mask: Mask, value: int, radius: float) -> None:
    wide = np.pad(np.kron(mask, np.ones((4, 4), np.uint8)), 12) * np.uint8(value)
    values = blurred(wide, radius)
    between = (values != 0) & (values != values.max())
    assert not between.any() or are_shades(values, between)


@given(mask=masks(), seed=st.integers(0, 99))
def test_areas_of_their_own_values_are_no_shades(mask: Mask, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = np.kron(mask * rng.integers(1, 9, mask.shape, np.uint8), np.ones((10, 10), np.uint8))
    between = (values != 0) & (values != values.max())
    assert not between.any() or not are_shades(values, between)


@pytest.mark.parametrize(("peak", "dtype", "expected"), [
    (255, np.uint8, 127), (100, np.uint8, 50), (1, np.uint8, 0), (65535, np.uint16, 127), (1, np.bool_, 127),
])  # fmt: skip
def test_the_threshold_offered_halves_the_scale_of_the_file(peak: int, dtype: Any, expected: int) -> None:
    assert middle(np.array([[0, peak]]).astype(dtype)) == expected


def test_the_threshold_offered_gives_back_the_mask_before_it_was_smoothed(root: Path) -> None:
    paint(MASK, blurred(blob()))(root)
    (finding,) = mc.check(mc.load(root)).findings
    assert f"{18 * 12 - 4} px are above 127" in finding.message  # the four corners are rounded off


# --- near-duplicates --------------------------------------------------------------------------------------------------

SAVED_ANEW: dict[str, Callable[[Image.Image], Image.Image]] = {
    "jpeg": lambda image: image,
    "half the size": lambda image: image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.1),
    "less contrast": lambda image: ImageEnhance.Contrast(image).enhance(0.8),
    "grey": lambda image: image.convert("L"),
}


@pytest.mark.parametrize("how", SAVED_ANEW)
def test_a_photo_saved_anew_on_the_other_side_of_the_split_is_found(
    how: str, sample_root: Path, tmp_path: Path
) -> None:
    shutil.copytree(sample_root / "hazelnut", tmp_path / "hazelnut")
    with Image.open(tmp_path / "hazelnut/train/good/003.png") as image:
        SAVED_ANEW[how](image).save(tmp_path / "hazelnut/test/good/900.jpg", quality=70)
    dataset = mc.load(tmp_path)
    told = [finding for finding in mc.check(dataset, near_duplicates=True).findings if "mixed" not in finding.code]
    assert [(f.code, Path(f.path).name) for f in told] == [("near-duplicate", "900.jpg")]
    assert "hazelnut/train/good/003.png" in told[0].message
    assert "near-duplicate" not in {finding.code for finding in mc.check(dataset).findings}


def test_images_of_one_tone_are_not_alike(root: Path) -> None:
    for name, tone in ((GOOD, 90), ("plate/test/good/000.png", 91)):
        save(np.full((*SIZE[::-1], 3), tone, np.uint8), root / name)
    assert listed(root, near_duplicates=True) == []


def test_an_image_whose_pixels_cannot_be_decoded_is_found_where_they_are_decoded(root: Path) -> None:
    # Sound chunks, but too few pixels in them.
    (root / GOOD).write_bytes(png(*SIZE, 8, 2, b"\0" * 90))
    assert listed(root) == []
    assert listed(root, near_duplicates=True) == [("error", "bad-image", GOOD)]


# --- the published dataset --------------------------------------------------------------------------------------------


def test_the_check_says_how_a_category_of_mvtec_ad_differs(root: Path) -> None:
    (root / "plate").rename(root / "carpet")
    checked = mc.check(mc.load(root))
    assert checked.differences["carpet"] is not None
    assert "train/good 3 of 280 images" in checked.differences["carpet"]
    assert "images of 40 x 32 px, not 1024 x 1024" in checked.differences["carpet"]
    assert checked.comparison()[-1] == "None of the 15 categories of MVTec AD is complete."


@pytest.mark.skipif(REAL_ROOT is None, reason="MVTEC_ROOT is not set")
def test_real_data_gives_what_is_truly_there() -> None:
    dataset = mc.load(REAL_ROOT or "")
    checked = mc.check(dataset, near_duplicates=True)
    odd = [f for f in checked.findings if "hazelnut_toy" in f.path]
    # One training image of the hazelnut set is ten rows taller than the others.
    assert [(f.code, "512 x 522 px (1)" in f.message) for f in odd] == [("mixed-sizes", True)] * len(odd)
    assert [f for f in checked.findings if f not in odd] == []
    for category, told in checked.differences.items():
        assert told is None or not any("regions" in phrase or "px" in phrase for phrase in told), category


# --- the command line -------------------------------------------------------------------------------------------------


def test_the_command_groups_findings_by_code_with_the_remedy_and_exits_1(root: Path, capsys: Any) -> None:
    for number in range(3):
        write(f"plate/ground_truth/hole/{number:03}_mask.png", "x")(root)
    write("Thumbs.db", "x")(root)
    assert run(["check", str(root)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "error bad-image, 3"
    assert lines[1] == f"  {root}/plate/ground_truth/hole/000_mask.png: not an image"
    assert lines[4] == "  hint: replace it with the real image file"
    assert lines[5] == "warning junk-file, 1"
    assert lines[-1] == f"{root}, 13 images in the layout mvtec_ad: 3 errors, 1 warning"


def test_warnings_alone_exit_0(root: Path, capsys: Any) -> None:
    write("Thumbs.db", "x")(root)
    assert run(["check", str(root)]) == 0
    assert "0 errors, 1 warning" in capsys.readouterr().out


def test_of_many_alike_the_first_are_shown_and_json_lists_all(root: Path, capsys: Any) -> None:
    for number in range(30):
        write(f"{GOOD_FOLDER}/._{number}.png", "x")(root)
    assert run(["check", str(root)]) == 0
    out = capsys.readouterr().out
    assert out.count("._") == 10
    assert "... and 20 more; --json lists all" in out
    assert run(["check", str(root), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    fits(document, "check")
    assert len(document["findings"]) == document["warnings"] == 30
    assert document["repaired"] is None


@pytest.mark.parametrize("threshold", [0, 60, 127])
def test_a_threshold_makes_regions_of_what_is_above_it(threshold: int, root: Path, tmp_path: Path) -> None:
    smooth = blurred(blob())
    paint(MASK, smooth)(root)
    mc.to_sam(mc.load(root), tmp_path / "out", threshold=threshold)
    (path,) = (tmp_path / "out").rglob("plate_cut_000.json")
    areas = [entry["area"] for entry in json.loads(path.read_text())["annotations"]]
    assert areas == [np.count_nonzero(smooth > threshold)]


def test_a_threshold_that_leaves_nothing_says_so(root: Path, capsys: Any, monkeypatch: Any, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    paint(MASK, blob(100))(root)
    assert run(["coco", str(root), "--threshold", "127", "-o", "out"]) == 2
    error = capsys.readouterr().err
    assert "000_mask.png: the mask of a defective image has no defect pixel above 127 of 255" in error
    assert "choose a smaller --threshold" in error
