"""Every trap of MedSAM is real: its dataset chokes on the broken arrays, passes them over, or yields something else.

The trainer is a script and no package: `Arrays` says its rules again (test_medsam.py), and where its repository is on
PYTHONPATH (originals.py) the same traps are set for its `NpyDataset` itself.
"""

from __future__ import annotations

import pickle
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

import mvtec_convert as mc
from tests.broken import draw_tree, edit, remove, write
from tests.readers import originals
from tests.readers.test_medsam import Arrays
from tests.readers.traps import Breaks, codes, codes_in

NAME = "plate_cut_001"
IMAGE, MASK = f"val/imgs/{NAME}.npy", f"val/gts/{NAME}.npy"
FRAME, SQUARE, BACKGROUND = 124416, 13184, 910976  # px of its mask
OWN = {"unknown-id", "area"}
"""Codes that compare with `regions.json`, which is this tool's own: the trainer does not read it."""

Reads = Callable[[Path], Dataset]
Suffers = Callable[[Path, Reads], None]
READERS: dict[str, Reads] = originals.available(Arrays, originals.medsam_split, originals.HAS_MEDSAM)


@pytest.fixture(params=READERS)
def reads(request) -> Reads:
    random.seed(0)  # by which a region is drawn
    return READERS[request.param]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six images of train and two of val, with two regions each: a frame (1) and a square (2)."""
    folder = tmp_path_factory.mktemp("tiny")
    draw_tree(folder / "tree")
    mc.to_sam(mc.load(folder / "tree"), folder / "set", layout="medsam")
    yield folder / "set"
    shutil.rmtree(folder)  # 13 MB an image


@pytest.fixture
def folder(sound: Path, tmp_path: Path) -> Path:
    """A copy of `sound`; arrays are linked, so whoever changes one replaces it."""

    def link_or_copy(source: str, target: str) -> None:
        Path(target).hardlink_to(source) if source.endswith(".npy") else shutil.copy(source, target)

    yield Path(shutil.copytree(sound, tmp_path / "set", copy_function=link_or_copy))
    shutil.rmtree(tmp_path / "set")


def store(name: str, make: Callable[[np.ndarray], np.ndarray]) -> Breaks:
    """Another array in the place of one."""

    def breaks(folder: Path) -> None:
        array = make(np.load(folder / name))
        (folder / name).unlink()
        np.save(folder / name, array)

    return breaks


def put(name: str, content: bytes) -> Breaks:
    """Another file in the place of one."""
    return lambda folder: [remove(name)(folder), write(name, content)(folder)]


def without_records(breaks: Breaks) -> Breaks:
    """As another tool would have written it: `regions.json` says nothing."""
    return lambda folder: [*[path.unlink() for path in folder.glob("*/regions.json")], breaks(folder)]


def samples(folder: Path, reads: Reads, split: str = "val") -> dict[str, tuple[Any, ...]]:
    """(image, mask, box) of every image of a split, by name; the region that is drawn is any one."""
    dataset = reads(folder / split)
    return {name.removesuffix(".npy"): sample for *sample, name in (dataset[i] for i in range(len(dataset)))}


# --- what the trainer does -------------------------------------------------------------------------------------------


def cannot_start(folder: Path, reads: Reads) -> None:
    with pytest.raises(ValueError, match="num_samples=0"):
        DataLoader(reads(folder / "val"), shuffle=True)


def passes_it_over(folder: Path, reads: Reads) -> None:
    assert samples(folder, reads).keys() == {"plate_hole_001"}


def stops(match: str) -> Suffers:
    def suffers(folder: Path, reads: Reads) -> None:
        with pytest.raises((AssertionError, ValueError, IndexError), match=match):
            samples(folder, reads)

    return suffers


def cannot_load(folder: Path, reads: Reads) -> None:
    with pytest.raises((ValueError, EOFError, pickle.UnpicklingError)):
        samples(folder, reads)


def cannot_make_a_batch(folder: Path, reads: Reads) -> None:
    with pytest.raises(RuntimeError, match="stack expects each tensor to be equal size"):
        next(iter(DataLoader(reads(folder / "val"), batch_size=2)))


def gives_one_image_two_masks(folder: Path, reads: Reads) -> None:
    dataset = reads(folder / "val")
    assert sorted(dataset[i][3] for i in range(len(dataset))) == [f"{NAME}.npy"] * 2 + ["plate_hole_001.npy"]


def draws(*areas: int) -> Suffers:
    """Only regions of these sizes are ever learnt from the image, px."""

    def suffers(folder: Path, reads: Reads) -> None:
        dataset = reads(folder / "val")
        drawn = {int(dataset[0][1].sum()) for _ in range(20)}
        assert drawn == set(areas)

    return suffers


def sees_black(folder: Path, reads: Reads) -> None:
    image = samples(folder, reads)[NAME][0]
    assert image.max().item() == pytest.approx(1 / 255)


def reads_the_regions_edge_as_a_region(folder: Path, reads: Reads) -> None:
    dataset = reads(folder / "val")
    assert min(int(dataset[0][1].sum()) for _ in range(60)) < 0.1 * SQUARE


def learns_from_an_image_of_val(folder: Path, reads: Reads) -> None:
    assert torch.equal(samples(folder, reads, "train")["plate_cut_000"][0], samples(folder, reads)[NAME][0])


def executes_it(folder: Path, reads: Reads) -> None:
    """`validate` did not: the file is written where the trainer reads."""
    assert not (folder / "executed").exists()
    with pytest.raises(Exception):  # noqa: B017  -- whatever comes of a path for an array
        samples(folder, reads)
    assert (folder / "executed").exists()


def nested(folder: Path) -> None:
    (folder / "val/gts/more").mkdir()
    shutil.copy(folder / MASK, folder / "val/gts/more")


def with_code(folder: Path) -> None:
    """An "array" that is code, as a pickle may be."""

    class Code:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (folder / "executed",)

    put(MASK, pickle.dumps(Code()))(folder)


def losing_one(folder: Path) -> None:
    """Region 2 as if no pixel of 1024 x 1024 had fallen to it."""
    store(MASK, lambda a: np.where(a == 2, 0, a))(folder)
    edit("val/regions.json", f'"pixels":{SQUARE}', '"pixels":0')(folder)


def smoothed(mask: np.ndarray) -> np.ndarray:
    """As bilinear interpolation leaves it: values between 0 and the id along the edge."""
    region = torch.from_numpy((mask == 2).astype(np.float32))[None, None]
    return torch.nn.functional.avg_pool2d(region, 3, 1, 1)[0, 0].numpy().round(2)


def moved(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array.transpose(2, 0, 1))


TRAPS: dict[str, tuple[Breaks, str, Suffers]] = {
    # name: (what is done to it, code, what the trainer does)
    "neither folder": (lambda f: [shutil.rmtree(path) for path in [*f.glob("*/imgs"), *f.glob("*/gts")]], "no-arrays",
                       cannot_start),
    "an empty split": (without_records(lambda f: [path.unlink() for path in f.glob("val/*/*.npy")]), "empty-split",
                       cannot_start),
    "a mask that is gone": (remove(MASK), "missing-mask", passes_it_over),
    "no image of the name": (remove(IMAGE), "missing-image", passes_it_over),
    "no mask of the name": (without_records(remove(MASK)), "orphan-image", passes_it_over),
    "two masks of a name": (nested, "duplicate-name", gives_one_image_two_masks),
    "no array": (put(IMAGE, b"text"), "bad-npy", cannot_load),
    "an array cut short": (lambda f: put(IMAGE, (f / IMAGE).read_bytes()[:-1])(f), "bad-npy", cannot_load),
    "code": (with_code, "bad-npy", executes_it),
    "channels first": (store(IMAGE, moved), "array-shape", cannot_make_a_batch),
    "greyscale": (store(IMAGE, lambda a: a[..., 0]), "array-shape", stops("axes don't match")),
    "its own size": (store(IMAGE, lambda a: a[:32, :40]), "array-shape", cannot_make_a_batch),
    "a mask of its own size": (store(MASK, lambda a: a[400:900, :900]), "array-shape", cannot_make_a_batch),
    "8 bits": (store(IMAGE, lambda a: (a * 255).astype(np.uint8)), "array-type", stops("normalized")),
    "a smooth mask": (store(MASK, smoothed), "array-type", reads_the_regions_edge_as_a_region),
    "up to 255": (store(IMAGE, lambda a: a * 255), "out-of-range", stops("normalized")),
    "below 0": (store(IMAGE, lambda a: a * 2 - 1), "out-of-range", stops("normalized")),
    "NaN": (store(IMAGE, lambda a: np.where(a == 0, np.nan, a)), "out-of-range", stops("normalized")),
    "divided by 255 twice": (store(IMAGE, lambda a: a / 255), "flat-image", sees_black),
    "no id": (store(MASK, lambda a: a * 0), "no-ids", stops("empty sequence")),
    "all 255": (store(MASK, lambda a: np.full_like(a, 255)), "no-background", stops("empty sequence")),
    "no background": (store(MASK, lambda a: np.where(a == 2, 2, 1).astype(np.uint8)), "no-background", draws(SQUARE)),
    "ids below 0": (store(MASK, lambda a: -a.astype(np.int16)), "negative-id", draws(FRAME, BACKGROUND)),
    "a region without a pixel": (losing_one, "lost-region", draws(FRAME)),
    "an image in both splits": (lambda f: put(IMAGE, (f / "train/imgs/plate_cut_000.npy").read_bytes())(f),
                                "split-leak", learns_from_an_image_of_val),
}  # fmt: skip


@pytest.mark.parametrize("name", TRAPS)
def test_medsam_falls_into_the_trap_and_validate_names_it(name, folder, reads):
    breaks, code, suffers = TRAPS[name]
    breaks(folder)
    assert code in codes(folder, "medsam")
    suffers(folder, reads)


def test_every_finding_of_medsam_has_its_trap():
    assert {code for _, code, _ in TRAPS.values()} - {"split-leak"} == codes_in("MedSAM") - OWN


def test_without_a_trap_medsam_reads_all(folder, reads):
    assert codes(folder) == set()
    read = samples(folder, reads)
    assert read.keys() == {NAME, "plate_hole_001"}
    draws(FRAME, SQUARE)(folder, reads)
    for image, mask, box in read.values():
        assert (image.shape, mask.shape, box.shape) == ((3, 1024, 1024), (1, 1024, 1024), (4,))
