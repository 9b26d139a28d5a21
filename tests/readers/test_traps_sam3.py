"""Every trap of SAM 3 is real: its trainer stops at the broken dataset, loses boxes, or asks for something else.

Words go through transformers' Sam3Processor and Sam3Model. The trainer is no package that the extra `examples` could
hold: `asked` says its rules again, and where its repository is on PYTHONPATH (originals.py) the same traps are set for
`Sam3ImageDataset` itself.
"""

from __future__ import annotations

import json
import string
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers import CLIPTokenizer, Sam3ImageProcessor, Sam3Processor

import mvtec_convert as mc
from mvtec_convert.coco_checks import WORD, wrong_prompt
from tests.broken import Tiny, change, draw_image, remove, write
from tests.exports import extent, regions_of, same_regions, true_masks
from tests.readers import originals
from tests.readers.test_sam3 import LETTERS, TOKENS, tiny_model
from tests.readers.traps import Breaks, codes, codes_in

# Others of these tests import Ultralytics, which changes Pillow.
pytestmark = pytest.mark.usefixtures("plain_pillow")

ANNOTATIONS = "_annotations.coco.json"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """Ten images of 40 x 32 px in train, of which six have two regions each; two classes, two phrases."""
    tiny = Tiny(tmp_path_factory.mktemp("tiny"))
    for layout in ("sam3", "saco"):
        mc.to_sam(mc.load(tiny.folder / "tree"), tiny.folder / layout, layout=layout)
    return tiny


@pytest.fixture(scope="module")
def processor() -> Sam3Processor:
    """SAM 3's, with a tokenizer that knows letters alone; how a text falls into words does not depend on that."""
    pieces = [*LETTERS, "_", "/", *(f"{letter}</w>" for letter in [*LETTERS, "_", "/"])]
    vocabulary = {piece: i for i, piece in enumerate([*pieces, "<|startoftext|>", "<|endoftext|>"])}
    return Sam3Processor(Sam3ImageProcessor(), CLIPTokenizer(vocab=vocabulary, merges=[]))


# --- questions -------------------------------------------------------------------------------------------------------

TRAIN, TEST = f"train/{ANNOTATIONS}", f"test/{ANNOTATIONS}"
IMAGE, LAST = "train/plate_cut_000.png", "train/plate_hole_003.png"


@dataclass
class Question:
    """What one image is asked for, and the answer.

    Attributes:
        text: the prompt.
        image: pixels of the image, RGB.
        boxes: x0, y0, x1, y1 in px.
    """

    text: str
    image: bytes
    boxes: list[tuple[float, ...]]


def asked(folder: Path, side: int = 1008) -> list[Question]:
    """As `COCO_FROM_JSON` and `Sam3ImageDataset` (sam3/train/data) and the transforms of its configuration go about it.

    Boxes are divided by the size that the file says, and cut at the border. `FilterCrowds` and `FilterEmptyTargets`
    leave annotations out. The next image takes the place of one that cannot be loaded.
    """
    content = json.loads((folder / ANNOTATIONS).read_text())
    records = sorted({record["id"]: record for record in content["images"]}.values(), key=lambda record: record["id"])
    texts = sorted((category["id"], category["name"]) for category in content["categories"])
    images = {record["id"]: image for record in records if (image := loadable(folder / record["file_name"]))}
    if not images:
        raise RuntimeError("Failed 100 times trying to load an image")
    questions = []
    for place in range(len(records)):
        record = next(record for record in records[place:] + records[:place] if record["id"] in images)
        image = images[record["id"]]
        for number, text in texts:
            meant = (record["id"], number)
            own = [a for a in content["annotations"] if (a["image_id"], a["category_id"]) == meant and not a["iscrowd"]]
            shares = [share_of(annotation["bbox"], record) for annotation in own]
            kept = [share for share in shares if share[2] * share[3] * side**2 / (image.width * image.height) >= 1e-6]
            boxes = [corners(share, image) for share in kept]
            questions.append(Question(text, image.tobytes(), boxes))
    return questions


def share_of(box: list[float], record: dict[str, Any]) -> list[float]:
    """x, y, width, height as shares of the image, cut to 0 to 1 each."""
    return [min(max(v / w, 0), 1) for v, w in zip(box, (record["width"], record["height"]) * 2, strict=True)]


def corners(share: list[float], image: Image.Image) -> tuple[float, ...]:
    """x0, y0, x1, y1 in px, cut at the border."""
    x, y, width, height = share
    ends = (x, y, min(x + width, 1), min(y + height, 1))
    return tuple(end * length for end, length in zip(ends, image.size * 2, strict=True))


def loadable(path: Path) -> Image.Image | None:
    """The image as RGB, or None."""
    try:
        with Image.open(path) as opened:
            return opened.convert("RGB")
    except OSError:
        return None


def original(folder: Path, side: int = 1008) -> list[Question]:
    """What SAM 3's own dataset and transforms yield."""
    plain = originals.sam3_split(folder, folder / ANNOTATIONS)
    resized = originals.sam3_split(folder, folder / ANNOTATIONS, transforms=originals.sam3_transforms(side))
    questions = []
    for i in range(len(plain)):
        point, image = resized[i], plain[i].images[0].data
        scale = [length / side for length in image.size * 2]
        boxes = [
            tuple(c * s for c, s in zip(entry.bbox.flatten().tolist(), scale, strict=True))
            for entry in point.images[0].objects
        ]
        questions += [
            Question(query.query_text, image.tobytes(), [boxes[j] for j in query.object_ids_output])
            for query in point.find_queries
        ]
    return questions


Asks = Callable[..., list[Question]]
Suffers = Callable[[Path, Asks], None]
TRAINERS: dict[str, Asks] = originals.available(asked, original, originals.HAS_SAM3)


@pytest.fixture(params=TRAINERS)
def asks(request) -> Asks:
    return TRAINERS[request.param]


def first(**values: Any) -> Breaks:
    return change(TRAIN, "annotations", 0, **values)


def in_both(index: int, **values: Any) -> Breaks:
    """A category in both splits."""
    return lambda folder: [change(file, "categories", index, **values)(folder) for file in (TRAIN, TEST)]


def in_another_folder(folder: Path) -> None:
    (folder / "images").mkdir()
    for path in list((folder / "train").glob("*.png")):
        path.rename(folder / "images" / path.name)


def with_a_speck(folder: Path) -> None:
    """A box of 2 x 2 px in an image of 1024 x 1024 px."""
    draw_image(folder / IMAGE, 1, (1024, 1024))
    change(TRAIN, "images", 0, width=1024, height=1024)(folder)
    first(bbox=[5, 5, 2, 2], area=4, segmentation=[[5, 5, 5, 7, 7, 7, 7, 5]])(folder)


def raises(*kinds: type[Exception], match: str, split: str = "train") -> Suffers:
    def suffers(folder: Path, asks: Asks) -> None:
        with pytest.raises(kinds, match=match):
            asks(folder / split)

    return suffers


def loses_boxes(count: int, side: int = 1008) -> Suffers:
    """So many of the 12 boxes of train are left, and each image is still asked for both phrases."""

    def suffers(folder: Path, asks: Asks) -> None:
        questions = asks(folder / "train", side=side)
        assert (len(questions), sum(len(question.boxes) for question in questions)) == (20, count)

    return suffers


def loses_an_image(questions: int) -> Suffers:
    def suffers(folder: Path, asks: Asks) -> None:
        read = asks(folder / "train")
        assert (len(read), len({question.image for question in read})) == (questions, 9)

    return suffers


def asks_the_same_twice(folder: Path, asks: Asks) -> None:
    """Once there is an answer, once there is none."""
    one, other = asks(folder / "train")[:2]
    assert (one.text, one.image) == (other.text, other.image)
    assert (len(one.boxes), len(other.boxes)) == (2, 0)


def has_the_box_elsewhere(folder: Path, asks: Asks) -> None:
    """It is 20 px wide in the file, and 40 px of the image."""
    assert asks(folder / "train")[0].boxes[0] == pytest.approx((12, 8, 40, 32), abs=0.01)


TRAPS: dict[str, tuple[Breaks, str, Suffers]] = {
    # name: (what is done to it, code, what the trainer does)
    "no train": (remove(TRAIN), "missing-split", raises(FileNotFoundError, AssertionError, match="annotation")),
    "no test": (remove(TEST), "missing-split", raises(FileNotFoundError, AssertionError, match="annotation",
                                                      split="test")),
    "images elsewhere": (in_another_folder, "not-beside", raises(RuntimeError, match="Failed 100 times")),
    "a speck": (with_a_speck, "lost-box", loses_boxes(11, side=480)),
    "no iscrowd": (first(iscrowd=None), "schema", raises(KeyError, match="iscrowd")),
    "a crowd": (first(iscrowd=1), "crowd", loses_boxes(11)),
    "no such image": (first(image_id=99), "unknown-image", loses_boxes(11)),
    "no such category": (first(category_id=99), "unknown-category", loses_boxes(11)),
    "one phrase for two classes": (in_both(1, name="cut on plate"), "class-names", asks_the_same_twice),
    "an image id twice": (change(TRAIN, "images", 9, id=1), "duplicate-id", loses_an_image(18)),
    "an image that is gone": (remove(LAST), "missing-image", loses_an_image(20)),
    "an image cut short": (lambda f: write(LAST, (f / LAST).read_bytes()[:1500])(f), "bad-image", loses_an_image(20)),
    "an image twice its size": (lambda f: draw_image(f / IMAGE, 1, (80, 64)), "image-size", has_the_box_elsewhere),
}  # fmt: skip


@pytest.mark.parametrize("name", TRAPS)
def test_sam_3_falls_into_the_trap_and_validate_names_it(name, tiny, asks, tmp_path):
    breaks, code, suffers = TRAPS[name]
    folder = tiny.copy("sam3", tmp_path / "set")
    assert codes(folder) == set()
    breaks(folder)
    assert code in codes(folder)
    suffers(folder, asks)


def test_without_a_trap_sam_3_asks_all(tiny, asks):
    loses_boxes(12)(tiny.folder / "sam3", asks)
    loses_boxes(12, side=480)(tiny.folder / "sam3", asks)
    assert len({question.image for question in asks(tiny.folder / "sam3/train")}) == 10


def test_every_finding_of_sam_3_has_its_trap():
    assert {code for _, code, _ in TRAPS.values()} | set(WORDS) >= codes_in("SAM 3")


@pytest.mark.skipif(not originals.HAS_SAM3, reason="SAM 3's repository is not on PYTHONPATH")
def test_sam_3_itself_reads_every_mask_of_the_sample(sample_root, tmp_path):
    mc.to_sam(mc.load(sample_root), tmp_path / "out", layout="sam3")
    truth, images = true_masks(sample_root), 0
    for split in ("train", "test"):
        file = tmp_path / "out" / split / ANNOTATIONS
        dataset = originals.sam3_split(file.parent, file, transforms=originals.sam3_transforms())
        for record, point in zip(json.loads(file.read_text())["images"], dataset, strict=True):
            masks = [entry.segment.numpy() for entry in point.images[0].objects]
            _, mask = truth.get(Path(record["file_name"]).stem, ("", np.zeros((1, 1), np.uint8)))
            assert same_regions(masks, regions_of(mask))
            for entry, found in zip(point.images[0].objects, masks, strict=True):
                assert entry.bbox.tolist() == pytest.approx(extent(found), abs=1e-3)
            images += 1
    assert images == 102


# --- words -----------------------------------------------------------------------------------------------------------


def is_another_text(processor: Sam3Processor, text: str) -> None:
    """The sign is a word of its own to the tokenizer."""
    plain = text.replace("_", " ").replace("/", " ")
    (sign,) = set(text) & set("_/")
    assert f"{sign}</w>" in processor.tokenizer.tokenize(text)
    assert [piece for piece in processor.tokenizer.tokenize(text) if piece != f"{sign}</w>"] == (
        processor.tokenizer.tokenize(plain)
    )


def does_not_fit(processor: Sam3Processor, text: str) -> None:
    read = processor(text=[text], return_tensors="pt")
    assert read["input_ids"].shape[1] > TOKENS
    with pytest.raises(ValueError, match="must be less than max_position_embeddings"):
        tiny_model(len(processor.tokenizer)).get_text_features(**read)


WORDS: dict[str, dict[str, Callable[[Sam3Processor, str], None]]] = {
    # code: {prompt: what becomes of it}
    "slug-prompt": {"plate_hole": is_another_text, "hole/gap in plate": is_another_text},
    "long-prompt": {" ".join("a" * 31): does_not_fit, ", ".join("a" * 16): does_not_fit, "1" * 31: does_not_fit},
}


@pytest.mark.parametrize(("code", "text"), [(code, text) for code, texts in WORDS.items() for text in texts])
def test_the_model_reads_other_words_and_validate_says_so(code, text, tiny, processor, tmp_path):
    WORDS[code][text](processor, text)
    in_both(1, name=text)(coco := tiny.copy("sam3", tmp_path / "coco"))
    assert codes(coco) == {code}
    change("annotations/saco_train.json", "images", 0, text_input=text, queried_category="7")(
        saco := tiny.copy("saco", tmp_path / "saco")
    )
    assert code in codes(saco)


@pytest.mark.parametrize("text", [" ".join("a" * 30), "a, " * 15, "1" * 30])
def test_a_prompt_that_just_fits_passes(text, processor):
    assert processor(text=[text], return_tensors="pt")["attention_mask"].sum() == TOKENS
    assert "long-prompt" not in {code for code, *_ in wrong_prompt(text)}
    assert "long-prompt" in {code for code, *_ in wrong_prompt(text + " a")}


@given(text=st.text(string.printable + "äßé", max_size=60))
@settings(max_examples=200, deadline=None)
def test_words_are_counted_as_the_tokenizer_counts_them(text, processor):
    """A word is one token at least, so no prompt is told to be too long that is not."""
    tokenizer = processor.tokenizer.backend_tokenizer
    plain = tokenizer.normalizer.normalize_str(text)
    assert len(WORD.findall(text)) == len(tokenizer.pre_tokenizer.pre_tokenize_str(plain))


@pytest.mark.skipif(not originals.HAS_SAM3, reason="SAM 3's repository is not on PYTHONPATH")
def test_sam_3_itself_cuts_a_prompt_off(tmp_path):
    tokenizer = originals.sam3_tokenizer(tmp_path)
    read = tokenizer([" ".join("a" * 30), " ".join("a" * 30 + "b"), " ".join("a" * 29 + "b")], context_length=TOKENS)
    assert read[0].equal(read[1])
    assert not read[0].equal(read[2])
