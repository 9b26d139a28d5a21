"""One broken dataset per failure mode, through the command line: exit 2, file, remedy, nothing written."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mvtec_convert.cli.app import run

MASK = "grid/ground_truth/bent/000_mask.png"
IMAGE = "grid/test/bent/000.png"


@pytest.fixture
def root(sample_root, tmp_path, monkeypatch) -> Path:
    """A copy of the sample's grid, in a folder of its own; the current folder is empty."""
    copy = tmp_path / "data" / "my parts"
    shutil.copytree(sample_root / "grid", copy / "grid")
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    return copy


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-400])


def flip_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


def turn_by_exif(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(path) as image:
        image.save(path.with_suffix(".jpg"), exif=exif)
    path.unlink()


def empty_mask(path: Path) -> None:
    Image.fromarray(np.zeros((288, 288), np.uint8)).save(path)


def other_size(path: Path) -> None:
    Image.fromarray(np.full((100, 90), 255, np.uint8)).save(path)


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


BROKEN: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "a defective image without a mask": (MASK, Path.unlink, "bent/000.png: defective image without a mask"),
    "a mask without an image": (IMAGE, Path.unlink, "000_mask.png: mask without an image"),
    "a mask of another size": (MASK, other_size, "000_mask.png: the mask is 90 x 100 px, its image 288 x 288 px"),
    "a mask without a defect": (MASK, empty_mask, "000_mask.png: the mask of a defective image has no defect pixel"),
    "a truncated mask": (MASK, cut_short, "000_mask.png: damaged or truncated"),
    "a corrupt mask": (MASK, flip_a_byte, "000_mask.png: damaged or truncated"),
    "an empty mask file": (MASK, lambda path: path.write_bytes(b""), "000_mask.png: not an image"),
    "text called .png": (MASK, lambda path: path.write_text("hello"), "000_mask.png: not an image"),
    "an image that is none": (IMAGE, lambda path: path.write_text("hello"), "bent/000.png: not an image"),
    "a good image that is none": ("grid/train/good/000.png", lambda p: p.write_text("x"), "good/000.png: not an image"),
    "an image turned by EXIF": (IMAGE, turn_by_exif, "000.jpg: EXIF orientation 6"),
    "two masks for an image": (MASK, lambda p: shutil.copy(p, p.with_name("000.png")), "claim one image"),
    "two images for a mask": (IMAGE, lambda p: shutil.copy(p, p.with_suffix(".bmp")), "claim one mask"),
    "a line end in a name": (IMAGE, lambda p: p.rename(p.with_name("0\n0.png")), "the name holds control characters"),
    "defects in train": (IMAGE, lambda p: shutil.copytree(p.parent, p.parents[2] / "train/bent"), "train holds images"),
    "a folder instead of a mask": (MASK, make_folder, "bent/000.png: defective image without a mask"),
}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("command", ["yolo", "coco", "sam"])
def test_a_broken_dataset_is_refused_with_the_file_and_the_remedy(root, capsys, command, name):
    file, damage, message = BROKEN[name]
    damage(root / file)
    assert run([command, str(root)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "hint: " in error
    assert "Traceback" not in error
    assert "\n0.png" not in error
    assert list(Path().iterdir()) == []


def test_every_bad_file_is_listed_not_only_the_first(root, capsys):
    for number in range(4):
        (root / f"grid/ground_truth/bent/{number:03d}_mask.png").write_text("x")
    assert run(["coco", str(root)]) == 2
    error = capsys.readouterr().err
    assert "4 files cannot be used" in error
    assert all(f"{number:03d}_mask.png" in error for number in range(4))


def test_an_unreadable_mask_is_named(root, capsys, monkeypatch):
    opened = os.open

    def refuse(path, *arguments, **keywords):
        if str(path).endswith("000_mask.png"):
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *arguments, **keywords)

    monkeypatch.setattr(os, "open", refuse)
    assert run(["coco", str(root)]) == 2
    error = capsys.readouterr().err
    assert "000_mask.png: cannot be read: Permission denied" in error
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: root / "nowhere", "no such folder"),
        (lambda root: root / IMAGE, "no such folder"),
        (lambda root: root / "grid" / "ground_truth", "no dataset here"),
    ],
)
def test_what_is_no_dataset_says_so(root, capsys, make, message):
    assert run(["coco", str(make(root))]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "hint: give the folder that holds the categories" in error


def test_a_dataset_without_a_defect_has_nothing_to_label(root, capsys):
    shutil.rmtree(root / "grid" / "ground_truth")
    for folder in (root / "grid" / "test").iterdir():
        if folder.name != "good":
            shutil.rmtree(folder)
    assert run(["coco", str(root)]) == 2
    assert "nothing to label" in capsys.readouterr().err


@pytest.mark.parametrize("background", ["-1", "some", "nan"])
def test_background_that_makes_no_sense_is_refused(root, capsys, background):
    assert run(["coco", str(root), f"--background={background}"]) == 2
    assert "all, none" in capsys.readouterr().err
    assert list(Path().iterdir()) == []


def test_a_split_of_another_dataset_is_refused(root, sample_root, capsys):
    assert run(["coco", str(sample_root), "-c", "carpet", "-o", "carpet"]) == 0
    assert run(["coco", str(root), "--split-from", "carpet"]) == 2
    assert "knows nothing of 33 of 33 images" in capsys.readouterr().err
    assert run(["coco", str(root), "--split-from", str(root)]) == 2
    assert "splits.json" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["with space", "Teppich-ä", "絨毯", "a'b", "100%", "[red]", "=1+1"])
def test_unusual_names_work_in_every_format(root, capsys, name):
    (root / "grid").rename(root / name)
    (root / name / "test" / "bent").rename(root / name / "test" / f"{name} defect")
    (root / name / "ground_truth" / "bent").rename(root / name / "ground_truth" / f"{name} defect")
    for command in ("yolo", "coco", "sam"):
        assert run([command, str(root), "-o", command]) == 0, capsys.readouterr().err
        assert run(["validate", command]) == 0, capsys.readouterr().out
        assert f"{name} defect" in Path(command, "classes.json").read_text(encoding="utf-8")


def save_as(mode: str, suffix: str = ".png") -> Callable[[Path], None]:
    def save(path: Path) -> None:
        with Image.open(path) as image:
            grey = image.convert("L")
        path.unlink()
        pixels = np.asarray(grey)
        if mode == "16":
            converted = Image.fromarray((pixels > 0).astype(np.uint16))  # value 1 of 65535
        elif mode == "P":
            converted = grey.quantize(2)
        elif mode == "RGBA":
            converted = Image.merge("RGBA", [grey, grey, grey, Image.new("L", grey.size, 255)])
        else:
            converted = grey.convert(mode)
        converted.save(path.with_suffix(suffix))

    return save


KINDS = [
    ("1", ".png"),
    ("16", ".png"),
    ("P", ".png"),
    ("RGB", ".png"),
    ("RGBA", ".png"),
    ("L", ".bmp"),
    ("RGB", ".tif"),
]


@pytest.mark.parametrize(("mode", "suffix"), [*KINDS, ("L", ".TIFF")])
def test_masks_of_any_kind_give_the_same_labels(root, tmp_path, mode, suffix):
    assert run(["coco", str(root), "-o", "plain"]) == 0
    for mask in sorted((root / "grid" / "ground_truth").rglob("*.png")):
        save_as(mode, suffix)(mask)
    assert run(["coco", str(root), "-o", "other"]) == 0
    for name in ("train", "val"):
        path = f"annotations/instances_{name}.json"
        assert Path("other", path).read_bytes() == Path("plain", path).read_bytes()
