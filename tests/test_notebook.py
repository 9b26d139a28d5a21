"""What notebooks show: well-formed HTML on its own, with outlines that are the regions."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image, ImageDraw

import mvtec_convert as mc
from mvtec_convert.geometry.regions import annotate
from mvtec_convert.notebook import THUMBNAIL
from mvtec_convert.statistics import export_stats

SVG = "{http://www.w3.org/2000/svg}"


def parsed(html: str) -> ElementTree.Element:
    """HTML that is XML too."""
    assert "http://" not in html.replace(SVG.strip("{}"), "")
    assert "https://" not in html
    return ElementTree.fromstring(html)


def test_a_dataset_is_a_table_of_its_categories(sample_root: Path):
    root = parsed(mc.load(sample_root)._repr_html_())
    (carpet, *others) = root.findall("tbody/tr")
    assert [cell.text for cell in carpet] == [
        "carpet", "37", "10", "4", "23", "color, cut, hole, metal_contamination, thread",
    ]  # fmt: skip
    assert len(others) == 2


def test_good_images_for_validation_are_not_called_defective(tmp_path: Path):
    folders = ("train/good", "validation/good", "test/good", "test/logical_anomalies")
    for key in (*(f"{folder}/000.png" for folder in folders), "ground_truth/logical_anomalies/000/000.png"):
        path = tmp_path / "part" / key
        path.parent.mkdir(parents=True)
        Image.new("L", (8, 8), 255).save(path)
    root = parsed(mc.load(tmp_path, layout="mvtec_loco")._repr_html_())
    assert [cell.text for cell in root.findall("thead/tr/th")][2:6] == [
        "train good",
        "val good",
        "test good",
        "defective",
    ]
    assert [cell.text for cell in root.findall("tbody/tr/td")][1:6] == ["4", "1", "1", "1", "1"]


def test_a_sample_shows_its_image_and_its_exact_outlines(sample_root: Path):
    dataset = mc.load(sample_root).filter(category="carpet", defect_type="hole")
    for sample in dataset:
        figure = parsed(sample._repr_html_())
        svg = figure.find(f"{SVG}svg")
        image = annotate(sample)
        assert svg.get("viewBox") == f"0 0 {image.width} {image.height}"
        drawn = np.zeros((image.height, image.width), bool)
        for path in svg.findall(f"{SVG}path"):
            drawn ^= filled(path.get("d"), drawn.shape)
        assert (drawn == image.mask()).all()
        assert sample.key in figure.find("figcaption").text


def filled(path: str, shape: tuple[int, int]) -> np.ndarray:
    """The pixels whose centres lie in the rings, even-odd, drawn three times as large by Pillow."""
    inside = np.zeros(shape, bool)
    for ring in re.findall(r"M([^Z]+)Z", path):
        points = [tuple(3 * int(value) for value in point.split()) for point in ring.split("L")]
        canvas = Image.new("1", (3 * shape[1], 3 * shape[0]))
        ImageDraw.Draw(canvas).polygon(points, fill=1)
        inside ^= np.asarray(canvas)[1::3, 1::3]
    return inside


def test_the_picture_of_a_large_image_is_small(tmp_path: Path):
    folder = tmp_path / "part/train/good"
    folder.mkdir(parents=True)
    Image.new("RGB", (1200, 600), (200, 30, 30)).save(folder / "0.png")
    (sample,) = mc.load(tmp_path)
    svg = parsed(sample._repr_html_()).find(f"{SVG}svg")
    assert (svg.get("width"), svg.get("height")) == (str(THUMBNAIL), str(THUMBNAIL // 2))
    data = svg.find(f"{SVG}image").get("href").split("base64,")[1]
    with Image.open(io.BytesIO(base64.b64decode(data))) as thumbnail:
        assert thumbnail.size == (THUMBNAIL, THUMBNAIL // 2)
        assert np.abs(np.asarray(thumbnail).astype(int) - (200, 30, 30)).max() < 5


@pytest.mark.parametrize("mode", ["L", "I;16", "RGBA", "P"])
def test_any_kind_of_image_can_be_shown(tmp_path: Path, mode: str):
    folder = tmp_path / "part/train/good"
    folder.mkdir(parents=True)
    Image.new(mode, (30, 20)).save(folder / "0.png")
    (sample,) = mc.load(tmp_path)
    assert parsed(sample._repr_html_()).find(f"{SVG}svg") is not None


def test_a_sample_that_cannot_be_read_says_why(tmp_path: Path):
    folder = tmp_path / "part/train/good"
    folder.mkdir(parents=True)
    (folder / "0.png").write_bytes(b"<b>no image</b>")
    (sample,) = mc.load(tmp_path)
    assert "not an image" in parsed(sample._repr_html_()).text


def test_statistics_of_sources_and_exports_show_every_table(sample_root: Path, tmp_path: Path):
    dataset = mc.load(sample_root / "carpet")
    mc.to_coco(dataset, tmp_path / "out")
    for found in (mc.stats(dataset), export_stats(tmp_path / "out")):
        root = parsed(found._repr_html_())
        titles = [part.text for part in root.iter() if part.tag in {"caption", "summary"}]
        assert titles == [table.title for table in found.tables()]
        assert [paragraph.text for paragraph in root.findall("p") if paragraph.text] == found.sentences()


def test_names_cannot_write_html(tmp_path: Path):
    folder = tmp_path / "<script>x" / "train/good"
    folder.mkdir(parents=True)
    Image.new("RGB", (9, 9)).save(folder / "0.png")
    dataset = mc.load(tmp_path)
    for shown in (dataset, dataset.samples[0], mc.stats(dataset)):
        assert "<script>" not in shown._repr_html_()
