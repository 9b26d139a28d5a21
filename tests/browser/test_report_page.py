"""The report in a real browser: filters filter, outlines lie on the masks to the pixel, keys work, contrast passes."""

from __future__ import annotations

import io
import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

import mvtec_convert as mc
from mvtec_convert.reports import report
from tests.broken import draw_image, save
from tests.exports import regions_of

ENOUGH_CONTRAST = 4.5  # WCAG 2.2, 1.4.3, level AA, for text of any size

THEMES = ("light", "dark")
WIDTHS = (1280, 390)

CONTRAST = """() => {
  // [r, g, b, a], 0 to 1, of any colour that CSS can say
  const canvas = Object.assign(document.createElement('canvas'), {width: 1, height: 1});
  const context = canvas.getContext('2d', {willReadFrequently: true});
  const read = (colour) => {
    context.clearRect(0, 0, 1, 1);
    context.fillStyle = colour;
    context.fillRect(0, 0, 1, 1);
    return [...context.getImageData(0, 0, 1, 1).data].map((part) => part / 255);
  };
  const over = (top, below) => top.slice(0, 3).map((part, i) => part * top[3] + below[i] * (1 - top[3]));
  const light = (colour) => {
    const [r, g, b] = colour.map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    const layers = [];
    for (let at = element; at; at = at.parentElement) layers.push(read(getComputedStyle(at).backgroundColor));
    return layers.reverse().reduce((below, top) => over(top, below), [1, 1, 1]);
  };
  const dialog = document.querySelector('dialog[open]');
  const seen = [];
  const walker = document.createTreeWalker(dialog ?? document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.textContent.trim();
    const element = walker.currentNode.parentElement;
    if (!text || !element.checkVisibility({visibilityProperty: true}) || element.closest('script, style')) continue;
    const style = getComputedStyle(element);
    const below = ground(element);
    const ink = over(read(element.closest('svg') ? style.fill : style.color), below);
    const [bright, dark] = [light(ink), light(below)].sort((a, b) => b - a);
    seen.push([(bright + 0.05) / (dark + 0.05), `${element.tagName} ${text}`.slice(0, 60)]);
  }
  return seen;
}"""


def visible(page: Page) -> list[str]:
    """Keys of the cards that are shown, in order."""
    return page.evaluate("[...document.querySelectorAll('.card')].filter((c) => !c.hidden).map((c) => c.dataset.key)")


def files(tree: Path) -> list[str]:
    return sorted(path.relative_to(tree).as_posix() for path in tree.glob("*/t*/*/*.png"))


def sizes_of(tree: Path, key: str) -> set[str]:
    """Which of COCO's sizes the regions of an image have."""
    category, _, defect, name = key.split("/")
    path = tree / category / "ground_truth" / defect / name.replace(".png", "_mask.png")
    if not path.is_file():
        return set()
    areas = [int(region.sum()) for region in regions_of(mask_of(path))]
    return {"small" if area < 1024 else "medium" if area < 9216 else "large" for area in areas}


def mask_of(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return (np.asarray(image) != 0).astype(np.uint8)


def grey(shot: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(shot)) as image:
        return np.asarray(image.convert("L"))


# --- filters ---------------------------------------------------------------------------------------------------------


def test_each_filter_shows_what_it_says_and_counts_it(source_page, tree, open_page):
    page = open_page(source_page)
    every = files(tree)
    assert visible(page) == every
    facts = {
        "category": {key: {key.split("/")[0]} for key in every},
        "type": {key: {key.split("/")[2]} for key in every},
        "split": {key: {key.split("/")[1]} for key in every},
        "size": {key: sizes_of(tree, key) for key in every},
    }
    for facet, of_key in facts.items():
        select = page.locator(f"select[name={facet}]")
        values = {value for found in of_key.values() for value in found}
        options = select.locator("option").all_inner_texts()
        assert {option.split(" (")[0] for option in options} >= {"all", *values}
        for value in sorted(values):
            wanted = [key for key in every if value in of_key[key]]
            (label,) = [option for option in options if option.split(" (")[0] == value]
            assert label == f"{value} ({len(wanted)})"
            select.select_option(label=label)
            assert visible(page) == wanted
            assert page.locator("#count").inner_text() == f"{len(wanted)} of {len(every)} images"
            page.get_by_role("button", name="Show all").first.click()
            expect(page.locator("#count")).to_have_text(f"{len(every)} of {len(every)} images")
    assert len(facts) == page.locator("#filters select").count()


def test_filters_work_together_and_an_empty_answer_says_so(source_page, tree, open_page):
    page = open_page(source_page)
    every = files(tree)

    def choose(facet: str, value: str) -> None:
        option = page.locator(f"select[name={facet}] option", has_text=f"{value} (")
        page.locator(f"select[name={facet}]").select_option(value=option.get_attribute("value"))

    choose("category", "lid")
    choose("type", "hole")
    assert visible(page) == [key for key in every if key.startswith("lid/test/hole/")]
    # Beside each value stands what it would leave of the rest.
    splits = page.locator("select[name=split] option").all_inner_texts()
    assert splits == ["all (2)", "train (0)", "test (2)"]
    assert page.locator("select[name=split] option").nth(1).is_disabled()
    assert "cut (0)" in page.locator("select[name=type] option").all_inner_texts()
    expect(page.locator("#empty")).to_be_hidden()
    # A browser restores what was chosen when a page is loaded again, which no option then forbids.
    page.locator("select[name=split]").evaluate(
        "(select) => { select.value = '0'; select.dispatchEvent(new Event('change', {bubbles: true})) }"
    )
    assert visible(page) == []
    expect(page.locator("#empty")).to_be_visible()
    page.locator("#empty-reset").click()
    expect(page.locator("#empty")).to_be_hidden()
    assert visible(page) == every


# --- outlines --------------------------------------------------------------------------------------------------------

OPAQUE = """
.stage { background: white !important; overflow: hidden !important; }
.stage img, .stage image { visibility: hidden; }
.shape > * { stroke: none !important; }
.shape .mask { fill: black !important; fill-opacity: 1 !important; shape-rendering: crispEdges; }
"""


def open_image(page: Page, key: str) -> None:
    page.locator(f'.card[data-key="{key}"] .open').click()
    expect(page.locator("#viewer")).to_be_visible()


def zoom_to(page: Page, scale: int) -> None:
    """Make each pixel of the image `scale` pixels of the screen, with the keys that a person has."""
    page.keyboard.press("1")
    if scale > 1:
        page.evaluate(
            """(scale) => {
                const picture = document.querySelector('#stage .picture');
                for (const side of ['width', 'height'])
                    picture.style[side] = `${scale * parseFloat(picture.style[side])}px`;
            }""",
            scale,
        )


def painted(page: Page, scale: int) -> np.ndarray:
    """Which pixels the masks of the open image paint, shape (height, width)."""
    zoom_to(page, scale)
    return grey(page.locator("#stage .picture").screenshot()) < 128


@pytest.mark.parametrize("scale", [1, 3])
def test_masks_of_a_source_are_painted_to_the_pixel(source_page, tree, open_page, scale):
    page = open_page(source_page, width=1300, height=800)
    page.add_style_tag(content=OPAQUE)
    compared = 0
    for path in sorted(tree.glob("*/ground_truth/*/*.png")):
        category, defect = path.parts[-4], path.parts[-2]
        open_image(page, f"{category}/test/{defect}/{path.name.replace('_mask', '')}")
        expected = np.kron(mask_of(path), np.ones((scale, scale), np.uint8))
        assert (painted(page, scale) == (expected == 1)).all(), path
        page.keyboard.press("Escape")
        compared += 1
    assert compared == 9


def test_masks_of_an_export_are_painted_to_the_pixel(export_page, tree, open_page):
    name, file = export_page
    page = open_page(file)
    page.add_style_tag(content=OPAQUE)
    keys = {Path(key).stem: key for key in visible(page)}
    for path in sorted(tree.glob("*/ground_truth/*/*.png")):
        category, defect, stem = path.parts[-4], path.parts[-2], path.stem.removesuffix("_mask")
        open_image(page, keys[f"{category}_{defect}_{stem}"])
        found, expected = painted(page, 1), mask_of(path) == 1
        assert (found == expected).mean() == 1, (name, path)
        page.keyboard.press("Escape")


def test_the_real_image_lies_under_the_outlines(source_page, tree, open_page):
    """Noise correlates with nothing but itself: a shift of one pixel would show."""
    page = open_page(source_page)
    page.add_style_tag(content=".overlay { visibility: hidden }")
    key = "plate/test/hole/000.png"
    open_image(page, key)
    page.keyboard.press("1")
    found = grey(page.locator("#stage .picture").screenshot()).astype(float)
    with Image.open(tree / key) as image:
        true = np.asarray(image.convert("L")).astype(float)

    def agreement(dx: int, dy: int) -> float:
        return float(np.corrcoef(np.roll(found, (dy, dx), (0, 1))[5:-5, 5:-5].ravel(), true[5:-5, 5:-5].ravel())[0, 1])

    best = max(itertools.product((-2, -1, 0, 1, 2), repeat=2), key=lambda shift: agreement(*shift))
    assert best == (0, 0)
    assert agreement(0, 0) > 0.8


def test_what_is_drawn_can_be_switched_off_and_on_in_both_places(export_page, open_page):
    name, file = export_page
    page = open_page(file)
    shape = page.locator(".shape").first
    shown = {"mask": ("mask", "fill"), "polygon": ("polygon", "stroke"), "box": ("box", "stroke")}
    if name == "sam":
        shown |= {"prompts": ("prompt", "stroke")}
    for layer, (part, how) in shown.items():
        boxes = page.locator(f"[data-layer={layer}]")
        assert boxes.count() == 2
        assert styles(page, part, how) != {"none"}
        boxes.first.uncheck()
        assert styles(page, part, how) == {"none"}
        assert not boxes.last.is_checked()
        page.locator(".card:has(.shape) .open").first.click()
        boxes.last.check()
        page.keyboard.press("Escape")
        assert boxes.first.is_checked()
        assert styles(page, part, how) != {"none"}
    assert shape.count() == 1


def styles(page: Page, part: str, how: str) -> set[str]:
    return set(
        page.evaluate(f"[...document.querySelectorAll('.shape .{part}')].map((e) => getComputedStyle(e)['{how}'])")
    )


def test_prompts_lie_where_the_file_says(tree, tmp_path, open_page):
    folder = tmp_path / "sam"
    mc.to_sam(mc.load(tree / "plate"), folder, points=2, negatives=1)
    out = tmp_path / "page.html"
    report(folder, out)
    page = open_page(out)
    for image in mc.read_export(folder):
        card = page.locator(f'.card[data-key="{image.key}"]')
        drawn = card.locator(".inside, .outside").evaluate_all(
            "(all) => all.map((e) => [e.getBBox().x, e.getBBox().y])"
        )
        assert sorted(map(tuple, drawn)) == sorted((x + 0.5, y + 0.5) for o in image.objects for x, y, _ in o.points)


# --- hovering, zooming, keys -----------------------------------------------------------------------------------------


def test_hovering_tells_class_box_and_area(source_page, tree, open_page):
    page = open_page(source_page)
    open_image(page, "plate/test/hole/000.png")
    mask = mask_of(tree / "plate/ground_truth/hole/000_mask.png")
    main = max(regions_of(mask), key=np.sum)
    ys, xs = np.nonzero(main)
    picture = page.locator("#stage .picture").bounding_box()
    scale = picture["width"] / mask.shape[1]
    page.mouse.move(picture["x"] + 40.5 * scale, picture["y"] + 30.5 * scale)
    tip = page.locator("#tip")
    expect(tip).to_be_visible()
    assert tip.inner_text().splitlines()[:2] == [
        "hole",
        f"x {xs.min()}, y {ys.min()}, {np.ptp(xs) + 1} x {np.ptp(ys) + 1} px",
    ]
    assert f"area {main.sum():,} px" in tip.inner_text()
    assert page.locator("#objects .lit").count() == 1
    page.mouse.move(picture["x"] + 190 * scale, picture["y"] + 140 * scale)
    expect(tip).to_be_hidden()


def test_a_region_is_brought_to_the_middle_and_made_large(source_page, tree, open_page):
    page = open_page(source_page)
    open_image(page, "plate/test/speck/000.png")
    page.locator("#objects button", has_text="x 190, y 3").click()
    stage = page.locator("#stage").bounding_box()
    shape = page.locator("#stage .shape", has=page.locator(".box[x='190']")).locator(".box").bounding_box()
    assert shape["width"] >= 3 * 8
    assert abs(shape["y"] - stage["y"]) < stage["height"]
    assert stage["x"] <= shape["x"] <= stage["x"] + stage["width"] - shape["width"]


def test_one_pixel_can_be_found(source_page, open_page):
    """In the grid a ring around it is at least 10 px wide."""
    page = open_page(source_page)
    card = page.locator('.card[data-key="plate/test/speck/000.png"]')
    card.scroll_into_view_if_needed()
    rings = [ring.bounding_box() for ring in card.locator(".ring").all()]
    assert len(rings) == 3
    assert min(ring["width"] for ring in rings) >= 10
    dot = card.locator(".shape", has=page.locator(".box[x='60']")).locator(".mask").bounding_box()
    assert any(
        ring["x"] < dot["x"] < ring["x"] + ring["width"] and ring["y"] < dot["y"] < ring["y"] + ring["height"]
        for ring in rings
    )


def test_the_keyboard_alone_is_enough(source_page, tree, open_page):
    page = open_page(source_page)
    every = files(tree)
    for _ in range(100):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.classList.contains('open')"):
            break
    assert page.evaluate("document.activeElement.closest('.card').dataset.key") == every[0]
    page.keyboard.press("Enter")
    name = page.locator("#viewer-name")
    expect(name).to_have_text(every[0])
    for key, expected in [("ArrowRight", 1), ("ArrowRight", 2), ("ArrowLeft", 1), ("ArrowLeft", 0), ("ArrowLeft", -1)]:
        page.keyboard.press(key)
        expect(name).to_have_text(every[expected])
    page.keyboard.press("ArrowRight")
    fitting = page.locator("#stage .picture").bounding_box()["width"]
    page.keyboard.press("+")
    assert page.locator("#stage .picture").bounding_box()["width"] > 1.4 * fitting
    page.keyboard.press("ArrowRight")  # pans
    expect(name).to_have_text(every[0])
    page.keyboard.press("0")
    assert page.locator("#stage .picture").bounding_box()["width"] == fitting
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Escape")
    expect(page.locator("#viewer")).to_be_hidden()
    expect(page.locator(f'.card[data-key="{every[1]}"] .open')).to_be_focused()


def test_what_has_the_focus_shows_it(source_page, open_page):
    page = open_page(source_page)
    seen = Counter()
    for _ in range(40):
        page.keyboard.press("Tab")
        tag, outline = page.evaluate(
            "[document.activeElement.tagName, getComputedStyle(document.activeElement).outlineStyle]"
        )
        if tag == "BODY":
            break
        assert outline != "none", tag
        seen[tag] += 1
    assert {"A", "BUTTON", "SELECT", "INPUT", "SUMMARY"} <= seen.keys()


def test_the_enlarged_view_goes_through_the_filtered_images_only(source_page, tree, open_page):
    page = open_page(source_page)
    page.locator("select[name=category]").select_option(index=1)
    wanted = visible(page)
    assert 0 < len(wanted) < len(files(tree))
    page.locator(".card:not([hidden]) .open").first.click()
    seen = [page.locator("#viewer-name").inner_text()]
    for _ in wanted[1:]:
        page.keyboard.press("ArrowRight")
        seen.append(page.locator("#viewer-name").inner_text())
    assert seen == wanted
    assert page.locator("#position").inner_text() == f"{len(wanted)} / {len(wanted)}"


# --- themes, widths, paper -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_every_text_has_enough_contrast(source_page, open_page, theme, width):
    page = open_page(source_page, theme=theme, width=width)
    page.evaluate("document.querySelectorAll('details').forEach((details) => { details.open = true })")
    page.evaluate("document.querySelectorAll('.card').forEach((card) => { card.style.contentVisibility = 'visible' })")
    texts = page.evaluate(CONTRAST)
    assert len(texts) > 200
    assert [entry for entry in texts if entry[0] < ENOUGH_CONTRAST] == []
    open_image(page, "plate/test/hole/000.png")
    page.locator("#stage .shape").first.hover(force=True, position={"x": 2, "y": 2})
    texts = page.evaluate(CONTRAST)
    assert any("px" in text for _, text in texts)
    assert [entry for entry in texts if entry[0] < ENOUGH_CONTRAST] == []


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_wider_than_the_screen(source_page, open_page, width):
    page = open_page(source_page, width=width)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    open_image(page, "plate/test/hole/000.png")
    assert page.evaluate("document.getElementById('viewer').scrollWidth") == width
    for control in page.locator("#viewer button").all():
        box = control.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width


def test_tables_of_long_names_fit_the_screen_and_the_paper(tmp_path, open_page):
    category, defect = "an_endless_name_" * 5, "of_a_defect_" * 6
    draw_image(tmp_path / "data" / category / "test" / defect / "0.png", 0, (64, 48))
    save(np.full((48, 64), 255, np.uint8), tmp_path / "data" / category / "ground_truth" / defect / "0_mask.png")
    report(mc.load(tmp_path / "data"), tmp_path / "report.html")
    for media, width in (("screen", 1280), ("print", 703)):  # A4 within its margins
        page = open_page(tmp_path / "report.html", width=width)
        page.emulate_media(media=media)
        for table in page.locator(".table[open] .scroll").all():
            assert table.evaluate("(table) => table.scrollWidth <= table.clientWidth")


def test_the_theme_follows_the_system_until_it_is_chosen(source_page, open_page):
    for system in THEMES:
        page = open_page(source_page, theme=system)
        ground = {}
        for theme in ("auto", "light", "dark"):
            assert page.locator("#theme").get_attribute("aria-label") == f"Theme: {theme}"
            ground[theme] = page.evaluate("getComputedStyle(document.body).backgroundColor")
            page.locator("#theme").click()
        assert ground["light"] != ground["dark"]
        assert ground["auto"] == ground[system]


def test_on_paper_there_are_all_images_and_no_controls(source_page, tree, open_page):
    page = open_page(source_page, theme="dark")
    page.emulate_media(media="print", color_scheme="dark")
    for hidden in ("#filters", ".layers", "#theme", "nav", "#viewer"):
        assert not page.locator(hidden).first.is_visible()
    assert page.locator(".card:visible").count() == len(files(tree))
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(26, 31, 38)"
    page.emulate_media(media="print", color_scheme="light")
    assert page.pdf(format="A4").startswith(b"%PDF")


def test_without_scripts_the_images_and_their_outlines_are_there(source_page, tree, open_page):
    page = open_page(source_page, java_script_enabled=False)
    assert page.locator(".card").count() == len(files(tree))
    card = page.locator(".card:has(.shape)").first
    card.scroll_into_view_if_needed()
    assert card.locator("img").is_visible()
    assert card.locator(".mask").first.is_visible()
    for control in ("#filters", ".layers", "#theme"):
        assert not page.locator(control).first.is_visible()


# --- many images, and names that look like code ----------------------------------------------------------------------


def test_four_hundred_images_are_under_ten_megabytes_and_scroll_smoothly(tmp_path, open_page):
    for number in range(400):
        name = f"{number:03}"
        draw_image(tmp_path / "tree/part/test/hole" / f"{name}.png", number, (192, 192))
        mask = np.zeros((192, 192), np.uint8)
        cells = np.random.default_rng(number).integers(0, 3, (10, 28)) > 0
        mask[100:150, 40:180] = np.kron(cells, np.ones((5, 5)))
        save(mask, tmp_path / "tree/part/ground_truth/hole" / f"{name}_mask.png")
    written = report(mc.load(tmp_path / "tree"), tmp_path / "page.html")
    assert written.shown == 400
    assert written.size < 10_000_000
    page = open_page(written.out)
    frames = page.evaluate("""async () => {
        const lengths = [];
        const frame = () => new Promise(requestAnimationFrame);
        const end = document.documentElement.scrollHeight;
        let before = await frame();
        for (let y = 0; y < end; y += 150) {
            scrollTo({top: y, behavior: 'instant'});
            const now = await frame();
            lengths.push(now - before);
            before = now;
        }
        return lengths;
    }""")
    # A screen shows 60 frames a second; a machine that does other things as well has its slower moments.
    assert np.median(frames) < 25
    assert np.mean(np.array(frames) < 60) > 0.9


def test_names_that_look_like_code_are_only_names(tmp_path, open_page):
    name = "<img src=x onerror=hacked=1>'\"&lt;"
    draw_image(tmp_path / name / name / "train/good/000.png", 1)
    draw_image(tmp_path / name / name / "test" / name / f"{name}.png", 2)
    mask = np.zeros((48, 64), np.uint8)
    mask[5:20, 5:20] = 255
    with Image.open(tmp_path / name / name / "test" / name / f"{name}.png") as image:
        mask = np.resize(mask, image.size[::-1])
    save(mask, tmp_path / name / name / "ground_truth" / name / f"{name}_mask.png")
    report(mc.load(tmp_path / name), tmp_path / "page.html", title=f"</title><script>hacked=1</script>{name}")
    page = open_page(tmp_path / "page.html")
    open_image_of = page.locator(".card:has(.shape) .open")
    open_image_of.click()
    assert page.locator("#viewer-name").inner_text() == f"{name}/test/{name}/{name}.png"
    page.locator("#stage .shape").first.hover(force=True)
    assert page.locator("#tip").inner_text().startswith(f"{name}\n")
    assert page.evaluate("typeof hacked") == "undefined"
    assert page.title() == f"</title><script>hacked=1</script>{name}"
