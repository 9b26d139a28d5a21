"""Every trap of SAM is real: the script that fine-tunes it chokes on the broken dataset, or learns something else.

The script is examples/finetune_sam.py: transformers' processor and model, pycocotools' masks, PyTorch's losses.
"""

from __future__ import annotations

import json
import runpy
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torchvision
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from tests.broken import Tiny, change, draw_image, remove, write
from tests.readers.traps import Breaks, codes, codes_in

# Others of these tests import Ultralytics, which changes Pillow.
pytestmark = pytest.mark.usefixtures("plain_pillow")

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "finetune_sam.py"
NAME = "plate_hole_001"
FILE, IMAGE = f"val/{NAME}.json", f"val/{NAME}.png"
IN_HOLE, IN_SQUARE = [11, 9], [32, 27]
NO_TRAP = {"same-name"}
"""Codes to look at, which harm no reader."""

EMPTY = {"size": [32, 40], "counts": "PX1"}
OTHER_SIZE = {"size": [40, 32], "counts": "PX1"}
GARBAGE = {"size": [32, 40], "counts": "hello"}
CUT_SHORT = {"size": [32, 40], "counts": "T6<d00"}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """Images of 40 x 32 px; two of val and six of train have two regions each, a frame and a square."""
    return Tiny(tmp_path_factory.mktemp("tiny"))


class Script:
    """The example with its tiny network."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.code = SimpleNamespace(**runpy.run_path(str(EXAMPLE)))
        self.model, self.processor = self.code.tiny()

    def images(self, folder: Path, split: str = "val") -> dict[str, dict[str, Any]]:
        """What it reads of a split, by name."""
        files = self.code.defective(folder / split)
        return {file.stem: self.code.read(file, self.model, self.processor) for file in files}

    def loss(self, image: dict[str, Any], prompt: str = "boxes") -> float:
        """Of one image."""
        predicted = self.code.predict(self.model, self.processor, image, prompt)
        return self.code.loss_of(predicted, image["masks"]).item()


Suffers = Callable[[Path, Script], None]


@pytest.fixture(scope="module")
def script() -> Script:
    return Script()


def image(**values: Any) -> Breaks:
    return change(FILE, "image", **values)


def first(**values: Any) -> Breaks:
    return change(FILE, "annotations", 0, **values)


def prompts(**values: Any) -> Breaks:
    return change(FILE, "annotations", 0, "prompts", **values)


def masks_gone(folder: Path) -> None:
    for path in (folder / "val").glob("*.json"):
        change(f"val/{path.name}", annotations=[])(folder)


def first_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / FILE).read_text())["annotations"][0]


def cannot_read(kind: type[Exception], match: str) -> Suffers:
    def suffers(folder: Path, script: Script) -> None:
        with pytest.raises(kind, match=match):
            script.images(folder)

    return suffers


def cannot_learn(prompt: str) -> Suffers:
    def suffers(folder: Path, script: Script) -> None:
        with pytest.raises(RuntimeError, match=r"The size of tensor a .* must match the size of tensor b"):
            script.loss(script.images(folder)[NAME], prompt)

    return suffers


def learns_from(*names: str) -> Suffers:
    def suffers(folder: Path, script: Script) -> None:
        assert script.images(folder).keys() == set(names)

    return suffers


def sees_an_image_of_train(folder: Path, script: Script) -> None:
    seen, learnt = script.images(folder)[NAME], script.images(folder, "train")["plate_cut_000"]
    assert torch.equal(seen["image_embeddings"], learnt["image_embeddings"])


def is_asked_for_something_else(folder: Path, script: Script) -> None:
    """The prompt's box is taken as it is, and holds no pixel of what is to be found."""
    read = script.images(folder)[NAME]
    x0, y0, x1, y1 = (int(edge) for edge in first_of(folder)["prompts"]["box"])
    assert not read["masks"][0, y0:y1, x0:x1].any()
    assert script.loss(read) > 0


def is_pointed_to_something_else(folder: Path, script: Script) -> None:
    """The labels reach the model, and say what the masks deny."""
    read, given = script.images(folder)[NAME], first_of(folder)["prompts"]
    assert read["input_labels"][0, 0].tolist() == given["labels"]
    (x, y), label = given["points"][0], given["labels"][0]
    assert (read["masks"][0] if label else read["masks"].max(0).values)[y, x] != label


def learns_to_find_nothing(folder: Path, script: Script) -> None:
    read = script.images(folder)[NAME]
    assert not read["masks"][0].any()
    assert script.loss(read) > 0
    assert torchvision.ops.masks_to_boxes(read["masks"])[0].tolist() == [0, 0, 0, 0]


def keeps_a_sixth_of_the_mask(folder: Path, script: Script) -> None:
    """pycocotools takes what is there; pixels that are not spoken of are whatever lay in memory."""
    script.images(folder)
    assert (coco_mask.area(first_of(folder)["segmentation"]), first_of(folder)["area"]) == (24, 152)


def indexed(files: list[Path]) -> COCO:
    """The files as one COCO dataset, as evaluation by pycocotools needs them."""
    coco, documents = COCO(), [json.loads(path.read_text()) for path in files]
    coco.dataset = {
        "images": [{**document["image"], "id": document["image"]["image_id"]} for document in documents],
        "annotations": [
            {**annotation, "image_id": document["image"]["image_id"], "category_id": 1, "iscrowd": 0}
            for document in documents for annotation in document["annotations"]
        ],
        "categories": [{"id": 1, "name": "defect"}],
    }  # fmt: skip
    coco.createIndex()
    return coco


def loses_an_image_in_evaluation(folder: Path, script: Script) -> None:
    files = sorted((folder / "val").glob("*.json"))
    assert len(indexed(files).imgs) == len(files) - 1


def loses_a_mask_in_evaluation(folder: Path, script: Script) -> None:
    assert (len(indexed([folder / FILE]).anns), len(script.images(folder)[NAME]["masks"])) == (1, 2)


def counts_as_medium(folder: Path, script: Script) -> None:
    """COCO's evaluation sorts by `area`: here it finds a region of medium size, where all have less than 32 x 32 px."""
    truth = indexed([folder / FILE])
    evaluation = COCOeval(truth, truth.loadRes([{**a, "score": 1.0} for a in truth.dataset["annotations"]]), "segm")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[4] > -1


def gives_a_box_beside_the_mask(folder: Path, script: Script) -> None:
    box = torchvision.ops.box_convert(torch.tensor([first_of(folder)["bbox"]]), "xywh", "xyxy")
    extent = torchvision.ops.masks_to_boxes(script.images(folder)[NAME]["masks"][:1]) + torch.tensor([0, 0, 1, 1])
    assert torchvision.ops.box_iou(box, extent).item() < 0.6


TRAPS: dict[str, tuple[Breaks, str, Suffers]] = {
    # name: (what is done to it, code, what the script does)
    "no JSON files": (lambda f: [path.unlink() for path in f.glob("*/*.json")], "no-annotation-file", learns_from()),
    "no JSON": (write(FILE, "{"), "bad-json", cannot_read(json.JSONDecodeError, "Expecting")),
    "no list of annotations": (change(FILE, annotations=None), "schema", cannot_read(KeyError, "annotations")),
    "run lengths as numbers": (first(segmentation={"size": [32, 40], "counts": [100, 152, 1028]}), "schema",
                               cannot_read(TypeError, "Expected bytes")),
    "an image id twice": (image(image_id=2), "duplicate-id", loses_an_image_in_evaluation),
    "an annotation id twice": (first(id=2), "duplicate-id", loses_a_mask_in_evaluation),
    "an image of train": (image(file_name="../train/plate_cut_000.png"), "outside-folder", sees_an_image_of_train),
    "no such image": (remove(IMAGE), "missing-image", cannot_read(FileNotFoundError, NAME)),
    "no image": (write(IMAGE, "text"), "bad-image", cannot_read(OSError, "cannot identify")),
    "an image cut short": (lambda f: write(IMAGE, (f / IMAGE).read_bytes()[:1500])(f), "bad-image",
                           cannot_read(OSError, "truncated")),
    "an image of another size": (lambda f: draw_image(f / IMAGE, 1, (50, 32)), "image-size", cannot_learn("boxes")),
    "an image without its file": (remove(FILE), "orphan-image", learns_from("plate_cut_001")),
    "no masks": (masks_gone, "no-masks", learns_from()),
    "one mask of another size": (first(segmentation=OTHER_SIZE), "rle-size", cannot_read(RuntimeError, "equal size")),
    "run lengths of garbage": (first(segmentation=GARBAGE), "bad-rle", cannot_read(ValueError, "Invalid RLE")),
    "run lengths cut short": (first(segmentation=CUT_SHORT), "bad-rle", keeps_a_sixth_of_the_mask),
    "a mask of nothing": (first(segmentation=EMPTY), "empty-segmentation", learns_to_find_nothing),
    "another area": (first(area=2000), "area", counts_as_medium),
    "corners for a box": (first(bbox=[6, 4, 20, 16]), "box-and-mask", gives_a_box_beside_the_mask),
    "width and height for corners": (prompts(box=[6, 4, 14, 4]), "prompt-box", is_asked_for_something_else),
    "a box around another region": (prompts(box=[31, 26, 35, 30]), "prompt-box", is_asked_for_something_else),
    "a label for two points": (lambda f: [change(FILE, "annotations", i, "prompts", labels=[1])(f) for i in (0, 1)],
                               "point-labels", cannot_learn("points")),
    "labels for one region only": (prompts(labels=[1]), "point-labels", cannot_read(ValueError, "inhomogeneous")),
    "a point in the hole": (prompts(points=[IN_HOLE] * 4, labels=[1] * 4), "point-label", is_pointed_to_something_else),
    "y before x": (prompts(points=[[5, 15]] * 4, labels=[1] * 4), "point-label", is_pointed_to_something_else),
    "a negative in another region": (prompts(points=[IN_SQUARE] * 4, labels=[0] * 4), "point-label",
                                     is_pointed_to_something_else),
    "an image in both splits": (lambda f: shutil.copy(f / "train/plate_cut_000.png", f / IMAGE), "split-leak",
                                sees_an_image_of_train),
}  # fmt: skip


@pytest.mark.parametrize("name", TRAPS)
def test_the_script_falls_into_the_trap_and_validate_names_it(name, tiny, script, tmp_path):
    breaks, code, suffers = TRAPS[name]
    folder = tiny.copy("sam", tmp_path / "set")
    assert codes(folder) == set()
    breaks(folder)
    assert code in codes(folder)
    suffers(folder, script)


def test_every_finding_of_sam_has_its_trap():
    assert {code for _, code, _ in TRAPS.values()} == codes_in("SAM") - NO_TRAP


def test_without_a_trap_the_script_suffers_nothing(tiny, script, tmp_path):
    folder = tiny.copy("sam", tmp_path / "set")
    images = script.images(folder)
    assert images.keys() == {"plate_cut_001", NAME}
    assert {tuple(read["masks"].shape) for read in images.values()} == {(2, 32, 40)}
    assert script.loss(images[NAME], "boxes") > 0
    assert script.loss(images[NAME], "points") > 0
    with pytest.raises(AssertionError):
        counts_as_medium(folder, script)
    for harmed in (sees_an_image_of_train, is_asked_for_something_else, is_pointed_to_something_else,
                   learns_to_find_nothing, gives_a_box_beside_the_mask):  # fmt: skip
        with pytest.raises(AssertionError):
            harmed(folder, script)


def test_masks_of_0_and_255_teach_a_loss_something_else():
    """Why masks are 0 and 1: with 255 the loss has no bottom, so the best is to find defects everywhere."""
    mask = torch.zeros(1, 8, 8)
    mask[:, 2:4, 2:4] = 1
    losses = {scale: [torch.nn.functional.binary_cross_entropy_with_logits(height * (2 * mask - 1), scale * mask).item()
                      for height in (1, 10, 100)] for scale in (1, 255)}  # fmt: skip
    assert losses[1] == sorted(losses[1], reverse=True)
    assert 0 <= losses[1][-1] < 1e-6
    assert losses[255][-1] < -1000
