"""Statistics of exported datasets: what the source holds, shared out among splits, in every format."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mvtec_convert as mc
from mvtec_convert.cli.app import run
from mvtec_convert.errors import ExportError
from mvtec_convert.exports import is_export
from mvtec_convert.runs.publish import MANIFEST
from mvtec_convert.statistics import ExportStatistics, export_stats
from tests.fitting import fits
from tests.trees import complete

pytestmark = pytest.mark.usefixtures("_small_medsam")

WRITERS = {
    "yolo": lambda dataset, out: mc.to_yolo(dataset, out),
    "yolo-segment": lambda dataset, out: mc.to_yolo(dataset, out, task="segment"),
    "yolo-obb": lambda dataset, out: mc.to_yolo(dataset, out, task="obb"),
    "classify": lambda dataset, out: mc.to_yolo(dataset, out, task="classify"),
    "coco": lambda dataset, out: mc.to_coco(dataset, out),
    "roboflow": lambda dataset, out: mc.to_coco(dataset, out, layout="roboflow"),
    "sam": lambda dataset, out: mc.to_sam(dataset, out),
    "sam2": lambda dataset, out: mc.to_sam(dataset, out, layout="sam2"),
    "sam3": lambda dataset, out: mc.to_sam(dataset, out, layout="sam3"),
    "saco": lambda dataset, out: mc.to_sam(dataset, out, layout="saco"),
    "medsam": lambda dataset, out: mc.to_sam(dataset, out, layout="medsam"),
}
EXACT = ("yolo-segment", "coco", "roboflow", "sam", "sam2", "sam3", "saco", "medsam")


def rows(found: ExportStatistics, name: str) -> list[dict]:
    (table,) = [table for table in found.tables() if table.name == name]
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


@pytest.fixture(params=WRITERS)
def export(request: pytest.FixtureRequest, sample_root: Path, tmp_path: Path) -> tuple[str, Path]:
    WRITERS[request.param](mc.load(sample_root / "grid"), tmp_path / "out")
    return request.param, tmp_path / "out"


def test_all_splits_together_hold_what_the_source_holds(export: tuple[str, Path], sample_root: Path):
    name, folder = export
    found = export_stats(folder)
    (source,) = mc.stats(mc.load(sample_root / "grid")).categories
    good = 0 if name in ("sam2", "medsam") else source.part.good
    assert sum(split.images for split in found.splits) == good + source.defective
    by_class = Counter()
    for split in found.splits:
        by_class.update({each.name: each.images for each in split.classes})
    expected = [each.images for each in source.part.classes] + ([good] if name == "classify" else [])
    assert sorted(by_class.values()) == sorted(expected)
    assert sum(split.good for split in found.splits) == (0 if name == "classify" else good)
    if name == "classify":
        assert {table.name for table in found.tables()} == {"overview", "images", "distribution", "tail", "weights"}
        return
    areas = np.concatenate([split.whole.measures.area for split in found.splits])
    assert len(areas) == source.regions
    if name in EXACT:
        assert sorted(areas) == sorted(source.part.whole.measures.area)
        assert found.boxes == 0
    else:
        assert found.boxes == source.regions
        assert areas.sum() > source.part.pixels


def test_every_format_fits_the_schema_and_is_recognised(export: tuple[str, Path], capsys: pytest.CaptureFixture[str]):
    _, folder = export
    (folder / MANIFEST).unlink()  # another tool's have none
    assert is_export(folder)
    assert run(["stats", str(folder), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    fits(document, "stats")
    assert document["kind"] == "export"
    for form in ("--markdown", "--latex", "--csv"):
        assert run(["stats", str(folder), form]) == 0
        assert "train" in capsys.readouterr().out


def coco(folder: Path, **changes) -> Path:
    """A COCO dataset of another tool: two images in train, one in val."""
    for split, number in (("train", 2), ("val", 1)):
        images = [{"id": i, "file_name": f"{split}{i}.png", "width": 64, "height": 48} for i in range(number)]
        annotation = {
            "image_id": 0, "category_id": 2, "bbox": [4, 4, 40, 20], "area": 800, "iscrowd": 0,
            "segmentation": [[4, 4, 44, 4, 44, 24, 4, 24]],
        }  # fmt: skip
        annotations = [{"id": 1, **annotation}, {"id": 2, **annotation, **changes}]
        document = {
            "images": images,
            "categories": [{"id": 1, "name": "hole"}, {"id": 2, "name": "cut"}],
            "annotations": annotations[: 2 if split == "train" else 1],
        }
        (folder / "annotations").mkdir(parents=True, exist_ok=True)
        (folder / f"annotations/instances_{split}.json").write_text(json.dumps(document))
        (folder / f"images/{split}").mkdir(parents=True)
        for image in images:
            Image.new("L", (64, 48)).save(folder / f"images/{split}" / image["file_name"])
    return folder


def test_two_classes_in_one_image_count_for_both(tmp_path: Path):
    found = export_stats(coco(tmp_path, category_id=1))
    train = found.splits[0]
    assert [(each.name, each.images, each.regions) for each in train.classes] == [("hole", 1, 1), ("cut", 1, 1)]
    assert (train.images, train.good, train.labelled) == (2, 1, 1)
    assert train.regions_per_image.tolist() == [2]
    assert {*train.kinds} == {(64, 48, 1)}
    assert train.whole.measures.area.tolist() == [800, 800]


def test_a_class_that_a_split_lacks_is_told_and_has_no_weight(tmp_path: Path):
    found = export_stats(coco(tmp_path, category_id=1))
    assert "No image of val shows 'hole': no figure measured there tells of them." in found.sentences()
    lacking = next(row for row in rows(found, "weights") if row["split"] == "val" and row["class"] == "hole")
    assert (lacking["count"], lacking["effective number"], lacking["weight"]) == (0, 0, None)
    tail = next(row for row in rows(found, "tail") if row["split"] == "val")
    assert tail["ratio"] is None
    distribution = {row["class"]: row for row in rows(found, "distribution")}
    assert (distribution["hole"]["train"], distribution["hole"]["val"], distribution["hole"]["all"]) == (1, 0, 1)
    assert distribution["background"]["share of train"] == 1 / 2


def test_an_export_whose_train_has_good_images_only_says_that_nothing_is_learnt(sample_root: Path, tmp_path: Path):
    mc.to_yolo(mc.load(sample_root / "grid"), tmp_path / "out", split="official")
    told = export_stats(tmp_path / "out").sentences()
    assert told[0] == "train: No image is labelled: a detector or a segmenter has nothing to learn here."


def test_a_balanced_export_tells_what_training_sees(sample_root: Path, tmp_path: Path):
    mc.to_yolo(mc.load(sample_root / "grid"), tmp_path / "out", balance="oversample")
    found = export_stats(tmp_path / "out")
    seen = Counter(Path(line).stem for line in (tmp_path / "out" / "train.txt").read_text().split())
    images: dict[str, Counter] = {}
    for image in mc.read_export(tmp_path / "out"):
        if image.split == "train":
            for name in image.class_names():
                images.setdefault(name, Counter()).update({"images": 1, "balanced images": seen[image.name]})
    told = {row["class"]: Counter({name: row[name] for name in ("images", "balanced images")})
            for row in rows(found, "balance")}  # fmt: skip
    assert told == images
    before = max(each["images"] for each in images.values()) / min(each["images"] for each in images.values())
    after = max(each["balanced images"] for each in images.values()) / min(
        each["balanced images"] for each in images.values()
    )
    sentence = f"as training sees it, the factor by images is {after:.1f} instead of {before:.1f}."
    assert any(sentence in each for each in found.sentences())
    fits(found.document(), "stats")
    (tmp_path / "out" / "balance.json").write_text("{}")
    assert export_stats(tmp_path / "out").balance is None  # `validate` tells of it


def test_crowds_are_left_out_as_trainers_do_and_told(tmp_path: Path):
    counts = {"size": [48, 64], "counts": [48 * 64 - 10, 10]}
    found = export_stats(coco(tmp_path, iscrowd=1, segmentation=counts))
    assert (found.crowds, found.splits[0].regions) == (1, 1)
    assert any("1 crowd regions, which trainers leave out" in told for told in found.sentences())


def test_boxes_have_the_area_of_boxes_and_say_nothing_of_holes(sample_root: Path, tmp_path: Path):
    mc.to_yolo(mc.load(sample_root / "grid"), tmp_path / "boxes")
    found = export_stats(tmp_path / "boxes")
    assert any("have a box or a polygon and no mask" in told for told in found.sentences())
    assert not any("Defects cover" in told for told in found.sentences())
    assert {row["with holes"] for row in rows(found, "regions")} == {None}
    train = found.splits[0].whole.measures
    assert train.area == pytest.approx(train.width * train.height)
    # A rotated box is smaller than the upright box around it, or the same.
    mc.to_yolo(mc.load(sample_root / "grid"), tmp_path / "obb", task="obb")
    rotated = export_stats(tmp_path / "obb").splits[0].whole.measures
    assert (rotated.area <= rotated.width * rotated.height * 1.001).all()
    assert rotated.area.sum() < 0.99 * (rotated.width * rotated.height).sum()


def test_sources_and_exports_are_told_apart_without_a_manifest(sample_root: Path, tmp_path: Path):
    assert not is_export(sample_root)
    assert not is_export(sample_root / "grid")
    assert not is_export(tmp_path / "nowhere")
    # A category whose masks are missing is no folder of images by class, though each could be read as the other.
    category = complete(tmp_path / "tree") / "carpet"
    (category / "ground_truth").rename(tmp_path / "masks")
    assert not is_export(category)
    # And the YOLO datasets of Roboflow, train/images and train/labels, are no category.
    mc.to_yolo(mc.load(sample_root / "grid"), tmp_path / "out")
    for split in ("train", "val"):
        (tmp_path / "roboflow" / split).mkdir(parents=True)
        for part in ("images", "labels"):
            (tmp_path / "out" / part / split).rename(tmp_path / "roboflow" / split / part)
    (tmp_path / "roboflow/data.yaml").write_text("train: train/images\nval: val/images\nnames: [bent]\n")
    assert is_export(tmp_path / "roboflow")


def test_flags_for_sources_are_refused_for_exports(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    coco(tmp_path / "out")
    assert run(["stats", str(tmp_path / "out"), "-c", "carpet", "--min-area", "5"]) == 2
    error = capsys.readouterr().err
    assert "--category and --min-area would do nothing" in error
    assert run(["stats", str(tmp_path / "out/annotations/instances_val.json")]) == 0
    assert run(["stats", str(complete(tmp_path / "tree")), "--format", "coco"]) == 2


def test_many_classes_are_summed_up_in_a_terminal(
    sample_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    mc.to_coco(mc.load(sample_root), tmp_path / "out", names="category-defect")
    assert run(["stats", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "Regions in brief" in printed
    assert "Class weights" not in printed


def test_an_export_that_cannot_be_read_is_an_error(tmp_path: Path):
    coco(tmp_path)
    (tmp_path / "annotations/instances_val.json").write_text(
        '{"images": [{"id": 0}], "annotations": [], "categories": []}'
    )
    with pytest.raises(ExportError):
        export_stats(tmp_path)
    with pytest.raises(ExportError, match="no such folder"):
        export_stats(tmp_path / "nowhere")
