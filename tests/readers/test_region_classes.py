"""Readers take several classes on one image as they were drawn: each region its own class, mask and phrase."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from ultralytics.data.dataset import GroundingDataset

import mvtec_convert as mc
from tests.exports import regions_of
from tests.readers.ultralytics_reader import dataset_of, names_of, sample_of, settings

NAMES = {1: "scratch", 2: "dent", 3: "crack"}
SIZE = (96, 64)  # width, height, px
COUNT = 8

Parts = dict[str, list[tuple[str, bytes]]]
"""(class, mask as bytes) of the regions of each image, by the name that exports give it; sorted."""


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[mc.Dataset, Parts]:
    """Images with rectangles of three values over one another, and what is in them, found without the package."""
    root = tmp_path_factory.mktemp("values") / "parts"
    for folder in ("photos", "masks"):
        (root / folder).mkdir(parents=True)
    truth: Parts = {}
    for i in range(COUNT):
        rng = np.random.default_rng(i)
        codes = np.zeros(SIZE[::-1], np.uint8)
        for value in (1, 2, 3, 2):
            y, x = rng.integers(4, SIZE[1] - 24), rng.integers(4, SIZE[0] - 30)
            codes[y : y + rng.integers(6, 20), x : x + rng.integers(6, 26)] = value
        Image.fromarray(rng.integers(60, 190, (*SIZE[::-1], 3), dtype=np.uint8)).save(root / "photos" / f"{i}.png")
        Image.fromarray(codes).save(root / "masks" / f"{i}.png")
        truth[f"parts_defect_{i}"] = sorted(
            (name, part.tobytes())
            for value, name in NAMES.items()
            for part in regions_of((codes == value).astype(np.uint8))
        )
    values = "".join(f'{value} = "{name}"\n' for value, name in NAMES.items())
    (root / "mvtec-convert.toml").write_text(f'images = "photos/*"\nmasks = "masks/{{stem}}.png"\n[values]\n{values}')
    assert any(len({name for name, _ in parts}) == 3 for parts in truth.values())
    return mc.load(root), truth


@pytest.fixture(scope="module")
def out(drawn: tuple[mc.Dataset, Parts], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("out") / "yolo"
    mc.to_yolo(drawn[0], folder, task="segment", world=True)
    return folder


def test_ultralytics_reads_each_mask_with_its_class(drawn, out):
    names = dict(enumerate(mc.class_names(out)))
    found = {}
    for split in ("train", "val"):
        dataset = dataset_of(out / "data.yaml", split, "segment")
        for index, name in enumerate(names_of(dataset)):
            read = sample_of(dataset, index, "segment")
            masks = read["masks"].numpy().astype(np.uint8)
            classes = [names[int(i)] for i in read["cls"].ravel()]
            found[name] = sorted(zip(classes, (mask.tobytes() for mask in masks), strict=True))
    assert found == drawn[1]


def test_grounding_gives_each_region_the_phrase_of_its_class(drawn, out):
    found = {}
    for split in ("train", "val"):
        dataset = GroundingDataset(
            img_path=str(out / "images" / split), json_file=str(out / "world" / f"grounding_{split}.json"),
            task="segment", imgsz=96, augment=False, hyp=settings(),
        )  # fmt: skip
        for index, name in enumerate(names_of(dataset)):
            texts = [text[0] for text in dataset.labels[index]["texts"]]
            read = sample_of(dataset, index, "segment")
            asked = [texts[int(i)].removesuffix(" on parts") for i in read["cls"].ravel()]
            masks = read["masks"].numpy().astype(np.uint8)
            found[name] = sorted(zip(asked, (mask.tobytes() for mask in masks), strict=True))
    assert found == drawn[1]


def test_a_caption_names_every_class_once(drawn, out):
    for path in (out / "world").glob("grounding_*.json"):
        for image in json.loads(path.read_text())["images"]:
            shown = {name for name, _ in drawn[1][Path(image["file_name"]).stem]}
            assert image["caption"] == ". ".join(f"{name} on parts" for name in sorted(shown))
