"""Every trap of COCO and Roboflow's layout is real: a reader fails, or learns something else, and `validate` says so.

The readers: pycocotools with its evaluation, torchvision, transformers, supervision, and Ultralytics' converter.
"""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import supervision as sv
import torch
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.cocoeval import COCOeval
from torch.utils.data import DataLoader
from torchvision.datasets import CocoDetection, wrap_dataset_for_transforms_v2
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.transforms.v2 import SanitizeBoundingBoxes
from transformers import DetrImageProcessor
from ultralytics.data.converter import convert_coco

import mvtec_convert as mc
from tests.broken import change, draw_image, draw_tree, edit, remove, write
from tests.exports import extent, load_coco, regions_of, true_masks
from tests.readers.traps import Breaks, Suffers, codes, codes_in
from tests.readers.ultralytics_reader import dataset_of

TRAIN, VAL = "annotations/instances_train.json", "annotations/instances_val.json"
NAME, OTHER = "plate_cut_000", "plate_cut_001"  # the first image of train, one of val
IMAGE, OTHER_IMAGE = f"images/train/{NAME}.png", f"images/val/{OTHER}.png"
CLASSES = ["cut", "hole"]
IMAGES, REGIONS = 10, 12  # of train: six images of 40 x 32 px have a frame around a hole, and a small square below


# What Ultralytics puts in the place of `Image.open` leaves a file open that Pillow cannot read.
pytestmark = pytest.mark.filterwarnings(
    "ignore:unclosed file:ResourceWarning",
    "ignore:Exception ignored in. <_io.FileIO:pytest.PytestUnraisableExceptionWarning",
)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny tree, and its exports."""
    folder = tmp_path_factory.mktemp("tiny")
    draw_tree(folder / "tree")
    dataset = mc.load(folder / "tree")
    mc.to_coco(dataset, folder / "coco")
    mc.to_coco(dataset, folder / "coco-counts", segmentation="rle-uncompressed")
    mc.to_coco(dataset, folder / "roboflow", layout="roboflow")
    return folder


@pytest.fixture
def copy(sound, tmp_path) -> Callable[[str], Path]:
    """A copy of an export to break; the tree, which tells the truth, lies beside it."""
    shutil.copytree(sound / "tree", tmp_path / "tree")
    return lambda base: Path(shutil.copytree(sound / base, tmp_path / "set"))


# --- the readers -----------------------------------------------------------------------------------------------------


def place(folder: Path, split: str) -> tuple[Path, Path]:
    """The images and the annotations of a split, in either layout."""
    if (folder / split / "_annotations.coco.json").exists():
        return folder / split, folder / split / "_annotations.coco.json"
    return folder / "images" / split, folder / "annotations" / f"instances_{split}.json"


def flawless(folder: Path, images: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What a model would detect that makes no mistake: each region of the masks in the tree, once, and its box."""
    truth = true_masks(folder.parent / "tree")
    return [
        {
            "image_id": image["id"],
            "category_id": 1 + CLASSES.index(truth[name][0]),
            "score": 0.9,
            "segmentation": coco_mask.encode(np.asfortranarray(region)),
            "bbox": [x0, y0, x1 - x0, y1 - y0],
        }
        for image in images
        if (name := Path(image["file_name"]).stem) in truth
        for region in regions_of(truth[name][1])
        for x0, y0, x1, y1 in [extent(region)]
    ]


def evaluation(folder: Path, split: str = "train", kind: str = "segm") -> COCOeval:
    """What pycocotools says of a flawless model; `stats[0]` is its average precision."""
    coco = load_coco(place(folder, split)[1])
    results = flawless(folder, coco.dataset["images"])
    with contextlib.redirect_stdout(io.StringIO()):
        found = COCOeval(coco, coco.loadRes(results), kind)
        found.evaluate()
        found.accumulate()
        found.summarize()
    return found


def in_torchvision(folder: Path, split: str = "train") -> CocoDetection:
    with contextlib.redirect_stdout(io.StringIO()):
        return CocoDetection(*place(folder, split))


def targets(folder: Path) -> list[dict[str, Any]]:
    """What torchvision's detectors would be given for each image."""
    data = wrap_dataset_for_transforms_v2(in_torchvision(folder), ("boxes", "masks", "labels"))
    return [data[i][1] for i in range(len(data))]  # a loop over `data` itself would take an IndexError for its end


def in_transformers(folder: Path) -> list[dict[str, Any]]:
    """What DETR would be given for each image."""
    processor = DetrImageProcessor(do_resize=False, do_pad=False, do_normalize=False)
    data = in_torchvision(folder)
    found = []
    for image_id, (image, records) in zip(data.ids, data, strict=True):
        target = {"image_id": image_id, "annotations": records}
        given = processor(images=image, annotations=target, return_segmentation_masks=True, return_tensors="pt")
        found.append(given["labels"][0])
    return found


def in_supervision(folder: Path, split: str = "train") -> sv.DetectionDataset:
    return sv.DetectionDataset.from_coco(*map(str, place(folder, split)))


def in_ultralytics(folder: Path, segments: bool) -> Any:
    """What Ultralytics would train on after its own conversion."""
    target = folder.parent / "converted"
    convert_coco(str(folder / "annotations"), str(target), use_segments=segments, cls91to80=False)
    for split in ("train", "val"):
        shutil.copytree(folder / "images" / split, target / "images" / split)
    write("data.yaml", f"train: images/train\nval: images/val\nnames: {CLASSES}\n")(target)
    return dataset_of(target / "data.yaml", "train", "segment" if segments else "detect")


# --- how they suffer -------------------------------------------------------------------------------------------------


def fails(read: Callable[[Path], Any], kind: type[Exception], match: str) -> Suffers:
    def suffers(folder: Path) -> None:
        with pytest.raises(kind, match=match):
            read(folder)

    return suffers


def scores(precision: float, split: str = "train", kind: str = "segm") -> Suffers:
    """The average precision of a flawless model; -1 where there is none."""

    def suffers(folder: Path) -> None:
        assert evaluation(folder, split, kind).stats[0] == pytest.approx(precision)

    return suffers


def marks_down(kind: str = "segm") -> Suffers:
    """A flawless model of either masks or boxes is said to err."""

    def suffers(folder: Path) -> None:
        assert 0.5 < evaluation(folder, kind=kind).stats[0] < 0.95

    return suffers


def in_torchvision_are(regions: int, images: int = IMAGES) -> Suffers:
    def suffers(folder: Path) -> None:
        found = targets(folder)
        assert (len(found), sum(len(target.get("boxes", ())) for target in found)) == (images, regions)

    return suffers


def in_transformers_are(regions: int) -> Suffers:
    def suffers(folder: Path) -> None:
        assert sum(len(target["boxes"]) for target in in_transformers(folder)) == regions

    return suffers


def in_ultralytics_are(regions: int, images: int = IMAGES, segments: bool = False) -> Suffers:
    def suffers(folder: Path) -> None:
        data = in_ultralytics(folder, segments)
        assert (len(data), sum(len(label["cls"]) for label in data.labels)) == (images, regions)

    return suffers


def one_box_is_sanitised_away(folder: Path) -> None:
    """torchvision's transforms remove boxes that reach over the border, unless told to clamp them first."""
    boxes = [target["boxes"] for target in targets(folder) if "boxes" in target]
    sanitise = SanitizeBoundingBoxes(labels_getter=None)
    assert sum(len(sanitise({"boxes": of_image})["boxes"]) for of_image in boxes) == REGIONS - 1


def is_background_to_torchvision(folder: Path) -> None:
    """Mask R-CNN is told that there is nothing where the six regions of the first class are."""
    heads = RoIHeads(None, None, None, 0.5, 0.5, 16, 0.5, None, 0.05, 0.5, 100)
    labels = []
    for target in targets(folder):
        if "boxes" in target:
            truth = [{"boxes": target["boxes"].float(), "labels": target["labels"]}]
            labels += heads.select_training_samples([torch.zeros(0, 4)], truth)[2][0].tolist()
    assert sorted(labels) == [0] * 6 + [1] * 6


def is_lost_from_pycocotools_own_filter(folder: Path) -> None:
    assert len(load_coco(folder / TRAIN).getAnnIds(areaRng=[0, 1e9])) == REGIONS - 1


def has_no_pixel_to_learn(folder: Path) -> None:
    areas = [int(mask.sum()) for target in in_transformers(folder) for mask in target["masks"]]
    assert len(areas) == REGIONS
    assert areas.count(0) == 1


def counts_as_medium(folder: Path) -> None:
    """A region of 152 px, for which -1 (there is none of this size) would be right."""
    assert evaluation(folder).stats[4] == pytest.approx(1)


def lies_across_its_mask(folder: Path) -> None:
    """OpenCV turns the image as EXIF says, nobody turns the mask."""
    ((image, detections),) = [rest for path, *rest in in_supervision(folder) if Path(path).stem == NAME]
    assert image.shape[:2] == (40, 32)
    assert detections.mask.shape[1:] == (32, 40)


def is_in_both(folder: Path) -> None:
    train, val = ({image.tobytes() for image, _ in in_torchvision(folder, split)} for split in ("train", "val"))
    assert len(train & val) == 1


def cannot_be_joined(folder: Path) -> None:
    both = sv.DetectionDataset.merge([in_supervision(folder, split) for split in ("train", "val")])
    with pytest.raises(ValueError, match="Cannot export dataset"):
        both.as_coco(str(folder / "both"), str(folder / "both.json"))


def is_never_measured(folder: Path) -> None:
    """Its precision is -1, and the average goes without it."""
    found = evaluation(folder)
    assert (found.eval["precision"][:, :, 2] == -1).all()
    assert found.stats[0] == pytest.approx(1)


def takes_hundreds_of_megabytes(folder: Path) -> None:
    """For a mask of 40 x 32 px; in a process of its own, which reads from Linux how many KiB it ever held."""
    read = (
        "import sys; from pathlib import Path; from pycocotools.coco import COCO; coco = COCO(sys.argv[1])\n"
        "held = lambda: int(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])\n"
        "before = held(); coco.annToRLE(coco.anns[1]); print(held() - before)"
    )
    done = subprocess.run([sys.executable, "-c", read, folder / TRAIN], capture_output=True, text=True, check=True)
    assert int(done.stdout.split()[-1]) > 200 << 10


# --- what is broken --------------------------------------------------------------------------------------------------


def annotation(**values: Any) -> Breaks:
    return change(TRAIN, "annotations", 0, **values)


def image(**values: Any) -> Breaks:
    return change(TRAIN, "images", 0, **values)


def polygon(*numbers: Any) -> Breaks:
    return annotation(segmentation=[list(numbers)])


def counts(counts: Any, size: tuple[int, int] = (32, 40)) -> Breaks:
    return annotation(segmentation={"size": list(size), "counts": counts})


def each(key: str, *files: str, **values: Callable[[dict[str, Any]], Any]) -> Breaks:
    """Set values of all records of a list, each computed from the record."""

    def breaks(folder: Path) -> None:
        for file in files:
            document = json.loads((folder / file).read_text())
            for record in document[key]:
                record.update({name: value(record) for name, value in values.items()})
            (folder / file).write_text(json.dumps(document))

    return breaks


def also(key: str, *files: str, **values: Any) -> Breaks:
    """Repeat the first record of a list at its end, with these values."""

    def breaks(folder: Path) -> None:
        for file in files:
            document = json.loads((folder / file).read_text())
            document[key].append({**document[key][0], **values})
            (folder / file).write_text(json.dumps(document))

    return breaks


def whole(**values: Any) -> Breaks:
    return change(TRAIN, **values)


def all_of(*steps: Breaks) -> Breaks:
    return lambda folder: [step(folder) for step in steps]


def renumbered(number: Callable[[int], int], *files: str) -> Breaks:
    """Other ids for the categories, and for what refers to them."""
    return all_of(
        each("categories", *files, id=lambda record: number(record["id"])),
        each("annotations", *files, category_id=lambda record: number(record["category_id"])),
    )


def rotated(folder: Path) -> None:
    with Image.open(folder / IMAGE) as opened:
        opened.load()
        exif = opened.getexif()
        exif[0x0112] = 6  # Orientation: a quarter turn
        opened.save(folder / IMAGE, exif=exif)


def compressed(folder: Path) -> None:
    coco = load_coco(folder / TRAIN)
    counts(coco.annToRLE(coco.anns[1])["counts"].decode())(folder)


def called_alike(folder: Path) -> None:
    (folder / OTHER_IMAGE).rename(folder / "images" / "val" / f"{NAME}.png")
    edit(VAL, OTHER, NAME)(folder)


def cut_short(name: str) -> Breaks:
    return lambda folder: write(name, (folder / name).read_bytes()[:1500])(folder)


def in_encoding(name: str, encoding: str) -> Breaks:
    return lambda folder: write(name, (folder / name).read_text().encode(encoding))(folder)


LOST_ONE = REGIONS - 1
CORNER = [[36, 26, 36, 30, 40, 30, 40, 26]]
TRAPS: dict[str, tuple[Breaks, str, Suffers]] = {
    # name: (what is done to the export, code, what a reader does)
    # the file
    "no annotations": (remove("annotations"), "no-annotation-file",
                       fails(evaluation, FileNotFoundError, "instances_train")),
    "a file cut short": (cut_short(TRAIN), "bad-json", fails(evaluation, json.JSONDecodeError, "Expecting")),
    "a byte order mark": (in_encoding(TRAIN, "utf-8-sig"), "bad-json", fails(evaluation, json.JSONDecodeError, "BOM")),
    "UTF-16": (in_encoding(TRAIN, "utf-16"), "bad-json", fails(evaluation, UnicodeDecodeError, "can't decode")),
    "NaN": (edit(TRAIN, '"bbox":[6', '"bbox":[NaN'), "bad-json", in_transformers_are(LOST_ONE)),
    "a list": (write(TRAIN, "[]"), "schema", fails(evaluation, AssertionError, "not supported")),
    "no list of annotations": (whole(annotations=None), "schema", in_torchvision_are(0)),
    "a number for an annotation": (whole(annotations=[5]), "schema", fails(evaluation, TypeError, "subscriptable")),
    # images
    "an image id as text": (image(id="1"), "schema", fails(in_torchvision, TypeError, "not supported between")),
    "no width": (image(width=None), "schema", fails(evaluation, KeyError, "width")),
    "a width of 0": (image(width=0), "schema", marks_down()),
    "no file name": (image(file_name=""), "schema", fails(targets, IsADirectoryError, "images")),
    "two images of one id": (image(id=2), "duplicate-id", in_torchvision_are(REGIONS - 2, IMAGES - 1)),
    "an image twice": (also("images", TRAIN, id=99), "duplicate-image", fails(in_supervision, ValueError, "duplicate")),
    "an absolute file name": (image(file_name=f"/data/{NAME}.png"), "outside-folder",
                              fails(targets, FileNotFoundError, "/data/")),
    "a file name that goes up": (image(file_name=f"../../../{NAME}.png"), "outside-folder",
                                 fails(in_supervision, ValueError, "outside the images directory")),
    "backslashes": (image(file_name=f"sub\\{NAME}.png"), "windows-path", fails(targets, FileNotFoundError, NAME)),
    "no such image": (remove(IMAGE), "missing-image", fails(targets, FileNotFoundError, NAME)),
    "an image cut short": (cut_short(IMAGE), "bad-image", fails(targets, OSError, "truncated")),
    "an image that EXIF turns": (rotated, "bad-image", lies_across_its_mask),
    "an image of another size": (lambda folder: draw_image(folder / IMAGE, size=(20, 16)), "image-size",
                                 in_transformers_are(LOST_ONE)),
    "no images": (whole(images=[], annotations=[]), "empty-split",
                  fails(lambda folder: DataLoader(in_torchvision(folder), shuffle=True), ValueError, "num_samples=0")),
    "an image in both splits": (lambda folder: shutil.copy(folder / IMAGE, folder / OTHER_IMAGE), "split-leak",
                                is_in_both),
    "one name in both splits": (called_alike, "same-name", cannot_be_joined),
    # categories
    "two categories of one id": (change(TRAIN, "categories", 0, id=2), "duplicate-id",
                                 fails(in_supervision, ValueError, "class_id must be a subset")),
    "two categories of one name": (each("categories", TRAIN, VAL, name=lambda _: "cut"), "class-names",
                                   fails(in_supervision, ValueError, "class_id must be a subset")),
    "other ids in val": (renumbered(lambda number: 3 - number, VAL), "category-mismatch", scores(0, "val")),
    "an empty category": (also("categories", TRAIN, VAL, id=3, name="dent"), "unused-category", is_never_measured),
    "categories from 0": (renumbered(lambda number: number - 1, TRAIN, VAL), "category-zero",
                          is_background_to_torchvision),
    "categories from 0, converted": (renumbered(lambda number: number - 1, TRAIN, VAL), "category-zero",
                                     in_ultralytics_are(REGIONS // 2, IMAGES - 3)),
    "nothing annotated": (whole(annotations=[]), "no-annotations", scores(-1)),
    # annotations
    "two annotations of one id": (annotation(id=2), "duplicate-id", marks_down()),
    "an annotation of id 0": (annotation(id=0), "id-zero", marks_down()),
    "an annotation twice": (also("annotations", TRAIN, id=99), "duplicate-annotation", marks_down()),
    "an unknown image": (annotation(image_id=99), "unknown-image", in_torchvision_are(LOST_ONE)),
    "an unknown category": (annotation(category_id=9), "unknown-category", marks_down()),
    "no iscrowd": (annotation(iscrowd=None), "schema", fails(evaluation, KeyError, "iscrowd")),
    "a crowd": (annotation(iscrowd=1), "crowd", fails(in_transformers, IndexError, "shape of the mask")),
    "a crowd, converted": (annotation(iscrowd=1), "crowd", in_ultralytics_are(LOST_ONE)),
    "no area": (annotation(area=None), "schema", fails(in_transformers, KeyError, "area")),
    "an area of 0": (annotation(area=0), "schema", is_lost_from_pycocotools_own_filter),
    "an area far off": (annotation(area=2000), "area", counts_as_medium),
    # boxes
    "a box without width": (annotation(bbox=[6, 4, 0, 12]), "schema", in_transformers_are(LOST_ONE)),
    "a box of three": (annotation(bbox=[6, 4, 14]), "schema", fails(targets, ValueError, "length 3")),
    "a box of text": (annotation(bbox=["6", "4", "14", "12"]), "schema", fails(targets, ValueError, "'str'")),
    "a box over the border": (annotation(bbox=[30, 4, 14, 12]), "outside-image", one_box_is_sanitised_away),
    "a box beyond the border": (annotation(bbox=[38, 4, 14, 12]), "outside-image",
                                in_ultralytics_are(REGIONS - 2, IMAGES - 1)),
    "a box half a pixel over": (change(TRAIN, "annotations", 1, bbox=[36.5, 26, 4, 4], segmentation=CORNER),
                                "outside-image", one_box_is_sanitised_away),
    "a box elsewhere": (annotation(bbox=[30, 20, 5, 5]), "box-and-mask", marks_down("bbox")),
    "a box too large": (annotation(bbox=[6, 4, 34, 28]), "box-and-mask", marks_down("bbox")),
    # polygons
    "boxes alone": (each("annotations", TRAIN, segmentation=lambda _: []), "only-boxes",
                    fails(targets, IndexError, "out of range")),
    "no polygon": (annotation(segmentation=[]), "empty-segmentation", fails(targets, IndexError, "out of range")),
    "a polygon of one point": (polygon(*[6, 4] * 4), "empty-segmentation", has_no_pixel_to_learn),
    "a polygon of four numbers": (polygon(6, 4, 20, 16), "schema", fails(targets, TypeError, "ndarray")),
    "an empty polygon": (polygon(), "schema", fails(targets, Exception, "input type is not supported")),
    "numbers without a polygon": (annotation(segmentation=[6, 4, 20, 4, 20, 16]), "schema",
                                  fails(targets, TypeError, "has no len")),
    "an odd polygon": (polygon(6, 4, 20, 4, 20, 16, 6), "odd-polygon",
                       fails(in_supervision, ValueError, "cannot reshape")),
    "a polygon over the border": (polygon(6, 4, 80, 4, 80, 16), "outside-image",
                                  in_ultralytics_are(REGIONS - 2, IMAGES - 1, segments=True)),
    "a polygon to and fro": (polygon(*[0, 0, 40, 32] * 100_000), "long-outline", takes_hundreds_of_megabytes),
    # run lengths
    "run lengths of another size": (counts([100, 152, 1028], (40, 32)), "rle-size",
                                    fails(targets, RuntimeError, "equal size")),
    "run lengths too long": (counts([100, 152, 1029]), "bad-rle", fails(targets, ValueError, "Invalid RLE")),
    "run lengths too short": (counts([100, 152]), "bad-rle", fails(in_supervision, ValueError, "the sum of")),
    "run lengths below 0": (counts([100, -152, 1332]), "schema", fails(targets, OverflowError, "-152")),
    "run lengths of garbage": (counts("hello world"), "bad-rle", fails(targets, ValueError, "Invalid RLE")),
    "no run lengths": (annotation(segmentation={"size": [32, 40]}), "schema", fails(targets, KeyError, "counts")),
    "compressed run lengths": (compressed, "compressed-rle",
                               fails(in_transformers, ValueError, "invalid literal for int")),
}  # fmt: skip


@pytest.mark.parametrize("name", TRAPS)
def test_a_reader_falls_into_the_trap_and_validate_names_it(name, copy):
    breaks, code, suffers = TRAPS[name]
    folder = copy("coco")
    assert codes(folder) == set()
    breaks(folder)
    assert code in codes(folder, "coco")
    suffers(folder)


def loses_nothing(folder: Path) -> None:
    for gets_all in (scores(1), scores(1, kind="bbox"), in_torchvision_are(REGIONS), in_transformers_are(REGIONS)):
        gets_all(folder)
    assert sum(len(detections) for *_, detections in in_supervision(folder)) == REGIONS


def test_without_a_trap_nothing_is_lost(copy):
    folder = copy("coco")
    loses_nothing(folder)
    scores(1, "val")(folder)
    in_ultralytics_are(REGIONS)(folder)


def test_every_finding_of_coco_is_proven():
    # RF-DETR's own package is the one that suffers from it: see test_rfdetr.py.
    assert codes_in("COCO") - {code for _, code, _ in TRAPS.values()} == {"missing-split"}


@pytest.mark.parametrize(
    "breaks",
    [
        all_of(each("images", TRAIN, id=lambda record: record["id"] - 1),
               each("annotations", TRAIN, image_id=lambda record: record["image_id"] - 1)),
        whole(info=None, licenses=None),
        each("categories", TRAIN, VAL, supercategory=lambda _: "none"),
    ],
    ids=["an image of id 0", "neither info nor licenses", "no supercategory"],
)  # fmt: skip
def test_what_is_no_trap_is_not_called_one(breaks, copy):
    """`info` is missed by the evaluation of pycocotools 2.0.9 and 2.0.10, but by none before or after."""
    folder = copy("coco")
    breaks(folder)
    assert codes(folder) == set()
    loses_nothing(folder)


def test_run_lengths_as_numbers_are_read_where_compressed_ones_fail(copy):
    folder = copy("coco-counts")
    assert codes(folder) == set()
    in_transformers_are(REGIONS)(folder)


def test_pycocotools_cuts_polygons_at_the_border(copy):
    """So one that reaches over it is a trap for others alone."""
    folder = copy("coco")
    polygon(-6, 4, 60, 4, 60, 16, -6, 16)(folder)
    coco = load_coco(folder / TRAIN)
    assert coco_mask.area(coco.annToRLE(coco.anns[1])) == 40 * 12


# --- Roboflow's layout -----------------------------------------------------------------------------------------------


def test_as_roboflow_numbers_them_one_annotation_is_lost(copy):
    """Images and annotations count from 0, and so do categories, the first of which only holds the others."""
    folder = copy("roboflow")
    loses_nothing(folder)
    root = {"id": 0, "name": "defects", "supercategory": "none"}
    for split in ("train", "valid"):
        file = folder / split / "_annotations.coco.json"
        document = json.loads(file.read_text())
        document["categories"].insert(0, root)
        for record in document["images"] + document["annotations"]:
            record["id"] -= 1
        for record in document["annotations"]:
            record["image_id"] -= 1
        file.write_text(json.dumps(document))
    assert codes(folder) == {"id-zero", "unused-category"}
    marks_down()(folder)
    in_torchvision_are(REGIONS)(folder)
    in_transformers_are(REGIONS)(folder)


def test_mvtecs_own_split_is_none_for_rf_detr(sound, tmp_path):
    """Its package (`build_roboflow_from_coco` in rfdetr/datasets/coco.py of github.com/roboflow/rf-detr, 1.11) opens
    `valid/_annotations.coco.json` when the training begins, and raises FileNotFoundError.
    """
    mc.to_coco(mc.load(sound / "tree"), tmp_path / "set", layout="roboflow", split="official")
    assert codes(tmp_path / "set") == {"missing-split", "no-annotations"}
    assert {path.parent.name for path in (tmp_path / "set").glob("*/_annotations.coco.json")} == {"train", "test"}
