"""Images and masks to files."""

from __future__ import annotations

import io
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from mvtec_convert.errors import MaskError
from mvtec_convert.geometry.headers import undecodable
from mvtec_convert.geometry.images import BinaryMask, read_mask
from mvtec_convert.geometry.pillow import PNG_MODES, open_image, read_rgb

LONGEST_JPEG = 65_500
"""Pixels a side that libjpeg writes (`JPEG_MAX_DIMENSION` in jmorecfg.h)."""

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes an image upright, by its EXIF orientation (EXIF 2.32, 4.6.4.A); Pillow turns anticlockwise."""


def save_jpeg(source: Path, target: Path) -> None:
    """Save an image as JPEG for readers that take nothing else: RGB, quality 95, colour not subsampled.

    Raises:
        MaskError: the image cannot be decoded, or is longer than JPEG allows.
    """
    pixels = read_rgb(source)
    if max(pixels.shape) > LONGEST_JPEG:
        size = f"{pixels.shape[1]} x {pixels.shape[0]} px"
        message = f"{size}: a JPEG has at most {LONGEST_JPEG:,} px a side"
        raise MaskError(message, path=source, hint="cut the image into tiles")
    Image.fromarray(pixels).save(target, "JPEG", quality=95, subsampling=0)


def save_png(source: Path, target: Path, orientation: int = 1, threshold: int | None = None) -> None:
    """Save an image or a mask anew as PNG, without loss, and without EXIF.

    Args:
        source: the file.
        target: where to write.
        orientation: EXIF's; the pixels are turned upright as it says.
        threshold: for a mask: 255 where it is above this, 0 elsewhere; see `binarise`. None keeps its values.

    Raises:
        MaskError: the source cannot be decoded, or PNG has no such pixels (CMYK, float).
    """
    if threshold is not None:
        _save_turned(Image.fromarray(read_mask(source, threshold) * np.uint8(255)), target, orientation)
        return
    with open_image(source) as image:
        try:
            image.load()
        except Exception as error:  # Pillow's plug-ins raise nearly anything on corrupt data
            raise undecodable(source, error) from None
        if image.mode == "I":
            image = _sixteen_bits(image)
        if image.mode not in PNG_MODES:
            raise MaskError(f"PNG cannot hold {image.mode}", path=source, hint="save it as RGB")
        _save_turned(image, target, orientation)


def _sixteen_bits(image: Image.Image) -> Image.Image:
    """An image of 32 bits in the 16 that PNG has; as it is where they do not do."""
    values = np.asarray(image)
    return Image.fromarray(values.astype(np.uint16)) if values.min() >= 0 and values.max() <= 65535 else image


def _save_turned(image: Image.Image, target: Path, orientation: int) -> None:
    turned = image.transpose(TURNS[orientation]) if orientation in TURNS else image
    turned.info.pop("exif", None)
    turned.save(target, "PNG")


def save_grey(values: BinaryMask, target: Path) -> None:
    """Save a mask as an 8-bit greyscale PNG; shape (height, width), its values as they are."""
    target.write_bytes(grey_png(values))


def grey_png(values: BinaryMask) -> bytes:
    """A mask as an 8-bit greyscale PNG; shape (height, width), its values as they are."""
    # Masks are long runs of few values: looking for more than runs takes longer, and makes the file larger.
    stream = io.BytesIO()
    Image.fromarray(values).save(stream, "PNG", compress_level=1, compress_type=zlib.Z_RLE)
    return stream.getvalue()
