"""SAM 3's COCO: what its trainer asks for, what is refused, and every way it can be broken."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

import mvtec_convert as mc
from mvtec_convert.errors import SelectionError
from mvtec_convert.formats.coco import Coco
from mvtec_convert.formats.sam3 import Sam3
from mvtec_convert.pipeline import export
from tests import broken
from tests.broken import (
    Case,
    draw_image,
    errors,
    findings,
    ids,
    never_raises,
    records_on_lines,
    remove,
    save,
    verify,
    write,
)
from tests.exports import regions_of, same_regions, true_masks
from tests.fitting import fits
from tests.trees import make_tree

TRAIN, TEST = "train/_annotations.coco.json", "test/_annotations.coco.json"
IMAGE = "train/plate_cut_000.png"
FIRST = 15  # line of the first annotation of train


def questions(file: Path) -> dict[str, dict[str, list[np.ndarray]]]:
    """What SAM 3's trainer makes of a file: for each image and each category's name, the masks that are the answer."""
    document = json.loads(file.read_text())
    names = {category["id"]: category["name"] for category in document["categories"]}
    asked = {image["id"]: {name: [] for name in names.values()} for image in document["images"]}
    sizes = {image["id"]: (image["height"], image["width"]) for image in document["images"]}
    for annotation in document["annotations"]:
        assert annotation["iscrowd"] == 0
        image_id = annotation["image_id"]
        rle = coco_mask.merge(coco_mask.frPyObjects(annotation["segmentation"], *sizes[image_id]))
        asked[image_id][names[annotation["category_id"]]].append(coco_mask.decode(rle))
    return {Path(image["file_name"]).stem: asked[image["id"]] for image in document["images"]}


@pytest.fixture(scope="module")
def carpet(sample_root) -> mc.Dataset:
    return mc.load(sample_root / "carpet")


# --- writing ---------------------------------------------------------------------------------------------------------


def test_each_image_is_asked_for_each_phrase_and_the_masks_are_the_answer(carpet, sample_root, tmp_path):
    mc.to_sam(carpet, tmp_path / "out", layout="sam3")
    asked = questions(tmp_path / "out" / TRAIN) | questions(tmp_path / "out" / TEST)
    assert len(asked) == len(carpet)
    phrases = {
        "color": "color stain on carpet", "cut": "cut in carpet", "hole": "hole in carpet",
        "metal_contamination": "metal piece on carpet", "thread": "loose thread on carpet",
    }  # fmt: skip
    truth = true_masks(sample_root, "carpet")
    assert len(truth) == 23
    for name, answers in asked.items():
        assert set(answers) == set(phrases.values())
        defect, mask = truth.get(name, ("", np.zeros((1, 1), np.uint8)))
        for phrase, masks in answers.items():
            assert same_regions(masks, regions_of(mask) if phrase == phrases.get(defect) else [])


def test_good_images_are_negatives_for_every_phrase(carpet, tmp_path):
    summary = mc.to_sam(carpet, tmp_path / "out", layout="sam3")
    good = {
        name: masks for file in (TRAIN, TEST) for name, masks in questions(tmp_path / "out" / file).items()
        if "_good_" in name
    }  # fmt: skip
    assert len(good) == sum(split.background for split in summary.splits.values()) == 14
    assert not any(masks for answers in good.values() for masks in answers.values())


@pytest.mark.parametrize(
    ("keywords", "folders"),
    [
        ({}, {"train": "train", "val": "test"}),
        ({"split": "official"}, {"train": "train", "test": "test"}),
        ({"ratios": (0.6, 0.2, 0.2)}, {"train": "train", "val": "valid", "test": "test"}),
    ],
)
def test_splits_lie_where_the_trainer_looks_for_them(carpet, tmp_path, keywords, folders):
    summary = mc.to_sam(carpet, tmp_path / "out", layout="sam3", **keywords)
    assert list(summary.splits) == list(folders)
    assert {path.name for path in (tmp_path / "out").iterdir() if path.is_dir()} == set(folders.values())
    for split, folder in folders.items():
        document = json.loads((tmp_path / "out" / folder / "_annotations.coco.json").read_text())
        names = {image["file_name"] for image in document["images"]}
        assert len(names) == summary.splits[split].images
        assert names == {path.name for path in (tmp_path / "out" / folder).glob("*.png")}


def test_a_split_used_again_keeps_its_three_folders(carpet, tmp_path):
    mc.to_coco(carpet, tmp_path / "coco", ratios=(0.6, 0.2, 0.2))
    mc.to_sam(carpet, tmp_path / "out", layout="sam3", split_from=tmp_path / "coco")
    wanted = {path.name for path in (tmp_path / "coco/images/val").iterdir()}
    assert {path.name for path in (tmp_path / "out/valid").glob("*.png")} == wanted


def test_files_fit_their_schema(carpet, tmp_path):
    mc.to_sam(carpet, tmp_path / "out", layout="sam3")
    for name in (TRAIN, TEST):
        document = json.loads((tmp_path / "out" / name).read_text())
        fits(document, "sam3")


def test_all_categories_together_have_prompts_of_their_own(sample_root, tmp_path):
    mc.to_sam(mc.load(sample_root), tmp_path / "out", layout="sam3", names="category-defect")
    names = [entry["name"] for entry in json.loads((tmp_path / "out" / TRAIN).read_text())["categories"]]
    assert len(names) == len(set(names)) == 14
    assert {"hole in carpet", "hole in hazelnut"} <= set(names)


def test_two_classes_with_one_prompt_are_refused(carpet, tmp_path):
    own = tmp_path / "own.json"
    own.write_text(json.dumps({"phrases": {"carpet": {"cut": "damage", "hole": "damage"}}}))
    with pytest.raises(SelectionError, match="two classes have the phrase 'damage'") as caught:
        mc.to_sam(carpet, tmp_path / "out", layout="sam3", phrases=own)
    assert "--phrases" in caught.value.hint
    assert not (tmp_path / "out").exists()


def test_two_splits_never_share_a_folder(carpet, tmp_path):
    with pytest.raises(SelectionError, match="share a folder"):
        export(carpet, Sam3(), tmp_path / "out", mc.api.export_options(ratios=(0.6, 0.2, 0.2)))


def test_a_split_that_the_trainer_cannot_evaluate_on_is_refused(tmp_path):
    tree = make_tree(tmp_path / "data", {"nut/train/good": "000.png", "nut/test/cut": "000.png",
                                         "nut/ground_truth/cut": "000_mask.png"})  # fmt: skip
    with pytest.raises(SelectionError, match="reads test/") as caught:
        mc.to_sam(mc.load(tree), tmp_path / "out", layout="sam3")
    assert caught.value.hint


@pytest.mark.parametrize("layout", ["sam3", "saco", "medsam"])
@pytest.mark.parametrize("option", ["points", "negatives", "box_jitter"])
def test_options_that_a_layout_does_not_use_are_refused(carpet, tmp_path, layout, option):
    with pytest.raises(SelectionError, match=f"layout {layout}.*--{option.replace('_', '-')}") as caught:
        mc.to_sam(carpet, tmp_path / "out", layout=layout, **{option: 0})
    assert "sa1b" in caught.value.hint
    assert not (tmp_path / "out").exists()


def test_an_unknown_layout_is_refused(carpet, tmp_path):
    with pytest.raises(SelectionError, match="no layout 'yolo'"):
        mc.to_sam(carpet, tmp_path / "out", layout="yolo")


# --- checking --------------------------------------------------------------------------------------------------------


def change(key: str, index: int, file: str = TRAIN, /, **values: Any):
    """Set values of one record; None removes a key."""
    return broken.change(file, key, index, **values)


def in_both(index: int, **values: Any):
    return lambda folder: [change("categories", index, file, **values)(folder) for file in (TRAIN, TEST)]


def in_other_folder(folder: Path) -> None:
    for image in list((folder / "train").glob("*.png")):
        (folder / "images").mkdir(exist_ok=True)
        image.rename(folder / "images" / image.name)


def large(folder: Path) -> None:
    """A speck of 2 x 2 px in an image of 1024 x 1024 px."""
    draw_image(folder / IMAGE, 1, (1024, 1024))
    document = json.loads((folder / TRAIN).read_text())
    document["images"][0].update(width=1024, height=1024)
    document["annotations"][0].update(bbox=[5, 5, 2, 2], area=4, segmentation=[[5, 5, 5, 7, 7, 7, 7, 5]])
    records_on_lines(document, folder / TRAIN)


CASES = [
    Case("no files", lambda f: [remove(TRAIN)(f), remove(TEST)(f)], "no-annotation-file", "set"),
    Case("no train", remove(TRAIN), "missing-split", "set"),
    Case("no test", remove(TEST), "missing-split", "set"),
    Case("no JSON", write(TRAIN, "{"), "bad-json", TRAIN, 1),
    Case("a list", write(TRAIN, "[]"), "schema", TRAIN),
    Case("no iscrowd", change("annotations", 0, iscrowd=None), "schema", TRAIN, FIRST),
    Case("no name", change("categories", 0, name=None), "schema", TRAIN, 1,
         also=frozenset({"category-mismatch"})),
    Case("a slug", in_both(1, name="plate_hole"), "slug-prompt", TEST, 1, "warning"),
    Case("either or", in_both(1, name="hole/gap in plate"), "slug-prompt", TEST, 1, "warning"),
    Case("a long prompt", in_both(1, name="very " * 30 + "deep hole"), "long-prompt", TEST, 1, "warning"),
    Case("one prompt twice", in_both(1, name="cut on plate"), "class-names", TEST, 1),
    Case("images elsewhere", in_other_folder, "not-beside", TRAIN),
    Case("image missing", remove(IMAGE), "missing-image", IMAGE),
    Case("image of another size", lambda f: draw_image(f / IMAGE, 1, (50, 32)), "image-size", IMAGE),
    Case("a speck", large, "lost-box", TRAIN, FIRST, "warning"),
    Case("no such image", change("annotations", 0, image_id=99), "unknown-image", TRAIN, FIRST),
    Case("area far off", change("annotations", 0, area=9), "area", TRAIN, FIRST),
    Case("an image in both splits", lambda f: shutil.copy(f / IMAGE, f / "test/plate_cut_001.png"), "split-leak",
         "train/plate_cut_000.png"),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=ids(CASES))
def test_what_is_broken_is_found(case, tiny, tmp_path):
    verify(case, tiny.copy("sam3", tmp_path / "set"), "sam3")


def test_damage_at_random_ends_in_findings(tiny, tmp_path):
    never_raises(tiny.copy("sam3", tmp_path / "set"), "sam3", [TRAIN], 60)


def test_fresh_exports_of_the_sample_have_no_findings(sample_root, tmp_path):
    mc.to_sam(mc.load(sample_root), tmp_path / "out", layout="sam3")
    assert findings(tmp_path / "out", "sam3") == []
    assert mc.validate(tmp_path / "out").format == "sam3"


def test_roboflows_layout_is_checked_as_well(carpet, tmp_path):
    mc.to_coco(carpet, tmp_path / "out", layout="roboflow")
    assert Sam3.recognises(tmp_path / "out")
    assert Coco.recognises(tmp_path / "out")
    assert [finding.code for finding in errors(tmp_path / "out", "sam3")] == ["missing-split"]
    mc.to_coco(carpet, tmp_path / "three", layout="roboflow", ratios=(0.6, 0.2, 0.2))
    assert errors(tmp_path / "three", "sam3") == []


def test_without_its_manifest_it_is_coco_unless_one_says_otherwise(carpet, tmp_path):
    mc.to_sam(carpet, tmp_path / "out", layout="sam3")
    (tmp_path / "out" / "mvtec-convert.json").unlink()
    assert mc.validate(tmp_path / "out").format == "coco"
    assert mc.validate(tmp_path / "out", format="sam3").format == "sam3"


def test_a_speck_that_the_trainer_would_drop_is_told_at_once(tmp_path):
    for index in range(4):
        draw_image(tmp_path / f"data/nut/test/pit/{index:03}.png", index, (1024, 1024))
        mask = np.zeros((1024, 1024), np.uint8)
        mask[500 : 500 + 1 + index, 500 : 500 + 1 + index] = 255
        save(mask, tmp_path / f"data/nut/ground_truth/pit/{index:03}_mask.png")
    draw_image(tmp_path / "data/nut/train/good/000.png", 9, (1024, 1024))
    summary = mc.to_sam(mc.load(tmp_path / "data"), tmp_path / "out", layout="sam3")
    notes = [note.message for note in summary.notes if note.code == "lost-box"]
    assert sorted(note.split("a box of ")[1].split(" px")[0] for note in notes) == ["1", "4"]


def test_what_is_no_dataset_is_not_recognised(tmp_path):
    write("train/notes.json", "{}")(tmp_path)
    assert not Sam3.recognises(tmp_path)
    assert not Sam3.recognises(tmp_path / "missing")
