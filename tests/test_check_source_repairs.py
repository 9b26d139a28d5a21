"""`check --fix`: each repair does what it says, nothing is guessed, the source stays as it was, the copy is whole."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

import mvtec_convert as mc
from mvtec_convert.cli.app import run
from mvtec_convert.errors import OutputError, SelectionError
from mvtec_convert.repairs import Repair
from tests.broken import SIZE, Tiny, draw_image, remove, save, write
from tests.fitting import fits
from tests.test_check_source import (
    CASES,
    GOOD,
    GOOD_FOLDER,
    IMAGE,
    MASK,
    Case,
    as_jpeg,
    blob,
    blurred,
    copy,
    paint,
    save_as,
    turned_by_exif,
)

REPAIRED = {
    "missing-mask", "orphan-mask", "exif-rotation", "grey-mask", "false-suffix", "identical-images", "junk-file",
    "dead-link", "outside-folder", "special-file",
}  # fmt: skip
"""Codes that a repaired copy never has, where there is nothing to guess."""


@pytest.fixture
def root(tiny: Tiny, tmp_path: Path) -> Path:
    """A copy to break."""
    return Path(shutil.copytree(tiny.folder / "tree", tmp_path / "source" / "tree"))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "fixed"


def fix(root: Path, out: Path) -> tuple[Repair, ...]:
    dataset = mc.load(root)
    return mc.repair(dataset, mc.check(dataset), out)


def contents(folder: Path) -> dict[str, bytes | str]:
    """What each file holds, and where each link points."""
    return {
        path.relative_to(folder).as_posix(): str(path.readlink()) if path.is_symlink() else path.read_bytes()
        for path in folder.rglob("*")
        if path.is_symlink() or path.is_file()
    }


def data_in(out: Path) -> dict[str, bytes | str]:
    return {name: held for name, held in contents(out).items() if name not in {"repairs.json", "mvtec-convert.json"}}


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


# --- every finding ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_what_can_be_repaired_is_gone_from_the_copy_and_all_else_is_still_told(
    case: Case, root: Path, out: Path
) -> None:
    case.breaks(root)
    before = contents(root)
    repairs = fix(root, out)
    left = [finding.code for finding in mc.check(mc.load(out)).findings]
    assert contents(root) == before
    assert left == ([] if case.code in REPAIRED else [case.code])
    assert {repair.code for repair in repairs} == {case.code} & REPAIRED
    assert json.loads((out / "repairs.json").read_text())["repairs"] == [
        {"code": r.code, "path": r.path, "to": r.to, "action": r.action} for r in repairs
    ]


def test_a_sound_tree_is_copied_byte_for_byte(root: Path, out: Path) -> None:
    write("licence.txt", "free")(root)
    (root / "plate" / "empty").mkdir()
    assert fix(root, out) == ()
    assert data_in(out) == contents(root)
    assert (out / "plate" / "empty").is_dir()
    assert (out / GOOD).stat().st_ino != (root / GOOD).stat().st_ino


# --- one repair at a time ---------------------------------------------------------------------------------------------


def test_a_smoothed_mask_becomes_black_and_white_at_half_of_its_scale(root: Path, out: Path) -> None:
    smooth = blurred(blob(100), 2)
    paint(MASK, smooth)(root)
    (repair,) = fix(root, out)
    assert repair == Repair("grey-mask", MASK, MASK, "white above 50, else black, saved as PNG")
    assert np.array_equal(pixels(out / MASK), np.where(smooth > 50, 255, 0))


def test_a_mask_with_faint_areas_is_left_to_a_person(root: Path, out: Path) -> None:
    smooth = blurred(blob())
    smooth[26:30, 4:9] = blurred(blob(100))[13:17, 15:20]
    paint(MASK, smooth)(root)
    assert fix(root, out) == ()
    (finding,) = mc.check(mc.load(out)).findings
    assert "leaves 1 faint area out" in finding.message
    assert "draw the faint areas anew" in str(finding.hint)


def test_a_jpeg_mask_becomes_a_png_that_its_image_still_finds(root: Path, out: Path) -> None:
    as_jpeg(MASK, quality=60)(root)
    assert [repair.to for repair in fix(root, out)] == [MASK]
    (sample,) = (s for s in mc.load(out) if s.key == IMAGE)
    assert sample.masks == (out / MASK,)


def test_names_of_image_and_mask_follow_their_content_and_stay_a_pair(root: Path, out: Path) -> None:
    save_as(IMAGE, "JPEG")(root)
    save_as(MASK, "TIFF")(root)
    fix(root, out)
    (sample,) = (s for s in mc.load(out) if s.image.stem == "000" and s.defect_type == "cut")
    assert (sample.image.name, sample.masks[0].name) == ("000.jpg", "000_mask.tif")
    assert sample.image.read_bytes() == (root / IMAGE).read_bytes()
    assert sample.masks[0].read_bytes() == (root / MASK).read_bytes()


@pytest.mark.parametrize(("other", "format"), [("000.JPG", "JPEG"), ("000.jpg", "PNG"), ("000.jpeg", "JPEG")])
def test_a_name_that_another_file_has_is_not_given(other: str, format: str, root: Path, out: Path) -> None:
    save_as(GOOD, "JPEG")(root)
    draw_image(root / GOOD_FOLDER / "x.png", 55)
    (root / GOOD_FOLDER / "x.png").rename(root / GOOD_FOLDER / other)
    save_as(f"{GOOD_FOLDER}/{other}", format)(root)
    repairs = fix(root, out)
    assert data_in(out).keys() == contents(root).keys() or [r.to for r in repairs] == [f"{GOOD_FOLDER}/000.jpg"]
    assert sorted(map(len, data_in(out).values())) == sorted(map(len, contents(root).values()))


@pytest.mark.parametrize("orientation", range(2, 9))
def test_a_good_image_is_turned_as_its_readers_would_see_it(orientation: int, root: Path, out: Path) -> None:
    turned_by_exif(GOOD, orientation)(root)
    (repair,) = fix(root, out)
    assert (repair.path, repair.to) == (GOOD.replace("png", "jpg"), GOOD)
    # OpenCV turns a JPEG by EXIF as it reads it.
    seen = cv2.cvtColor(cv2.imread(str(root / GOOD_FOLDER / "000.jpg"), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    assert pixels(out / GOOD).shape == seen.shape
    assert np.abs(pixels(out / GOOD).astype(int) - seen).max() <= 2  # JPEG decoders round each in their own way
    with Image.open(out / GOOD) as image:
        assert 0x0112 not in image.getexif()


@pytest.mark.parametrize("orientation", range(5, 9))
def test_a_mask_of_the_stored_pixels_is_turned_with_its_image(orientation: int, root: Path, out: Path) -> None:
    """The picture of a mask, as an image, must stay the picture of that mask."""
    with Image.open(root / MASK) as mask:
        mask.convert("RGB").save(root / IMAGE)
    turned_by_exif(IMAGE, orientation)(root)
    assert {repair.path for repair in fix(root, out)} == {IMAGE.replace("png", "jpg"), MASK}
    shown = pixels(out / IMAGE)[..., 0] > 127
    assert shown.shape == SIZE
    assert np.array_equal(shown, pixels(out / MASK) > 0)
    assert mc.check(mc.load(out)).errors == 0


def test_a_mask_of_the_upright_image_is_left_as_it_is(root: Path, out: Path) -> None:
    turned_by_exif(IMAGE, 6)(root)
    paint(MASK, blob().T.copy())(root)
    assert [repair.path for repair in fix(root, out)] == [IMAGE.replace("png", "jpg")]
    assert (out / MASK).read_bytes() == (root / MASK).read_bytes()
    assert mc.check(mc.load(out)).errors == 0


@pytest.mark.parametrize("size", [SIZE, (40, 40)])
def test_where_the_sizes_do_not_say_what_the_mask_was_drawn_on_nothing_is_turned(
    size: tuple[int, int], root: Path, out: Path
) -> None:
    shutil.rmtree(root)
    draw_image(root / GOOD, 1, size)
    draw_image(root / IMAGE, 2, size)
    mask = np.zeros(size[::-1], np.uint8)
    mask[3:9, 4:20] = 255
    save(mask, root / MASK)
    turned_by_exif(IMAGE, 3 if size == SIZE else 6)(root)
    assert fix(root, out) == ()
    assert [finding.code for finding in mc.check(mc.load(out)).findings] == ["exif-rotation"]


def test_a_grey_mask_is_turned_and_made_black_and_white_at_once(root: Path, out: Path) -> None:
    turned_by_exif(IMAGE, 6)(root)
    smooth = blurred(blob(), 2)
    smooth[:6, :6] = 255
    paint(MASK, smooth)(root)
    assert [repair.code for repair in fix(root, out) if repair.path == MASK] == ["exif-rotation", "grey-mask"]
    assert np.array_equal(pixels(out / MASK), np.rot90(np.where(smooth > 127, 255, 0), -1))


def test_what_cannot_be_decoded_is_copied_as_it_is_with_its_mask(root: Path, out: Path) -> None:
    turned_by_exif(IMAGE, 6)(root)
    with Image.open(root / IMAGE.replace("png", "jpg")) as image:
        image.convert("CMYK").save(root / IMAGE.replace("png", "jpg"), exif=image.getexif())
    assert fix(root, out) == ()
    assert data_in(out) == contents(root)


def test_second_copies_go_with_their_masks_but_not_where_the_masks_differ(root: Path, out: Path) -> None:
    copy(IMAGE, IMAGE.replace("000", "008"))(root)
    copy(MASK, MASK.replace("000", "008"))(root)
    copy(IMAGE, IMAGE.replace("000", "009"))(root)
    paint(MASK.replace("000", "009"), blob())(root)
    gone = [repair.path for repair in fix(root, out)]
    assert gone == [MASK.replace("000", "008"), IMAGE.replace("000", "008")]
    assert [finding.code for finding in mc.check(mc.load(out)).findings] == ["identical-images"]


def test_links_become_files(root: Path, out: Path) -> None:
    far = root.parent / "far"
    draw_image(far / "000.png", 70)
    (root / "plate/train/good/linked.png").symlink_to(far / "000.png")
    (root / "plate/notes").symlink_to(far, target_is_directory=True)
    assert [repair.to for repair in fix(root, out)] == ["plate/notes", "plate/train/good/linked.png"]
    assert not any(path.is_symlink() for path in out.rglob("*"))
    assert (out / "plate/notes/000.png").read_bytes() == (far / "000.png").read_bytes()


# --- the whole copy ---------------------------------------------------------------------------------------------------


def test_a_category_that_is_the_root_keeps_its_name(root: Path, out: Path) -> None:
    write("plate/Thumbs.db", "x")(root)
    assert [repair.path for repair in fix(root / "plate", out)] == ["Thumbs.db"]
    assert mc.load(out).categories == ("plate",)
    assert [s.key for s in mc.load(out)] == [s.key for s in mc.load(root)]


def test_the_copy_converts_where_the_source_does_not(root: Path, out: Path, tmp_path: Path) -> None:
    turned_by_exif(GOOD, 6)(root)
    remove(MASK)(root)
    with pytest.raises(mc.MvtecConvertError):
        mc.to_coco(mc.load(root), tmp_path / "coco")
    fix(root, out)
    assert mc.to_coco(mc.load(out), tmp_path / "coco").fidelity.regions > 0
    assert mc.validate(tmp_path / "coco").errors == 0


def test_an_earlier_copy_is_replaced_and_anything_else_is_left_alone(root: Path, out: Path) -> None:
    write("plate/Thumbs.db", "x")(root)
    fix(root, out)
    remove(GOOD)(root)
    fix(root, out)
    assert not (out / GOOD).exists()
    write("notes.txt", "mine")(out)
    with pytest.raises(OutputError, match="did not write"):
        fix(root, out)


@pytest.mark.parametrize("target", [".", "plate/fixed", ".."])
def test_the_source_is_no_place_for_the_copy(target: str, root: Path) -> None:
    before = contents(root.parent)
    with pytest.raises(OutputError):
        fix(root, root / target)
    assert contents(root.parent) == before


def test_a_copy_that_fails_leaves_nothing(root: Path, out: Path, monkeypatch: Any) -> None:
    paint(MASK, blurred(blob()))(root)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mvtec_convert.repairs.save_png", full)
    with pytest.raises(OutputError, match="No space left"):
        fix(root, out)
    assert not out.exists()
    assert [path.name for path in out.parent.iterdir()] == ["source"]


def test_a_copy_without_any_image_is_refused(root: Path, out: Path) -> None:
    shutil.rmtree(root / "plate/ground_truth")
    shutil.rmtree(root / "plate/train")
    shutil.rmtree(root / "plate/test/good")
    with pytest.raises(SelectionError, match="no image would be left"):
        fix(root, out)


def test_the_same_for_any_number_of_threads(root: Path, out: Path, tmp_path: Path) -> None:
    paint(MASK, blurred(blob()))(root)
    turned_by_exif(GOOD, 6)(root)
    dataset = mc.load(root)
    found = mc.check(dataset)
    assert mc.repair(dataset, found, out, jobs=1) == mc.repair(dataset, found, tmp_path / "other", jobs=5)
    assert contents(out) == contents(tmp_path / "other")


def test_the_command_tells_what_was_done_and_what_is_left(root: Path, out: Path, capsys: Any) -> None:
    write("Thumbs.db", "x")(root)
    paint(MASK, blob(0))(root)
    assert run(["check", str(root), "--fix", str(out)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["repaired junk-file, 1", "  Thumbs.db: left out"]
    assert f"{out}: a copy, 1 repair; what is left in it:" in lines
    assert "error empty-mask, 1" in lines
    assert lines[-1] == f"{out}, 13 images in the layout mvtec_ad: 1 error, 0 warnings"
    paint(MASK, blob())(root)
    assert run(["check", str(root), "--fix", str(out), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    fits(document, "check")
    assert document["warnings"] == 1
    assert document["repaired"]["left"]["findings"] == []
