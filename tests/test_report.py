"""The report: what is on the page agrees with the files, whatever these are called; the browser is in tests/browser."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import shutil
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from PIL import Image

import mvtec_convert as mc
from mvtec_convert import reports
from mvtec_convert.cli.app import run
from mvtec_convert.errors import ExtraMissingError, OutputError, SelectionError
from mvtec_convert.geometry.polygons import edge_outlines
from mvtec_convert.geometry.regions import RegionOptions, find_regions
from mvtec_convert.labelled import LabelledImage, LabelledObject
from mvtec_convert.reports import charts, figures, report
from mvtec_convert.reports.cards import SIZES, Facet, card_of
from mvtec_convert.reports.gallery import choose, thumbnail
from mvtec_convert.reports.heat import heat_map
from mvtec_convert.reports.pictures import CELLS, Picture, coverage, path_data, picture
from tests.broken import draw_image, draw_tree, save
from tests.exports import regions_of, true_masks
from tests.strategies import defects

HOSTILE = "<script>alert(1)<!-- ' \" & {{7*7}} $x^2$ 孔\u202e"
"""A name for a file, a category or a class; Linux allows it."""


class Page(HTMLParser):
    """A page, taken apart by the standard library.

    Attributes:
        elements: (tag, attributes) in order.
        texts: what stands directly in the elements, by their tag.
    """

    VOID = frozenset({"meta", "img", "input"})

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.text = path.read_text(encoding="utf-8")
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self._open: list[str] = []
        self.feed(self.text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag, tag

    def handle_data(self, data):
        if data.strip():
            self.texts.setdefault(self._open[-1], []).append(data.strip())

    def of_class(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for _, attributes in self.elements if name in (attributes.get("class") or "").split()]

    def cards(self) -> dict[str, dict[str, str | None]]:
        return {str(card["data-key"]): card for card in self.of_class("card")}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("drawn") / "tree"
    draw_tree(root)
    return root


@pytest.fixture(scope="module")
def page(drawn, tmp_path_factory) -> Page:
    out = tmp_path_factory.mktemp("page") / "report.html"
    report(mc.load(drawn), out)
    return Page(out)


# --- the page --------------------------------------------------------------------------------------------------------


def test_nothing_is_loaded_from_anywhere(page):
    assert "://" not in page.text
    linked = [
        value
        for _, attributes in page.elements
        for name, value in attributes.items()
        if name in {"src", "href", "srcset", "action", "data", "xlink:href"}
    ]
    assert linked
    assert all(value.startswith(("data:image/", "#")) for value in linked)
    assert all(address.startswith(("data:image/", "#")) for address in re.findall(r"url\(([^)]*)", page.text))
    assert "@import" not in page.text


def test_the_policy_lets_its_own_script_run_and_no_other(page):
    (script,) = re.findall(r"<script>(.*?)</script>", page.text, flags=re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = next(a["content"] for tag, a in page.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]


def test_names_of_elements_occur_once_and_what_is_referred_to_exists(page):
    ids = Counter(attributes["id"] for _, attributes in page.elements if "id" in attributes)
    assert set(ids.values()) == {1}
    named = {a[key] for _, a in page.elements for key in ("aria-labelledby", "for") if key in a}
    named |= {a["href"][1:] for tag, a in page.elements if tag == "a"}
    named |= set(re.findall(r"url\(#([^)]+)\)", page.text))
    assert named <= ids.keys()


def test_every_image_of_the_dataset_is_a_card_with_what_it_is(page, drawn):
    cards = page.cards()
    files = {path.relative_to(drawn).as_posix() for path in drawn.glob("*/t*/*/*.png")}
    assert cards.keys() == files
    regions = {name: len(regions_of(mask)) for name, (_, mask) in true_masks(drawn).items()}
    links = {a["href"]: a["aria-label"] for tag, a in page.elements if tag == "a" and a.get("class") == "open"}
    for key, card in cards.items():
        category, split, defect, name = key.split("/")
        count = regions.get(f"{category}_{defect}_{Path(name).stem}", 0)
        counted = f", {count} regions" if count else ""
        assert links[f"#{card['id']}"] == f"Enlarge {defect}/{name}: {category}, {defect}, {split}{counted}"


def test_the_head_of_the_page_counts(page, drawn):
    masks = true_masks(drawn)
    images = len([*drawn.glob("*/t*/*/*.png")])
    regions = sum(len(regions_of(mask)) for _, mask in masks.values())
    told = dict(zip(page.texts["dt"], map(int, page.texts["dd"]), strict=True))
    types = len({defect for defect, _ in masks.values()})
    assert told == {
        "images": images,
        "defective": len(masks),
        "good": images - len(masks),
        "regions": regions,
        "defect types": types,
    }


def test_the_statistics_are_there_in_full(page, drawn):
    statistics = mc.stats(mc.load(drawn))
    assert [text for text in page.texts["li"] if text in statistics.sentences()] == statistics.sentences()
    titles = {table.title for table in statistics.tables()}
    assert titles <= set(page.texts["summary"])


def test_areas_and_boxes_are_those_of_the_masks(page, drawn):
    told = Counter(shape["data-about"] for shape in page.of_class("shape"))
    expected = Counter()
    for defect, mask in true_masks(drawn).values():
        for region in regions_of(mask):
            ys, xs = np.nonzero(region)
            width, height = xs.max() + 1 - xs.min(), ys.max() + 1 - ys.min()
            share = f"{100 * region.sum() / region.size:.3g}"
            expected[f"{defect}\nx {xs.min()}, y {ys.min()}, {width} x {height} px", region.sum(), share] += 1
    found = Counter()
    for text, count in told.items():
        head, area, share = re.fullmatch(r"(.+)\narea ([\d,]+) px, ([\d.]+) % of the image", text, re.DOTALL).groups()
        found[head, int(area.replace(",", "")), f"{float(share):.3g}"] += count
    assert {(head, area) for head, area, _ in found} == {(head, area) for head, area, _ in expected}
    assert found.total() == expected.total()


def test_names_cannot_become_markup(tmp_path):
    root = tmp_path / HOSTILE
    draw_tree(root)
    (root / "plate" / "test" / "good" / "000.png").rename(root / "plate" / "test" / "good" / f"{HOSTILE}.png")
    for folder in ("test", "ground_truth"):
        (root / "plate" / folder / "cut").rename(root / "plate" / folder / HOSTILE)
    (root / "plate").rename(root / f"a{HOSTILE}")
    draw_image(root / "other" / "train" / "good" / "000.png", 5)
    source = mc.load(root)
    plain, hostile = tmp_path / "plain.html", tmp_path / "hostile.html"
    draw_tree(tmp_path / "tree")
    draw_image(tmp_path / "tree" / "other" / "train" / "good" / "000.png", 5)
    report(mc.load(tmp_path / "tree"), plain)
    report(source, hostile, title=HOSTILE)
    page = Page(hostile)
    assert Counter(tag for tag, _ in page.elements) == Counter(tag for tag, _ in Page(plain).elements)
    shown = HOSTILE.replace("\u202e", "\\u202e")
    assert page.texts["h1"] == [shown]
    assert {shown, f"a{shown}"} <= {*page.texts["option"]}
    assert f"a{shown}/test/good/{shown}.png" in page.cards()


def test_an_export_of_any_format_becomes_a_page(exported, tmp_path):
    name, folder, kinds = exported
    written = report(folder, tmp_path / "page.html")
    page = Page(written.out)
    assert not written.unreadable
    assert {"mask", "outline"} >= kinds
    assert bool(page.of_class("mask")) == ("mask" in kinds)
    assert bool(page.of_class("polygon")) == bool(kinds)
    assert len(page.cards()) == written.shown == written.images > 0
    layers = {a["data-layer"] for _, a in page.elements if "data-layer" in a}
    assert ("prompts" in layers) == bool(page.of_class("prompt")) == (name in {"sam", "sam2"})


KINDS = {
    "yolo": ("to_yolo", {}, set()),
    "segment": ("to_yolo", {"task": "segment"}, {"mask", "outline"}),
    "obb": ("to_yolo", {"task": "obb"}, {"outline"}),
    "classify": ("to_yolo", {"task": "classify"}, set()),
    "coco": ("to_coco", {}, {"mask"}),
    "sam": ("to_sam", {"points": 2, "negatives": 1, "box_jitter": 2.0}, {"mask"}),
    "sam2": ("to_sam", {"layout": "sam2"}, {"mask"}),
    "saco": ("to_sam", {"layout": "saco"}, {"mask"}),
}


@pytest.fixture(params=KINDS)
def exported(request, drawn, tmp_path) -> tuple[str, Path, set[str]]:
    """(name, folder, what is drawn of its labels)."""
    function, options, kinds = KINDS[request.param]
    getattr(mc, function)(mc.load(drawn), tmp_path / "export", **options)
    return request.param, tmp_path / "export", kinds


# --- the file --------------------------------------------------------------------------------------------------------


def test_the_same_dataset_gives_the_same_bytes(drawn, tmp_path):
    copy = Path(shutil.copytree(drawn, tmp_path / "elsewhere" / drawn.name))
    (tmp_path / "there").mkdir()
    first = report(mc.load(drawn), tmp_path / "a.html", jobs=1)
    second = report(mc.load(copy), tmp_path / "there" / "b.html", jobs=3)
    assert first.out.read_bytes() == second.out.read_bytes()
    assert first.size == len(first.out.read_bytes())


def test_only_a_report_is_replaced(drawn, tmp_path):
    source = mc.load(drawn)
    out = tmp_path / "page.html"
    report(source, out, title="first")
    report(source, out, title="second")
    assert "second" in Page(out).texts["h1"]
    out.write_text("<p>mine</p>")
    with pytest.raises(OutputError, match="not a report of this tool"):
        report(source, out)
    assert out.read_text() == "<p>mine</p>"
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("page", "ends in .html"),
        ("page.png", "ends in .html"),
        ("tree/page.html", "cannot lie in the dataset"),
        ("tree/plate/test/page.html", "cannot lie in the dataset"),
        ("folder.html", "already there"),
        ("link.html", "already there"),
        ("missing/page.html", "no such folder"),
    ],
)
def test_places_where_a_report_must_not_be(tmp_path, name, reason):
    draw_tree(tmp_path / "tree")
    (tmp_path / "folder.html").mkdir()
    (tmp_path / "link.html").symlink_to(tmp_path / "elsewhere.html")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(OutputError, match=reason):
        report(mc.load(tmp_path / "tree"), tmp_path / name)
    assert sorted(tmp_path.rglob("*")) == before


def test_without_its_libraries_it_says_what_to_install(drawn, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(reports, "find_spec", lambda name: None if name == "matplotlib" else SimpleNamespace())
    with pytest.raises(ExtraMissingError, match="matplotlib"):
        report(mc.load(drawn), tmp_path / "page.html")
    assert run(["report", str(drawn), "--out", str(tmp_path / "page.html")]) == 2
    assert "pip install 'mvtec-convert[report]'" in capsys.readouterr().err


def test_files_that_cannot_be_read_are_told_and_the_rest_is_shown(tmp_path, capsys):
    draw_tree(tmp_path / "tree")
    (tmp_path / "tree/plate/ground_truth/cut/000_mask.png").write_bytes(b"no image")
    image = tmp_path / "tree/plate/train/good/000.png"
    image.write_bytes(image.read_bytes()[:-400])
    out = tmp_path / "page.html"
    assert run(["report", str(tmp_path / "tree"), "--out", str(out)]) == 0
    page = Page(out)
    whole = len([*tmp_path.glob("tree/*/t*/*/*.png")])
    assert len(page.cards()) == whole - 1
    assert len(page.of_class("missing")) == 1
    assert any(text.startswith("plate/ground_truth/cut/000_mask.png: ") for text in page.texts["li"])
    told = capsys.readouterr()
    assert f"images    {whole - 1}" in told.out
    assert "1 image without pixels, which cannot be read: plate/train/good/000.png" in told.err


def test_the_command_names_the_page_after_the_dataset(drawn, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MVTEC_ROOT", str(drawn))
    assert run(["report", "--title", "My parts", "--images", "4"]) == 0
    assert "images    4 of " in capsys.readouterr().out
    page = Page(tmp_path / "plate-report.html")
    assert (page.texts["title"], len(page.cards())) == (["My parts"], 4)
    assert "4 of " in "".join(page.texts["p"])
    mc.to_coco(mc.load(drawn), tmp_path / "boxes")
    assert run(["report", "boxes"]) == 0
    assert "coco export" in Page(tmp_path / "boxes-report.html").text
    assert run(["report", "boxes", "--category", "plate"]) == 2
    assert "--category" in capsys.readouterr().err
    with pytest.raises(SelectionError):
        report(mc.load(drawn), "page.html", images=-1)


# --- which images, and their pixels ----------------------------------------------------------------------------------


def textured(size: tuple[int, int], seed: int = 0) -> np.ndarray:
    """Shape (height, width, 3): a photograph of a rough surface, nearly."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(60, 200, (size[1] // 4, size[0] // 4), np.uint8))
    return np.asarray(small.resize(size, Image.Resampling.BICUBIC).convert("RGB"))


def shown(image: Path, mask: np.ndarray) -> Picture:
    """The picture of an image file with the regions of a mask."""
    regions = find_regions(mask, RegionOptions())
    objects = tuple(LabelledObject("hole", (r.x, r.y, r.x + r.width, r.y + r.height), r) for r in regions)
    height, width = mask.shape
    labelled = LabelledImage(image, image.name, image.stem, "test", width, height, objects)
    return picture(labelled, "carpet", "good")


def decoded(uri: str) -> np.ndarray:
    kind, data = uri.split(",", 1)
    assert kind == "data:image/webp;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        return np.asarray(image.convert("RGB")).astype(float)


@pytest.mark.parametrize("most", [4_000, 25_000, 200_000])
def test_a_thumbnail_keeps_to_its_bytes_and_shows_the_image(tmp_path, most):
    pixels = textured((1024, 768))
    save(pixels, tmp_path / "image.png")
    made = thumbnail(shown(tmp_path / "image.png", np.zeros((768, 1024), np.uint8)), most)
    assert most / 4 < len(made.whole.uri) <= most
    found = decoded(made.whole.uri)
    assert found.shape[1::-1] == made.whole.stored
    true = np.asarray(Image.fromarray(pixels).resize(made.whole.stored, Image.Resampling.LANCZOS)).astype(float)
    assert np.abs(found - true).mean() < 12


def test_a_small_image_is_not_made_larger(tmp_path):
    save(textured((96, 64)), tmp_path / "image.png")
    made = thumbnail(shown(tmp_path / "image.png", np.eye(64, 96, dtype=np.uint8)), 100_000)
    assert (made.whole.stored, made.details) == ((96, 64), ())


def test_a_tiny_defect_is_shown_in_its_own_pixels(tmp_path):
    pixels = textured((1024, 1024))
    mask = np.zeros((1024, 1024), np.uint8)
    mask[700:706, 300:310] = 1
    save(pixels, tmp_path / "image.png")
    made = thumbnail(shown(tmp_path / "image.png", mask), 16_000)
    (detail,) = made.details
    assert len(made.whole.uri) + len(detail.uri) <= 16_000
    assert detail.x <= 290
    assert detail.x + detail.width >= 320
    true = pixels[detail.y : detail.y + detail.height, detail.x : detail.x + detail.width].astype(float)
    whole = Image.fromarray(decoded(made.whole.uri).astype(np.uint8)).resize((1024, 1024), Image.Resampling.BICUBIC)
    blurred = np.asarray(whole.crop((detail.x, detail.y, detail.x + detail.width, detail.y + detail.height)))
    assert np.abs(decoded(detail.uri) - true).mean() < np.abs(blurred - true).mean() / 2


def test_a_page_keeps_to_its_bytes(tmp_path, monkeypatch):
    """Of photographs of a rough surface, with masks of many corners; a twentieth of what a page may have."""
    monkeypatch.setattr(reports, "PAGE_BYTES", reports.PAGE_BYTES // 20)
    pixels, mask = textured((512, 512)), np.zeros((512, 512), np.uint8)
    mask[100:140, 100:140] = np.random.default_rng(0).integers(0, 2, (40, 40))
    draw_image(tmp_path / "tree/carpet/train/good/000.png")
    for number in range(20):
        save(pixels, tmp_path / f"tree/carpet/test/hole/{number:03}.png")
        save(mask, tmp_path / f"tree/carpet/ground_truth/hole/{number:03}_mask.png")
    written = report(mc.load(tmp_path / "tree"), tmp_path / "page.html", images=20)
    assert (written.shown, written.images) == (20, 21)
    assert reports.PAGE_BYTES / 2 < written.size <= reports.PAGE_BYTES


def pictures(counts: dict[tuple[str, str, str], int]) -> list[Picture]:
    """So many of each (category, type, split)."""
    return [
        Picture(
            LabelledImage(Path("x"), f"{category}/{kind}/{split}/{i:03}", "x", split, 8, 8), category, (kind,),
            kind != "good", (),
        )
        for (category, kind, split), count in counts.items()
        for i in range(count)
    ]  # fmt: skip


def test_a_choice_shows_each_kind_then_defects_then_good_ones():
    every = pictures(
        {("a", "good", "train"): 50, ("a", "hole", "test"): 9, ("a", "cut", "test"): 2, ("b", "hole", "test"): 5}
    )
    kinds = [("a", "good"), ("a", "hole"), ("a", "cut"), ("b", "hole")]
    for most, expected in {
        3: [0, 1, 1, 1], 4: [1, 1, 1, 1], 7: [1, 2, 2, 2], 17: [1, 9, 2, 5], 20: [4, 9, 2, 5], 99: [50, 9, 2, 5],
    }.items():  # fmt: skip
        chosen = choose(every, most)
        counts = Counter((picture.category, *picture.types) for picture in chosen)
        assert [counts[kind] for kind in kinds] == expected, most
        assert [p.key for p in every if p in chosen] == [p.key for p in chosen]
        assert {p.key for p in choose(every[::-1], most)} == {p.key for p in chosen}


# --- outlines, maps and charts ---------------------------------------------------------------------------------------


def filled(path: str, shape: tuple[int, int]) -> np.ndarray:
    """SVG path data of level and upright steps, filled by the even-odd rule: pixel centres right of an odd number of
    upright walls."""
    crossings = np.zeros((shape[0], shape[1] + 1), int)
    for ring in path.split("z")[:-1]:
        x, y = map(int, re.match(r"M(-?\d+) (-?\d+)", ring).groups())
        start = (x, y)
        for letter, step in re.findall(r"([hv])(-?\d+)", ring):
            if letter == "v":
                crossings[slice(*sorted((y, y + int(step)))), x] += 1
                y += int(step)
            else:
                x += int(step)
        crossings[slice(*sorted((y, start[1]))), x] += 1  # the closing step, level or upright
        assert start[0] == x or start[1] == y
    return (crossings.cumsum(axis=1) % 2)[:, :-1]


@given(defects())
def test_outlines_as_path_data_fill_to_the_mask(mask):
    for region in find_regions(mask, RegionOptions()):
        rings = [ring for outline in edge_outlines(region) for ring in (outline.outer, *outline.holes)]
        whole = np.zeros_like(mask)
        whole[region.y : region.y + region.height, region.x : region.x + region.width] = region.crop
        assert (filled(path_data(rings), mask.shape) == whole).all()


def test_path_data_is_short_and_keeps_hundredths():
    square = np.array([(1, 2), (4, 2), (4, 6), (1, 6)])
    assert path_data([square]) == "M1 2h3v4h-3z"
    turned = np.array([(0.5, 0.333), (10.127, 0.333), (3.25, -1.999)])
    assert path_data([turned]) == "M0.5 0.33h9.63l-6.88 -2.33z"
    assert path_data([]) == ""


def test_coverage_is_the_share_of_each_cell():
    image = shown(Path("x.png"), np.zeros((2 * CELLS, 4 * CELLS), np.uint8)).image
    mask = np.zeros((2 * CELLS, 4 * CELLS), np.uint8)
    mask[10:12, 40:44] = 1  # all of one cell
    mask[20, 80] = 1  # an eighth of another
    regions = find_regions(mask, RegionOptions())
    objects = [LabelledObject("hole", (0, 0, 1, 1), region) for region in regions]
    box = LabelledObject("cut", (-3.0, 2 * CELLS - 4.0, 4.0, 2 * CELLS + 9.0))
    found = coverage(LabelledImage(Path("x"), "x", "x", "test", image.width, image.height, (*objects, objects[0], box)))
    expected = np.zeros((CELLS, CELLS))
    expected[5, 10], expected[10, 20], expected[-2:, 0] = 1, 1 / 8, 1
    assert np.allclose(found, expected)


@pytest.mark.parametrize("size", [(7, 5), (48, 49), (1, 1), (301, 12)])
def test_what_covers_all_of_an_image_covers_every_cell(size):
    region = find_regions(np.ones(size[::-1], np.uint8), RegionOptions())[0]
    for item in (LabelledObject("box", (0, 0, *size)), LabelledObject("mask", (0, 0, 1, 1), region)):
        assert (coverage(LabelledImage(Path("x"), "x", "x", "test", *size, (item,))) == 1).all()


def test_a_heat_map_is_as_strong_as_the_share_of_images():
    covered = np.zeros((CELLS, CELLS), np.float32)
    covered[3, 5], covered[8, 9] = 4, 1
    found = heat_map("carpet", covered, 8, (640, 480))
    assert (found.peak, found.images) == (0.5, 8)
    with Image.open(io.BytesIO(base64.b64decode(found.uri.split(",")[1]))) as image:
        opacity = np.asarray(image.convert("LA"))[..., 1]
    assert (opacity[3, 5], opacity[8, 9], opacity.sum()) == (255, 64, 255 + 64)


def bars(svg: str) -> list[float]:
    """The lengths of the coloured bars of a chart, in order."""
    paths = re.findall(r'd="M ([\d.]+) [\d.]+\s+L ([\d.]+) [^"]*"[^>]*style="fill: var\(--series', svg)
    return [float(end) - float(start) for start, end in paths]


def test_bars_are_in_proportion_and_in_the_order_of_the_splits():
    images = {"good": ["train"] * 6 + ["test"] * 2, "hole": ["test"] * 3}
    with charts.style():
        chart = charts.images_per_type("carpet", images, ["train", "test"])
    lengths = np.array(bars(chart.svg))
    assert np.allclose(lengths / lengths[0] * 6, [6, 0, 2, 3], atol=1e-3)
    texts = [element.text for element in ElementTree.fromstring(chart.svg).iter("text")]
    assert texts == ["good", "hole", "8", "3"]


def test_the_tail_is_sorted_and_says_its_ends():
    with charts.style():
        few = charts.long_tail("few", {"rare": 1, "most": 9, "some": 3})
        many = charts.long_tail("many", {f"class {i:02}": 100 - i for i in range(60)})
    assert np.allclose(np.array(bars(few.svg)) / bars(few.svg)[2], [9, 3, 1], atol=1e-2)
    label = ElementTree.fromstring(many.svg).attrib["aria-label"]
    assert label == "many: 60 classes, from class 00 (100 images) to class 59 (41)"
    assert many.svg.count("class ") < 10


def test_names_at_the_ends_of_a_long_tail_stand_on_no_bar():
    counts = {f"class {i:02}": 90 - i for i in range(59)} | {"the last of all": 1}
    with charts.style():
        svg = ElementTree.fromstring(charts.long_tail("many", counts).svg)
    (bars_,) = [path for path in svg.iter("path") if "--series-1" in path.attrib.get("style", "")]
    corners = [tuple(map(float, point)) for point in re.findall(r"L ([\d.]+) ([\d.]+)", bars_.attrib["d"])]
    names = {text.text: (float(text.attrib["x"]), float(text.attrib["y"])) for text in svg.iter("text")}
    (left, first), (right, last) = names["class 00"], names["the last of all"]
    assert first < min(y for x, y in corners if x < left + 50)
    assert last < min(y for x, y in corners if x > right - 80)  # 15 letters of a font of 11 px


def test_where_a_chart_has_not_all_rows_it_says_so():
    few, many = {f"t{i}": [1.0] for i in range(24)}, {f"t{i}": [1.0] for i in range(25)}
    assert figures._on_rows([few]) == ""
    assert figures._on_rows([few, many]) == "The 24 most frequent are shown."


def test_rings_are_for_what_must_be_looked_for(tmp_path):
    few, many = np.zeros((400, 400), np.uint8), np.zeros((400, 400), np.uint8)
    few[::80, ::80] = many[::40, ::40] = 255
    for mask, ringed in ((few, 25), (many, 0)):
        found = shown(tmp_path / "image.png", mask)
        names = {"category": ("carpet",), "type": ("hole",), "split": ("test",), "size": SIZES}
        card = card_of(found, None, {name: Facet(name, name, values) for name, values in names.items()})
        assert sum(each.ring is not None for each in card.shapes) == ringed


def test_charts_take_their_colours_from_the_page():
    with charts.style():
        chart = charts.region_sizes("carpet", {"hole": [5.0, 2000.0, 400000.0], "cut": [0.0]}, (0.0, 400000.0))
    colours = set(re.findall(r"(?:fill|stroke): ([^;\"]+)", chart.svg))
    assert colours <= {"none", *(f"var({name})" for name in charts.VARIABLES.values())}
    assert "small" in chart.svg
    assert "large" in chart.svg


def test_charts_are_the_same_whatever_the_user_set(monkeypatch):
    def draw() -> str:
        with charts.style():
            return charts.long_tail("x", {HOSTILE: 3, "b": 1}).svg

    first = draw()
    monkeypatch.setitem(charts.matplotlib.rcParams, "axes.grid", True)
    monkeypatch.setitem(charts.matplotlib.rcParams, "font.size", 30)
    assert draw() == first
    assert charts.matplotlib.rcParams["font.size"] == 30
    assert json.dumps(first)
