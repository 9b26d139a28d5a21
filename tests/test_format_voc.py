"""Pascal VOC: exact boxes and masks, read by Pillow and ElementTree, and every way to break a dataset is found."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

import mvtec_convert as mc
from mvtec_convert.errors import BadSourceError, ExportError
from mvtec_convert.exports import class_names, read_export
from mvtec_convert.xmlio import parse_xml, read_xml
from tests import exports
from tests.broken import Case, draw_image, draw_tree, edit, findings, ids, never_raises, remove, save, verify, write
from tests.fitting import fits

HOME = Path("VOCdevkit/VOC2012")


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.mode == "P"
        return np.asarray(image)


# --- writing ---------------------------------------------------------------------------------------------------------


def test_boxes_and_masks_are_the_regions(sample_root, tmp_path):
    summary = mc.to_voc(mc.load(sample_root), tmp_path / "out")
    truth, seen = exports.true_masks(sample_root), 0
    names = class_names(tmp_path / "out")
    for path in sorted((tmp_path / "out" / HOME / "Annotations").iterdir()):
        top = ElementTree.parse(path).getroot()
        objects = pixels(tmp_path / "out" / HOME / "SegmentationObject" / f"{path.stem}.png")
        classes = pixels(tmp_path / "out" / HOME / "SegmentationClass" / f"{path.stem}.png")
        defect, mask = truth.get(path.stem, ("good", np.zeros_like(objects)))
        assert np.array_equal(objects > 0, mask > 0)
        assert np.array_equal(classes, (names.index(defect) + 1) * mask if path.stem in truth else mask)
        found = top.findall("object")
        masks = [(objects == number).astype(np.uint8) for number in range(1, len(found) + 1)]
        assert exports.same_regions(masks, exports.regions_of(mask))
        assert top.findtext("segmented") == str(int(path.stem in truth))
        for entry, region in zip(found, masks, strict=True):
            box = [int(entry.findtext(f"bndbox/{edge}")) for edge in ("xmin", "ymin", "xmax", "ymax")]
            x0, y0, x1, y1 = exports.extent(region)
            assert box == [x0 + 1, y0 + 1, x1, y1]  # counted from 1, the last pixel inside
            assert entry.findtext("name") == defect
        seen += len(found)
        document = read_xml(path).value(frozenset({"object"}))
        numbers = {"size": {key: int(value) for key, value in document["size"].items()}}
        for entry in document.get("object", []):
            entry["bndbox"] = {key: int(value) for key, value in entry["bndbox"].items()}
        fits({**document, **numbers}, "voc")
    assert summary.fidelity.exact == summary.fidelity.regions == seen == 101


def test_colours_are_vocs_and_the_label_map_says_which(sample_root, tmp_path):
    mc.to_voc(mc.load(sample_root / "carpet"), tmp_path / "out")
    with Image.open(next((tmp_path / "out" / HOME / "SegmentationClass").iterdir())) as image:
        palette = np.array(image.getpalette()).reshape(-1, 3)
    # The first colours of the development kit's own figure, and its void.
    assert palette[[0, 1, 2, 3, 7, 8, 20, 255]].tolist() == [
        [0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0], [128, 128, 128], [64, 0, 0], [0, 64, 128], [224, 224, 192],
    ]  # fmt: skip
    lines = (tmp_path / "out" / HOME / "labelmap.txt").read_text().splitlines()
    assert lines[1:3] == ["background:0,0,0::", "color:128,0,0::"]


def test_images_are_jpeg_and_lists_name_each_once(sample_root, tmp_path):
    mc.to_voc(mc.load(sample_root / "carpet"), tmp_path / "out", ratios=(0.5, 0.25, 0.25))
    home = tmp_path / "out" / HOME
    images = {path.stem for path in (home / "JPEGImages").iterdir()}
    for path in (home / "JPEGImages").iterdir():
        with Image.open(path) as image:
            assert (path.suffix, image.format) == (".jpg", "JPEG")
    lists = {path.stem: path.read_text().split() for path in (home / "ImageSets" / "Main").iterdir()}
    assert sorted([*lists["train"], *lists["val"], *lists["test"]]) == sorted(images)
    assert sorted(lists["trainval"]) == sorted([*lists["train"], *lists["val"]])
    assert {image.split for image in read_export(tmp_path / "out")} == {"train", "val", "test"}


def test_more_regions_than_a_byte_can_number_are_refused(tmp_path):
    draw_tree(tmp_path / "tree")
    mask = np.zeros((32, 40), np.uint8)
    mask[::2, ::2] = 255  # 320 regions
    save(mask, tmp_path / "tree" / "plate" / "ground_truth" / "cut" / "000_mask.png")
    with pytest.raises(BadSourceError, match="254 objects"):
        mc.to_voc(mc.load(tmp_path / "tree"), tmp_path / "out")
    assert mc.to_voc(mc.load(tmp_path / "tree"), tmp_path / "out", regions="image").fidelity.lowest == 1


# --- reading ---------------------------------------------------------------------------------------------------------

TREE = """<annotation><folder>x</folder><filename>a.png</filename>
<size><width>40</width><height>32</height><depth>3</depth></size>{objects}</annotation>"""
OBJECT = """<object><name>{name}</name><bndbox><xmin>{0}</xmin><ymin>{1}</ymin><xmax>{2}</xmax><ymax>{3}</ymax></bndbox>
</object>"""


def flat(folder: Path, objects: str, text: str = TREE) -> Path:
    """A dataset as LabelImg and CVAT leave it: no VOCdevkit around it, no masks."""
    draw_image(folder / "JPEGImages" / "a.png")
    (folder / "Annotations").mkdir(parents=True)
    (folder / "Annotations" / "a.xml").write_text(text.replace("{objects}", objects), encoding="utf-8")
    return folder


def test_boxes_alone_are_read_and_can_be_filled(tmp_path):
    folder = flat(
        tmp_path / "set", OBJECT.format(3, 4, 10, 12, name="dent") + OBJECT.format(1, 1, 2, 2.0, name="a &lt; b")
    )
    (image,) = read_export(folder)
    assert (image.key, image.split) == ("JPEGImages/a.png", "set")
    assert [(item.class_name, item.box, item.region) for item in image.objects] == [
        ("dent", (2, 3, 10, 12), None), ("a < b", (0, 0, 2, 2), None),
    ]  # fmt: skip
    with pytest.raises(ExportError, match="a box and no mask"):
        mc.to_masks(folder, tmp_path / "back")
    mc.to_masks(folder, tmp_path / "back", boxes=True)
    with Image.open(tmp_path / "back" / "set" / "ground_truth" / "combined" / "a_mask.png") as image:
        mask = np.asarray(image)
    assert (np.count_nonzero(mask == 255), np.count_nonzero(mask == 254)) == (8 * 9, 4)


@pytest.mark.parametrize(
    "text",
    [
        '<!DOCTYPE a [<!ENTITY b "c">]><annotation>&b;</annotation>',
        '<!DOCTYPE a SYSTEM "file:///etc/passwd"><annotation/>',
        "<a>" * 40 + "</a>" * 40,
        "<annotation>",
        "",
        "\0",
        '<?xml version="1.0" encoding="nonsense"?><a/>',
    ],
)
def test_hostile_xml_is_refused(tmp_path, text):
    with pytest.raises(ExportError):
        parse_xml(text.encode(), tmp_path / "a.xml")
    folder = flat(tmp_path / "set", "", text)
    assert [finding.code for finding in findings(folder, "voc") if finding.code != "no-lists"] == ["bad-xml"]


def test_a_name_cannot_lead_out(tmp_path):
    folder = flat(tmp_path / "set", "", TREE.replace("a.png", "../../../etc/passwd"))
    (image,) = read_export(folder)
    assert image.image == folder / "JPEGImages" / "a.png"
    (folder / "ImageSets" / "Main").mkdir(parents=True)
    (folder / "ImageSets" / "Main" / "train.txt").write_text("../../secret\na\n")
    assert [image.name for image in read_export(folder)] == ["a"]


# --- checking --------------------------------------------------------------------------------------------------------

FILE, IMAGE, MASK = (f"{HOME.as_posix()}/{name}" for name in (
    "Annotations/plate_cut_000.xml", "JPEGImages/plate_cut_000.jpg", "SegmentationObject/plate_cut_000.png"
))  # fmt: skip
MAIN = f"{HOME.as_posix()}/ImageSets/Main"
FIRST, SECOND = 14, 26  # lines of the two objects: a frame with a hole, a full square


@pytest.fixture
def made(tiny, tmp_path) -> Path:
    """An export to break."""
    return tiny.copy("voc", tmp_path / "set")


def mask(change: Callable[[np.ndarray], np.ndarray], mode: str = "P") -> Callable[[Path], None]:
    """Save the mask anew."""

    def breaks(folder: Path) -> None:
        with Image.open(folder / MASK) as image:
            values, palette = np.array(image), image.getpalette()
        changed = Image.fromarray(change(values))
        changed.putpalette(palette)
        changed.convert(mode).save(folder / MASK)

    return breaks


def as_png(folder: Path) -> None:
    with Image.open(folder / IMAGE) as image:
        image.save((folder / IMAGE).with_suffix(".png"))
    (folder / IMAGE).unlink()


CASES = [
    Case("no file", remove(f"{HOME.as_posix()}/Annotations"), "no-annotation-file", "set"),
    Case("no XML", write(FILE, "{}"), "bad-xml", FILE),
    Case("an entity", write(FILE, '<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>'), "bad-xml", FILE),
    Case("no width", lambda f: (edit(FILE, "<width>", "<w>")(f), edit(FILE, "</width>", "</w>")(f)), "schema", FILE, 2),
    Case("a width of letters", edit(FILE, "<width>40", "<width>forty"), "schema", FILE, 2),
    Case("a box of letters", edit(FILE, "<xmin>7", "<xmin>seven"), "schema", FILE, 2),
    Case("no name", edit(FILE, "<name>cut", "<name>"), "schema", FILE, 2),
    # images
    Case("image missing", remove(IMAGE), "missing-image", IMAGE),
    Case("PNG", as_png, "wrong-suffix", "plate_cut_000.png", None, "warning"),
    Case("image is no image", write(IMAGE, b"\xff\xd8\xffhello"), "bad-image", IMAGE),
    Case("image of another size", lambda f: draw_image(f / IMAGE, 1, (50, 32)), "image-size", IMAGE),
    Case("no XML file", remove(FILE), "orphan-image", IMAGE, also=frozenset({"unknown-image"})),
    Case("an image in both splits", lambda f: shutil.copy(f / IMAGE, f / IMAGE.replace("cut_000", "cut_001")),
         "split-leak"),
    # lists
    Case("no lists", remove(MAIN), "no-lists", "VOC2012"),
    Case("an empty list", write(f"{MAIN}/test.txt", ""), "empty-split", "test.txt", None, "warning"),
    Case("a name that is not there", write(f"{MAIN}/test.txt", "plate_cut_000\nnowhere\n"), "unknown-image",
         "test.txt", 2, also=frozenset({"split-leak"})),
    Case("a list that is a folder", lambda f: (f / MAIN / "other.txt").mkdir(), "empty-split", "other.txt", None,
         "warning"),
    # boxes and masks
    Case("a box turned over", edit(FILE, "<xmin>7", "<xmin>30"), "empty-box", FILE, FIRST,
         also=frozenset({"box-and-mask"})),
    Case("a box outside", edit(FILE, "<xmax>20", "<xmax>60"), "outside-image", FILE, FIRST,
         also=frozenset({"box-and-mask"})),
    Case("counted from 0", lambda f: (edit(FILE, "<xmin>7", "<xmin>0")(f), mask(moved)(f)), "outside-image", FILE,
         FIRST, "warning"),
    Case("a box elsewhere", edit(FILE, "<xmin>7", "<xmin>2"), "box-and-mask", FILE, FIRST, "warning"),
    Case("a mask of garbage", write(MASK, b"\x89PNGhello"), "bad-mask", MASK),
    Case("a mask in colours", mask(lambda values: values, "RGB"), "bad-mask", MASK),
    Case("a mask of another size", mask(lambda values: values[:-1]), "mask-size", MASK),
    Case("an object that is not listed", mask(lambda values: np.where(values == 0, 9, values).astype(np.uint8)),
         "unknown-object", MASK),
    Case("an object without pixels", mask(lambda values: np.where(values == 2, 255, values).astype(np.uint8)),
         "lost-object", FILE, SECOND),
]  # fmt: skip


def moved(values: np.ndarray) -> np.ndarray:
    """The first object reaches the left border."""
    values = values.copy()
    values[4:16, :8] = 1
    return values


@pytest.mark.parametrize("case", CASES, ids=ids(CASES))
def test_what_is_broken_is_found(case, made):
    verify(case, made, "voc")


READABLE = {
    "missing-image", "wrong-suffix", "bad-image", "image-size", "orphan-image", "split-leak", "no-lists", "empty-split",
    "unknown-image", "empty-box", "outside-image", "box-and-mask", "unknown-object", "lost-object",
}  # fmt: skip


@pytest.mark.parametrize("case", [case for case in CASES if case.code not in READABLE], ids=lambda case: case.name)
def test_what_cannot_be_read_is_an_error_that_names_the_file(case, made):
    case.breaks(made)
    with pytest.raises(ExportError) as caught:
        list(read_export(made, format="voc"))
    assert str(caught.value.path).endswith(case.path)


def test_damage_at_random_ends_in_findings(made):
    never_raises(made, "voc", [FILE, MASK, f"{MAIN}/train.txt"], rounds=80)
