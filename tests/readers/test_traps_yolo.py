"""Every trap is real: the trainer chokes on the broken dataset, or learns something else, and `validate` says so."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torchvision
from PIL import Image
from ultralytics.data.converter import convert_segment_masks_to_yolo_seg
from ultralytics.data.dataset import ClassificationDataset, GroundingDataset, YOLOMultiModalDataset
from ultralytics.data.utils import check_cls_dataset, check_det_dataset
from ultralytics.models.yolo.world import WorldTrainer

import mvtec_convert as mc
from tests.broken import draw_image, draw_tree, edit, remove, write
from tests.readers.ultralytics_reader import dataset_of, names_of, scan, settings

CUT = "labels/train/plate_cut_000.txt"
IMAGE = "images/train/plate_cut_000.png"
NAME = "plate_cut_000"
BOX = "0 0.325000 0.312500 0.350000 0.375000"
POLYGON = "0 0.1 0.1 0.5 0.1 0.5 0.5"
GROUNDING = "world/grounding_train.json"

# Ultralytics leaves a file open that Pillow could not verify.
pytestmark = pytest.mark.filterwarnings(
    "ignore:unclosed file:ResourceWarning",
    "ignore:Exception ignored in. <_io.FileIO:pytest.PytestUnraisableExceptionWarning",
)

Breaks = Callable[[Path], Any]
Suffers = Callable[[Path], None]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny tree in the forms that are broken here: 10 images in train, 6 of them with two regions each."""
    folder = tmp_path_factory.mktemp("tiny")
    draw_tree(folder / "tree")
    dataset = mc.load(folder / "tree")
    mc.to_yolo(dataset, folder / "yolo", world=True)
    mc.to_yolo(dataset, folder / "segment", task="segment", world=True)
    mc.to_yolo(dataset, folder / "classify", task="classify")
    return folder


@pytest.fixture
def copy(sound, tmp_path) -> Callable[[str], Path]:
    return lambda base: Path(shutil.copytree(sound / base, tmp_path / "set"))


def codes(folder: Path) -> set[str]:
    return {finding.code for finding in mc.validate(folder).findings}


# --- detect and segment: one image, or the start ---------------------------------------------------------------------


def row(text: str) -> Breaks:
    return edit(CUT, BOX, text)


def polygon_row(text: str) -> Breaks:
    return write(CUT, text)


def drops_the_image(folder: Path) -> None:
    """The image is gone from what is learnt, the others stay."""
    dataset = dataset_of(folder / "data.yaml", "train", "detect")
    assert NAME not in names_of(dataset)
    assert len(dataset) == 9
    (_, _, _, corrupt, _), said = scan(folder / "labels" / "train")
    assert corrupt == 1
    assert "ignoring corrupt image/label" in said[0]


def cannot_start(kind: type[Exception], match: str) -> Suffers:
    def suffers(folder: Path) -> None:
        with pytest.raises(kind, match=match):
            dataset_of(folder / "data.yaml", "val", "detect")

    return suffers


def loses_boxes(count: int, task: str = "detect") -> Suffers:
    """So many of the 12 boxes of train are left; no image is."""

    def suffers(folder: Path) -> None:
        dataset = dataset_of(folder / "data.yaml", "train", task)
        assert len(dataset) == 10
        assert sum(len(label["cls"]) for label in dataset.labels) == count

    return suffers


def loses_the_polygons(folder: Path) -> None:
    dataset = dataset_of(folder / "data.yaml", "train", "detect")
    assert not any(len(label["segments"]) for label in dataset.labels)
    with pytest.raises(ValueError, match="equal numbers of boxes and segments"):
        dataset_of(folder / "data.yaml", "train", "segment")


def needs_the_right_folder(folder: Path) -> None:
    """It starts only where the training is started in the dataset's folder."""
    with pytest.raises(FileNotFoundError):
        check_det_dataset(str(folder / "data.yaml"))


def gives_both_the_same_labels(folder: Path) -> None:
    dataset = dataset_of(folder / "data.yaml", "train", "detect")
    counts = [len(label["cls"]) for label in dataset.labels if Path(label["im_file"]).stem == NAME]
    assert counts == [2, 2]


def has_an_empty_box(folder: Path) -> None:
    dataset = dataset_of(folder / "data.yaml", "train", "segment")
    (label,) = [label for label in dataset.labels if Path(label["im_file"]).stem == NAME]
    assert label["bboxes"][0][2] == 0


def is_called_by_a_made_up_name(folder: Path) -> None:
    assert check_det_dataset(str(folder / "data.yaml"))["names"] == {0: "class_0", 1: "class_1"}


NAMES = "names:\n  0: cut\n  1: hole\n"
SOUND_ROWS = 12

TRAPS: dict[str, tuple[str, Breaks, str, Suffers]] = {
    # name: (export, what is done to it, code, what the reader does)
    "a coordinate above 1": ("yolo", row("0 0.5 1.2 0.1 0.1"), "out-of-range", drops_the_image),
    "pixels": ("yolo", row("0 20 16 14 12"), "out-of-range", drops_the_image),
    "a negative coordinate": ("yolo", row("0 -0.1 0.5 0.1 0.1"), "out-of-range", drops_the_image),
    "a class beyond the names": ("yolo", row(BOX.replace("0 ", "2 ", 1)), "unknown-class", drops_the_image),
    "a class with a fraction": ("yolo", row(BOX.replace("0 ", "0.5 ", 1)), "unknown-class", drops_the_image),
    "a row too short": ("yolo", row("0 0.5 0.5 0.1"), "row-length", drops_the_image),
    "a row with a confidence": ("yolo", row(BOX + " 0.9"), "row-length", drops_the_image),
    "a class name": ("yolo", row("cut 0.5 0.5 0.1 0.1"), "not-a-number", drops_the_image),
    "decimal commas": ("yolo", row("0 0,5 0,5 0,1 0,1"), "not-a-number", drops_the_image),
    "boxes and polygons in one file": ("yolo", row(f"{BOX}\n{POLYGON}"), "mixed-rows", drops_the_image),
    "labels in UTF-16": ("yolo", write(CUT, BOX.encode("utf-16")), "bad-label-file", drops_the_image),
    "an image cut short": ("yolo", lambda f: write(IMAGE, (f / IMAGE).read_bytes()[:1500])(f), "bad-image",
                           drops_the_image),
    "no image": ("yolo", write(IMAGE, "text"), "bad-image", drops_the_image),
    "an image below 10 px": ("yolo", lambda f: draw_image(f / IMAGE, size=(9, 40)), "tiny-image", drops_the_image),
    "a row twice": ("yolo", row(f"{BOX}\n{BOX}"), "duplicate-row", loses_boxes(SOUND_ROWS)),
    "labels in a folder of another name": ("yolo", lambda f: (f / "labels").rename(f / "label"), "no-boxes",
                                           loses_boxes(0)),
    "labels of another name": ("yolo", lambda f: (f / CUT).rename((f / CUT).with_stem("cut_000")), "orphan-label",
                               loses_boxes(SOUND_ROWS - 2)),
    "boxes here, polygons there": ("yolo", polygon_row(POLYGON), "mixed-rows", loses_the_polygons),
    "two images, one label file": ("yolo", lambda f: draw_image((f / IMAGE).with_suffix(".bmp"), 77), "shared-label",
                                   gives_both_the_same_labels),
    "a polygon without extent": ("segment", polygon_row("0 0.1 0.1 0.1 0.5 0.1 0.3\n"), "empty-polygon",
                                 has_an_empty_box),
    "no val": ("yolo", edit("data.yaml", "val: images/val\n", ""), "schema",
               cannot_start(SyntaxError, "'train' and 'val' are required")),
    "a val that is not there": ("yolo", edit("data.yaml", "val: images/val", "val: images/valid"), "no-split-folder",
                                cannot_start(FileNotFoundError, "images not found")),
    "a val without images": ("yolo", lambda f: [shutil.rmtree(f / "images/val"), (f / "images/val").mkdir()],
                             "empty-split", cannot_start(FileNotFoundError, "Error loading data")),
    "neither names nor nc": ("yolo", edit("data.yaml", NAMES, ""), "class-names",
                             cannot_start(SyntaxError, "either 'names' or 'nc'")),
    "a gap in the ids": ("yolo", edit("data.yaml", "1: hole", "1: hole\n  3: x"), "class-ids",
                         cannot_start(KeyError, "class indices")),
    "nc of other names": ("yolo", edit("data.yaml", "names", "nc: 3\nnames"), "class-count",
                          cannot_start(SyntaxError, "must match")),
    "nc without names": ("yolo", edit("data.yaml", NAMES, "nc: 2\n"), "class-names", is_called_by_a_made_up_name),
    "path: ." : ("yolo", edit("data.yaml", "train:", "path: .\ntrain:"), "yaml-path", needs_the_right_folder),
    "path of another machine": ("yolo", edit("data.yaml", "train:", "path: /data/x\ntrain:"), "yaml-path",
                                needs_the_right_folder),
    "a list relative to nowhere": ("yolo", lambda f: [write("list.txt", "images/val/plate_cut_001.png\n")(f),
                                   edit("data.yaml", "val: images/val", "val: list.txt")(f)], "list-path",
                                   cannot_start(RuntimeError, "No valid images found")),
}  # fmt: skip


@pytest.mark.parametrize("name", TRAPS)
def test_the_trainer_falls_into_the_trap_and_validate_names_it(name, copy, tmp_path, monkeypatch):
    base, breaks, code, suffers = TRAPS[name]
    folder = copy(base)
    assert codes(folder) == set()
    breaks(folder)
    assert code in codes(folder)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    suffers(folder)


def test_without_a_trap_nothing_is_lost(copy):
    folder = copy("yolo")
    loses_boxes(SOUND_ROWS)(folder)
    assert scan(folder / "labels" / "train") == ((10, 0, 4, 0, 10), [])


def test_a_label_cache_outlives_a_change_that_keeps_size_and_time(copy):
    # As `cp -p`, `rsync -t` and archives with fixed times do it.
    folder = copy("yolo")
    dataset_of(folder / "data.yaml", "train", "detect")
    time = (folder / CUT).stat().st_mtime_ns
    (folder / CUT).write_text((folder / CUT).read_text().replace("0 0.3", "1 0.3", 1))
    os.utime(folder / CUT, ns=(time, time))
    assert classes_of(folder) == [0, 0]
    assert "stale-cache" in codes(folder)
    (folder / "labels" / "train.cache").unlink()
    assert sorted(classes_of(folder)) == [0, 1]
    (folder / "labels" / "train.cache").unlink()
    assert codes(folder) == set()


def classes_of(folder: Path) -> list[int]:
    dataset = dataset_of(folder / "data.yaml", "train", "detect")
    (label,) = [label for label in dataset.labels if Path(label["im_file"]).stem == NAME]
    return [int(i) for i in label["cls"].ravel()]


def test_a_split_folder_that_is_a_link_loses_every_label(copy, tmp_path):
    folder = copy("yolo")
    (folder / "images" / "train").rename(tmp_path / "photographs")
    (folder / "images" / "train").symlink_to(tmp_path / "photographs")
    loses_boxes(0)(folder)
    assert "linked-folder" in codes(folder)


def test_a_dataset_that_is_a_link_as_a_whole_loses_nothing(copy, tmp_path):
    (tmp_path / "link").symlink_to(copy("yolo"))
    loses_boxes(SOUND_ROWS)(tmp_path / "link")
    (tmp_path / "link" / "labels" / "train.cache").unlink()
    assert codes(tmp_path / "link") == set()


def test_masks_of_0_and_255_give_empty_labels_in_ultralytics_own_converter(sound, tmp_path):
    masks = sound / "tree" / "plate" / "ground_truth" / "cut"
    assert set(Image.open(next(masks.iterdir())).tobytes()) == {0, 255}
    for seed, split in enumerate(("train", "val")):
        draw_image(tmp_path / "set" / "images" / split / "000_mask.png", seed)
        labels = tmp_path / "set" / "labels" / split
        labels.mkdir(parents=True)
        convert_segment_masks_to_yolo_seg(str(masks), str(labels), classes=1)
        assert [path.read_text() for path in labels.iterdir()] == [""] * 4
        for path in labels.glob("00[123]_mask.txt"):
            path.unlink()
    write("data.yaml", "train: images/train\nval: images/val\nnames: [cut]\n")(tmp_path / "set")
    assert "no-boxes" in codes(tmp_path / "set")
    assert sum(len(label["cls"]) for label in dataset_of(tmp_path / "set/data.yaml", "train", "detect").labels) == 0


# --- YOLO-World ------------------------------------------------------------------------------------------------------


def grounding_of(folder: Path, task: str = "detect") -> GroundingDataset:
    """The dataset that `WorldTrainerFromScratch` would build for train."""
    return GroundingDataset(img_path=str(folder / "images" / "train"), json_file=str(folder / GROUNDING), task=task,
                            imgsz=64, augment=True, hyp=settings())  # fmt: skip


def change(key: str, index: int, **values: Any) -> Breaks:
    def breaks(folder: Path) -> None:
        document = json.loads((folder / GROUNDING).read_text())
        document[key][index].update(values)
        (folder / GROUNDING).write_text(json.dumps(document))

    return breaks


def without_annotations(folder: Path) -> None:
    document = json.loads((folder / GROUNDING).read_text())
    (folder / GROUNDING).write_text(json.dumps({**document, "annotations": []}))


def world_cannot_start(kind: type[Exception], match: str) -> Suffers:
    def suffers(folder: Path) -> None:
        with pytest.raises(kind, match=match):
            grounding_of(folder)

    return suffers


def world_loses_boxes(count: int) -> Suffers:
    def suffers(folder: Path) -> None:
        assert sum(len(label["cls"]) for label in grounding_of(folder).labels) == count

    return suffers


def takes_the_box_for_the_mask(folder: Path) -> None:
    label = grounding_of(folder, "segment").labels[0]
    assert len(label["segments"][0]) == 4
    assert min(len(segment) for segment in label["segments"][1:]) > 4


def reads_another_phrase(folder: Path) -> None:
    texts = {text for label in grounding_of(folder).labels for (text,) in label["texts"]}
    assert texts == {"cut on plate", "hole on plate", "plate"}


RLE = {"size": [32, 40], "counts": [0, 1, 1279]}
WORLD_TRAPS: dict[str, tuple[Breaks, str, Suffers]] = {
    "no annotations": (without_annotations, "no-annotations", world_cannot_start(RuntimeError, "No images from")),
    "an unknown image": (change("annotations", 0, image_id=77), "unknown-image", world_cannot_start(KeyError, "77")),
    "no caption": (lambda f: [change("images", i, caption=None)(f) for i in range(10)], "schema",
                   world_cannot_start(TypeError, "subscriptable")),
    "a missing image": (remove(IMAGE), "missing-image", world_loses_boxes(SOUND_ROWS - 2)),
    "a crowd": (change("annotations", 0, iscrowd=1), "schema", world_loses_boxes(SOUND_ROWS - 1)),
    "an empty span": (change("annotations", 0, tokens_positive=[[3, 3]]), "caption-span",
                      world_loses_boxes(SOUND_ROWS - 1)),
    "a span that begins too late": (change("annotations", 0, tokens_positive=[[7, 99]]), "caption-span",
                                    reads_another_phrase),
    "run lengths": (change("annotations", 0, segmentation=RLE), "rle-mask", takes_the_box_for_the_mask),
}  # fmt: skip


@pytest.mark.parametrize("name", WORLD_TRAPS)
def test_yolo_world_falls_into_the_trap_and_validate_names_it(name, copy):
    breaks, code, suffers = WORLD_TRAPS[name]
    folder = copy("yolo")
    breaks(folder)
    assert code in codes(folder)
    suffers(folder)


def test_without_a_trap_yolo_world_loses_background_alone(copy):
    dataset = grounding_of(copy("yolo"))
    assert sum(len(label["cls"]) for label in dataset.labels) == SOUND_ROWS
    assert len(dataset) == 6


def test_mvtecs_own_split_gives_nothing_to_ground(sound, tmp_path):
    """Why `--world --split official` is refused: with an empty train, this is what would happen."""
    with pytest.raises(mc.MvtecConvertError, match="cannot start on a split without a box"):
        mc.to_yolo(mc.load(sound / "tree"), tmp_path / "out", world=True, split="official")
    mc.to_yolo(mc.load(sound / "tree"), tmp_path / "out", split="official")
    assert codes(tmp_path / "out") == {"no-boxes"}
    dataset = dataset_of(tmp_path / "out" / "data.yaml", "train", "detect", YOLOMultiModalDataset)
    assert set(dataset.category_freq.values()) == {0}
    document = {"images": [], "annotations": [], "categories": []}
    write("world/grounding_train.json", json.dumps(document))(tmp_path / "out")
    with pytest.raises(RuntimeError, match="No images from"):
        grounding_of(tmp_path / "out")


def test_a_slash_in_a_name_makes_two_names_of_it(copy):
    folder = copy("yolo")
    edit("data.yaml", "0: cut", "0: cut w/o edge")(folder)
    dataset = dataset_of(folder / "data.yaml", "train", "detect", YOLOMultiModalDataset)
    assert dataset.get_image_and_label(0)["texts"] == [["cut w", "o edge"], ["hole"]]
    assert "class-names" in codes(folder)


def test_a_space_beside_a_slash_ends_the_training(copy):
    folder = copy("yolo")
    edit("data_world.yaml", "0: ", "0: gash / ")(folder)
    assert "class-texts" in codes(folder)
    dataset = dataset_of(folder / "data_world.yaml", "train", "detect", YOLOMultiModalDataset)
    trainer = WorldTrainer.__new__(WorldTrainer)  # no more than what looks a text up
    trainer.device, trainer.args = torch.device("cpu"), SimpleNamespace(multi_scale=0.0)
    trainer.text_embeddings = {text: torch.zeros(512) for text in dataset.category_names}
    texts = [phrases[0] for phrases in dataset.get_image_and_label(0)["texts"]]
    with pytest.raises(KeyError, match="gash "):
        trainer.preprocess_batch({"img": torch.zeros(1, 3, 64, 64), "texts": [texts]})


# --- classify --------------------------------------------------------------------------------------------------------


def test_a_class_that_one_split_lacks_gets_another_id_there(copy):
    folder = copy("classify")
    remove("val/cut")(folder)
    train, val = (torchvision.datasets.ImageFolder(folder / split) for split in ("train", "val"))
    assert train.class_to_idx["hole"] != val.class_to_idx["hole"]
    assert codes(folder) == {"class-mismatch", "missing-file"}


def test_a_class_that_train_lacks_is_skipped(copy):
    folder = copy("classify")
    remove("train/cut")(folder)
    data = check_cls_dataset(folder)
    dataset = ClassificationDataset(data["val"], settings(), prefix="val", names=data["names"])
    assert {Path(path).parent.name for path, *_ in dataset.samples} == {"good", "hole"}
    assert codes(folder) == {"class-mismatch", "missing-file"}


def test_a_class_folder_without_images_stops_plain_imagefolder_but_keeps_the_ids(copy):
    folder = copy("classify")
    for path in (folder / "val" / "cut").iterdir():
        path.unlink()
    with pytest.raises(FileNotFoundError, match="cut"):
        torchvision.datasets.ImageFolder(folder / "val")
    assert torchvision.datasets.ImageFolder(folder / "val", allow_empty=True).class_to_idx["hole"] == 2
    assert codes(folder) == {"unused-class", "missing-file"}


@pytest.mark.parametrize(
    ("breaks", "code"),
    [
        (lambda f: shutil.copy(f / "train/cut/plate_cut_000.png", f / "train/beside.png"), "loose-image"),
        (write("train/cut/._plate_cut_000.png", b"\0\5\x16\7"), "bad-image"),
        (lambda f: draw_image(f / "train/cut/small.png", size=(9, 40)), "tiny-image"),
    ],
    ids=["beside the folders", "what macOS leaves", "below 10 px"],
)
def test_an_image_that_a_classifier_does_not_see_is_told(breaks, code, copy):
    folder = copy("classify")
    before = set(samples_of(folder))
    breaks(folder)
    assert set(samples_of(folder)) == before
    assert code in codes(folder)


def samples_of(folder: Path) -> list[str]:
    data = check_cls_dataset(folder)
    dataset = ClassificationDataset(data["train"], settings(), prefix="train", names=data["names"])
    return [path for path, *_ in dataset.samples]
