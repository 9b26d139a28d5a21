"""MedSAM's arrays: what they hold, what shrinking costs and how it is told; and every way to break them is found."""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import mvtec_convert as mc
from mvtec_convert.errors import BadSourceError, OutputError
from mvtec_convert.formats import medsam
from mvtec_convert.formats.medsam import MedSam
from mvtec_convert.pipeline import ExportOptions
from mvtec_convert.pipeline import export as run
from mvtec_convert.plan import PlanOptions
from mvtec_convert.summary import Summary
from tests import exports
from tests.broken import Case, draw_tree, edit, errors, findings, ids, never_raises, remove, save, verify, write
from tests.fitting import fits


def export(root: Path, out: Path, jobs: int = 0, **plan) -> Summary:
    return run(mc.load(root), MedSam(), out, ExportOptions(PlanOptions(**plan), jobs=jobs))


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    draw_tree(folder := tmp_path_factory.mktemp("tiny") / "tree")
    return folder


@pytest.fixture(scope="module")
def out(tree) -> Path:
    export(tree, tree.parent / "full")
    yield tree.parent / "full"
    shutil.rmtree(tree.parent / "full")  # 100 MB


@pytest.fixture
def small(monkeypatch) -> int:
    """Arrays of 64 x 64, so that a test may write many."""
    monkeypatch.setattr(medsam, "SIDE", 64)
    return 64


@pytest.fixture
def plates(tree, tmp_path) -> Path:
    """A copy of the tiny tree that a test may change."""
    return Path(shutil.copytree(tree, tmp_path / "tree"))


def draw(plates: Path, pixels: np.ndarray, mask: np.ndarray) -> None:
    """Another image and mask for `cut/000`."""
    save(pixels, plates / "plate/test/cut/000.png")
    save(mask, plates / "plate/ground_truth/cut/000_mask.png")


def arrays(folder: Path, part: str) -> dict[str, np.ndarray]:
    return {path.stem: np.load(path) for path in sorted(folder.glob(f"*/{part}/*.npy"))}


def records(folder: Path) -> dict[str, dict]:
    files = (json.loads(path.read_text()) for path in folder.glob("*/regions.json"))
    return {record["name"]: record for file in files for record in file["images"]}


# --- writing ---------------------------------------------------------------------------------------------------------


def test_masks_are_each_region_scaled_by_nearest_neighbour(tree, out):
    """Pillow's nearest neighbour, which takes pixel centres as well, is the judge."""
    truth, read = exports.true_masks(tree), arrays(out, "gts")
    assert read.keys() == truth.keys()
    for name, (_, mask) in truth.items():
        found = [(read[name] == value).astype(np.uint8) for value in np.unique(read[name])[1:]]
        regions = (Image.fromarray(region) for region in exports.regions_of(mask))
        wanted = [np.asarray(region.resize((1024, 1024), Image.Resampling.NEAREST)) for region in regions]
        assert exports.same_regions(found, wanted)
        assert (read[name].dtype, read[name].shape) == (np.uint8, (1024, 1024))


def test_images_are_bicubic_rgb_from_0_to_1(tree, out):
    for name, array in arrays(out, "imgs").items():
        assert (array.dtype, array.shape) == (np.float32, (1024, 1024, 3))
        assert (array.min(), array.max()) == (0, 1)
        _, defect, stem = name.split("_")
        with Image.open(tree / "plate/test" / defect / f"{stem}.png") as source:
            own = np.asarray(source).astype(float)
        rows, columns = ((2 * np.arange(side) + 1) * 512 // side for side in own.shape[:2])
        back = array[rows[:, None], columns]  # at the middle of each source pixel
        assert np.corrcoef(back.ravel(), own.ravel())[0, 1] > 0.98


def test_what_arrays_cannot_say_is_in_regions_json(tree, out):
    ids, told, truth = arrays(out, "gts"), records(out), exports.true_masks(tree)
    assert told.keys() == ids.keys()
    for name, record in told.items():
        defect, mask = truth[name]
        assert (record["width"], record["height"]) == mask.shape[::-1]
        assert sorted(r["area"] for r in record["regions"]) == sorted(int(m.sum()) for m in exports.regions_of(mask))
        for region in record["regions"]:
            assert region["class_name"] == defect
            assert region["pixels"] == (ids[name] == region["id"]).sum()


def test_files_fit_the_schema(out):
    for path in out.glob("*/regions.json"):
        image, mask = (np.load(next((path.parent / part).iterdir())) for part in ("imgs", "gts"))
        headers = [{"shape": list(array.shape), "dtype": str(array.dtype)} for array in (image, mask)]
        document = {"image": headers[0], "mask": headers[1], "regions": json.loads(path.read_text())}
        fits(document, "medsam")


def test_a_full_export_has_no_findings_and_is_recognised(out):
    assert MedSam.recognises(out)
    assert mc.validate(out).format == "medsam"
    assert mc.validate(out).findings == ()


@given(st.integers(1, 1024))
def test_what_grows_comes_back_exactly(size):
    line = np.arange(size)[:, None]
    assert (medsam._resized(medsam._resized(line, (1024, 1)), (size, 1)) == line).all()


@pytest.mark.parametrize("background", ["all", "none"])
def test_good_images_are_left_out_and_counted(tree, tmp_path, small, background):
    summary = export(tree, tmp_path / "out", background=background)
    assert [(split.images, split.background) for split in summary.splits.values()] == [(6, 0), (2, 0)]
    assert len(arrays(tmp_path / "out", "gts")) == len(arrays(tmp_path / "out", "imgs")) == 8
    assert summary.left_out == summary.notes == []
    assert summary.good_left_out == 5
    assert (summary.fidelity.exact, summary.fidelity.regions) == (16, 16)


def test_same_bytes_for_any_number_of_jobs(tree, tmp_path, small):
    digests = []
    for jobs in (1, 7):
        export(tree, tmp_path / str(jobs), jobs)
        files = sorted((tmp_path / str(jobs)).rglob("*.*"))
        digests.append({path.name: hashlib.sha256(path.read_bytes()).digest() for path in files})
    assert digests[0] == digests[1]


def test_greyscale_of_16_bits_keeps_its_tones(plates, tmp_path, small):
    tones = np.linspace(1000, 5000, 32 * 40).astype(np.uint16).reshape(32, 40)
    mask = np.zeros((32, 40), np.uint8)
    mask[3:9, 3:9] = 255
    draw(plates, tones, mask)
    export(plates, tmp_path / "out")
    array = arrays(tmp_path / "out", "imgs")["plate_cut_000"]
    assert (array[..., 0] == array[..., 2]).all()
    assert len(np.unique(array)) > 200
    assert (np.diff(array[32, :, 0]) >= 0).all()


def test_an_image_of_one_colour_is_black_and_told_of(plates, tmp_path, small):
    mask = np.zeros((32, 40), np.uint8)
    mask[3:9, 3:9] = 255
    draw(plates, np.full((32, 40), 77, np.uint8), mask)
    summary = export(plates, tmp_path / "out")
    assert [note.code for note in summary.notes] == ["flat-image"]
    assert not arrays(tmp_path / "out", "imgs")["plate_cut_000"].any()


def test_shrinking_is_measured(plates, tmp_path, small):
    mask = np.zeros((192, 192), np.uint8)
    mask[30:65, 40:80] = 255
    draw(plates, np.random.default_rng(0).integers(0, 255, (192, 192), np.uint8), mask)
    summary = export(plates, tmp_path / "out")
    pixels = (arrays(tmp_path / "out", "gts")["plate_cut_000"] == 1).repeat(3, 0).repeat(3, 1)
    iou = (pixels & (mask > 0)).sum() / (pixels | (mask > 0)).sum()
    assert (summary.fidelity.lowest, summary.fidelity.worst) == (pytest.approx(iou), "plate_cut_000")
    assert 0.8 < iou < 1


def test_a_region_too_small_for_a_sample_keeps_one_pixel(plates, tmp_path, small):
    mask = np.zeros((192, 192), np.uint8)
    mask[9, 9] = mask[120:123, 60:63] = 255  # the first lies between samples
    draw(plates, np.random.default_rng(0).integers(0, 255, (192, 192), np.uint8), mask)
    summary = export(plates, tmp_path / "out")
    assert arrays(tmp_path / "out", "gts")["plate_cut_000"][3, 3] == 1
    assert [r["pixels"] for r in records(tmp_path / "out")["plate_cut_000"]["regions"]] == [1, 1]
    assert summary.fidelity.lowest == pytest.approx(1 / 9)
    assert summary.notes == []


def test_a_region_without_a_pixel_of_its_own_is_told_of(plates, tmp_path, small):
    mask = np.zeros((192, 192), np.uint8)
    mask[9, 9] = mask[9, 11] = 255  # in one pixel of 3 x 3
    draw(plates, np.random.default_rng(0).integers(0, 255, (192, 192), np.uint8), mask)
    summary = export(plates, tmp_path / "out")
    (note,) = summary.notes
    assert (note.code, note.severity) == ("lost-region", "warning")
    assert note.path.endswith("gts/plate_cut_000.npy")
    assert "region 2 (cut, 1 px)" in note.message
    assert (summary.fidelity.lowest, summary.fidelity.worst) == (0, "plate_cut_000")
    assert findings(tmp_path / "out", "medsam")[0].code == "lost-region"


def test_more_than_255_regions_are_all_there(plates, tmp_path, small):
    mask = np.zeros((64, 64), np.uint8)
    mask[::2, ::2] = 255
    draw(plates, np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8), mask)
    summary = export(plates, tmp_path / "out")
    ids = arrays(tmp_path / "out", "gts")["plate_cut_000"]
    assert (ids.dtype, len(np.unique(ids))) == (np.uint16, 32 * 32 + 1)
    assert summary.fidelity.lowest == 1


def test_arrays_of_others_are_not_overwritten(tree, tmp_path, small):
    export(tree, tmp_path / "out")
    mine = tmp_path / "out/train/imgs/mine.npy"
    np.save(mine, np.zeros(3))
    with pytest.raises(OutputError, match=r"train/imgs/mine\.npy"):
        export(tree, tmp_path / "out")
    assert mine.exists()


def test_an_image_that_is_all_defect_is_refused(plates, tmp_path, small):
    draw(plates, np.zeros((32, 40), np.uint8), np.full((32, 40), 255, np.uint8))
    with pytest.raises(BadSourceError, match="whole image") as caught:
        export(plates, tmp_path / "out")
    assert caught.value.hint
    assert not (tmp_path / "out").exists()


def test_images_that_cannot_be_decoded_are_all_listed(plates, tmp_path, small):
    bad = [plates / "plate/test" / name for name in ("cut/000.png", "hole/001.png")]
    for path in bad:
        path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(BadSourceError) as caught:
        export(plates, tmp_path / "out")
    assert [finding.path for finding in caught.value.findings] == [str(path) for path in bad]


# --- checking --------------------------------------------------------------------------------------------------------

IMAGE, MASK, RECORDS = "val/imgs/plate_cut_001.npy", "val/gts/plate_cut_001.npy", "val/regions.json"


@pytest.fixture
def tiny(tree, tmp_path, small) -> Path:
    """An export to break: `plate_cut_001` and `plate_hole_001` are in val, the others in train."""
    export(tree, tmp_path / "set")
    return tmp_path / "set"


def store(name: str, array: np.ndarray):
    return lambda folder: np.save(folder / name, array, allow_pickle=True)


def change(name: str, edit):
    """Put another array in the place of one."""
    return lambda folder: np.save(folder / name, edit(np.load(folder / name)))


def no_records(then):
    """Break it as another tool would have written it, without regions.json."""

    def breaks(folder: Path) -> None:
        for path in folder.glob("*/regions.json"):
            path.unlink()
        then(folder)

    return breaks


def archive(folder: Path) -> None:
    with (folder / MASK).open("wb") as file:
        np.savez(file, a=np.zeros(3))


def nest(folder: Path) -> None:
    """A second mask of one name, deeper down."""
    (folder / "val/gts/more").mkdir()
    shutil.copy(folder / MASK, folder / "val/gts/more/plate_cut_001.npy")


def rename(folder: Path) -> None:
    """A name that train has as well."""
    for name in (IMAGE, MASK):
        (folder / name).rename(folder / name.replace("cut_001", "cut_000"))
    edit(RECORDS, "plate_cut_001", "plate_cut_000")(folder)


def lose(folder: Path) -> None:
    """Region 2 as if it had no pixel of its own."""
    pixels = int((np.load(folder / MASK) == 2).sum())
    change(MASK, lambda a: np.where(a == 2, 0, a).astype(np.uint8))(folder)
    edit(RECORDS, f'"pixels":{pixels}', '"pixels":0')(folder)


def bomb(folder: Path) -> None:
    """What np.load would run if it were let."""

    class Bomb:
        def __reduce__(self):
            return Path.touch, (folder / "run",)

    (folder / MASK).write_bytes(pickle.dumps(Bomb()))


CASES = [
    # files
    Case("nothing", lambda f: [shutil.rmtree(f / split) for split in ("train", "val")], "no-arrays", "set"),
    Case("mask missing", remove(MASK), "missing-mask", MASK, also=frozenset({"orphan-image"})),
    Case("image missing", remove(IMAGE), "missing-image", MASK),
    Case("image without mask", no_records(remove(MASK)), "orphan-image", IMAGE),
    Case("two masks of a name", nest, "duplicate-name", "plate_cut_001.npy"),
    Case("an empty split", lambda f: [shutil.rmtree(f / "val"), (f / "val/imgs").mkdir(parents=True)], "empty-split",
         "val", None, "warning"),
    Case("an image in both splits", lambda f: shutil.copy(f / "train/imgs/plate_cut_000.npy", f / IMAGE), "split-leak",
         IMAGE),
    Case("a name in both splits", rename, "same-name", "val/imgs", None, "warning"),
    Case("no array", write(IMAGE, b"text"), "bad-npy", IMAGE),
    Case("cut short", lambda f: (f / IMAGE).write_bytes((f / IMAGE).read_bytes()[:-1]), "bad-npy", IMAGE),
    Case("empty file", write(MASK, b""), "bad-npy", MASK),
    Case("an archive", archive, "bad-npy", MASK),
    Case("pickled", bomb, "bad-npy", MASK),
    Case("objects", store(MASK, np.array([{}, {}], object)), "bad-npy", MASK),
    # images
    Case("channels first", change(IMAGE, lambda a: np.ascontiguousarray(a.transpose(2, 0, 1))), "array-shape", IMAGE),
    Case("greyscale", change(IMAGE, lambda a: a[..., 0]), "array-shape", IMAGE),
    Case("its own size", change(IMAGE, lambda a: a[:32, :40]), "array-shape", IMAGE),
    Case("8 bits", change(IMAGE, lambda a: (a * 255).astype(np.uint8)), "array-type", IMAGE),
    Case("up to 255", change(IMAGE, lambda a: a * 255), "out-of-range", IMAGE),
    Case("below 0", change(IMAGE, lambda a: a * 2 - 1), "out-of-range", IMAGE),
    Case("NaN", change(IMAGE, lambda a: np.where(a == 0, np.nan, a)), "out-of-range", IMAGE),
    Case("divided twice", change(IMAGE, lambda a: a / 255), "flat-image", IMAGE, None, "warning"),
    # masks
    Case("mask of its own size", change(MASK, lambda a: a[:32, :40]), "array-shape", MASK),
    Case("one-hot", change(MASK, lambda a: a[None]), "array-shape", MASK),
    Case("floats", change(MASK, lambda a: a.astype(np.float32)), "array-type", MASK),
    Case("no id", no_records(change(MASK, lambda a: a * 0)), "no-ids", MASK),
    Case("no background", no_records(change(MASK, lambda a: a + 1)), "no-background", MASK),
    Case("below 0", no_records(change(MASK, lambda a: a.astype(np.int16) * -1)), "negative-id", MASK),
    # regions.json
    Case("an id too many", edit(RECORDS, '"id":2', '"id":7'), "unknown-id", MASK, also=frozenset({"area"})),
    Case("a region is gone", change(MASK, lambda a: np.where(a == 2, 0, a)), "area", MASK),
    Case("lost", lose, "lost-region", MASK, None, "warning"),
    Case("no JSON", write(RECORDS, "{"), "bad-json", RECORDS, 1),
    Case("no list", write(RECORDS, "{}"), "schema", RECORDS),
    Case("no class", edit(RECORDS, '"class_name":"cut"', '"class_name":""'), "schema", RECORDS, 2),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=ids(CASES))
def test_what_is_broken_is_found(case, tiny):
    verify(case, tiny, "medsam")
    assert not (tiny / "run").exists()


@pytest.mark.parametrize("dtype", [np.bool_, np.int64, np.uint64, np.uint16])
def test_other_whole_numbers_pass(tiny, dtype):
    no_records(change(MASK, lambda a: (a > 0).astype(dtype)))(tiny)
    assert findings(tiny, "medsam") == []


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_floats_pass(tiny, dtype):
    change(IMAGE, lambda a: a.astype(dtype))(tiny)
    assert findings(tiny, "medsam") == []


def test_ids_far_apart_pass(tiny):
    no_records(change(MASK, lambda a: a.astype(np.int64) * 2**40))(tiny)
    assert findings(tiny, "medsam") == []


def test_a_split_alone_is_recognised_and_checked(tiny):
    assert MedSam.recognises(tiny / "val")
    assert findings(tiny / "val", "medsam") == []
    remove(IMAGE)(tiny)
    assert [finding.code for finding in findings(tiny / "val", "medsam")] == ["missing-image"]


def test_mvtecs_own_split_gives_a_warning_only(tree, tmp_path, small):
    summary = export(tree, tmp_path / "out", split="official")
    assert [note.code for note in summary.notes] == ["empty-split"]
    assert errors(tmp_path / "out", "medsam") == []
    assert json.loads((tmp_path / "out/train/regions.json").read_text()) == {"images": []}


def test_damage_at_random_ends_in_findings(tiny):
    never_raises(tiny, "medsam", [RECORDS, MASK], 60)
