"""Every layout in every format: each region comes back with the class of its pixels, and the counts say so."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

import mvtec_convert as mc
from mvtec_convert.labels import Label
from mvtec_convert.phrases import load_phrases
from mvtec_convert.pipeline import Summary
from tests.layout_contract import CASES, IDS, Drawn

Boxes = dict[str, list[tuple[int, int, int, int, str]]]
"""(x0, y0, x1, y1, class), px, of the regions of each image, by the name that exports give it; sorted."""

FORMATS: dict[str, Callable[..., Summary]] = {
    "yolo": mc.to_yolo,
    "segment": partial(mc.to_yolo, task="segment"),
    "obb": partial(mc.to_yolo, task="obb"),
    "coco": mc.to_coco,
    "rle": partial(mc.to_coco, segmentation="rle"),
    "roboflow": partial(mc.to_coco, layout="roboflow"),
    "labelme": mc.to_labelme,
    "voc": lambda dataset, out: mc.to_format(dataset, out, "voc"),
    **{layout: partial(mc.to_sam, layout=layout) for layout in ("sa1b", "sam2", "sam3", "saco", "medsam")},
}

every_layout = pytest.mark.parametrize("tree", [tree for _, tree in CASES], ids=IDS)


def labels_of(out: Path) -> dict[str, Label]:
    """The class of each `category/defect type`, by the export's own word."""
    classes = json.loads((out / "classes.json").read_text(encoding="utf-8"))["classes"]
    made = [
        Label(each["id"], each["name"], tuple(tuple(name.split("/")) for name in each["members"])) for each in classes
    ]
    return {"/".join(member): label for label in made for member in label.members}


def wanted(tree: Drawn, called: Callable[[str, str], str]) -> Boxes:
    """What a person would draw; `called` names a defect type of a category."""
    found: Boxes = {}
    for each in tree.expected.values():
        name = f"{each.category}_{each.defect_type}_{Path(each.image).stem}"
        boxes = [(x, y, x + w, y + h, called(each.category, defect)) for x, y, w, h, defect in each.regions]
        found |= {name: sorted(boxes)} if boxes else {}
    return found


def read_back(out: Path) -> Boxes:
    return {
        image.name: sorted((*map(round, item.box), item.class_name) for item in image.objects)  # type: ignore[misc]
        for image in mc.read_export(out)
        if image.objects
    }


@every_layout
@pytest.mark.usefixtures("_small_medsam")
@pytest.mark.parametrize("name", FORMATS)
def test_regions_come_back_with_the_class_of_their_pixels(name: str, tree: Drawn, tmp_path: Path) -> None:
    out = tmp_path / "out"
    summary = FORMATS[name](mc.load(tree.write(tmp_path / "source")), out)
    labels, phrases = labels_of(out), load_phrases(None)

    def class_name(category: str, defect: str) -> str:
        return labels[f"{category}/{defect}"].name

    def read_name(category: str, defect: str) -> str:
        if name == "saco":
            return phrases.of(category, defect)[0]
        label = labels[f"{category}/{defect}"]
        return phrases.of_class(label)[0] if name in {"roboflow", "sam3"} else label.name

    assert {member.split("/")[1] for member in labels} == set(tree.classes)
    assert read_back(out) == wanted(tree, read_name)
    counted = sum((split.regions for split in summary.splits.values()), Counter[str]())
    assert counted == Counter(box[-1] for boxes in wanted(tree, class_name).values() for box in boxes)
    assert summary.fidelity is not None
    assert summary.fidelity.exact == summary.fidelity.regions == counted.total()
