"""Charts as SVG whose text is text and whose colours are the page's: they suit any theme, any width and print."""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from mvtec_convert.errors import printable
from mvtec_convert.statistics.measures import MEDIUM, SMALL, spread

INK, MUTED, LINE, BAND = "#000001", "#000002", "#000003", "#000004"
SERIES = tuple(f"#00001{number}" for number in range(1, 7))
VARIABLES = {INK: "--ink", MUTED: "--muted", LINE: "--line", BAND: "--band"} | {
    colour: f"--series-{number}" for number, colour in enumerate(SERIES, start=1)
}
"""What stands for a colour of the page while Matplotlib draws, and the CSS variable that takes its place."""

SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a dollar sign in a name is one
    "font.size": 12,
    "text.color": INK,
    "axes.edgecolor": LINE,
    "axes.labelcolor": MUTED,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "axes.spines.top": False,
    "axes.spines.right": False,
}

DPI = 72  # a point is a px
WIDTH = 360  # px; as wide as a phone, so that text hardly shrinks there
EDGE = 6  # px, around what is drawn
RIGHT = 22  # px, for half a number at the end of a scale
ROW = 22  # px
HEAD, FOOT = 18, 38  # px, for what is written above and below
LETTER = 6.6  # px, on average
MOST_LETTERS = 26
HALF_A_LINE = 20  # where two names share a line
MOST_ROWS = 24
SVG = "http://www.w3.org/2000/svg"


@contextmanager
def style() -> Iterator[None]:
    """Draw charts inside this: it sets Matplotlib up, whatever its user has set, and puts that back."""
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # the browser's fonts have it
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(SETTINGS)
        yield


@dataclass(frozen=True, slots=True)
class Chart:
    """One chart.

    Attributes:
        title: what it shows.
        svg: an `<svg>` element, safe to put into a page; it says of itself in words what it shows.
    """

    title: str
    svg: str


def images_per_type(title: str, images: Mapping[str, Sequence[str]], splits: Sequence[str]) -> Chart:
    """One bar a type, from the top; a colour a split.

    Args:
        title: of the chart.
        images: the split of each image, by type.
        splits: their order.
    """
    figure, axes = _rows(list(images))
    ends = [0] * len(images)
    for number, split in enumerate(splits):
        lengths = [found.count(split) for found in images.values()]
        axes.barh(range(len(images)), lengths, left=ends, color=SERIES[number % len(SERIES)], height=0.62)
        ends = [end + length for end, length in zip(ends, lengths, strict=True)]
    _write_counts(axes, ends)
    told = "; ".join(f"{name} {end:,}" for name, end in zip(images, ends, strict=True))
    return Chart(title, _svg(figure, f"{title}, images of each type: {told}"))


def region_sizes(title: str, areas: Mapping[str, Sequence[float]], limits: tuple[float, float]) -> Chart:
    """Of each type, from the top, how the areas are spread: a box from quartile to quartile, lines to the extremes.

    Args:
        title: of the chart.
        areas: of the regions, px, by type; none of them empty.
        limits: of the scale, px; the same for charts that are to be compared.
    """
    figure, axes = _rows(list(areas), head=HEAD, foot=FOOT)
    found = {name: spread(np.maximum(np.asarray(values, np.float64), 1)) for name, values in areas.items()}
    spreads = {name: values for name, values in found.items() if values is not None}
    boxes = [
        {"whislo": low, "q1": lower, "med": median, "q3": upper, "whishi": high}
        for low, lower, median, upper, high in spreads.values()
    ]
    axes.set_xscale("log")
    line, bold = {"color": SERIES[0], "linewidth": 1.2}, {"color": INK, "linewidth": 2}
    axes.bxp(
        boxes, positions=range(len(boxes)), orientation="horizontal", widths=0.5, manage_ticks=False, showfliers=False,
        patch_artist=True, boxprops={"facecolor": BAND, "edgecolor": SERIES[0], "linewidth": 1.2},
        whiskerprops=line, capprops=line, medianprops=bold,
    )  # fmt: skip
    low, high = max(limits[0], 1) / 1.3, max(limits[1], 1) * 1.3
    axes.set_xlim(low, high)
    axes.xaxis.set_major_locator(FixedLocator(_decades(low, high)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.set_xlabel("area of a region, px")
    _mark_bounds(axes, low, high)
    told = "; ".join(f"{name} median {values.median:,.0f} px" for name, values in spreads.items())
    return Chart(title, _svg(figure, f"{title}, areas of the regions of each type: {told}"))


def long_tail(title: str, counts: Mapping[str, int]) -> Chart:
    """One bar a class, the most frequent first; without their names where they are many.

    Args:
        title: of the chart.
        counts: number of images by class.
    """
    ordered = dict(sorted(counts.items(), key=lambda entry: (-entry[1], entry[0])))
    numbers = list(ordered.values())
    (most, *_), (*_, least) = ordered, ordered
    told = f"{title}: {len(ordered)} classes, from {most} ({numbers[0]:,} images) to {least} ({numbers[-1]:,})"
    if len(ordered) <= MOST_ROWS:
        figure, axes = _rows(list(ordered))
        axes.barh(range(len(numbers)), numbers, color=SERIES[0], height=0.62)
        _write_counts(axes, numbers)
        return Chart(title, _svg(figure, told))
    left = 44
    figure, axes = _canvas(left, head=HEAD, foot=FOOT, height=200)
    axes.stairs(numbers, np.arange(len(numbers) + 1) + 0.5, fill=True, color=SERIES[0])
    axes.set_xlim(0.5, len(numbers) + 0.5)
    axes.set_ylabel("images")
    axes.set_xlabel("classes, the most frequent first")
    axes.tick_params(axis="y", labelcolor=MUTED)
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.xaxis.set_major_locator(FixedLocator([1, len(numbers)]))
    most, least = _short(most, HALF_A_LINE), _short(least, HALF_A_LINE)
    _write(axes, most, (0.5, numbers[0]), (0, 4), color=INK)
    # Above all bars that it runs over, from the right.
    below = math.ceil(len(least) * LETTER / (WIDTH - left - RIGHT) * len(numbers))
    _write(axes, least, (len(numbers) + 0.5, numbers[-min(below, len(numbers))]), (0, 4), color=INK, ha="right")
    return Chart(title, _svg(figure, told))


def _rows(names: Sequence[str], head: float = 0, foot: float = 0) -> tuple[Figure, Axes]:
    """A chart with a row for each name, from the top; px."""
    short = [_short(name) for name in names]
    left = 2 * EDGE + LETTER * max(map(len, short))
    figure, axes = _canvas(left, head, foot, ROW * len(names))
    axes.set_yticks(range(len(names)), short)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.spines["left"].set_visible(False)
    return figure, axes


def _canvas(left: float, head: float, foot: float, height: float) -> tuple[Figure, Axes]:
    """An empty chart with this much room around what is drawn, and this height for that; px."""
    whole = head + height + foot + 2 * EDGE
    figure = Figure(figsize=(WIDTH / DPI, whole / DPI), dpi=DPI)
    figure.patch.set_visible(False)
    axes = figure.add_axes((left / WIDTH, (EDGE + foot) / whole, (WIDTH - left - RIGHT) / WIDTH, height / whole))
    axes.patch.set_visible(False)
    return figure, axes


def _write_counts(axes: Axes, counts: Sequence[int]) -> None:
    """The number behind each bar, and room for it."""
    for row, count in enumerate(counts):
        _write(axes, f"{count:,}", (count, row), (4, 0), va="center")
    axes.set_xlim(0, 1.1 * max(*counts, 1))
    axes.xaxis.set_visible(False)
    axes.spines["bottom"].set_visible(False)


def _write(axes: Axes, text: str, at: tuple[float, float], offset: tuple[float, float], **style: Any) -> None:
    """Words at a place of the chart, `offset` px from it."""
    axes.annotate(text, at, offset, textcoords="offset points", **{"color": MUTED, "fontsize": 11, **style})


def _mark_bounds(axes: Axes, low: float, high: float) -> None:
    """Lines where COCO's sizes end, and their names above."""
    edges = [low, *(bound for bound in (SMALL, MEDIUM) if low < bound < high), high]
    for start, end in pairwise(edges):
        middle = (start * end) ** 0.5
        name = "small" if middle < SMALL else "medium" if middle < MEDIUM else "large"
        if np.log(end / start) > 0.16 * np.log(high / low):
            _write(axes, name, (middle, 1), (0, 4), ha="center", xycoords=("data", "axes fraction"))
        if end < high:
            axes.axvline(end, color=LINE, linewidth=1, zorder=0)


def _decades(low: float, high: float) -> list[float]:
    """Powers of ten between the two, every second one where they are many."""
    powers = range(int(np.ceil(np.log10(low))), int(np.floor(np.log10(high))) + 1)
    return [10.0**power for power in powers[:: 2 if len(powers) > 5 else 1]]


def _short(name: str, most: int = MOST_LETTERS) -> str:
    name = printable(name)
    return name if len(name) <= most else name[: most - 1] + "…"


def _svg(figure: Figure, text: str) -> str:
    """The figure as an `<svg>` element, with `text` for those who do not see it."""
    text = printable(text)
    matplotlib.rcParams["svg.hashsalt"] = text  # names of things inside two charts of one page must differ
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None})
    return _themed(_bare(ElementTree.fromstring(stream.getvalue()), text))


def _bare(svg: ElementTree.Element, text: str) -> str:
    """Without what an element inside a page must not have: a size, a style for all of the page, names used twice."""
    for name in ("width", "height", "version"):
        del svg.attrib[name]
    for child in svg.findall(f"{{{SVG}}}metadata"):
        svg.remove(child)
    for parent in list(svg.iter()):
        for style in parent.findall(f"{{{SVG}}}style"):
            parent.remove(style)
    svg.attrib |= {"role": "img", "aria-label": text}
    ElementTree.register_namespace("", SVG)
    written = ElementTree.tostring(svg, encoding="unicode").replace(f' xmlns="{SVG}"', "", 1)  # a page knows `<svg>`
    return re.sub(r' id="([^"]*)"', lambda found: found[0] if f"#{found[1]}" in written else "", written)


def _themed(svg: str) -> str:
    """With the page's fonts and colours."""
    svg = re.sub(r"font-family: [^;\"]*;? ?", "", svg)
    return re.sub("|".join(VARIABLES), lambda found: f"var({VARIABLES[found[0]]})", svg)
