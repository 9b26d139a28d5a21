"""What every format says of its images, read back and compared with the masks of the source; and foreign datasets."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image, ImageDraw
from pycocotools import mask as coco_mask

import mvtec_convert as mc
from mvtec_convert import labelled
from mvtec_convert.errors import ExportError, MaskError, SelectionError
from mvtec_convert.exports import class_names, read_export
from mvtec_convert.formats import formats, medsam
from mvtec_convert.formats import yolo as yolo_format
from mvtec_convert.labelled import LabelledImage, LabelledObject
from mvtec_convert.phrases import built_in
from tests.broken import draw_image, draw_tree, edit, records_on_lines, save, write
from tests.exports import extent, load_coco, regions_of, same_regions, true_masks
from tests.strategies import whole
from tests.test_pipeline import EXPORTS as PIPELINE_EXPORTS

EXPORTS = {
    **PIPELINE_EXPORTS,
    "coco-counts": partial(mc.to_coco, segmentation="rle-uncompressed"),
    "yolo-official": partial(mc.to_yolo, split="official"),
    "sam3-three": partial(mc.to_sam, layout="sam3", ratios=(0.5, 0.25, 0.25)),
}
"""Every format, task and layout, by its name and, behind a hyphen, what is special."""

PHRASED = {"coco-roboflow", "sam3", "sam3-three", "saco"}
"""Exports whose classes are called by their phrase."""

BOXES_ONLY = {"yolo", "yolo-obb", "yolo-world", "yolo-official"}
NO_BACKGROUND = {"sam2", "medsam"}
SLACK = 0.05  # px; six decimals, in single precision


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Path:
    """A tree of two categories, whose regions have holes and touch borders."""
    root = tmp_path_factory.mktemp("drawn") / "tree"
    draw_tree(root)
    for defect in ("cut", "dent"):
        for index in range(4):
            draw_image(root / "lid" / "test" / defect / f"{index:03}.png", 90 + index + ord(defect[0]))
            mask = np.zeros((32, 40), np.uint8)
            mask[index : index + 3, :5] = mask[20:32, 30 - index :] = 1
            mask[24:26, 34:38] = 0
            save(mask, root / "lid" / "ground_truth" / defect / f"{index:03}_mask.png")
    draw_image(root / "lid" / "train" / "good" / "000.png", 7)
    return root


@dataclass(frozen=True)
class Exported:
    """An export, and what it was made from.

    Attributes:
        name: key of `EXPORTS`.
        source: what was exported.
        truth: the masks of the source by the name that exports give the image.
        folder: the export.
    """

    name: str
    source: mc.Dataset
    truth: dict[str, np.ndarray]
    folder: Path

    def regions(self, image: str) -> list[np.ndarray]:
        return regions_of(self.truth[image]) if image in self.truth else []


@pytest.fixture(
    scope="module", params=[(name, source) for name in EXPORTS for source in ("drawn", "sample")], ids="-".join
)
def exported(request, sample_root, drawn, tmp_path_factory) -> Iterator[Exported]:
    name, which = request.param
    root = drawn
    source = mc.load(drawn)
    if which == "sample":
        root = sample_root
        source = mc.load(root / "carpet").filter(defect_type=["good", "cut", "thread"])
    folder = tmp_path_factory.mktemp("out") / name
    truth = {image: mask for image, (_, mask) in true_masks(root).items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(medsam, "SIDE", 64 if which == "drawn" else 400)
        EXPORTS[name](source, folder)
        yield Exported(name, source, truth, folder)
    shutil.rmtree(folder)


def export_name(sample: mc.Sample) -> str:
    origin = "train_" if sample.defect_type == "good" and sample.key.split("/")[1] == "train" else ""
    return f"{sample.category}_{sample.defect_type}_{origin}{Path(sample.key).stem}"


def class_of(name: str, sample: mc.Sample) -> str:
    """What an export calls the regions of a sample."""
    if name not in PHRASED:
        return sample.defect_type
    if name != "saco" and (sample.category, sample.defect_type) in {("plate", "cut"), ("lid", "cut")}:
        return "cut"  # one class of two categories
    return built_in().of(sample.category, sample.defect_type)[0]


def split_of(export: Exported, sample: mc.Sample) -> str:
    split = json.loads((export.folder / "splits.json").read_text())["assignments"][sample.key]
    return "test" if (export.name, split) == ("sam3", "val") else split


def mask_of(item: LabelledObject, image: LabelledImage) -> np.ndarray:
    assert item.region is not None
    crop = item.region.crop
    assert all(edge.any() for edge in (crop[0], crop[-1], crop[:, 0], crop[:, -1]))  # cut to the extent
    return whole(item.region, (image.height, image.width))


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return np.count_nonzero(a & b) / np.count_nonzero(a | b)


# --- our own exports, against the source -----------------------------------------------------------------------------


def test_every_image_comes_back_once_with_its_split_its_size_and_its_classes(exported):
    images = list(read_export(exported.folder))
    found = {image.name: image for image in images}
    wanted = [s for s in exported.source if not s.is_good or exported.name not in NO_BACKGROUND]
    assert found.keys() == {export_name(sample) for sample in wanted}
    assert len({image.key for image in images}) == len(images) == len(wanted)
    for sample in wanted:
        image = found[export_name(sample)]
        with Image.open(sample.image) as opened:
            assert (image.width, image.height) == opened.size
        assert image.split == split_of(exported, sample)
        assert image.image == exported.folder / image.key
        assert image.image.is_file()
        if exported.name == "classify":
            assert (image.classes, image.objects) == ((sample.defect_type,), ())
        else:
            regions = exported.regions(image.name)
            assert [item.class_name for item in image.objects] == [class_of(exported.name, sample)] * len(regions)


def test_splits_come_one_after_the_other(exported):
    splits = [image.split for image in read_export(exported.folder)]
    assert splits == sorted(splits, key=["train", "val", "test"].index)


def test_boxes_are_the_extents_of_the_regions(exported):
    if exported.name in {"classify", "coco-simple"}:
        return
    for image in read_export(exported.folder):
        wanted = np.array(sorted(extent(mask) for mask in exported.regions(image.name))).reshape(-1, 4)
        found = np.array(sorted(item.box for item in image.objects)).reshape(-1, 4)
        if exported.name == "yolo-obb":  # what is around a rotated box is no smaller
            wanted[:, :2], found[:, :2] = -wanted[:, :2], -found[:, :2]
            assert (found > wanted - SLACK).all()
        else:
            assert np.abs(found - wanted).max(initial=0) < SLACK


def test_masks_are_those_of_the_source(exported):
    for image in read_export(exported.folder):
        if exported.name in BOXES_ONLY:
            assert all(item.region is None for item in image.objects)
            continue
        found, wanted = [mask_of(item, image) for item in image.objects], exported.regions(image.name)
        if exported.name == "coco-simple":
            assert all(max(iou(mask, other) for other in wanted) >= 0.9 for mask in found)
        elif exported.name != "classify":
            assert same_regions(found, wanted)


def test_outlines_fill_to_the_regions(exported):
    """By Pillow, which shares nothing with OpenCV, pycocotools and the writers, and which paints the line as well."""
    if exported.name == "coco-simple":
        return  # rasterisers disagree on slopes
    for image in read_export(exported.folder):
        for item in image.objects:
            if item.region is None:
                continue
            canvas = Image.new("1", (image.width, image.height))
            for ring in item.rings():
                assert ring.ndim == ring.shape[1] == 2
                ImageDraw.Draw(canvas).polygon([tuple(point) for point in ring], fill=1, outline=1)
            missed = mask_of(item, image) & (np.asarray(canvas) == 0)
            assert not missed.any()


def test_all_classes_are_named_in_the_order_of_their_ids(exported):
    defective = [sample for sample in exported.source if not sample.is_good]
    if exported.name == "saco":  # asks for phrases of images, whatever their class is called
        assert set(class_names(exported.folder)) == {class_of("saco", sample) for sample in defective}
        return
    by_type = {sample.defect_type: class_of(exported.name, sample) for sample in defective}
    by_type |= {"good": "good"} if exported.name == "classify" else {}
    assert class_names(exported.folder) == tuple(by_type[defect] for defect in sorted(by_type))


def test_the_manifest_is_not_needed(exported):
    if exported.name.startswith("sam3"):
        return  # looks like Roboflow's COCO then; see docs/findings.md
    told = [(image.key, len(image.objects)) for image in read_export(exported.folder)]
    names = class_names(exported.folder)
    hidden = exported.folder / "hidden"
    hidden.mkdir()
    try:
        for own in ("mvtec-convert.json", "classes.json", "splits.json"):
            (exported.folder / own).rename(hidden / own)
        assert [(image.key, len(image.objects)) for image in read_export(exported.folder)] == told
        assert class_names(exported.folder) == names
    finally:
        for path in hidden.iterdir():
            path.rename(exported.folder / path.name)
        hidden.rmdir()


# --- datasets of other tools -----------------------------------------------------------------------------------------

POLYGON = [2.5, 3.25, 20, 4, 17.75, 22, 3, 19.5]
HOLLOW = np.pad(np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], np.uint8), ((5, 24), (30, 7)))  # 32 x 40


def foreign_coco(folder: Path, annotations: list[dict[str, Any]]) -> Path:
    """One annotation file as other tools write it: ids with gaps, an unused category, an image without annotation."""
    for number in (7, 9):
        draw_image(folder / f"photo {number}.png", number)
    document = {
        "images": [{"id": n, "file_name": f"photo {n}.png", "width": 40, "height": 32} for n in (7, 9)],
        "categories": [{"id": 30, "name": "dent"}, {"id": 2, "name": "scratch"}, {"id": 4, "name": "unused"}],
        "annotations": [
            {"id": i, "image_id": 7, "category_id": 30, "bbox": [1, 2, 3, 4], "area": 5, "iscrowd": 0} | annotation
            for i, annotation in enumerate(annotations, start=100)
        ],
    }
    records_on_lines(document, folder / "labels.json")
    return folder / "labels.json"


def compressed(mask: np.ndarray) -> dict[str, Any]:
    rle = coco_mask.encode(np.asfortranarray(mask))
    return {"size": list(map(int, rle["size"])), "counts": rle["counts"].decode()}


def runs(mask: np.ndarray) -> dict[str, Any]:
    flat = [0, *mask.ravel(order="F").tolist()]
    edges = [i for i in range(1, len(flat)) if flat[i] != flat[i - 1]]
    counts = np.diff([1, *edges, len(flat)]).tolist()
    return {"size": list(mask.shape), "counts": counts}


@pytest.mark.parametrize("whole_folder", [True, False], ids=["folder", "file"])
def test_coco_of_others_is_read_as_pycocotools_reads_it(tmp_path, whole_folder):
    file = foreign_coco(
        tmp_path,
        [
            {"segmentation": [POLYGON, [30, 30, 38, 30, 38, 31.5]]},
            {"segmentation": compressed(HOLLOW), "category_id": 2, "iscrowd": 1},
            {"segmentation": runs(HOLLOW)},
            {"segmentation": [], "bbox": [0.5, 1.5, 10, 4.25]},
            {"segmentation": [[-5, -5, 60, -5, 60, 3, -5, 3]]},
            {"segmentation": [[5, 5, 5.1, 5, 5.1, 5.1]]},
        ],
    )
    labelled_image, background = read_export(tmp_path if whole_folder else file)
    judge = load_coco(file)
    assert (background.name, background.objects, background.split) == ("photo 9", (), "labels")
    assert labelled_image.key == "photo 7.png"
    for item, annotation in zip(labelled_image.objects, judge.loadAnns(judge.getAnnIds([7])), strict=True):
        wanted = judge.annToMask(annotation) if annotation["segmentation"] else np.zeros((32, 40), np.uint8)
        found = np.zeros_like(wanted) if item.region is None else mask_of(item, labelled_image)
        assert (found == wanted).all()
    assert [item.class_name for item in labelled_image.objects] == ["dent", "scratch", *["dent"] * 4]
    assert [item.is_crowd for item in labelled_image.objects] == [False, True, False, False, False, False]
    polygons, hollow, _, box_only, outside, nothing = labelled_image.objects
    assert [ring.tolist() for ring in polygons.outlines] == [
        [[2.5, 3.25], [20, 4], [17.75, 22], [3, 19.5]],
        [[30, 30], [38, 30], [38, 31.5]],
    ]
    assert hollow.outlines == ()
    assert len(hollow.rings()) == 2  # the hole is one of them
    assert box_only.box == (0.5, 1.5, 10.5, 5.75)
    assert box_only.rings()[0].tolist() == [[0.5, 1.5], [10.5, 1.5], [10.5, 5.75], [0.5, 5.75]]
    assert outside.region.bbox == (0, 0, 40, 3)
    assert nothing.region is None
    assert class_names(file) == ("scratch", "unused", "dent")


def test_coco_whose_images_are_gone_is_still_read(tmp_path):
    foreign_coco(tmp_path, [{"segmentation": [POLYGON]}])
    for path in tmp_path.glob("*.png"):
        path.unlink()
    first, second = read_export(tmp_path)
    assert not first.image.exists()
    assert (first.width, first.height, len(first.objects), len(second.objects)) == (40, 32, 1, 0)


def yolo(folder: Path, labels: dict[str, str], **data: Any) -> Path:
    """A dataset in Roboflow's layout: one image of 40 x 32 px for each of the labels, `split/name`."""
    for i, (place, text) in enumerate(labels.items()):
        split, name = place.split("/")
        draw_image(folder / split / "images" / f"{name}.jpg", i)
        (folder / split / "labels").mkdir(exist_ok=True)
        (folder / split / "labels" / f"{name}.txt").write_text(text)
    document = {"train": "../train/images", "val": "../valid/images", "nc": 2, "names": ["crack", "rust"]} | data
    (folder / "data.yaml").write_text(yaml.safe_dump(document))
    return folder


def test_yolo_of_others_is_read_as_ultralytics_reads_it(tmp_path):
    box, other_box = "0 0.5 0.5 0.5 0.25\n", "1 0.25 0.25 0.1 0.1\n"
    polygon, corner = "1 0.25 0.25 0.7499 0.25 0.7499 0.7499 0.25 0.7499\n", "0 0.9 0.9 1.0 0.9 1.0 1.0\n"
    yolo(tmp_path, {"train/a": box + other_box * 2, "train/b": "", "valid/c": polygon * 2 + corner})
    (tmp_path / "train" / "labels" / "b.txt").unlink()
    boxes, background, polygons = read_export(tmp_path)
    assert [image.split for image in (boxes, background, polygons)] == ["train", "train", "val"]
    assert [item.class_name for item in boxes.objects] == ["crack", "rust"]  # a row that is there twice counts once
    assert boxes.objects[0].box == pytest.approx((10, 12, 30, 20))
    assert boxes.objects[0].region is None
    assert boxes.objects[0].outlines == ()
    assert background.objects == ()
    square, cut_off = polygons.objects
    assert square.region.bbox == (10, 8, 20, 16)
    assert square.region.crop.all()
    assert square.box == pytest.approx((10, 8, 30, 24), abs=0.01)
    assert cut_off.region.bbox == (36, 28, 4, 4)  # what lies on the border is cut off, not lost
    assert class_names(tmp_path) == ("crack", "rust")


def test_four_corners_everywhere_are_rotated_boxes(tmp_path):
    corners = "0 0.5 0.1 0.9 0.5 0.5 0.9 0.1 0.5\n"
    (image,) = read_export(yolo(tmp_path / "obb", {"train/a": corners}))
    assert image.objects[0].region is None
    assert image.objects[0].outlines[0] == pytest.approx(np.array([[20, 3.2], [36, 16], [20, 28.8], [4, 16]]))
    polygons = read_export(yolo(tmp_path / "segment", {"train/a": corners, "train/b": "0 0.1 0.1 0.9 0.1 0.9 0.9\n"}))
    assert all(item.region is not None for image in polygons for item in image.objects)


def test_yolo_without_names_calls_classes_as_ultralytics_does(tmp_path):
    yolo(tmp_path, {"train/a": "2 0.5 0.5 0.5 0.25\n"})
    (tmp_path / "data.yaml").unlink()
    for part in ("images", "labels"):
        (tmp_path / "train" / part).rename(tmp_path / part)
        (tmp_path / part / "train").mkdir()
        for path in [path for path in (tmp_path / part).iterdir() if path.is_file()]:
            path.rename(tmp_path / part / "train" / path.name)
    (image,) = read_export(tmp_path)
    assert image.objects[0].class_name == "class_2"
    assert class_names(tmp_path) == ("class_0", "class_1", "class_2")


def test_sa1b_of_others_has_one_class_and_its_own_points(tmp_path):
    draw_image(tmp_path / "sa_5.jpg")
    annotation = {
        "id": 1, "segmentation": compressed(HOLLOW), "bbox": [30, 5, 2, 2], "area": 8, "predicted_iou": 0.9,
        "stability_score": 1.0, "crop_box": [0, 0, 40, 32], "point_coords": [[30.5, 5.25]],
    }  # fmt: skip
    header = {"image_id": 5, "width": 40, "height": 32, "file_name": "sa_5.jpg"}
    (tmp_path / "sa_5.json").write_text(json.dumps({"image": header, "annotations": [annotation]}))
    (image,) = read_export(tmp_path)
    (item,) = image.objects
    assert (item.class_name, item.text, item.prompt_box) == ("object", None, None)
    assert item.points == ((30.5, 5.25, 1),)
    assert item.box == (30, 5, 32, 7)
    assert (mask_of(item, image) == HOLLOW).all()
    assert (image.split, class_names(tmp_path)) == (tmp_path.name, ("object",))


def test_arrays_of_others_are_read_at_their_own_size(tmp_path, monkeypatch):
    monkeypatch.setattr(medsam, "SIDE", 64)
    ids = np.zeros((64, 64), np.int16)
    ids[3:9, 60:] = 700
    ids[5, 62] = 2
    for part, array in {"imgs": np.zeros((64, 64, 3), np.float32), "gts": ids}.items():
        (tmp_path / "data" / part).mkdir(parents=True)
        np.save(tmp_path / "data" / part / "x.npy", array)
    (image,) = read_export(tmp_path)
    assert (image.width, image.height, image.split, image.key) == (64, 64, "data", "data/imgs/x.npy")
    assert [(item.class_name, item.region.bbox) for item in image.objects] == [
        ("object", (62, 5, 1, 1)),
        ("object", (60, 3, 4, 6)),
    ]
    assert (mask_of(image.objects[1], image) == (ids == 700)).all()
    assert class_names(tmp_path) == ("object",)


def test_arrays_are_scaled_back_to_the_image_they_came_from(tmp_path, monkeypatch):
    monkeypatch.setattr(medsam, "SIDE", 16)
    width, height = 50, 9
    ids = np.random.default_rng(5).integers(0, 4, (16, 16)).astype(np.uint8)
    for part, array in {"imgs": np.zeros((16, 16, 3), np.float32), "gts": ids}.items():
        (tmp_path / "train" / part).mkdir(parents=True)
        np.save(tmp_path / "train" / part / "x.npy", array)
    regions = [{"id": i, "class_id": 0, "class_name": f"class {i}", "area": 9, "pixels": 9} for i in (1, 2, 3)]
    record = {"name": "x", "width": width, "height": height, "regions": regions}
    (tmp_path / "train" / "regions.json").write_text(json.dumps({"images": [record]}))
    (image,) = read_export(tmp_path)
    assert [item.class_name for item in image.objects] == ["class 1", "class 2", "class 3"]
    for number, item in enumerate(image.objects, start=1):
        found = mask_of(item, image)
        for y in range(height):
            for x in range(width):  # the pixel's middle falls into this one of the array
                source = ids[int((y + 0.5) * 16 / height), int((x + 0.5) * 16 / width)]
                assert found[y, x] == (source == number)


def test_prompts_and_questions_are_told(drawn, tmp_path):
    source = mc.load(drawn).filter(category="plate")
    mc.to_sam(source, tmp_path / "sam", points=2, negatives=1, box_jitter=3)
    item = next(item for image in read_export(tmp_path / "sam") for item in image.objects)
    assert [label for _, _, label in item.points] == [1, 1, 0]
    assert item.prompt_box != item.box
    assert item.text == "cut on plate"
    mc.to_sam(source, tmp_path / "saco", layout="saco")
    for image in read_export(tmp_path / "saco"):
        assert image.asked == ("cut on plate", "hole on plate")
        assert {item.text for item in image.objects} == {item.class_name for item in image.objects}


# --- what cannot be read ---------------------------------------------------------------------------------------------

TRAIN, SA1B, SACO = "annotations/instances_train.json", "train/plate_cut_000.json", "annotations/saco_train.json"
LABELS = "labels/train/plate_cut_000.txt"
HUGE = '"width":40000,"height":40000'

UNSOUND = [
    ("yolo", write(LABELS, "0 0.5 0.5 0.1 0.1\n9 0.5 0.5 0.1 0.1\n"), LABELS + ":2", "class 9"),
    ("yolo", write(LABELS, "0 0.5 0.5 0.1\n"), LABELS + ":1", "4 numbers"),
    ("yolo", write(LABELS, "0 0.5 1.5 0.1 0.1\n"), LABELS + ":1", "not from 0 to 1"),
    ("yolo", write(LABELS, "0 nan 0.5 0.1 0.1\n"), LABELS + ":1", "not from 0 to 1"),
    ("yolo", write(LABELS, "cut 0.5 0.5 0.1 0.1\n"), LABELS + ":1", "not a class id"),
    ("yolo", write(LABELS, b"\xff\xfe"), LABELS, "cannot be read"),
    ("yolo", write("data.yaml", "train: [\n"), "data.yaml:2", "not YAML"),
    ("yolo", write("data.yaml", "train: images/train\nnames: [a]\n"), "data.yaml", "val"),
    ("yolo", write("data.yaml", "train: ../../x\nval: images/val\nnames: [a]\n"), "data.yaml", "leads out"),
    ("yolo", write("data.yaml", "train: nowhere\nval: nowhere\nnames: [a]\n"), "", "no image"),
    ("yolo", write("images/train/plate_cut_000.png", b"no image"), "plate_cut_000.png", "not an image"),
    ("coco", write(TRAIN, "{"), TRAIN + ":1", "not JSON"),
    ("coco", write(TRAIN, "[]"), TRAIN, "not an object"),
    ("coco", edit(TRAIN, '{"id":1,"file', '{"id":"1","file'), TRAIN + ":3", "integer"),
    ("coco", edit(TRAIN, '"category_id":1', '"category_id":9'), TRAIN + ":15", "no category has id 9"),
    ("coco", edit(TRAIN, '"image_id":1', '"image_id":99'), TRAIN + ":15", "no image has id 99"),
    ("coco", edit(TRAIN, '"plate_', '"../../plate_'), TRAIN + ":3", "leads out"),
    ("coco", edit(TRAIN, '"width":40,"height":32', HUGE), TRAIN + ":3", "40000 x 40000"),
    ("coco", edit(TRAIN, "[[6,4,", "[[6,4,4,"), TRAIN + ":15", "pairs"),
    ("coco", edit(TRAIN, "[[6,4,", "[[6,1e300,"), TRAIN + ":15", "outside the image"),
    ("coco", edit(TRAIN, "[[6,4,", "[[6,4," + "9e7,0,0,0," * 3), TRAIN + ":15", "px long"),
    ("coco-counts", edit(TRAIN, '"counts":[', '"counts":[7,'), TRAIN + ":15", "sum to"),
    ("coco-rle", edit(TRAIN, '"counts":"', '"counts":"ooooooooo'), TRAIN + ":15", "run lengths"),
    ("coco-rle", edit(TRAIN, '"size":[32,40]', '"size":[40,32]'), TRAIN + ":15", "not the image's"),
    ("sam", write(SA1B, '{"image": 1, "annotations": ['), SA1B + ":1", "not JSON"),
    ("sam", edit(SA1B, '"area": ', '"area": -'), SA1B + ":9", "greater than 0"),
    ("sam", edit(SA1B, '"plate_cut_000.png"', '"../plate_cut_000.png"'), SA1B, "not beside"),
    ("sam", edit(SA1B, '"counts": "', '"counts": "1'), SA1B + ":9", "run lengths"),
    ("sam", edit(SA1B, '"labels": [\n          1,', '"labels": ['), SA1B + ":9", "labels"),
    ("saco", write(SACO, "{}"), SACO, "no list of"),
    ("saco", edit(SACO, '"image_id":1', '"image_id":99'), SACO + ":25", "no row has id 99"),
    ("saco", edit(SACO, '"counts":"', '"counts":"1'), SACO + ":25", "run lengths"),
    ("saco", edit(SACO, '"file_name":"', '"file_name":"/etc/'), SACO + ":3", "leads out"),
    ("saco", edit(SACO, '"width":40', '"width":41'), SACO + ":4", "41 x 32"),
    ("sam2", edit("train/sa_1.json", '"counts": "', '"counts": "1'), "train/sa_1.json:10", "run lengths"),
    ("sam3", edit("train/_annotations.coco.json", '"category_id":1', '"category_id":9'), ":15", "no category has id 9"),
    ("medsam", write("train/gts/plate_cut_000.npy", b"no array"), "gts/plate_cut_000.npy", "cannot be read"),
    ("medsam", write("train/regions.json", '{"images": 1}'), "train/regions.json", "valid list"),
    ("medsam", edit("train/regions.json", '"width":40', '"width":40000000'), "regions.json", "40000000 x 32"),
]  # fmt: skip


@pytest.fixture(scope="module")
def sound(drawn, tmp_path_factory) -> dict[str, Path]:
    """Exports of the drawn tree's plates, to be broken as copies."""
    folder = tmp_path_factory.mktemp("sound")
    source = mc.load(drawn).filter(category="plate")
    bases = {base for base, *_ in UNSOUND}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(medsam, "SIDE", 64)
        for base in bases:
            EXPORTS[base](source, folder / base)
    return {base: folder / base for base in bases}


@pytest.mark.parametrize(("base", "breaks", "place", "reason"), UNSOUND, ids=[f"{b}-{r}" for b, _, _, r in UNSOUND])
def test_what_cannot_be_read_is_an_error_that_names_file_and_line(
    base, breaks, place, reason, sound, tmp_path, monkeypatch
):
    monkeypatch.setattr(medsam, "SIDE", 64)
    folder = shutil.copytree(sound[base], tmp_path / "export")
    assert list(read_export(folder))
    breaks(folder)
    with pytest.raises((ExportError, MaskError)) as error:
        list(read_export(folder))
    assert error.value.path.endswith(place)
    assert reason in error.value.reason


def test_run_lengths_of_a_few_bytes_do_not_fill_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(labelled, "MOST_MASK_PIXELS", 40 * 32 * 3)
    everything = {"size": [32, 40], "counts": [0, 40 * 32]}
    foreign_coco(tmp_path, [{"segmentation": everything}] * 3)
    assert len(next(read_export(tmp_path)).objects) == 3
    foreign_coco(tmp_path, [{"segmentation": everything}] * 4)
    with pytest.raises(ExportError, match="more than 3,840 pixels of masks"):
        list(read_export(tmp_path))


def test_no_file_makes_more_objects_points_or_names_than_anyone_needs(tmp_path, monkeypatch):
    monkeypatch.setattr(labelled, "MOST_OBJECTS", 2)
    foreign_coco(tmp_path / "coco", [{"segmentation": []}] * 3)
    with pytest.raises(ExportError, match="more than 2 objects"):
        list(read_export(tmp_path / "coco"))
    monkeypatch.undo()
    polygon = "0 0.1 0.1 0.9 0.1 0.9 0.9\n"
    yolo(tmp_path / "yolo", {"train/a": polygon + polygon.replace("0.9", "0.8")})
    monkeypatch.setattr(yolo_format, "MOST_POINTS", 5)
    with pytest.raises(ExportError, match="too many points"):
        list(read_export(tmp_path / "yolo"))
    monkeypatch.undo()
    shutil.copytree(tmp_path / "yolo" / "train", tmp_path / "bare")
    (tmp_path / "bare" / "labels" / "a.txt").write_text("1e18 0.5 0.5 0.1 0.1\n")
    (tmp_path / "bare" / "data.yaml").write_text("train: images\nval: images\n")
    with pytest.raises(ExportError, match="100,000 classes"):
        class_names(tmp_path / "bare")


def test_images_come_one_at_a_time(sound):
    images = read_export(sound["coco"])
    assert isinstance(next(images), LabelledImage)
    (last := sound["coco"] / "annotations" / "instances_val.json").rename(last.with_suffix(".gone"))
    try:
        with pytest.raises(ExportError, match="cannot be read"):
            list(images)  # the second file is opened when its turn comes
    finally:
        last.with_suffix(".gone").rename(last)


def test_no_folder_no_format_and_no_dataset_are_told(tmp_path):
    with pytest.raises(ExportError, match="no such folder"):
        read_export(tmp_path / "none")
    with pytest.raises(ExportError, match="recognised"):
        class_names(tmp_path)
    with pytest.raises(SelectionError, match="no format"):
        read_export(tmp_path, format="none")


@pytest.mark.parametrize("name", formats())
def test_a_folder_that_is_not_in_the_format_is_an_error(name, tmp_path):
    with pytest.raises(ExportError):
        list(read_export(tmp_path, format=name))
    with pytest.raises(ExportError):
        class_names(tmp_path, format=name)
