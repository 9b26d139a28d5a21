"""Labelled images side by side: each with its labels, their names and a caption; above them a legend."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from statistics import median
from typing import Any, TypeAlias

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mvtec_convert.errors import MvtecConvertError, printable
from mvtec_convert.labelled import Box, LabelledImage, LabelledObject, read_picture
from mvtec_convert.overlay import TINY, WHITE, Colour, Pixels, View, extent

Rectangle: TypeAlias = tuple[int, int, int, int]
"""(x0, y0, x1, y1), px of a drawing, right and bottom exclusive."""

LEAST_WIDTH, MOST_WIDTH = 320, 8000
TILE_WIDTH = 384  # px, about
MARGIN, GAP, PAD = 18, 14, 8
ASPECTS = (0.3, 1.4)  # height of a tile's picture to its width; what is taller or wider gets bars

PAPER, INK, FAINT, WARNING, BARS, DARK = (
    (250, 250, 248), (28, 28, 30), (110, 110, 114), (186, 26, 26), (54, 54, 58), (40, 40, 44),
)  # fmt: skip
NO_OBJECT = "no object"
NO_OBJECT_COLOUR = (96, 96, 100)

TITLE, TEXT, SMALL, TAG, LARGE_TAG, ZOOM_TAG = 24, 15, 13, 13, 18, 12  # sizes of type, px

MOST_TAGS = 60  # names on one picture
INSET = 0.42  # of the shorter side of a tile's picture
AROUND = 3.0  # times its own size is shown of a tiny object's surroundings
LEAST_AROUND = 20  # px of the image


@dataclass(frozen=True, slots=True)
class Heading:
    """What stands above the tiles.

    Attributes:
        title: one line, large.
        subtitle: one line.
    """

    title: str
    subtitle: str


def draw_sheet(
    images: Sequence[LabelledImage],
    colours: Mapping[str, Colour],
    heading: Heading,
    width: int,
    notes: Mapping[str, str],
    progress: Callable[[int, int], None] | None = None,
) -> Image.Image:
    """All images in rows, below a heading and a legend.

    Args:
        images: at least one; their files are read here, one at a time. Where one cannot be read, its tile is grey and
            says so.
        colours: of all classes; see `overlay.colours_of`.
        heading: what stands above.
        width: of the sheet, px.
        notes: one line more below an image, by its key.
        progress: called with (images drawn, images in all).
    """
    columns = max(1, min(len(images), round((width - 2 * MARGIN) / TILE_WIDTH)))
    tile_width = (width - 2 * MARGIN - (columns - 1) * GAP) // columns
    aspect = min(max(median(image.height / image.width for image in images), ASPECTS[0]), ASPECTS[1])
    tiles = []
    for done, image in enumerate(images, start=1):
        tiles.append(_tile(image, colours, (tile_width, round(tile_width * aspect)), notes.get(image.key)))
        if progress is not None:
            progress(done, len(images))
    head = _head(images, colours, heading, width)
    rows = [tiles[at : at + columns] for at in range(0, len(tiles), columns)]
    heights = [max(tile.height for tile in row) + GAP for row in rows]
    sheet = Image.new("RGB", (width, head.height + sum(heights) + MARGIN - GAP), PAPER)
    sheet.paste(head, (0, 0))
    top = head.height
    for row, height in zip(rows, heights, strict=True):
        for column, tile in enumerate(row):
            sheet.paste(tile, (MARGIN + column * (tile_width + GAP), top))
        top += height
    return sheet


# --- text ------------------------------------------------------------------------------------------------------------


@cache
def _font(size: int) -> Any:
    return ImageFont.load_default(size)


def _width(text: str, size: int) -> int:
    length: float = _font(size).getlength(text)
    return math.ceil(length)


def _shortened(text: str, size: int, width: int, *, at_end: bool = False) -> str:
    """The text on one line of at most `width` px; where it is longer, its middle is left out, or its end."""
    text = printable(text)[:400]
    if _width(text, size) <= width:
        return text
    for kept in range(len(text) - 1, 1, -1):
        behind = 0 if at_end else kept // 2
        short = f"{text[: kept - behind]}...{text[len(text) - behind :]}"
        if _width(short, size) <= width:
            return short
    return "..."


def _readable_on(colour: Colour) -> Colour:
    """Black or white, whichever stands out more (luma of ITU-R BT.601)."""
    red, green, blue = colour
    return (0, 0, 0) if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else WHITE


def _draw_tag(draw: ImageDraw.ImageDraw, place: tuple[int, int], text: str, colour: Colour, size: int) -> None:
    """Text on a coloured ground, its top left corner at `place`."""
    x, y = place
    width, height = _tag_size(text, size)
    draw.rectangle((x, y, x + width - 1, y + height - 1), colour)
    draw.text((x + 4, y + round(size * 0.1)), text, _readable_on(colour), _font(size))


def _tag_size(text: str, size: int) -> tuple[int, int]:
    """(width, height), px."""
    return _width(text, size) + 8, round(size * 1.4)


def _head(images: Sequence[LabelledImage], colours: Mapping[str, Colour], heading: Heading, width: int) -> Image.Image:
    """Title, subtitle and the colours of the classes that are shown."""
    shown = {name for image in images for name in image.class_names()}
    entries = [(name, colours[name]) for name in colours if name in shown]
    if any(not image.class_names() for image in images):
        entries.append((NO_OBJECT, NO_OBJECT_COLOUR))
    places: list[tuple[int, int, str, Colour]] = []
    x, y, line, room = MARGIN, MARGIN + 58, 26, width - 2 * MARGIN
    for name, colour in entries:
        text = _shortened(name, TEXT, room - 24)
        needed = _width(text, TEXT) + 24
        if x > MARGIN and x + needed > width - MARGIN:
            x, y = MARGIN, y + line
        places.append((x, y, text, colour))
        x += needed + 20
    head = Image.new("RGB", (width, y + line + 10), PAPER)
    draw = ImageDraw.Draw(head)
    draw.text((MARGIN, MARGIN - 4), _shortened(heading.title, TITLE, room), INK, _font(TITLE))
    draw.text((MARGIN, MARGIN + 28), _shortened(heading.subtitle, TEXT, room), FAINT, _font(TEXT))
    for x, y, text, colour in places:
        draw.rounded_rectangle((x, y + 2, x + 16, y + 18), 3, colour)
        draw.text((x + 23, y), text, INK, _font(TEXT))
    return head


# --- one image -------------------------------------------------------------------------------------------------------


def _tile(image: LabelledImage, colours: Mapping[str, Colour], size: tuple[int, int], note: str | None) -> Image.Image:
    """The image with its labels, `size` (width, height) px, and its caption below."""
    picture, trouble = _picture(image)
    canvas = _Canvas(image, picture, colours, size).drawn()
    caption = _caption(image, size[0], trouble, note)
    tile = Image.new("RGB", (size[0], size[1] + caption.height), PAPER)
    tile.paste(canvas, (0, 0))
    tile.paste(caption, (0, size[1]))
    return tile


def _picture(image: LabelledImage) -> tuple[Pixels | None, str | None]:
    """The image, None where it cannot be read, and what is wrong with it."""
    try:
        picture = read_picture(image)
    except MvtecConvertError as error:
        return None, error.reason
    height, width = picture.shape[:2]
    if (width, height) == (image.width, image.height):
        return picture, None
    return picture, f"the image is {width} x {height} px, the labels say {image.width} x {image.height}"


def _caption(image: LabelledImage, width: int, trouble: str | None, note: str | None) -> Image.Image:
    """File name, split, size, what is on it, and what is to be known."""
    count = len(image.objects)
    what = f"{count} object{'s' * (count != 1)}" if count else ", ".join(image.classes) or NO_OBJECT
    lines = [
        (image.image.name, TEXT, INK),
        (f"{image.split} | {image.width} x {image.height} px | {what}", SMALL, FAINT),
    ]
    found = {item.text for item in image.objects}
    absent = [text for text in image.asked if text not in found]
    more = [("not on it: " + ", ".join(absent) if absent else None, FAINT), (note, FAINT), (trouble, WARNING)]
    lines += [(text, SMALL, colour) for text, colour in more if text]
    caption = Image.new("RGB", (width, 6 + sum(size + 6 for _, size, _ in lines)), PAPER)
    draw, y = ImageDraw.Draw(caption), 4
    for i, (text, size, colour) in enumerate(lines):
        draw.text((1, y), _shortened(text, size, width - 2, at_end=i > 0), colour, _font(size))
        y += size + 6
    return caption


@dataclass(slots=True)
class _Canvas:
    """The picture of one tile.

    Attributes:
        image: what is shown.
        picture: its pixels, if they can be read.
        colours: of the classes.
        size: (width, height), px; what the image leaves free is bars.
    """

    image: LabelledImage
    picture: Pixels | None
    colours: Mapping[str, Colour]
    size: tuple[int, int]
    _canvas: Image.Image = field(init=False)
    _view: View = field(init=False)
    _corner: tuple[int, int] = field(init=False)
    _taken: list[Rectangle] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        width, height = self.image.width, self.image.height
        if self.picture is not None:
            height, width = self.picture.shape[:2]
        scale = min(self.size[0] / width, self.size[1] / height)
        shown = (max(round(width * scale), 1), max(round(height * scale), 1))
        self._view = View(self.picture, width, height, (0, 0, width, height), shown)
        self._corner = ((self.size[0] - shown[0]) // 2, (self.size[1] - shown[1]) // 2)
        self._canvas = Image.new("RGB", self.size, BARS)

    def drawn(self) -> Image.Image:
        """Everything."""
        objects = self.image.objects
        self._canvas.paste(Image.fromarray(self._view.draw(objects, self.colours)), self._corner)
        if not objects:
            self._tag_image()
            return self._canvas
        places = {id(item): self._on_canvas(item.box) for item in objects}
        smallest = min(objects, key=lambda item: extent(item.box))
        if extent(smallest.box) * self._view.scale <= TINY:
            places[id(smallest)] = self._enlarge(smallest, list(places.values()))
        named: set[str] = set()
        for item in sorted(objects, key=lambda item: -extent(item.box))[:MOST_TAGS]:
            text = (item.text or item.class_name) + (" (crowd: left out)" if item.is_crowd else "")
            place, others = places[id(item)], [other for number, other in places.items() if number != id(item)]
            # A name may cover other objects where there is no better place; more of the same must not.
            if self._tag(item, text, place, others) or (text not in named and self._tag(item, text, place, ())):
                named.add(text)
        return self._canvas

    def _on_canvas(self, box: Sequence[float]) -> Rectangle:
        """Where a box of the image is on the canvas, at least a pixel large."""
        x0, y0, x1, y1 = (round(value) for value in self._view.box(box))
        x0, y0, x1, y1 = x0 + self._corner[0], y0 + self._corner[1], x1 + self._corner[0], y1 + self._corner[1]
        return x0, y0, max(x1, x0 + 1), max(y1, y0 + 1)

    def _tag_image(self) -> None:
        draw, top = ImageDraw.Draw(self._canvas), PAD
        for name in self.image.classes or (NO_OBJECT,):
            text = _shortened(name, LARGE_TAG, self._canvas.width - 4 * PAD)
            _draw_tag(draw, (PAD, top), text, self.colours.get(name, NO_OBJECT_COLOUR), LARGE_TAG)
            top += round(LARGE_TAG * 1.7)

    def _enlarge(self, tiny: LabelledObject, busy: Sequence[Rectangle]) -> Rectangle:
        """Show a tiny object large in the corner with the fewest objects; gives the part that is shown there."""
        side = round(min(self.size) * INSET)
        inset = View(self.picture, self._view.width, self._view.height, self._around(tiny.box), (side, side))
        source = self._on_canvas(inset.window)

        def unfit(corner: Rectangle) -> tuple[int, int, int]:
            return _overlap(corner, source), sum(_overlap(corner, other) for other in busy), _distance(corner, source)

        place = min(self._corners(side), key=unfit)
        draw = ImageDraw.Draw(self._canvas)
        draw.rectangle((source[0], source[1], source[2] - 1, source[3] - 1), outline=WHITE)
        draw.line((*_nearest(source, _middle(place)), *_nearest(place, _middle(source))), WHITE, 1)
        self._canvas.paste(Image.fromarray(inset.draw(self.image.objects, self.colours)), place[:2])
        draw.rectangle((place[0] - 2, place[1] - 2, place[2] + 1, place[3] + 1), outline=WHITE, width=2)
        text = f"{round(inset.scale / self._view.scale, 1):g} x"
        _draw_tag(draw, (place[0], place[3] - _tag_size(text, ZOOM_TAG)[1]), text, DARK, ZOOM_TAG)
        self._taken.append(place)
        return source

    def _around(self, box: Box) -> tuple[int, int, int, int]:
        """A square around a box, in the image as far as it goes; px of the image."""
        width, height = self._view.width, self._view.height
        side = int(min(max(AROUND * extent(box), LEAST_AROUND), width, height))
        left = int(np.clip((box[0] + box[2] - side) / 2, 0, width - side))
        top = int(np.clip((box[1] + box[3] - side) / 2, 0, height - side))
        return left, top, left + side, top + side

    def _corners(self, side: int) -> Iterator[Rectangle]:
        width, height = self.size
        for left in (width - side - PAD, PAD):
            for top in (height - side - PAD, PAD):
                yield left, top, left + side, top + side

    def _tag(self, item: LabelledObject, text: str, box: Rectangle, others: Sequence[Rectangle]) -> bool:
        """Name an object above its box, below it or in it; whether there was a place free of names and of `others`."""
        text = _shortened(text, TAG, self._canvas.width - 2 * PAD)
        width, height = _tag_size(text, TAG)
        left = min(max(box[0], 0), self._canvas.width - width)
        for wanted in (box[1] - height - 1, box[3] + 2, box[1] + 2, box[3] - height - 2):
            top = min(max(wanted, 0), self._canvas.height - height)
            place = (left, top, left + width, top + height)
            if not any(_overlap(place, other) for other in (*self._taken, *others)):
                self._taken.append(place)
                _draw_tag(ImageDraw.Draw(self._canvas), (left, top), text, self.colours[item.class_name], TAG)
                return True
        return False


# --- rectangles ------------------------------------------------------------------------------------------------------


def _middle(rectangle: Rectangle) -> tuple[int, int]:
    return (rectangle[0] + rectangle[2]) // 2, (rectangle[1] + rectangle[3]) // 2


def _nearest(rectangle: Rectangle, point: tuple[int, int]) -> tuple[int, int]:
    """The point of a rectangle that is nearest to another point."""
    x0, y0, x1, y1 = rectangle
    return min(max(point[0], x0), x1 - 1), min(max(point[1], y0), y1 - 1)


def _distance(a: Rectangle, b: Rectangle) -> int:
    """From middle to middle, squared."""
    (ax, ay), (bx, by) = _middle(a), _middle(b)
    return (ax - bx) ** 2 + (ay - by) ** 2


def _overlap(a: Rectangle, b: Rectangle) -> int:
    """The area that two rectangles share."""
    return max(min(a[2], b[2]) - max(a[0], b[0]), 0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0)
