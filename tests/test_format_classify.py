"""Image folders for classifiers: each image in the folder of its class, `good` among them, and what may break there."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from pathlib import Path

import pytest

import mvtec_convert as mc
from mvtec_convert.errors import SelectionError
from mvtec_convert.formats.classify import Classify, read_tree
from mvtec_convert.pipeline import ExportOptions, export
from mvtec_convert.plan import PlanOptions
from tests.broken import Case, draw_image, draw_tree, findings, ids, remove, verify, write
from tests.fitting import fits

CUT = "train/cut/plate_cut_000.png"


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export of a tiny tree: cut, good and hole. Read it, never write to it."""
    folder = tmp_path_factory.mktemp("classify")
    draw_tree(folder / "tree")
    mc.to_yolo(mc.load(folder / "tree"), folder / "out", task="classify")
    return folder / "out"


@pytest.mark.parametrize("names", ["defect", "category", "category-defect", "single"])
def test_every_image_lies_in_the_folder_of_its_class_and_split(sample_root, tmp_path, names):
    dataset = mc.load(sample_root)
    summary = mc.to_yolo(dataset, tmp_path / "out", task="classify", names=names)
    found = {digest(path): path.parent.name for path in (tmp_path / "out").rglob("*.png")}
    wanted = {
        "defect": lambda sample: sample.defect_type,
        "category": lambda sample: sample.category,
        "category-defect": lambda sample: f"{sample.category}-{sample.defect_type}",
        "single": lambda sample: "defect",
    }[names]
    assert found == {digest(s.image): "good" if s.is_good else wanted(s) for s in dataset}
    assert summary.format == "classify"
    assert summary.fidelity is None


def test_the_summary_counts_the_images_of_each_class_and_split(sample_root, tmp_path):
    summary = mc.to_yolo(mc.load(sample_root), tmp_path / "out", task="classify", ratios=(0.6, 0.2, 0.2))
    for split in ("train", "val", "test"):
        files = Counter(path.parent.name for path in (tmp_path / "out" / split).rglob("*.png"))
        counted = summary.splits[split]
        assert counted.images == files.total()
        assert counted.background == files.pop("good")
        assert counted.regions == files
    assert list(summary.splits) == ["train", "val", "test"]


def test_every_split_has_a_folder_for_each_class(sample_root, tmp_path):
    mc.to_yolo(mc.load(sample_root / "carpet"), tmp_path / "out", task="classify", split="official")
    classes = {split: {path.name for path in (tmp_path / "out" / split).iterdir()} for split in ("train", "test")}
    assert classes["train"] == classes["test"] == {
        "good", "color", "cut", "hole", "metal_contamination", "thread",
    }  # fmt: skip
    (finding,) = findings(tmp_path / "out", "classify")
    assert (finding.code, finding.severity) == ("one-class", "warning")


def test_without_background_there_is_no_good(sample_root, tmp_path):
    mc.to_yolo(mc.load(sample_root / "carpet"), tmp_path / "out", task="classify", background="none")
    assert not list((tmp_path / "out").rglob("good"))
    assert findings(tmp_path / "out", "classify") == []


def test_the_tree_fits_its_schema(sound):
    tree = {split: {name: [path.name for path in paths] for name, paths in classes.items()}
            for split, classes in read_tree(sound).items()}  # fmt: skip
    assert sorted(tree["train"]) == ["cut", "good", "hole"]
    fits(tree, "classify")


def test_a_selection_of_one_split_is_refused(sample_root, tmp_path):
    dataset = mc.load(sample_root / "carpet").filter(split="test")
    with pytest.raises(SelectionError, match="train and in val") as caught:
        mc.to_yolo(dataset, tmp_path / "out", task="classify", split="official")
    assert caught.value.hint
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("names", ["defect", "category", "category-defect", "single"])
def test_the_format_itself_has_no_option_the_plan_names_the_folders(sample_root, tmp_path, names):
    plan = PlanOptions(names=names)
    export(mc.load(sample_root / "carpet"), Classify(), tmp_path / "out", ExportOptions(plan))
    classes = json.loads((tmp_path / "out/classes.json").read_text())["classes"]
    folders = {path.name for path in (tmp_path / "out/train").iterdir()}
    assert folders == {"good", *(label["name"] for label in classes)}


@pytest.mark.parametrize(("old", "new"), [("plate", "good"), ("plate", "GOOD")])
def test_two_classes_that_would_share_a_folder_are_refused(tmp_path, old, new):
    draw_tree(tmp_path / "tree")
    (tmp_path / "tree" / old).rename(tmp_path / "tree" / new)
    with pytest.raises(SelectionError, match=f"share a folder: {new}"):
        mc.to_yolo(mc.load(tmp_path / "tree"), tmp_path / "out", task="classify", names="category")


def test_world_is_refused(sample_root, tmp_path):
    with pytest.raises(SelectionError) as caught:
        mc.to_yolo(mc.load(sample_root / "carpet"), tmp_path / "out", task="classify", world=True)
    assert caught.value.hint


# --- recognising -----------------------------------------------------------------------------------------------------


def test_image_folders_of_others_are_recognised_and_pass(tmp_path):
    for i, name in enumerate(("train/cat/a", "train/dog/b", "valid/cat/c", "valid/dog/deep/d")):
        draw_image(tmp_path / f"{name}.jpg", i)
    assert mc.validate(tmp_path).format == "classify"
    assert mc.validate(tmp_path).findings == ()


def test_other_trees_are_not_taken_for_image_folders(sample_root, tmp_path):
    mc.to_yolo(mc.load(sample_root / "carpet"), tmp_path / "yolo")
    mc.to_coco(mc.load(sample_root / "carpet"), tmp_path / "coco")
    mc.to_coco(mc.load(sample_root / "carpet"), tmp_path / "roboflow", layout="roboflow")
    mc.to_sam(mc.load(sample_root / "carpet"), tmp_path / "sam")
    for name in ("images", "labels"):
        draw_image(tmp_path / "darknet" / "train" / name / "a.png")
    folders = [*tmp_path.iterdir(), sample_root, sample_root / "carpet", tmp_path / "missing", sample_root / "x.png"]
    assert [folder for folder in folders if Classify.recognises(folder)] == []


def test_an_export_is_recognised_without_its_manifest(sound, tmp_path):
    shutil.copytree(sound, tmp_path / "set", ignore=shutil.ignore_patterns("*.json"))
    assert mc.validate(tmp_path / "set").format == "classify"


# --- checking --------------------------------------------------------------------------------------------------------


def moved(source: str, target: str):
    return lambda folder: shutil.move(folder / source, folder / target)


def emptied(name: str):
    """Remove the files of a folder, keep the folder."""
    return lambda folder: [path.unlink() for path in (folder / name).iterdir()]


def cut_short(folder: Path) -> None:
    (folder / CUT).write_bytes((folder / CUT).read_bytes()[:1500])


CASES = [
    Case("no train", remove("train"), "no-split-folder", "set"),
    Case("no val", remove("val"), "no-split-folder", "set"),
    Case("a split without images", lambda f: [emptied(f"val/{name}")(f) for name in ("cut", "good", "hole")],
         "empty-split", "val"),
    Case("a split without folders", lambda f: [remove(f"val/{name}")(f) for name in ("cut", "good", "hole")],
         "empty-split", "val"),
    Case("an image beside the folders", moved(CUT, "train/x.png"), "loose-image", "train/x.png"),
    Case("a class that val lacks", remove("val/cut"), "class-mismatch", "val"),
    Case("a class that train lacks", moved("train/cut", "train/.cut"), "class-mismatch", "val"),
    Case("a class of another spelling", moved("val/hole", "val/Hole"), "class-mismatch", "val"),
    Case("a class without images", emptied("val/cut"), "unused-class", "val", None, "warning"),
    Case("nothing to tell apart", lambda f: [emptied(f"train/{name}")(f) for name in ("cut", "hole")], "one-class",
         "train", None, "warning"),
    Case("no image", write(CUT, "text"), "bad-image", CUT),
    Case("an image is cut short", cut_short, "bad-image", CUT),
    Case("what macOS leaves", write("train/cut/._plate.png", b"\0\5\x16\7"), "bad-image", "._plate.png"),
    Case("an image below 10 px", lambda f: draw_image(f / CUT, size=(9, 40)), "tiny-image", CUT, None, "warning"),
    Case("an image in two splits", lambda f: shutil.copy(f / CUT, f / "val/cut/other.png"), "split-leak",
         "val/cut/other.png"),
    Case("one name for two images", lambda f: draw_image(f / CUT.replace("train", "val"), 99), "same-name", "val/cut",
         None, "warning"),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=ids(CASES))
def test_what_is_broken_is_found(case, sound, tmp_path):
    verify(case, Path(shutil.copytree(sound, tmp_path / "set")), "classify")


def test_a_file_instead_of_a_folder_ends_in_findings(tmp_path):
    write("notes.txt", "x")(tmp_path)
    assert {finding.code for finding in findings(tmp_path / "notes.txt", "classify")} == {"no-split-folder"}
