"""Every trap of a classification export is real: torchvision's ImageFolder stops at it, or classes mean something else.

What Ultralytics makes of some of them is in test_traps_yolo.py.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torchvision.datasets import ImageFolder

import mvtec_convert as mc
from tests.broken import Tiny, remove, write
from tests.readers.traps import Breaks, codes, codes_in

# Others of these tests import Ultralytics, which changes Pillow.
pytestmark = pytest.mark.usefixtures("plain_pillow")

IMAGE = "val/cut/plate_cut_001.png"
Suffers = Callable[[Path], None]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """Ten images in train and three in val, of the classes cut, good and hole."""
    tiny = Tiny(tmp_path_factory.mktemp("tiny"))
    mc.to_yolo(mc.load(tiny.folder / "tree"), tiny.folder / "classify", task="classify")
    return tiny


def stops(split: str, kind: type[Exception], match: str) -> Suffers:
    def suffers(folder: Path) -> None:
        with pytest.raises(kind, match=match):
            [image for image, _ in ImageFolder(folder / split)]

    return suffers


def sees_one_image_less(folder: Path) -> None:
    assert len(ImageFolder(folder / "train")) == 9


def counts_in_another_way(folder: Path) -> None:
    train, val = (ImageFolder(folder / split).class_to_idx for split in ("train", "val"))
    assert (train["hole"], val["hole"]) == (2, 1)


def learns_nothing(folder: Path) -> None:
    """Whatever the only class's score is, its share is 1."""
    labels = torch.tensor(ImageFolder(folder / "train").targets)
    assert set(labels.tolist()) == {0}
    scores = torch.randn(len(labels), 1, requires_grad=True)
    torch.nn.functional.cross_entropy(scores, labels).backward()
    assert not scores.grad.any()


def sees_it_in_both(folder: Path) -> None:
    pictures = [{image.tobytes() for image, _ in ImageFolder(folder / split)} for split in ("train", "val")]
    assert len(pictures[0] & pictures[1]) == 1


def emptied(name: str) -> Breaks:
    return lambda folder: [path.unlink() for path in (folder / name).rglob("*.png")]


def only_cut(folder: Path) -> None:
    for split in ("train", "val"):
        for name in ("good", "hole"):
            shutil.rmtree(folder / split / name)


TRAPS: dict[str, tuple[Breaks, str, Suffers]] = {
    # name: (what is done to it, code, what the reader does)
    "no train": (remove("train"), "no-split-folder", stops("train", FileNotFoundError, "train")),
    "no val": (remove("val"), "no-split-folder", stops("val", FileNotFoundError, "val")),
    "a split without images": (emptied("val"), "empty-split", stops("val", FileNotFoundError, "Found no valid file")),
    "a class without images": (emptied("val/cut"), "unused-class", stops("val", FileNotFoundError, "classes cut")),
    "a class that val lacks": (remove("val/cut"), "class-mismatch", counts_in_another_way),
    "one class": (only_cut, "one-class", learns_nothing),
    "an image beside the folders": (lambda f: (f / "train/cut/plate_cut_000.png").rename(f / "train/x.png"),
                                    "loose-image", sees_one_image_less),
    "no image": (write(IMAGE, "text"), "bad-image", stops("val", OSError, "cannot identify")),
    "what macOS leaves": (write("val/cut/._plate_cut_001.png", b"\0\5\x16\7"), "bad-image",
                          stops("val", OSError, "cannot identify")),
    "an image in both splits": (lambda f: shutil.copy(f / "train/cut/plate_cut_000.png", f / IMAGE), "split-leak",
                                sees_it_in_both),
}  # fmt: skip


@pytest.mark.parametrize("name", TRAPS)
def test_imagefolder_falls_into_the_trap_and_validate_names_it(name, tiny, tmp_path):
    breaks, code, suffers = TRAPS[name]
    folder = tiny.copy("classify", tmp_path / "set")
    assert codes(folder) == set()
    assert [len(ImageFolder(folder / split)) for split in ("train", "val")] == [10, 3]
    breaks(folder)
    assert code in codes(folder)
    suffers(folder)


def test_every_finding_of_classify_has_its_trap():
    assert {code for _, code, _ in TRAPS.values()} >= codes_in("classify")
