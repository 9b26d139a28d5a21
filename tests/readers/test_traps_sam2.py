"""Every trap of SAM 2 is real: its trainer chokes on the broken dataset, overlooks an image, or reads something else.

The trainer is no package: `datapoints` says its rules again (test_sam2.py), and where its repository is on PYTHONPATH
(originals.py) the same traps are set for `SA1BRawDataset` and `VOSDataset` themselves.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageOps
from torch.utils.data import DataLoader

import mvtec_convert as mc
from tests.broken import Tiny, change, draw_image, remove, write
from tests.exports import regions_of, same_regions, true_masks
from tests.readers import originals
from tests.readers.test_sam2 import Datapoint, datapoints
from tests.readers.traps import Breaks, codes, codes_in

# Others of these tests import Ultralytics, which changes Pillow.
pytestmark = pytest.mark.usefixtures("plain_pillow")

FILE, IMAGE = "val/sa_2.json", "val/sa_2.jpg"
EMPTY = {"size": [32, 40], "counts": "PX1"}
OTHER_SIZE = {"size": [40, 32], "counts": "PX1"}
GARBAGE = {"size": [32, 40], "counts": "hello"}

Reads = Callable[[Path], list[Datapoint]]
Suffers = Callable[[Path, Reads], None]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """Images of 40 x 32 px with two regions each: 2 and 6 are in val, the others in train."""
    tiny = Tiny(tmp_path_factory.mktemp("tiny"))
    mc.to_sam(mc.load(tiny.folder / "tree"), tiny.folder / "sam2", layout="sam2")
    return tiny


def original(folder: Path) -> list[Datapoint]:
    """What SAM 2's own datasets yield."""
    dataset = originals.sam2_split(folder)
    read = zip(dataset.video_dataset.video_names, (dataset[i] for i in range(len(dataset))), strict=True)
    return [
        Datapoint(point.video_id, name, point.frames[0].data, [entry.segment for entry in point.frames[0].objects])
        for name, point in read
    ]


READERS: dict[str, Reads] = originals.available(datapoints, original, originals.HAS_SAM2)


@pytest.fixture(params=READERS)
def reads(request) -> Reads:
    return READERS[request.param]


def first(**values: Any) -> Breaks:
    return change(FILE, "annotations", 0, **values)


def renamed(new: str, **header: Any) -> Breaks:
    """`sa_2` of val under another name."""

    def breaks(folder: Path) -> None:
        change(FILE, "image", file_name=f"{new}.jpg", **header)(folder)
        for suffix in ("jpg", "json"):
            (folder / f"val/sa_2.{suffix}").rename(folder / f"val/{new}.{suffix}")

    return breaks


def as_png(name: str) -> Breaks:
    """The image as PNG, under this name."""

    def breaks(folder: Path) -> None:
        with Image.open(folder / IMAGE) as opened:
            pixels = opened.copy()
        (folder / IMAGE).unlink()
        pixels.save(folder / name, "PNG")

    return breaks


def sideways(folder: Path) -> None:
    """The image as a camera held upright would save it."""
    with Image.open(folder / IMAGE) as opened:
        pixels = opened.copy()
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels.save(folder / IMAGE, exif=exif)


def raises(kind: type[Exception], match: str) -> Suffers:
    def suffers(folder: Path, reads: Reads) -> None:
        with pytest.raises(kind, match=match):
            reads(folder / "val")

    return suffers


def reads_only(*numbers: int) -> Suffers:
    """Of the images 2 and 6 in val."""

    def suffers(folder: Path, reads: Reads) -> None:
        assert sorted(point.video_id for point in reads(folder / "val")) == list(numbers)

    return suffers


def has_nothing_to_draw(folder: Path, reads: Reads) -> None:
    read = reads(folder / "val")
    assert read == []
    with pytest.raises(ValueError, match="num_samples=0"):
        DataLoader(read, shuffle=True)


def point_of(folder: Path, reads: Reads) -> Datapoint:
    (point,) = [point for point in reads(folder / "val") if point.video_id == 2]
    return point


def loses_a_mask(folder: Path, reads: Reads) -> None:
    assert len(point_of(folder, reads).masks) == 1


def has_masks_of_another_size(folder: Path, reads: Reads) -> None:
    """Nothing is said: image and mask are later brought to one size, each on its own."""
    point = point_of(folder, reads)
    assert point.masks[0].shape != point.image.size[::-1]


def has_an_empty_target(folder: Path, reads: Reads) -> None:
    assert [bool(mask.any()) for mask in point_of(folder, reads).masks] == [False, True]


def takes_the_image_of_its_own_name(folder: Path, reads: Reads) -> None:
    """The JSON file speaks of another one."""
    own, named = folder / IMAGE, folder / "val" / json.loads((folder / FILE).read_text())["image"]["file_name"]
    read = point_of(folder, reads).image.tobytes()
    assert read == Image.open(own).tobytes()
    assert read != Image.open(named).tobytes()


def goes_by_the_name(folder: Path, reads: Reads) -> None:
    assert json.loads((folder / FILE).read_text())["image"]["image_id"] == 99
    assert sorted(point.video_id for point in reads(folder / "val")) == [2, 6]


def fails_elsewhere(folder: Path, reads: Reads) -> None:
    """SAM 2 itself looks at the content; Pillow that is told the format by the name fails, as decoders of JPEG do."""
    point_of(folder, reads)
    with pytest.raises(OSError, match="cannot identify"):
        Image.open(folder / IMAGE, formats=[Image.registered_extensions()[Path(IMAGE).suffix]])


def sees_it_sideways(folder: Path, reads: Reads) -> None:
    with Image.open(folder / IMAGE) as opened:
        assert point_of(folder, reads).image.size == ImageOps.exif_transpose(opened).size[::-1]


def is_in_both_splits(folder: Path, reads: Reads) -> None:
    pictures = {split: {point.image.tobytes() for point in reads(folder / split)} for split in ("train", "val")}
    assert len(pictures["train"] & pictures["val"]) == 1


def has_numbers_of_train(folder: Path, reads: Reads) -> None:
    numbers = [{point.video_id for point in reads(folder / split)} for split in ("train", "val")]
    assert numbers[0] & numbers[1] == {1}


TRAPS: dict[str, tuple[Breaks, str, Suffers]] = {
    "nothing at all": (lambda f: [path.unlink() for path in f.glob("*/sa_*")], "no-annotation-file",
                       has_nothing_to_draw),
    "an empty split": (lambda f: [path.unlink() for path in f.glob("val/sa_*")], "empty-split", has_nothing_to_draw),
    "no number": (renamed("sa_two"), "image-name", raises(ValueError, "invalid literal for int")),
    "a number that is not last": (renamed("sa_2_a"), "image-name", raises(ValueError, "invalid literal for int")),
    "a dot in the name": (renamed("sa_2.b"), "image-name", raises(FileNotFoundError, "sa_2.json")),
    "a number twice": (renamed("sb_6", image_id=6), "duplicate-id", reads_only(6, 6)),
    "a number of train": (renamed("sa_1", image_id=1), "duplicate-id", has_numbers_of_train),
    "a number and another id": (change(FILE, "image", image_id=99), "image-id", goes_by_the_name),
    "the file name of another": (change(FILE, "image", file_name="sa_6.jpg"), "file-name",
                                 takes_the_image_of_its_own_name),
    "no masks": (change(FILE, annotations=[]), "no-masks", raises(Exception, "no objects")),
    "PNG": (as_png("val/sa_2.png"), "wrong-suffix", reads_only(6)),
    "a capital suffix": (lambda f: (f / IMAGE).rename(f / "val/sa_2.JPG"), "wrong-suffix", reads_only(6)),
    "jpeg for a suffix": (lambda f: (f / IMAGE).rename(f / "val/sa_2.jpeg"), "wrong-suffix", reads_only(6)),
    "PNG, called JPEG": (as_png(IMAGE), "not-jpeg", fails_elsewhere),
    "no JSON file": (remove(FILE), "orphan-image", raises(FileNotFoundError, "sa_2.json")),
    "what macOS leaves": (write("val/._sa_2.jpg", b"\0\5\x16\7"), "orphan-image", raises(FileNotFoundError, "json")),
    "no such image": (remove(IMAGE), "missing-image", reads_only(6)),
    "no image": (write(IMAGE, b"\xff\xd8\xffhello"), "bad-image", raises(OSError, "cannot identify")),
    "an image turned by EXIF": (sideways, "bad-image", sees_it_sideways),
    "an image of another size": (lambda f: draw_image(f / IMAGE, 1, (50, 32)), "image-size",
                                 has_masks_of_another_size),
    "no JSON": (write(FILE, "{"), "bad-json", raises(json.JSONDecodeError, "Expecting")),
    "no area": (first(area=None), "schema", raises(KeyError, "area")),
    "area 0": (first(area=0), "schema", loses_a_mask),
    "a mask of another size": (first(segmentation=OTHER_SIZE), "rle-size", has_masks_of_another_size),
    "run lengths of garbage": (first(segmentation=GARBAGE), "bad-rle", raises(ValueError, "Invalid RLE")),
    "a mask of nothing": (first(segmentation=EMPTY), "empty-segmentation", has_an_empty_target),
    "an image in both splits": (lambda f: shutil.copy(f / "train/sa_1.jpg", f / IMAGE), "split-leak",
                                is_in_both_splits),
}  # fmt: skip


@pytest.mark.parametrize("name", TRAPS)
def test_sam_2_falls_into_the_trap_and_validate_names_it(name, tiny, reads, tmp_path):
    breaks, code, suffers = TRAPS[name]
    folder = tiny.copy("sam2", tmp_path / "set")
    assert codes(folder) == set()
    breaks(folder)
    assert code in codes(folder)
    suffers(folder, reads)


def test_every_finding_of_sam_2_has_its_trap():
    assert {code for _, code, _ in TRAPS.values()} >= codes_in("SAM 2")


def test_without_a_trap_sam_2_reads_every_mask_of_the_sample(sample_root, reads, tmp_path):
    mc.to_sam(mc.load(sample_root), tmp_path / "out", layout="sam2")
    truth = true_masks(sample_root)
    read = [(split, point) for split in ("train", "val") for point in reads(tmp_path / "out" / split)]
    assert len(read) == len(truth) == 60
    for split, point in read:
        name = json.loads((tmp_path / "out" / split / f"{point.name}.json").read_text())["image"]["name"]
        assert same_regions([mask.numpy() for mask in point.masks], regions_of(truth[name][1]))


@pytest.mark.skipif(not originals.HAS_SAM2, reason="SAM 2's repository is not on PYTHONPATH")
def test_where_sam_2_trains_another_image_takes_the_place_of_one_without_masks(tiny, tmp_path):
    folder = tiny.copy("sam2", tmp_path / "set")
    change(FILE, annotations=[])(folder)
    dataset = originals.sam2_split(folder / "val", training=True)
    assert {dataset[i].video_id for i in range(len(dataset)) for _ in range(5)} == {6}
