"""Image and mask files to sizes and binary masks: usual PNG here, all else by Pillow, which takes a while to load."""

from __future__ import annotations

import os
import shutil
import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from mvtec_convert.errors import MaskError
from mvtec_convert.geometry.headers import (
    MOST_BYTES,
    PNG_SIGNATURE,
    PngHeader,
    png_header,
    refuse_large,
    undecodable,
    unreadable,
)
from mvtec_convert.opening import FilePath, open_file, read_ends, read_file, read_head

try:
    # Reads a greyscale PNG several times faster than OpenCV or Pillow; has no wheel for some interpreters.
    from kornia_rs.io import decode_image_png_u8
except ImportError:  # pragma: no cover - depends on the interpreter
    decode_image_png_u8 = None


BinaryMask: TypeAlias = npt.NDArray[np.uint8]
"""Shape (height, width), 1 where there is a defect, 0 elsewhere."""

PNG_GREY = 0
PNG_COLOURED = (2, 4, 6)  # RGB, grey + alpha, RGBA
PNG_USUAL = {(8, 0): "L", (8, 2): "RGB", (8, 6): "RGBA"}
"""Pillow's modes by bit depth and colour type."""
PNG_HARMLESS = {b"IHDR": 13, b"gAMA": 4, b"sRGB": 1, b"pHYs": 9}
"""Length of each chunk that a PNG without metadata may have before its pixels (PNG specification, 11)."""
PNG_HEAD = 128  # bytes; room for all of these

JPEG_SIGNATURE = b"\xff\xd8\xff"
ENDING = 1024  # bytes in which a file's end marker is looked for; some programs leave a few behind it


def image_size(path: FilePath) -> tuple[int, int]:
    """(width, height) in px as stored, from the file's header.

    Raises:
        MaskError: not an image, unreadable, too large, or marked by EXIF as rotated: readers disagree on whether
            to turn such an image, and none turns its mask with it.
    """
    return upright_header(path).size


def size_and_end(path: FilePath) -> tuple[tuple[int, int], bool]:
    """What `image_size` and `has_its_end` say, for the price of one.

    Raises:
        MaskError: see `image_size`.
    """
    head, end = _ends(path)
    usual = _of_usual_png(head, path)
    return (image_size(path) if usual is None else usual.size), _is_whole(head, end)


def has_its_end(path: FilePath) -> bool:
    """Whether a PNG or JPEG ends as it should; other formats are taken at their word.

    Raises:
        MaskError: it cannot be read.
    """
    return _is_whole(*_ends(path))


def _ends(path: FilePath) -> tuple[bytes, bytes]:
    try:
        return read_ends(path, PNG_HEAD, ENDING)
    except OSError as error:
        raise unreadable(path, error) from None


def _is_whole(head: bytes, end: bytes) -> bool:
    if head.startswith(PNG_SIGNATURE[:4]):
        return b"IEND" in end
    return not head.startswith(JPEG_SIGNATURE) or b"\xff\xd9" in end


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """What an image file says of itself before its pixels.

    Attributes:
        kind: the content's format, whatever the file is called, as Pillow names it: `PNG`, `JPEG`.
        mode: bands and depth, as Pillow names them: `L`, `RGB`, `I;16`.
        width: px, as stored.
        height: px, as stored.
        orientation: EXIF's, from 1 to 8; 1 where the image is stored upright.
    """

    kind: str
    mode: str
    width: int
    height: int
    orientation: int

    @property
    def channels(self) -> int:
        """Of the decoded image: 1 for greyscale, 3 for colour (a palette's too), one more with transparency."""
        from PIL import Image

        return Image.getmodebands("RGB" if self.mode == "P" else self.mode)

    @property
    def size(self) -> tuple[int, int]:
        """(width, height), px, as stored."""
        return self.width, self.height

    @property
    def upright_size(self) -> tuple[int, int]:
        """(width, height), px, once the image is turned as EXIF says; from 5 on it lies on its side."""
        return self.size if self.orientation < 5 else (self.height, self.width)


def read_header(path: FilePath) -> ImageHeader:
    """Read what stands before the pixels.

    Raises:
        MaskError: not an image, unreadable or too large.
    """
    usual = _usual_png(path)
    if usual is not None:
        return usual
    from mvtec_convert.geometry.pillow import open_image, orientation_of  # not for the usual ones, which are most

    with open_image(path) as image:
        orientation = orientation_of(image)
        turned = orientation if 2 <= orientation <= 8 else 1
        return ImageHeader(image.format or "", image.mode, image.width, image.height, turned)


def upright_header(path: FilePath) -> ImageHeader:
    """The same of an image that is stored upright.

    Raises:
        MaskError: see `image_size`.
    """
    header = read_header(path)
    if header.orientation != 1:
        raise MaskError(
            f"EXIF orientation {header.orientation}: most trainers would turn the image but not its mask",
            code="exif-rotation",
            path=path,
            hint="save the image upright, without the EXIF orientation",
        )
    return header


def read_mask(path: FilePath, threshold: int = 0) -> BinaryMask:
    """Read one mask file; any pixel that is not black counts as defect, or any brighter than `threshold`.

    Every bit depth and colour type is read exactly: 1, 8 and 16 bits, palette (by colour), RGB; with an alpha channel,
    what is fully transparent is no defect.

    Args:
        path: the file.
        threshold: see `binarise`.

    Returns:
        Shape (height, width), dtype uint8, values 0 and 1.

    Raises:
        MaskError: not an image, truncated, corrupt, unreadable or too large.
    """
    values = read_mask_values(path)
    if threshold == 0 and values.dtype == np.uint8 and values.flags.writeable:
        # In place: room for a second array of this size costs several times what decoding does.
        return np.asarray(cv2.threshold(values, 0, 1, cv2.THRESH_BINARY, dst=values)[1], np.uint8)
    return binarise(values, threshold)


def is_black(path: FilePath) -> bool:
    """Whether a mask shows no defect; False where it cannot be read, which is told once it is used."""
    try:
        return not read_mask_values(path).any()
    except MaskError:
        return False


def read_mask_values(path: FilePath) -> npt.NDArray[Any]:
    """Read one mask file as it is: of each pixel the brightest channel, 0 where it is fully transparent.

    Returns:
        Shape (height, width), on the scale of the file: bool, uint8, uint16, int32 or float32; colours of a palette,
        and grey of 2 or 4 bits, as uint8.

    Raises:
        MaskError: see `read_mask`.
    """
    try:
        data = read_file(path, MOST_BYTES)
    except OSError as error:
        raise unreadable(path, error) from None
    header = png_header(data)
    if header is not None:
        refuse_large(header.width, header.height, path)
    if header is None or decode_image_png_u8 is None or header.depth != 8 or header.colour != PNG_GREY:
        return _read_unusual(path, data, header)
    try:
        grey = decode_image_png_u8(data, (header.height, header.width), "mono")
    except Exception as error:  # kornia-rs raises bare Exception
        raise undecodable(path, error) from None
    return np.asarray(grey[..., 0])


def _read_unusual(path: FilePath, data: bytes, header: PngHeader | None) -> npt.NDArray[Any]:
    """The same of what is no PNG of 8-bit grey; `header` is None where it is no PNG."""
    from mvtec_convert.geometry.pillow import read_values, values_by_opencv

    if header is not None and header.depth == 16 and header.colour in PNG_COLOURED:
        return values_by_opencv(data, path)  # Pillow keeps the high byte only
    return read_values(path, is_png=header is not None)


def binarise(values: npt.NDArray[Any], threshold: int = 0) -> BinaryMask:
    """1 where a value is above `threshold`, which is on a scale from 0 to 255 whatever the file's depth.

    With 0, all that is not 0 is 1: also what is negative, or less than 1/255 of 16 bits.
    """
    if threshold == 0:
        return non_zero(values)
    return np.ascontiguousarray(values > threshold * full_scale(values) / 255).view(np.uint8)


def full_scale(values: npt.NDArray[Any]) -> int:
    """The value that stands for white: 1, 255 or 65535 by the file's depth; 255 for deeper ones, which have no rule."""
    return {"bool": 1, "uint16": 65535}.get(values.dtype.name, 255)


def _usual_png(path: FilePath) -> ImageHeader | None:
    """What `read_header` makes of a sound PNG without metadata, in a fraction of Pillow's time; None of all else."""
    try:
        head = read_head(path, PNG_HEAD)
    except OSError as error:
        raise unreadable(path, error) from None
    return _of_usual_png(head, path)


def _of_usual_png(head: bytes, path: FilePath) -> ImageHeader | None:
    """The same, of the first bytes of the file."""
    # Up to the chunk of pixels, before whose name its length stands.
    header = _judged(head[: max(head.find(b"IDAT") - 4, 0)])
    if header is not None:
        refuse_large(header.width, header.height, path)
    return header


@lru_cache(maxsize=64)  # the images of a dataset begin with the same bytes
def _judged(head: bytes) -> ImageHeader | None:
    """What `_usual_png` makes of all that stands before the pixels."""
    found = png_header(head)
    mode = PNG_USUAL.get((found.depth, found.colour)) if found else None
    if found is None or mode is None or not found.width or not found.height or not _is_harmless(head):
        return None
    return ImageHeader("PNG", mode, found.width, found.height, 1)


def _is_harmless(head: bytes) -> bool:
    """Whether a PNG has sound chunks of `PNG_HARMLESS` alone before its pixels, which are cut off."""
    at = len(PNG_SIGNATURE)
    while at < len(head):
        length, kind = int.from_bytes(head[at : at + 4], "big"), head[at + 4 : at + 8]
        end = at + 8 + length
        checksum = int.from_bytes(head[end : end + 4], "big")
        if PNG_HARMLESS.get(kind) != length or zlib.crc32(head[at + 4 : end]) != checksum:
            return False
        at = end + 4
    return True


def is_jpeg(path: FilePath) -> bool:
    """Whether the content is JPEG, whatever the file is called. An unreadable file is none."""
    try:
        with open_file(path) as file:
            return file.read(3) == JPEG_SIGNATURE
    except OSError:
        return False


def non_zero(pixels: npt.NDArray[Any]) -> BinaryMask:
    """1 where a pixel is not 0; shape (height, width)."""
    if pixels.dtype == np.uint8:
        # OpenCV's comparison is several times faster than numpy's on whole masks.
        return np.asarray(cv2.threshold(pixels, 0, 1, cv2.THRESH_BINARY)[1], np.uint8).reshape(pixels.shape)
    return np.ascontiguousarray(np.asarray(pixels) != 0).view(np.uint8)


def link_or_copy(source: Path, target: Path) -> None:
    """A hard link to the file, which takes no space; a copy where the file system refuses one."""
    if not is_linked(source, target):
        shutil.copyfile(source, target)


def is_linked(source: FilePath, target: FilePath) -> bool:
    """Make a hard link to a file, which takes no space; False where the file system refuses it."""
    try:
        # What a link points to, not the link.
        os.link(os.path.realpath(source) if os.path.islink(source) else source, target)  # noqa: PTH114
    except OSError:  # another device, a file system without links, too many links, a file that is not ours
        return False
    return True
