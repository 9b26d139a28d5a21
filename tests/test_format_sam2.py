"""SA-1B as SAM 2's trainer reads it: numbered JPEGs, each with masks; and every way to break it is found."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

import mvtec_convert as mc
from mvtec_convert.errors import BadSourceError, SelectionError
from mvtec_convert.formats.sam2 import Sam2
from mvtec_convert.geometry.prompts import PromptOptions
from mvtec_convert.pipeline import ExportOptions
from mvtec_convert.pipeline import export as run
from mvtec_convert.plan import PlanOptions
from mvtec_convert.summary import Summary
from tests import broken, exports
from tests.broken import Case, draw_image, draw_tree, edit, findings, ids, never_raises, remove, verify, write
from tests.fitting import fits


def export(dataset: mc.Dataset, out: Path, jobs: int = 0, prompts: PromptOptions = PromptOptions(), **plan) -> Summary:
    return run(dataset, Sam2(prompts), out, ExportOptions(PlanOptions(**plan), jobs=jobs))


@pytest.fixture(scope="module")
def carpet(sample_root) -> mc.Dataset:
    return mc.load(sample_root / "carpet")


@pytest.fixture(scope="module")
def out(carpet, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sam2") / "out"
    export(carpet, folder, prompts=PromptOptions(points=2, negatives=1))
    return folder


@pytest.fixture
def grid(sample_root, tmp_path) -> Path:
    """A copy of the sample's grid that a test may break."""
    return Path(shutil.copytree(sample_root / "grid", tmp_path / "data" / "grid"))


def documents(folder: Path) -> dict[Path, dict[str, Any]]:
    return {path: json.loads(path.read_text()) for path in sorted(folder.glob("*/sa_*.json"))}


def contents(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


# --- writing ---------------------------------------------------------------------------------------------------------


def test_every_defective_image_is_there_with_exactly_its_masks(carpet, out, sample_root):
    truth = exports.true_masks(sample_root, "carpet")
    read = {document["image"]["name"]: document for document in documents(out).values()}
    assert read.keys() == truth.keys()
    for name, (defect, mask) in truth.items():
        image, annotations = read[name]["image"], read[name]["annotations"]
        masks = [exports.decoded(a["segmentation"], image["height"], image["width"]) for a in annotations]
        assert exports.same_regions(masks, exports.regions_of(mask))
        for annotation, found in zip(annotations, masks, strict=True):
            x0, y0, x1, y1 = exports.extent(found)
            assert (annotation["bbox"], annotation["area"]) == ([x0, y0, x1 - x0, y1 - y0], found.sum())
            assert annotation["class_name"] == defect
            assert annotation["prompts"]["labels"] == [1] * min(2, annotation["area"]) + [0]


def test_images_are_numbered_throughout_and_called_after_their_number(out):
    found = documents(out)
    numbers = [document["image"]["image_id"] for document in found.values()]
    assert sorted(numbers) == list(range(1, len(numbers) + 1))
    for path, document in found.items():
        assert path.name == f"sa_{document['image']['image_id']}.json"
        assert document["image"]["file_name"] == path.with_suffix(".jpg").name
    assert {path.suffix for path in out.glob("*/*")} == {".jpg", ".json"}
    assert {path.with_suffix("") for path in out.glob("*/*.jpg")} == {path.with_suffix("") for path in found}


def test_names_lead_back_to_the_other_exports(carpet, out, tmp_path):
    mc.to_sam(carpet, tmp_path / "sam", background="none")
    others = {path.stem: path.parent.name for path in (tmp_path / "sam").glob("*/*.json")}
    assert {document["image"]["name"]: path.parent.name for path, document in documents(out).items()} == others


def test_images_are_jpeg_at_full_colour_and_close_to_the_source(out, sample_root):
    for path, document in documents(out).items():
        defect, stem = document["image"]["name"].removeprefix("carpet_").rsplit("_", 1)
        with (
            Image.open(path.with_suffix(".jpg")) as image,
            Image.open(sample_root / "carpet" / "test" / defect / f"{stem}.png") as source,
        ):
            assert (image.format, image.mode, image.size) == ("JPEG", "RGB", source.size)
            assert [sampling[1:3] for sampling in image.layer] == [(1, 1)] * 3
            difference = np.asarray(image).astype(int) - np.asarray(source.convert("RGB"))
        assert 10 * np.log10(255**2 / np.mean(difference**2)) > 35


def test_a_jpeg_stays_as_it_is(grid, tmp_path):
    source = grid / "test" / "bent" / "000.png"
    Image.open(source).convert("RGB").save(source.with_suffix(".jpeg"), quality=80)
    source.unlink()
    export(mc.load(grid), tmp_path / "out")
    digests = {hashlib.sha256(path.read_bytes()).digest() for path in (tmp_path / "out").glob("*/*.jpg")}
    assert hashlib.sha256(source.with_suffix(".jpeg").read_bytes()).digest() in digests


def test_greyscale_of_16_bits_keeps_its_tones(grid, tmp_path):
    source = grid / "test" / "bent" / "000.png"
    with Image.open(source) as image:
        size = image.size
    tones = np.tile(np.linspace(0, 65535, size[0]).astype(np.uint16), (size[1], 1))
    Image.fromarray(tones).save(source)
    export(mc.load(grid), tmp_path / "out")
    path = next(p for p, d in documents(tmp_path / "out").items() if d["image"]["name"] == "grid_bent_000")
    with Image.open(path.with_suffix(".jpg")) as image:
        assert np.abs(np.asarray(image)[..., 0].astype(int) - (tones >> 8)).max() <= 2


@pytest.mark.parametrize("background", ["all", "none", 0])
def test_good_images_are_left_out_and_counted(carpet, tmp_path, background):
    summary = export(carpet, tmp_path / "out", background=background)
    defective = sum(not sample.is_good for sample in carpet)
    assert sum(split.images for split in summary.splits.values()) == defective == len(documents(tmp_path / "out"))
    assert {split.background for split in summary.splits.values()} == {0}
    assert summary.left_out == summary.notes == []
    assert summary.good_left_out == len(carpet) - defective == 14
    assert (summary.fidelity.exact, summary.fidelity.regions) == (39, 39)


@pytest.mark.parametrize("layout", ["sam2", "medsam"])
def test_a_share_of_good_images_is_refused_since_none_can_be_kept(carpet, tmp_path, layout):
    with pytest.raises(SelectionError, match=f"read {layout} fail on good images") as caught:
        mc.to_sam(carpet, tmp_path / "out", layout=layout, background=0.5)
    assert "--background" in caught.value.hint
    assert not (tmp_path / "out").exists()


def test_the_split_is_that_of_other_formats_good_images_included(carpet, out, tmp_path):
    mc.to_coco(carpet, tmp_path / "coco")
    assert (tmp_path / "coco" / "splits.json").read_bytes() == (out / "splits.json").read_bytes()


def test_same_bytes_for_any_number_of_jobs(carpet, tmp_path):
    export(carpet, tmp_path / "one", jobs=1)
    export(carpet, tmp_path / "many", jobs=7)
    assert contents(tmp_path / "one") == contents(tmp_path / "many")


def test_files_fit_the_schema(out):
    for document in documents(out).values():
        fits(document, "sam2")


def test_images_that_cannot_be_made_jpeg_are_all_listed(grid, tmp_path):
    bad = [grid / "test" / "bent" / f"{i:03d}.png" for i in range(2)]
    for path in bad:
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2])
    with pytest.raises(BadSourceError) as caught:
        export(mc.load(grid), tmp_path / "out")
    assert [finding.path for finding in caught.value.findings] == [str(path) for path in bad]
    assert not (tmp_path / "out").exists()


def test_each_kind_of_sa1b_is_recognised_as_what_it_is(carpet, out, tmp_path):
    plain = tmp_path / "plain"
    mc.to_sam(carpet, plain)
    for folder in (plain, numbered := Path(shutil.copytree(out, tmp_path / "numbered"))):
        (folder / "mvtec-convert.json").unlink()
    assert (mc.validate(plain).format, mc.validate(numbered).format) == ("sam", "sam2")
    assert not Sam2.recognises(tmp_path / "nowhere")


# --- checking --------------------------------------------------------------------------------------------------------

FILE, IMAGE = "val/sa_2.json", "val/sa_2.jpg"
FIRST, SECOND = 10, 76  # lines of the two annotations: a frame with a hole, a full square


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    draw_tree(folder := tmp_path_factory.mktemp("tiny") / "tree")
    return folder


@pytest.fixture(scope="module")
def made(tree) -> Path:
    export(mc.load(tree), tree.parent / "made", prompts=PromptOptions(2, 2))
    return tree.parent / "made"


@pytest.fixture
def tiny(made, tmp_path) -> Path:
    """An export to break: `sa_2` and `sa_6` are in val, the others in train."""
    return Path(shutil.copytree(made, tmp_path / "set"))


def change(*place: str | int, **values: Any):
    """Set values at a place of the document; None removes a key."""
    return broken.change(FILE, *place, **values)


def rename(old: str, new: str, **header: Any):
    """Move an image and its file."""

    def breaks(folder: Path) -> None:
        if header:
            change("image", **header)(folder)
        for suffix in (".json", ".jpg"):
            (folder / old).with_suffix(suffix).rename((folder / new).with_name(Path(new).name + suffix))

    return breaks


def as_png(folder: Path) -> None:
    Image.open(folder / IMAGE).save((folder / IMAGE).with_suffix(".png"))
    (folder / IMAGE).unlink()


def png_inside(folder: Path) -> None:
    Image.open(folder / IMAGE).save(folder / IMAGE, "PNG")


def numbered_again(folder: Path) -> None:
    change("image", image_id=1, file_name="sa_1.jpg")(folder)
    rename("val/sa_2", "val/sa_1")(folder)


EMPTY = {"size": [32, 40], "counts": coco_mask.encode(np.zeros((32, 40), np.uint8, "F"))["counts"].decode()}

CASES = [
    # names
    Case("no number", rename("val/sa_2", "val/sa_two", file_name="sa_two.jpg"), "image-name", "val/sa_two.json"),
    Case("number not last", rename("val/sa_2", "val/sa_2_a", file_name="sa_2_a.jpg"), "image-name", "val/sa_2_a.json"),
    Case("a dot in the name", rename("val/sa_2", "val/sa_2.b", file_name="sa_2.b.jpg"), "image-name"),
    Case("a number twice", rename("val/sa_2", "val/sb_6", file_name="sb_6.jpg", image_id=6), "duplicate-id",
         "val/sb_6.json"),
    Case("a number in both splits", numbered_again, "duplicate-id", "val", None, "warning"),
    Case("number and id differ", change("image", image_id=99), "image-id", FILE, None, "warning"),
    Case("file name of another", change("image", file_name="plate_cut_001.png"), "file-name", FILE),
    # images
    Case("PNG, called so", as_png, "wrong-suffix", "val/sa_2.png"),
    Case("capital suffix", lambda f: (f / IMAGE).rename(f / "val/sa_2.JPG"), "wrong-suffix", "val/sa_2.JPG"),
    Case("jpeg as suffix", lambda f: (f / IMAGE).rename(f / "val/sa_2.jpeg"), "wrong-suffix", "val/sa_2.jpeg"),
    Case("PNG, called JPEG", png_inside, "not-jpeg", IMAGE, None, "warning"),
    Case("image missing", remove(IMAGE), "missing-image", IMAGE),
    Case("image is no image", write(IMAGE, b"\xff\xd8\xffhello"), "bad-image", IMAGE),
    Case("image of another size", lambda f: draw_image(f / IMAGE, 1, (50, 32)), "image-size", IMAGE),
    Case("no JSON file", remove(FILE), "orphan-image", IMAGE),
    Case("what macOS leaves", write("val/._sa_2.jpg", b"\0\5\x16\7"), "orphan-image", "val/._sa_2.jpg"),
    Case("an image in both splits", lambda f: shutil.copy(f / "train/sa_1.jpg", f / IMAGE), "split-leak", IMAGE),
    Case("a split without images", lambda f: [path.unlink() for path in (f / "val").iterdir()], "empty-split", "val",
         None, "warning"),
    # files
    Case("no file", lambda f: [path.unlink() for path in f.rglob("sa_*")], "no-annotation-file", "set",
         also=frozenset({"empty-split"})),
    Case("no JSON", write(FILE, "{"), "bad-json", FILE, 1),
    Case("a list", write(FILE, "[]"), "schema", FILE),
    Case("no mask on an image", change(annotations=[]), "no-masks", FILE),
    Case("an image record without width", change(image={"image_id": 2, "height": 32, "file_name": "sa_2.jpg"}),
         "schema", FILE),
    # masks and prompts
    Case("area 0", change("annotations", 0, area=0), "schema", FILE, FIRST),
    Case("area off by one", change("annotations", 0, area=151), "area", FILE, FIRST),
    Case("annotation id twice", change("annotations", 0, id=2), "duplicate-id", FILE, SECOND),
    Case("mask of nothing", change("annotations", 0, segmentation=EMPTY), "empty-segmentation", FILE, FIRST,
         also=frozenset({"point-label"})),
    Case("mask of another size", change("annotations", 0, segmentation={"size": [40, 32], "counts": "T6"}), "rle-size",
         FILE, FIRST),
    Case("mask of garbage", change("annotations", 0, segmentation={"size": [32, 40], "counts": "hello"}), "bad-rle",
         FILE, FIRST),
    Case("counts as numbers", change("annotations", 0, segmentation={"size": [32, 40], "counts": [1, 1279]}), "schema",
         FILE, FIRST),
    Case("box elsewhere", change("annotations", 0, bbox=[8, 4, 14, 12]), "box-and-mask", FILE, FIRST),
    Case("prompt elsewhere", change("annotations", 0, "prompts", box=[30, 20, 38, 30]), "prompt-box", FILE, FIRST),
    Case("a point without label", change("annotations", 0, "prompts", labels=[1]), "point-labels", FILE, FIRST),
    Case("a point in the hole", change("annotations", 0, "prompts", points=[[11, 9]], labels=[1]), "point-label", FILE,
         FIRST),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=ids(CASES))
def test_what_is_broken_is_found(case, tiny):
    verify(case, tiny, "sam2")


def test_fresh_exports_of_the_sample_have_no_findings(sample_root, tmp_path):
    export(mc.load(sample_root), tmp_path / "out", prompts=PromptOptions(3, 3, 5))
    assert findings(tmp_path / "out", "sam2") == []


def test_mvtecs_own_split_gives_a_warning_only(tree, tmp_path):
    summary = export(mc.load(tree), tmp_path / "out", split="official")
    assert [(note.code, note.severity) for note in summary.notes] == [("empty-split", "warning")]
    assert (summary.splits["train"].images, summary.splits["test"].images) == (0, 8)


def test_sa1b_itself_passes(tiny, tmp_path):
    """One flat folder, numbers of SA-1B's size, none of our keys, boxes a pixel short."""
    flat = tmp_path / "flat"
    flat.mkdir()
    for path, document in documents(tiny).items():
        number = 223749 + document["image"]["image_id"]
        document["image"] = {**document["image"], "image_id": number, "file_name": f"sa_{number}.jpg"}
        del document["image"]["name"]
        for annotation in document["annotations"]:
            for key in ("class_id", "class_name", "prompts"):
                del annotation[key]
            annotation["bbox"] = [*annotation["bbox"][:2], *(side - 1 for side in annotation["bbox"][2:])]
        (flat / f"sa_{number}.json").write_text(json.dumps(document))
        shutil.copy(path.with_suffix(".jpg"), flat / f"sa_{number}.jpg")
    assert Sam2.recognises(flat)
    assert findings(flat, "sam2") == []
    edit("sa_223750.json", '"area": 152', '"area": 153')(flat)
    assert [finding.code for finding in findings(flat, "sam2")] == ["area"]


def test_damage_at_random_ends_in_findings(tiny):
    never_raises(tiny, "sam2", [FILE, IMAGE], 60)
