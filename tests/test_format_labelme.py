"""labelme's files: exact by Pillow as labelme calls it, read whoever wrote them; every way to break them is found."""

from __future__ import annotations

import base64
import io
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from PIL import Image, ImageDraw

import mvtec_convert as mc
from mvtec_convert.errors import ExportError
from mvtec_convert.exports import class_names, read_export
from mvtec_convert.formats.labelme import Labelme
from mvtec_convert.geometry.regions import AnnotatedImage, RegionOptions, find_regions
from mvtec_convert.labels import LabelMap
from mvtec_convert.plan import Item, RegionClass
from tests import broken, exports, strategies, trees
from tests.broken import Case, draw_image, edit, findings, ids, never_raises, remove, verify, write
from tests.fitting import fits

SIZE = (40, 32)


def painted(shape: dict[str, Any], size: tuple[int, int] = SIZE) -> np.ndarray:
    """A shape as `shape_to_mask` and `shapes_to_label` of labelme paint it, on the whole image."""
    canvas = Image.new("L", size)
    points = [tuple(point) for point in shape["points"]]
    if shape["shape_type"] == "mask":
        pixels = np.zeros(size[::-1], np.uint8)
        (x0, y0), (x1, y1) = np.array(points).astype(int)
        with Image.open(io.BytesIO(base64.b64decode(shape["mask"]))) as mask:
            pixels[y0 : y1 + 1, x0 : x1 + 1] = np.array(mask).astype(bool)
        return pixels
    if shape["shape_type"] == "circle":
        (x, y), (px, py) = points
        radius = np.hypot(x - px, y - py)
        ImageDraw.Draw(canvas).ellipse((x - radius, y - radius, x + radius, y + radius), outline=1, fill=1)
    elif shape["shape_type"] == "point":
        ((x, y),) = points
        ImageDraw.Draw(canvas).ellipse((x - 5, y - 5, x + 5, y + 5), outline=1, fill=1)
    elif shape["shape_type"] in {"line", "linestrip"}:
        ImageDraw.Draw(canvas).line(points, fill=1, width=10)
    else:
        ImageDraw.Draw(canvas).polygon(points, outline=1, fill=1)
    return np.array(canvas)


def shapes_of(path: Path) -> list[dict[str, Any]]:
    return json.loads(path.read_text(encoding="utf-8"))["shapes"]


# --- writing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", ["polygon", "mask"])
def test_every_region_is_a_shape_that_is_painted_as_it_is(sample_root, tmp_path, shape):
    summary = mc.to_labelme(mc.load(sample_root), tmp_path / "out", shape=shape)
    truth, seen = exports.true_masks(sample_root), 0
    for path in sorted((tmp_path / "out").glob("*/*.json")):
        document = json.loads(path.read_text(encoding="utf-8"))
        fits(document, "labelme")
        assert (document["imagePath"], document["imageData"]) == (f"{path.stem}.png", None)
        size = (document["imageWidth"], document["imageHeight"])
        masks = [painted(entry, size) for entry in document["shapes"]]
        defect, mask = truth.get(path.stem, ("good", np.zeros(size[::-1], np.uint8)))
        assert exports.same_regions(masks, exports.regions_of(mask))
        assert {(entry["label"], entry["shape_type"]) for entry in document["shapes"]} <= {(defect, shape)}
        seen += len(masks)
    assert summary.fidelity.exact == summary.fidelity.regions == seen == 101
    labels = (tmp_path / "out" / "labels.txt").read_text().split()
    assert labels == list(class_names(tmp_path / "out")) == sorted({defect for defect, _ in truth.values()})


@given(strategies.defects())
def test_any_region_comes_back_pixel_for_pixel(mask):
    """Many parts too: several polygons with one group, which labelme takes for one object."""
    sample = trees.sample("carpet/test/hole/000.png")
    item = Item(1, sample, "carpet_hole_000", "train", {"hole": RegionClass(0, "hole", ("hole",))})
    height, width = mask.shape
    regions = tuple(replace(region, defect_type="hole") for region in find_regions(mask, RegionOptions(rule="image")))
    encoded = Labelme().encode(item, AnnotatedImage(sample, width, height, regions), LabelMap("defect", ()))
    shapes = json.loads(encoded.rows[0])["shapes"]
    assert np.array_equal(np.any([painted(shape, (width, height)) for shape in shapes], axis=0), mask > 0)
    assert len({shape["group_id"] for shape in shapes}) == 1
    assert encoded.ious == (1.0,)


@pytest.mark.parametrize(("iou", "fewer"), [(0.8, 8), (0.95, 2)])
def test_simplified_polygons_have_fewer_points_and_keep_the_iou(sample_root, tmp_path, iou, fewer):
    dataset = mc.load(sample_root / "carpet")
    summary = mc.to_labelme(dataset, tmp_path / "simple", simplify=iou)
    mc.to_labelme(dataset, tmp_path / "exact")
    points = {
        folder: sum(len(shape["points"]) for path in (tmp_path / folder).glob("*/*.json") for shape in shapes_of(path))
        for folder in ("simple", "exact")
    }
    assert points["simple"] < points["exact"] / fewer
    assert iou <= summary.fidelity.lowest < 1


# --- reading ---------------------------------------------------------------------------------------------------------


def annotate(folder: Path, name: str, shapes: list[dict[str, Any]], **more: Any) -> Path:
    """An image, and the file that labelme writes beside it."""
    draw_image(folder / f"{name}.png", len(name), SIZE)
    document = {"version": "5.5.0", "flags": {}, "shapes": shapes, "imagePath": f"{name}.png", "imageData": None}
    sizes = {"imageHeight": SIZE[1], "imageWidth": SIZE[0]}
    (folder / f"{name}.json").write_text(json.dumps({**document, **sizes, **more}), encoding="utf-8")
    return folder


def shape(kind: str | None, points: list[Any], label: str = "dent", group: int | None = None, **more: Any):
    return {"label": label, "points": points, "group_id": group, "shape_type": kind, "flags": {}, **more}


def png(mask: np.ndarray, mode: str = "L") -> str:
    stream = io.BytesIO()
    Image.fromarray(mask).convert(mode).save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode()


def only(folder: Path):
    (image,) = read_export(folder)
    return image


def full(item, size=SIZE) -> np.ndarray:
    return strategies.whole(item.region, size[::-1])


@pytest.mark.parametrize(
    ("kind", "points"),
    [
        ("polygon", [[3.2, 4.9], [30.7, 2.1], [22.5, 27.9], [8.0, 20.0]]),
        ("polygon", [[-5, -3.5], [60, 10], [-0.5, 50]]),
        ("circle", [[20, 15], [26.3, 18.2]]),
        ("circle", [[2, 2], [9.7, 4]]),
        ("line", [[5, 5], [33.3, 20.8]]),
        ("linestrip", [[5, 5], [20, 6], [33.3, 28.8]]),
        ("point", [[38.4, 1.6]]),
    ],
)
def test_shapes_are_masks_as_labelme_paints_them(tmp_path, kind, points):
    image = only(annotate(tmp_path, "a", [shape(kind, points)]))
    assert np.array_equal(full(image.objects[0]), painted(shape(kind, points)))


def test_rectangles_are_boxes(tmp_path):
    corners = [[10, 4], [20, 4], [20, 9], [10, 9]]
    shapes = [shape("rectangle", [[20, 9], [10, 4]]), shape("oriented_rectangle", corners)]
    upright, rotated = only(annotate(tmp_path, "a", shapes)).objects
    assert (upright.region, upright.box, upright.outlines) == (None, (10, 4, 20, 9), ())
    assert rotated.region is None
    assert rotated.outlines[0].tolist() == corners


def test_shapes_of_a_group_are_one_object_and_others_are_not(tmp_path):
    squares = [[[x, 2], [x + 3, 2], [x + 3, 5], [x, 5]] for x in (2, 12, 22, 32)]
    groups = [(0, "dent"), (None, "dent"), (0, "cut"), (0, "dent")]
    shapes = [shape("polygon", points, label, group) for points, (group, label) in zip(squares, groups, strict=True)]
    found = only(annotate(tmp_path, "a", shapes)).objects
    assert [(item.class_name, item.region.area, item.box) for item in found] == [
        ("dent", 32, (2, 2, 36, 6)), ("dent", 16, (12, 2, 16, 6)), ("cut", 16, (22, 2, 26, 6)),
    ]  # fmt: skip
    assert [len(item.outlines) for item in found] == [2, 1, 1]


def test_background_takes_away_what_was_drawn_before_and_ignored_is_nothing(tmp_path):
    square, hole = [[2, 2], [20, 2], [20, 20], [2, 20]], [[5, 5], [9, 5], [9, 9], [5, 9]]
    shapes = [shape("polygon", square), shape("polygon", hole, "_background_"), shape("polygon", hole, "__ignore__")]
    folder = annotate(tmp_path, "a", [*shapes, shape("polygon", hole, "scratch")])
    dent, scratch = only(folder).objects
    assert np.array_equal(full(dent), painted(shapes[0]) & ~painted(shapes[1]).astype(bool))
    assert np.array_equal(full(scratch), painted(shapes[1]))
    assert class_names(folder) == ("dent", "scratch")


@pytest.mark.parametrize("mode", ["L", "1", "P"])
def test_masks_are_cut_at_the_border(tmp_path, mode):
    mask = np.tril(np.ones((10, 10), np.uint8)) * 255
    folder = annotate(tmp_path, "a", [shape("mask", [[35, 28], [44, 37]], mask=png(mask, mode))])
    wanted = np.zeros(SIZE[::-1], np.uint8)
    wanted[28:, 35:] = mask[:4, :5] > 0
    assert np.array_equal(full(only(folder).objects[0]), wanted)


@pytest.mark.parametrize(
    "path", ["a.png", "..\\images\\a.png", "C:\\Users\\me\\a.png", "/home/me/other/a.png", "../../a.png"]
)
def test_the_image_is_found_where_it_was_and_beside_its_file(tmp_path, path):
    """Files come from other machines, whose paths must not be followed out of the folder."""
    root = tmp_path / "set"
    annotate(root / "labels", "a", [], imagePath=path)
    if "images" in path:
        (root / "images").mkdir()
        (root / "labels" / "a.png").rename(root / "images" / "a.png")
    image = only(root)
    assert image.key == ("images/a.png" if "images" in path else "labels/a.png")
    assert image.image.is_file()


def test_images_without_a_file_are_there_without_objects(tmp_path):
    annotate(tmp_path, "a", [shape("circle", [[9, 9], [12, 9]])])
    draw_image(tmp_path / "b.png", 5, (17, 9))
    assert [(image.name, len(image.objects), image.width) for image in read_export(tmp_path)] == [
        ("a", 1, 40),
        ("b", 0, 17),
    ]
    assert [(finding.code, finding.severity) for finding in findings(tmp_path, "labelme")] == [
        ("no-label-file", "warning")
    ]


def test_sizes_and_pixels_that_labelme_embeds_are_not_needed(tmp_path):
    folder = annotate(tmp_path, "a", [], imageHeight=None, imageWidth=None, imageData="aGVsbG8=" * 9000)
    assert (only(folder).width, only(folder).height) == SIZE
    assert Labelme.recognises(folder)
    assert mc.validate(folder).format == "labelme"


def test_what_was_corrected_comes_back_as_masks(sample_root, tmp_path):
    """One polygon of an export is redrawn, one shape removed, one added, as a person does in labelme."""
    folder = tmp_path / "labels"
    mc.to_labelme(mc.load(sample_root / "carpet"), folder)
    (hole,) = folder.glob("*/carpet_hole_000.json")
    (good,) = folder.glob("*/carpet_good_000.json")
    (cut,) = folder.glob("*/carpet_cut_000.json")
    redrawn = shape("polygon", [[10, 10], [40, 10], [40, 30.2]], "hole")
    for path, shapes in ((hole, [redrawn]), (good, [shape("circle", [[50, 50], [60, 50]], "stain")]), (cut, [])):
        document = json.loads(path.read_text())
        path.write_text(json.dumps({**document, "shapes": shapes}))
    mc.to_masks(folder, tmp_path / "back")
    back = exports.true_masks(tmp_path / "back")
    wanted = exports.true_masks(sample_root, "carpet")
    size = wanted["carpet_hole_000"][1].shape[::-1]
    wanted["carpet_hole_000"] = ("hole", painted(redrawn, size))
    wanted["carpet_stain_carpet_good_000"] = ("stain", painted(shape("circle", [[50, 50], [60, 50]]), size))
    del wanted["carpet_cut_000"]
    assert back.keys() == wanted.keys()
    for name, (defect, mask) in wanted.items():
        assert back[name][0] == defect
        assert np.array_equal(back[name][1], mask)
    assert (tmp_path / "back" / "carpet" / "test" / "good" / "carpet_cut_000.png").is_file()


# --- checking --------------------------------------------------------------------------------------------------------

FILE, IMAGE = "train/plate_cut_000.json", "train/plate_cut_000.png"
FIRST, SECOND = 5, 59  # lines on which the two shapes begin: a frame with a hole, a full square


@pytest.fixture
def made(tiny, tmp_path) -> Path:
    """An export to break."""
    return tiny.copy("labelme", tmp_path / "set")


def change(index: int | None, **values: Any) -> Callable[[Path], None]:
    """Set values of a shape, or of the document; None removes a key."""
    return broken.change(FILE, *(() if index is None else ("shapes", index)), **values)


def masked(mask: str | None, points: list[Any]) -> Callable[[Path], None]:
    return change(0, shape_type="mask", mask=mask, points=points)


ONES = np.ones((4, 6), np.uint8)

CASES = [
    # files
    Case("no file", lambda f: [path.unlink() for path in f.glob("*/*.json")], "no-annotation-file", "set"),
    Case("no JSON", write(FILE, "{"), "bad-json", FILE, 1),
    Case("a list", write(FILE, "[]"), "schema", FILE),
    Case("no shapes", edit(FILE, '"shapes"', '"forms"'), "schema", FILE),
    Case("unknown shape", change(0, shape_type="star"), "schema", FILE, FIRST),
    Case("a point of three numbers", change(0, points=[[1, 2, 3]] * 3), "schema", FILE, FIRST),
    Case("no label", change(0, label=""), "schema", FILE, FIRST),
    Case("two files of one image", lambda f: shutil.copy(f / FILE, f / "train/again.json"), "duplicate-image",
         "train/plate_cut_000.json"),
    # images
    Case("image missing", remove(IMAGE), "missing-image", IMAGE),
    Case("image elsewhere", lambda f: (change(None, imagePath="../../secret.png")(f), (f / IMAGE).unlink()),
         "outside-folder", FILE, also=frozenset({"missing-image"})),
    Case("image is no image", write(IMAGE, b"\x89PNGhello"), "bad-image", IMAGE),
    Case("image of another size", lambda f: draw_image(f / IMAGE, 1, (50, 32)), "image-size", IMAGE),
    Case("image without a file", remove(FILE), "no-label-file", IMAGE, None, "warning"),
    Case("an image in both splits", lambda f: shutil.copy(f / "val/plate_cut_001.png", f / IMAGE), "split-leak"),
    # shapes
    Case("a polygon of two points", change(0, points=[[1, 1], [5, 5]]), "point-count", FILE, FIRST),
    Case("a circle of three points", change(1, shape_type="circle", points=[[1, 1]] * 3), "point-count", FILE, SECOND),
    Case("a polygon without end", change(0, points=[[0, 0], [9e6, 0], [9e6, 9]]), "long-outline", FILE, FIRST),
    Case("a point outside", change(0, points=[[-3, 4], [20, 4], [20, 9]]), "outside-image", FILE, FIRST, "warning"),
    Case("a shape outside", change(0, points=[[-9, 4], [-5, 4], [-5, 9]]), "empty-shape", FILE, FIRST,
         also=frozenset({"outside-image"})),
    Case("a line", change(0, shape_type="line", points=[[2, 2], [30, 20]]), "drawn-width", FILE, FIRST, "warning"),
    Case("a point", change(0, shape_type="point", points=[[20, 20]]), "drawn-width", FILE, FIRST, "warning"),
    Case("a mask without pixels", masked(None, [[3, 3], [8, 6]]), "bad-mask", FILE, FIRST),
    Case("a mask of garbage", masked("aGVsbG8=", [[3, 3], [8, 6]]), "bad-mask", FILE, FIRST),
    Case("a mask that is no base64", masked("%%%", [[3, 3], [8, 6]]), "bad-mask", FILE, FIRST),
    Case("a mask cut short", masked(png(ONES)[:60], [[3, 3], [8, 6]]), "bad-mask", FILE, FIRST),
    Case("a mask in colours", masked(png(ONES, "RGB"), [[3, 3], [8, 6]]), "bad-mask", FILE, FIRST),
    Case("a mask of another size", masked(png(ONES), [[3, 3], [9, 7]]), "bad-mask", FILE, FIRST),
    Case("a black mask", masked(png(ONES * 0), [[3, 3], [8, 6]]), "empty-shape", FILE, FIRST),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=ids(CASES))
def test_what_is_broken_is_found(case, made):
    verify(case, made, "labelme")


@pytest.mark.parametrize("case", [case for case in CASES if case.severity == "error"], ids=lambda case: case.name)
def test_what_cannot_be_read_is_an_error_that_names_the_file(case, made):
    """Or it is read: what is only wrong with an image, or covers nothing, is left to those who need it."""
    case.breaks(made)
    harmless = {"duplicate-image", "missing-image", "bad-image", "image-size", "split-leak", "empty-shape"}
    readable = case.code in harmless or case.name == "a mask of another size"
    if readable:
        assert list(read_export(made, format="labelme"))
    else:
        with pytest.raises(ExportError) as caught:
            list(read_export(made, format="labelme"))
        assert str(caught.value.path).split(":")[0].endswith(case.path)


def test_damage_at_random_ends_in_findings(made):
    never_raises(made, "labelme", [FILE, "labels.txt"], rounds=120)
