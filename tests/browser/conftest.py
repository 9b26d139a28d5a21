"""Tests in a real browser. They need the extra `browser` and Chromium, and run by `pytest tests/browser`."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, sync_playwright

import mvtec_convert as mc
from mvtec_convert.reports import report
from tests.broken import draw_image, save

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--force-color-profile=srgb", "--hide-scrollbars",
)  # fmt: skip

SIZE = (200, 150)  # width, height of the drawn images


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium with an empty profile. Where there is none the tests fail: skipped, they would prove nothing."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    assert found, f"none of these is installed: {', '.join(NAMES)}; on Debian: apt install chromium"
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=found, args=list(FLAGS))
        yield started
        started.close()


Open = Callable[..., Page]


@pytest.fixture
def open_page(browser) -> Iterator[Open]:
    """Opens a page file; at the end, nothing may have been complained of, or asked for elsewhere."""
    complaints: list[str] = []
    contexts = []

    def opened(path: Path, *, width: int = 1280, height: int = 900, theme: str = "light", **options: bool) -> Page:
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=theme, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
        page.on("request", lambda request: complaints.extend(_elsewhere(request.url, path)))
        page.goto(path.as_uri())
        return page

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []


def _elsewhere(url: str, path: Path) -> list[str]:
    return [] if url.startswith("data:") or url.split("#")[0] == path.as_uri() else [f"asked for {url[:80]}"]


@pytest.fixture(scope="session")
def tree(tmp_path_factory) -> Path:
    """Two categories of noise; masks with holes, on borders, of one pixel, of one line, touching at corners."""
    root = tmp_path_factory.mktemp("browser") / "tree"
    for category in ("plate", "lid"):
        for number in range(3):
            draw_image(root / category / "train" / "good" / f"{number:03}.png", number + ord(category[0]), SIZE)
            draw_image(root / category / "test" / "good" / f"{number:03}.png", number + 50 + ord(category[0]), SIZE)
        for defect, masks in drawn_masks().items():
            for number, mask in enumerate(masks):
                save(mask * 255, root / category / "ground_truth" / defect / f"{number:03}_mask.png")
                seed = number + 100 + ord(category[0]) + 10 * len(defect)
                draw_image(root / category / "test" / defect / f"{number:03}.png", seed, SIZE)
        if category == "lid":
            for folder in ("test", "ground_truth"):
                shutil.rmtree(root / category / folder / "cut")
    return root


def drawn_masks() -> dict[str, list[np.ndarray]]:
    """Masks of shape (150, 200) by defect type."""
    holes, borders, cut, specks, checks = (np.zeros(SIZE[::-1], np.uint8) for _ in range(5))
    holes[20:110, 30:150] = 1
    holes[40:60, 50:70] = 0
    holes[50:90, 100:101] = 0
    holes[52, 60] = 1  # an island in the hole
    borders[:9, :30] = borders[140:, 180:] = borders[70:80, 195:] = 1
    np.fill_diagonal(cut[10:140, 20:150], 1)
    cut[100, 10:190] = 1
    specks[75, 60] = specks[3:5, 190:193] = specks[120:124, 100:104] = 1
    checks[30:90, 40:100] = np.indices((60, 60)).sum(axis=0) // 5 % 2
    return {"hole": [holes, borders], "cut": [cut], "speck": [specks, checks]}


@pytest.fixture(scope="session")
def source_page(tree, tmp_path_factory) -> Path:
    """The report on the tree."""
    out = tmp_path_factory.mktemp("page") / "report.html"
    report(mc.load(tree), out)
    return out


EXPORTS = {
    "coco": lambda source, out: mc.to_coco(source, out),
    "segment": lambda source, out: mc.to_yolo(source, out, task="segment"),
    "sam": lambda source, out: mc.to_sam(source, out, points=2, negatives=2, box_jitter=4.0),
}


@pytest.fixture(scope="session", params=EXPORTS)
def export_page(request, tree, tmp_path_factory) -> tuple[str, Path]:
    """(format, report on an export of the tree)."""
    folder = tmp_path_factory.mktemp(request.param)
    EXPORTS[request.param](mc.load(tree), folder / "export")
    report(folder / "export", folder / "report.html")
    return request.param, folder / "report.html"
