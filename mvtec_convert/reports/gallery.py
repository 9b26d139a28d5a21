"""Which images the page shows, and their pixels: small enough for the page, sharp where a defect is small."""

from __future__ import annotations

import base64
import io
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from mvtec_convert.labelled import read_picture
from mvtec_convert.reports.pictures import Picture, Shape
from mvtec_convert.splits import shuffle

LADDER = (
    (1280, 82), (1024, 80), (800, 76), (640, 72), (512, 68), (400, 64), (320, 60), (320, 40), (320, 20), (240, 20),
    (160, 15),
)  # fmt: skip
"""(longer side in px, WebP quality), the best first. The first that is small enough is taken."""

LEAST_RATE = 0.0002
"""Bytes, in base64, that a photograph takes at the least for a pixel and a unit of quality above -20: WebP's sizes
grow in nearly that way. Saves trying what is out of question."""

TINY = 1 / 12
"""An object whose longer side is less than this share of the image's is stored once more, in the image's own pixels."""

MOST_DETAILS = 4
DETAIL_SHARE = 1 / 3  # of an image's bytes
DETAIL_MARGIN = 12  # px
DETAIL_QUALITY = 80


@dataclass(frozen=True, slots=True)
class Pixels:
    """A part of an image, as stored in the page.

    Attributes:
        x: left edge in the image, px.
        y: top edge, px.
        width: in the image, px.
        height: px.
        stored: (width, height), px, of what is stored, if that is less.
        uri: `data:image/webp;base64,...`.
    """

    x: int
    y: int
    width: int
    height: int
    stored: tuple[int, int]
    uri: str


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """The pixels of one image.

    Attributes:
        whole: the image, made smaller.
        details: small objects with what is around them, in the image's own pixels.
    """

    whole: Pixels
    details: tuple[Pixels, ...] = ()


def choose(pictures: Sequence[Picture], most: int) -> list[Picture]:
    """A part of the dataset that shows all of it: first one image of each category, type and split, defective ones
    before good ones; then, in turns, more of each that is defective; then good ones.

    Args:
        pictures: all.
        most: how many to choose.

    Returns:
        The chosen ones in the order of `pictures`; the same whatever that order is.
    """
    alike: defaultdict[tuple[str, tuple[str, ...], str], list[str]] = defaultdict(list)
    for picture in pictures:
        alike[picture.category, picture.types, picture.image.split].append(picture.key)
    turn = {key: at for keys in alike.values() for at, key in enumerate(shuffle(keys, seed=0))}

    def rank(picture: Picture) -> tuple[bool, bool, int, str]:
        return turn[picture.key] > 0, not picture.is_labelled, turn[picture.key], picture.key

    chosen = {picture.key for picture in sorted(pictures, key=rank)[:most]}
    return [picture for picture in pictures if picture.key in chosen]


def thumbnail(picture: Picture, most: int) -> Thumbnail:
    """The pixels of an image in as many bytes as it may have.

    Args:
        picture: which.
        most: bytes, in base64, for the image and its details together. An image that is larger even in the smallest
            form is stored in that.

    Raises:
        MaskError, ExportError: the image cannot be read.
    """
    image = Image.fromarray(read_picture(picture.image))
    # Where the labels have another size than the file, nobody knows where on the file they lie.
    shapes = picture.shapes if image.size == (picture.image.width, picture.image.height) else ()
    details = _details(image, shapes, int(DETAIL_SHARE * most))
    whole = _whole(image, most - _bytes(*details))
    return Thumbnail(whole, details if whole.stored != image.size else ())


def _details(image: Image.Image, shapes: Sequence[Shape], most: int) -> tuple[Pixels, ...]:
    details: list[Pixels] = []
    for shape in sorted(shapes, key=lambda shape: shape.extent)[:MOST_DETAILS]:
        if shape.extent < TINY * max(image.size):
            detail = _detail(image, shape)
            if _bytes(detail, *details) <= most:
                details.append(detail)
    return tuple(details)


def _whole(image: Image.Image, most: int) -> Pixels:
    """The image, as large as may be."""
    rate = LEAST_RATE
    for side, quality in LADDER:
        size = _size(image, side)
        weight = size[0] * size[1] * (quality + 20)
        if weight * rate > most and (side, quality) != LADDER[-1]:
            continue
        uri = _stored(image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3), quality)
        if len(uri) <= most:
            break
        rate = len(uri) / weight  # smaller versions have more detail in each pixel, not less
    return Pixels(0, 0, image.width, image.height, size, uri)


def _size(image: Image.Image, side: int) -> tuple[int, int]:
    """(width, height), px, with the longer side `side`, or its own if that is less."""
    scale = min(1, side / max(image.size))
    return max(1, round(image.width * scale)), max(1, round(image.height * scale))


def _detail(image: Image.Image, shape: Shape) -> Pixels:
    x0, y0, x1, y1 = shape.box
    margin = DETAIL_MARGIN + shape.extent / 2
    left, top = max(0, int(x0 - margin)), max(0, int(y0 - margin))
    right, bottom = min(image.width, int(x1 + margin) + 1), min(image.height, int(y1 + margin) + 1)
    stored = _stored(image.crop((left, top, right, bottom)), DETAIL_QUALITY)
    return Pixels(left, top, right - left, bottom - top, (right - left, bottom - top), stored)


def _stored(image: Image.Image, quality: int) -> str:
    stream = io.BytesIO()
    image.save(stream, "WEBP", quality=quality)
    return "data:image/webp;base64," + base64.b64encode(stream.getvalue()).decode()


def _bytes(*pixels: Pixels) -> int:
    return sum(len(part.uri) for part in pixels)
