"""Every trap of YOLO-World's own datasets is real; those of Ultralytics over the same files: test_traps_yolo.py.

The datasets (github.com/AILab-CVC/YOLO-World) need OpenMMLab's compiled operators, so their rules are said again here:
`YOLOv5MixedGroundingDataset` in yolo_world/datasets/yolov5_mixed_grounding.py, which reads through pycocotools, and
`RandomLoadText` in yolo_world/datasets/transformers/mm_transforms.py. Run by hand at commit 4f70adb on 2026-11-23, they
did with each trap what is said here, and read all of the built-in sample.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import mvtec_convert as mc
from tests.broken import Tiny, change, write
from tests.exports import extent, load_coco, regions_of, true_masks
from tests.readers.traps import Breaks, codes, codes_in

GROUNDING, TEXTS = "world/grounding_train.json", "world/class_texts.json"
NOT_OF_THIS_READER = {"rle-mask"}
"""It passes run lengths on."""

Suffers = Callable[[Path], None]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """Ten images of 40 x 32 px in train, of which six have two regions each; two classes."""
    tiny = Tiny(tmp_path_factory.mktemp("tiny"))
    mc.to_yolo(mc.load(tiny.folder / "tree"), tiny.folder / "world", world=True)
    return tiny


def read(file: Path) -> list[dict[str, Any]]:
    """For each image its name, the texts it is asked for, and (text, box) of each instance."""
    coco = load_coco(file)
    found, ids = [], []
    for image in coco.loadImgs(coco.getImgIds()):
        annotations = coco.loadAnns(coco.getAnnIds(imgIds=[image["id"]]))
        ids += [annotation["id"] for annotation in annotations]
        texts = [" ".join(image["caption"][s:e] for s, e in a["tokens_positive"]) for a in annotations]
        instances = [
            (text, tuple(a["bbox"])) for text, a in zip(texts, annotations, strict=True)
            if overlap(a["bbox"], image) > 0 and a["area"] > 0 and min(a["bbox"][2:]) >= 1
        ]  # fmt: skip
        found.append({"name": image["file_name"], "texts": list(dict.fromkeys(texts)), "instances": instances})
    assert len(set(ids)) == len(ids), "Annotation ids are not unique!"
    return found


def overlap(box: list[float], image: dict[str, Any]) -> float:
    """Area of the box within the image, px."""
    x, y, width, height = box
    return max(0, min(x + width, image["width"]) - max(x, 0)) * max(0, min(y + height, image["height"]) - max(y, 0))


def ask(texts: list[list[str]], labels: set[int]) -> list[str]:
    """What an image with these classes is asked for, where all classes are: the first phrase of each."""
    asked = sorted({*range(len(texts)), *labels})
    assert all(len(texts[label]) > 0 for label in asked)
    return [texts[label][0] for label in asked]


def loses_a_box(folder: Path) -> None:
    assert sum(len(image["instances"]) for image in read(folder / GROUNDING)) == 11


def asks_for(text: str) -> Suffers:
    def suffers(folder: Path) -> None:
        assert text in {text for image in read(folder / GROUNDING) for text in image["texts"]}
        assert text not in {"cut on plate", "hole on plate"}

    return suffers


def asks_for_nothing(folder: Path) -> None:
    assert not any(image["texts"] for image in read(folder / GROUNDING))


def stops(kind: type[Exception], match: str) -> Suffers:
    def suffers(folder: Path) -> None:
        with pytest.raises(kind, match=match):
            read(folder / GROUNDING)

    return suffers


def cannot_ask(kind: type[Exception]) -> Suffers:
    def suffers(folder: Path) -> None:
        with pytest.raises(kind):
            ask(json.loads((folder / TEXTS).read_text()), {0, 1})

    return suffers


def asks_for_both_by_one_text(folder: Path) -> None:
    assert len(set(ask(json.loads((folder / TEXTS).read_text()), {0, 1}))) == 1


def first(**values: Any) -> Breaks:
    return change(GROUNDING, "annotations", 0, **values)


TRAPS: dict[str, tuple[Breaks, str, Suffers]] = {
    # name: (what is done to it, code, what the datasets do)
    "no such image": (first(image_id=77), "unknown-image", loses_a_box),
    "a box beyond the image": (first(bbox=[60, 4, 5, 12]), "outside-image", loses_a_box),
    "a box in shares": (first(bbox=[0.15, 0.125, 0.35, 0.375]), "thin-box", loses_a_box),
    "area 0": (first(area=0), "schema", loses_a_box),
    "an annotation id twice": (first(id=2), "duplicate-id", stops(AssertionError, "not unique")),
    "no caption": (change(GROUNDING, "images", 0, caption=None), "schema", stops(KeyError, "caption")),
    "no spans": (first(tokens_positive=None), "schema", stops(KeyError, "tokens_positive")),
    "an empty span": (first(tokens_positive=[[3, 3]]), "caption-span", asks_for("")),
    "a span that begins too late": (first(tokens_positive=[[7, 99]]), "caption-span", asks_for("plate")),
    "no annotations": (change(GROUNDING, annotations=[]), "no-annotations", asks_for_nothing),
    "a text too few": (write(TEXTS, '[["cut"]]'), "class-texts", cannot_ask(IndexError)),
    "a class without a text": (write(TEXTS, '[["cut"], []]'), "schema", cannot_ask(AssertionError)),
    "a text for two classes": (write(TEXTS, '[["cut"], ["cut"]]'), "class-texts", asks_for_both_by_one_text),
}  # fmt: skip


@pytest.mark.parametrize("name", TRAPS)
def test_yolo_world_falls_into_the_trap_and_validate_names_it(name, tiny, tmp_path):
    breaks, code, suffers = TRAPS[name]
    folder = tiny.copy("world", tmp_path / "set")
    assert codes(folder) == set()
    breaks(folder)
    assert code in codes(folder)
    suffers(folder)


def test_every_finding_of_yolo_world_has_its_trap():
    assert {code for _, code, _ in TRAPS.values()} >= codes_in("YOLO-World") - NOT_OF_THIS_READER


def test_without_a_trap_yolo_world_reads_every_box_and_its_phrase(sample_root, tmp_path):
    mc.to_yolo(mc.load(sample_root), tmp_path / "out", world=True)
    truth = {name: regions_of(mask) for name, (_, mask) in true_masks(sample_root).items()}
    images = [image for split in ("train", "val") for image in read(tmp_path / "out/world" / f"grounding_{split}.json")]
    assert (len(images), sum(len(image["instances"]) for image in images)) == (102, 101)
    for image in images:
        boxes = [(x, y, x + width, y + height) for _, (x, y, width, height) in image["instances"]]
        regions = truth.get(Path(image["name"]).stem, [])
        assert sorted(boxes) == sorted(extent(region) for region in regions)
        assert len(image["texts"]) == bool(regions)
