"""What YOLO-World reads beside a YOLO dataset: the same regions in words, and every way to break it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import mvtec_convert as mc
from mvtec_convert.errors import SelectionError
from mvtec_convert.labels import LabelMap, NameScheme, label_map
from mvtec_convert.phrases import built_in
from tests.broken import Case, draw_tree, edit, findings, ids, never_raises, records_on_lines, remove, verify, write
from tests.exports import extent, regions_of, true_masks, yolo_boxes
from tests.fitting import fits

TRAIN = "world/grounding_train.json"
TEXTS = "world/class_texts.json"


@pytest.fixture(scope="module")
def world(sample_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample for YOLO-World. Read it, never write to it."""
    out = tmp_path_factory.mktemp("world") / "out"
    mc.to_yolo(mc.load(sample_root), out, world=True)
    return out


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny export to break copies of."""
    folder = tmp_path_factory.mktemp("tiny")
    draw_tree(folder / "tree")
    mc.to_yolo(mc.load(folder / "tree"), folder / "out", world=True)
    return folder / "out"


def load(folder: Path, name: str) -> Any:
    return json.loads((folder / name).read_text(encoding="utf-8"))


def test_names_and_class_texts_say_the_same_in_the_order_of_the_classes(world):
    labels = yaml.safe_load((world / "data.yaml").read_text())
    phrases = yaml.safe_load((world / "data_world.yaml").read_text())
    assert {**phrases, "names": labels["names"]} == labels
    texts = load(world, TEXTS)
    assert [phrases["names"][i].split("/") for i in range(len(texts))] == texts
    by_name = dict(zip(labels["names"].values(), texts, strict=True))
    assert by_name["color"] == list(built_in().of("carpet", "color"))
    assert by_name["hole"] == ["hole", "hole in carpet", "hole in hazelnut"]


@pytest.mark.parametrize("task", ["detect", "segment"])
def test_the_labels_are_those_of_an_export_without_world(sample_root, tmp_path, task):
    dataset = mc.load(sample_root / "carpet")
    mc.to_yolo(dataset, tmp_path / "plain", task=task)
    mc.to_yolo(dataset, tmp_path / "world", task=task, world=True)
    labels = sorted(path.relative_to(tmp_path / "plain") for path in (tmp_path / "plain").rglob("*.txt"))
    assert labels
    for path in (*labels, "data.yaml", "classes.json", "splits.json"):
        assert (tmp_path / "plain" / path).read_bytes() == (tmp_path / "world" / path).read_bytes()


def test_every_region_is_there_with_its_box_area_and_phrase(world, sample_root):
    boxes = {name: sorted(box for _, box in found) for name, found in yolo_boxes(world).items()}
    seen = set()
    for split in ("train", "val"):
        document = load(world, f"world/grounding_{split}.json")
        assert {image["file_name"] for image in document["images"]} == {
            p.name for p in (world / "images" / split).iterdir()
        }
        for image in document["images"]:
            found = [a for a in document["annotations"] if a["image_id"] == image["id"]]
            name = Path(image["file_name"]).stem
            corners = sorted((x, y, x + w, y + h) for x, y, w, h in (a["bbox"] for a in found))
            np.testing.assert_allclose(corners, boxes[name], atol=0.01)
            category, _, rest = name.partition("_")
            for annotation in found:
                (span,) = annotation["tokens_positive"]
                defect = rest.rpartition("_")[0]
                assert image["caption"][slice(*span)] == built_in().of(category, defect)[0]
            assert bool(found) == bool(image["caption"])
            seen.add(name)
    assert seen == set(boxes)
    areas = sorted(a["area"] for s in ("train", "val") for a in load(world, f"world/grounding_{s}.json")["annotations"])
    assert areas == sorted(int(r.sum()) for _, mask in true_masks(sample_root).values() for r in regions_of(mask))


def test_polygons_keep_to_the_region_and_reach_its_edges(world, sample_root):
    truth = true_masks(sample_root)
    compared = 0
    for split in ("train", "val"):
        document = load(world, f"world/grounding_{split}.json")
        names = {image["id"]: Path(image["file_name"]).stem for image in document["images"]}
        for annotation in document["annotations"]:
            (polygon,) = annotation["segmentation"]
            points = np.array(polygon).reshape(-1, 2)
            _, mask = truth[names[annotation["image_id"]]]
            x, y = points.astype(int).T
            assert mask[y, x].all()
            box = *points.min(axis=0), *points.max(axis=0)
            wanted = min(
                (extent(region) for region in regions_of(mask)), key=lambda e: np.abs(np.subtract(e, box)).max()
            )
            assert np.abs(np.subtract(wanted, box)).max() < 0.01
            compared += 1
    assert compared == 101


def test_the_files_fit_their_schema(world):
    for split in ("train", "val"):
        document = {"class_texts": load(world, TEXTS), "grounding": load(world, f"world/grounding_{split}.json")}
        fits(document, "yolo_world")


def test_a_fresh_export_has_no_findings_and_is_the_same_for_any_number_of_jobs(sample_root, tmp_path, world):
    mc.to_yolo(mc.load(sample_root), tmp_path / "again", world=True, jobs=7)
    assert mc.validate(world).findings == ()
    assert mc.validate(world).format == "yolo"
    for path in (TRAIN, TEXTS, "data_world.yaml", "world/grounding_val.json"):
        assert (tmp_path / "again" / path).read_bytes() == (world / path).read_bytes()
    assert sorted(path.name for path in (world / "world").iterdir()) == [
        "class_texts.json", "grounding_train.json", "grounding_val.json",
    ]  # fmt: skip


def test_mvtecs_own_split_is_refused_with_a_hint(sample_root, tmp_path):
    with pytest.raises(SelectionError, match="train has good images only") as caught:
        mc.to_yolo(mc.load(sample_root / "carpet"), tmp_path / "out", world=True, split="official")
    assert "--split supervised" in caught.value.hint
    assert not (tmp_path / "out").exists()


def test_rotated_boxes_are_refused(sample_root, tmp_path):
    with pytest.raises(SelectionError, match="rotated"):
        mc.to_yolo(mc.load(sample_root / "carpet"), tmp_path / "out", task="obb", world=True)


def test_one_phrase_for_two_classes_is_refused(sample_root, tmp_path):
    own = {"phrases": {"carpet": {"hole": ["damage"], "cut": ["slit", "Damage"]}}}
    write("own.json", json.dumps(own))(tmp_path)
    with pytest.raises(SelectionError, match="'damage' stands for two classes, cut and hole") as caught:
        mc.to_yolo(mc.load(sample_root / "carpet"), tmp_path / "out", world=True, phrases=tmp_path / "own.json")
    assert caught.value.hint


def test_own_phrases_are_used(sample_root, tmp_path):
    write("own.json", json.dumps({"phrases": {"carpet": {"hole": ["moth hole — 虫", "bite"]}}}))(tmp_path)
    mc.to_yolo(mc.load(sample_root / "carpet"), tmp_path / "out", world=True, phrases=tmp_path / "own.json")
    assert load(tmp_path / "out", TEXTS)[2] == ["moth hole — 虫", "bite"]
    document = load(tmp_path / "out", TRAIN)
    image = next(image for image in document["images"] if "hole" in image["file_name"])
    spans = {tuple(a["tokens_positive"][0]) for a in document["annotations"] if a["image_id"] == image["id"]}
    assert [image["caption"][start:end] for start, end in spans] == ["moth hole — 虫"]
    assert mc.validate(tmp_path / "out").findings == ()


@pytest.mark.parametrize("scheme", ["defect", "category", "category-defect"])
def test_no_built_in_phrase_stands_for_two_classes_of_mvtec_ad(scheme: NameScheme):
    labels = all_of_mvtec_ad(scheme)
    texts = [phrase.casefold() for label in labels.classes for phrase in built_in().of_class(label)]
    assert len(labels.classes) > 14
    assert len(texts) == len(set(texts))


def all_of_mvtec_ad(scheme: NameScheme) -> LabelMap:
    pairs = [(category, defect) for category, types in built_in().known.items() for defect in types]
    return label_map([mc.Sample(c, d, "test", Path(), (), f"{c}/test/{d}/000.png") for c, d in pairs], scheme)


# --- checking --------------------------------------------------------------------------------------------------------


def record(key: str, index: int, **values: Any) -> Callable[[Path], None]:
    """Change one record of the grounding file of train; records stay one a line."""

    def breaks(folder: Path) -> None:
        document = load(folder, TRAIN)
        document[key][index].update(values)
        records_on_lines(document, folder / TRAIN)

    return breaks


def without(key: str) -> Callable[[Path], None]:
    """Empty a list of the grounding file of train."""
    return lambda folder: records_on_lines({**load(folder, TRAIN), key: []}, folder / TRAIN)


def line_of_annotation(folder: Path, index: int) -> int:
    return len(load(folder, TRAIN)["images"]) + 5 + index


RLE = {"size": [32, 40], "counts": [0, 1, 1279]}
IMAGE = "images/train/plate_cut_000.png"

# Ten images: annotations begin on line 15.
CASES = [
    Case("names are no YAML", edit("data_world.yaml", "names:", "names: ["), "bad-yaml", "data_world.yaml", 5),
    Case("no val", edit("data_world.yaml", "val: images/val\n", ""), "schema", "data_world.yaml"),
    Case("a name too few", edit("data_world.yaml", "  1: ", "#"), "class-texts", "data_world.yaml", 3),
    Case("space beside a slash", edit("data_world.yaml", "0: ", "0: dent / "), "class-texts", "data_world.yaml", 3),
    Case("nothing between slashes", edit("data_world.yaml", "0: ", "0: dent//"), "class-texts", "data_world.yaml", 3),
    Case("one phrase, two classes", edit("data_world.yaml", "0: ", "0: Hole on plate/"), "class-texts",
         "data_world.yaml", 3),
    Case("texts are no JSON", write(TEXTS, "[["), "bad-json", TEXTS, 1),
    Case("texts are no lists", write(TEXTS, '["cut", "hole"]'), "schema", TEXTS),
    Case("a class without a text", write(TEXTS, '[["cut"], []]'), "schema", TEXTS),
    Case("a text too few", write(TEXTS, '[["cut"]]'), "class-texts", TEXTS),
    Case("a text for two", write(TEXTS, '[["cut"], ["hole", "cut"]]'), "class-texts", TEXTS),
    Case("no JSON", write(TRAIN, "{"), "bad-json", TRAIN, 1),
    Case("not an object", write(TRAIN, "[]"), "schema", TRAIN),
    Case("no list of images", write(TRAIN, '{"annotations": [], "categories": []}'), "schema", TRAIN),
    Case("no caption", record("images", 0, caption=None), "schema", TRAIN, 3),
    Case("no spans", record("annotations", 0, tokens_positive=[]), "schema", TRAIN, 15),
    Case("a crowd", record("annotations", 1, iscrowd=1), "schema", TRAIN, 16),
    Case("no area", record("annotations", 1, area=0), "schema", TRAIN, 16),
    Case("a span beyond the caption", record("annotations", 0, tokens_positive=[[0, 99]]), "caption-span", TRAIN, 15),
    Case("an empty span", record("annotations", 0, tokens_positive=[[3, 3]]), "caption-span", TRAIN, 15),
    Case("a span of spaces", lambda f: [record("images", 0, caption="   ")(f)], "caption-span", TRAIN, 15),
    Case("run lengths", record("annotations", 2, segmentation=RLE), "rle-mask", TRAIN, 17, "warning"),
    Case("an image nobody knows", record("annotations", 0, image_id=77), "unknown-image", TRAIN, 15),
    Case("an annotation id twice", record("annotations", 1, id=1), "duplicate-id", TRAIN, 16),
    Case("an image id twice", record("images", 9, id=1), "duplicate-id", TRAIN, 12,
         also=frozenset({"caption-span"})),
    Case("a box beyond the image", record("annotations", 0, bbox=[60, 4, 14, 12]), "outside-image", TRAIN, 15),
    Case("a box half a pixel beyond", record("annotations", 0, bbox=[26.5, 4, 14, 12]), "outside-image", TRAIN, 15,
         "warning"),
    Case("a box in shares", record("annotations", 0, bbox=[0.15, 0.125, 0.35, 0.375]), "thin-box", TRAIN, 15,
         "warning"),
    Case("no annotations", without("annotations"), "no-annotations", TRAIN),
    Case("an image that leads out", record("images", 9, file_name="../x.png"), "outside-folder", TRAIN, 12),
    Case("an image is missing", record("images", 9, file_name="x.png"), "missing-image", "images/train/x.png"),
    Case("another size", record("images", 0, width=41), "image-size", IMAGE),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=ids(CASES))
def test_what_is_broken_is_found(case, sound, tmp_path):
    verify(case, Path(shutil.copytree(sound, tmp_path / "set")), "yolo")


def test_annotations_begin_where_the_cases_expect_them(sound):
    assert line_of_annotation(sound, 0) == 15
    assert load(sound, TRAIN)["images"][0]["file_name"] == Path(IMAGE).name


def test_the_files_may_be_absent(sound, tmp_path):
    folder = Path(shutil.copytree(sound, tmp_path / "set"))
    remove("world")(folder)
    remove("data_world.yaml")(folder)
    assert findings(folder, "yolo") == []


def test_damage_at_random_ends_in_findings(sound, tmp_path):
    folder = Path(shutil.copytree(sound, tmp_path / "set"))
    never_raises(folder, "yolo", ["data_world.yaml", TEXTS, TRAIN], 60)
