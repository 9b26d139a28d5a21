"""Image and mask files that are no usual PNG, or are wanted in colour: all that Pillow decodes."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import reduce
from typing import IO, Any, TypeVar

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from mvtec_convert.errors import MaskError
from mvtec_convert.geometry.headers import MOST_BYTES, png_header, refuse_large, too_large, undecodable, unreadable
from mvtec_convert.opening import FilePath, open_file, read_file

T = TypeVar("T")

KINDS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF")
"""What is decoded, whatever a file is called. Of what else Pillow knows, EPS would start a program."""

EXIF_ORIENTATION = 0x0112
TIFF_BITS = 258
PNG_MODES = frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "I;16"})


@contextmanager
def open_image(path: FilePath) -> Iterator[Image.Image]:
    """The image, its header read and of a size that is not refused."""
    try:
        file = open_file(path)
    except OSError as error:
        raise unreadable(path, error) from None
    with file:
        try:
            image = _identified(file, path)
        except OSError as error:
            raise unreadable(path, error) from None
        except Image.DecompressionBombError:  # some plug-ins judge by themselves, by a limit above ours
            raise too_large("this image", path) from None
        except Exception as error:  # Pillow's plug-ins raise nearly anything on corrupt data
            raise undecodable(path, error) from None
        if image is None:
            raise MaskError("not an image", path=path, hint="replace it with the real image file")
        refuse_large(image.width, image.height, path)
        yield image


def _identified(file: IO[bytes], path: FilePath) -> Image.Image | None:
    """What `Image.open` makes of a file, or None where it is no image; the size is not judged.

    `Image.open` warns of sizes that are allowed here, and a warning can only be silenced for all threads at once.
    """
    head = file.read(16)
    for load_plugins in (Image.preinit, Image.init):  # the usual formats, then all; the first calls take a while
        load_plugins()
        for factory, accepts in [Image.OPEN[kind] for kind in KINDS if kind in Image.OPEN]:
            file.seek(0)
            try:
                if accepts is None or accepts(head) is True:
                    return factory(file, str(path))
            except (SyntaxError, IndexError, TypeError, struct.error):  # as `Image.open` does
                continue
    return None


def orientation_of(image: Image.Image) -> int:
    """EXIF's orientation; 1, upright, where none is stated."""
    # For a PNG without the chunk, Pillow would decode the whole image in search of it.
    if image.format == "PNG" and "exif" not in image.info:
        return 1
    try:
        return int(image.getexif().get(EXIF_ORIENTATION, 1))
    except Exception:  # Pillow raises nearly anything on damaged EXIF data, which no reader then follows
        return 1


def verify(path: FilePath) -> None:
    """Check a PNG's checksums, which tells of any damage without decoding; other kinds have none.

    Raises:
        MaskError: not an image, unreadable, too large or damaged.
    """
    with open_image(path) as image:
        try:
            image.verify()
        except Exception as error:  # Pillow's plug-ins raise nearly anything on corrupt data
            raise undecodable(path, error) from None


def read_values(path: FilePath, *, is_png: bool) -> npt.NDArray[Any]:
    """See `images.read_mask_values`."""
    try:
        if is_png:
            with open_image(path) as image:
                image.verify()  # Pillow checks a PNG's checksums here only
        with open_image(path) as image:
            if image.format == "TIFF" and _deepest_channel(image) > 8:
                return values_by_opencv(read_file(path, MOST_BYTES), path)  # Pillow keeps the high byte of colours only
            return _brightest(image)
    except MaskError:
        raise
    except Exception as error:  # Pillow's plug-ins raise nearly anything on corrupt data
        raise undecodable(path, error) from None


def _deepest_channel(image: Image.Image) -> int:
    """Bits of a TIFF's deepest channel."""
    from PIL.TiffImagePlugin import TiffImageFile  # loaded with the first TIFF

    return max(image.tag_v2.get(TIFF_BITS, (8,))) if isinstance(image, TiffImageFile) else 8


def read_image(path: FilePath) -> npt.NDArray[Any]:
    """Decode an image, for formats that store its pixels anew.

    Returns:
        Shape (height, width, 3), dtype uint8, RGB: the high byte of 16 bits, and transparency ignored. Greyscale of
        more than 8 bits keeps all of them: shape (height, width), integers or float32.

    Raises:
        MaskError: not an image, truncated, corrupt, unreadable or too large.
    """
    with open_image(path) as image:
        try:
            image.load()
            if image.mode == "F" or image.mode.startswith("I"):
                return np.asarray(image)
            image.info.pop("transparency", None)  # Pillow warns of one that it does not convert
            return np.asarray(image.convert("RGB"))
        except Exception as error:  # Pillow's plug-ins raise nearly anything on corrupt data
            raise undecodable(path, error) from None


def read_rgb(path: FilePath) -> npt.NDArray[np.uint8]:
    """Decode an image to 8 bits, shape (height, width, 3): of more than 8 bits the high byte, as libpng takes it.

    Raises:
        MaskError: see `read_image`.
    """
    pixels = read_image(path)
    if pixels.ndim == 2:
        grey = pixels // 256 if np.issubdtype(pixels.dtype, np.integer) else pixels
        pixels = np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., None], 3, axis=2)
    return np.asarray(pixels, np.uint8)


def read_mask_colours(path: FilePath) -> npt.NDArray[np.int32]:
    """Read one mask file by its colours: of each pixel 0xRRGGBB, 0 where it is fully transparent.

    Of colours of more than 8 bits the high byte counts; a grey g of 8 bits is the colour (g, g, g).

    Returns:
        Shape (height, width).

    Raises:
        MaskError: see `read_mask`.
    """
    return _decoded(path, _colours)


def read_mask_indices(path: FilePath) -> npt.NDArray[np.uint8] | None:
    """Read one mask file by the indices of its palette, 0 where it is fully transparent.

    Returns:
        Shape (height, width); None where it has no palette, or one of greys alone, whose brightness is the value.

    Raises:
        MaskError: see `read_mask`.
    """
    return _decoded(path, _indices)


def png_values(data: bytes, path: FilePath) -> npt.NDArray[Any]:
    """What a PNG that lies in another file holds, decoded by Pillow: indices where it has a palette.

    Args:
        data: the PNG.
        path: the file that it lies in, for messages.

    Returns:
        Shape (height, width), or (height, width, bands).

    Raises:
        MaskError: no PNG, damaged or too large.
    """
    header = png_header(data)
    if header is None:
        raise MaskError("a mask in it is no PNG", path=path, hint="draw the mask again")
    refuse_large(header.width, header.height, path)
    try:
        return np.asarray(PngImageFile(io.BytesIO(data)))
    except Exception as error:  # Pillow's plug-ins raise nearly anything on corrupt data
        raise undecodable(path, error) from None


def _decoded(path: FilePath, take: Callable[[Image.Image], T]) -> T:
    """What is taken of a mask that Pillow opened; the checksums of a PNG are checked before."""
    try:
        with open_image(path) as image:
            if image.format == "PNG":
                image.verify()
        with open_image(path) as image:
            return take(image)
    except MaskError:
        raise
    except Exception as error:  # Pillow's plug-ins raise nearly anything on corrupt data
        raise undecodable(path, error) from None


def _colours(image: Image.Image) -> npt.NDArray[np.int32]:
    rgba = np.asarray(image.convert("RGBA" if image.mode in PNG_MODES | {"PA"} else "RGB").convert("RGBA"))
    colours = np.zeros(rgba.shape[:2], np.int32)
    for channel in range(3):
        colours <<= 8
        colours |= rgba[..., channel]
    colours[rgba[..., 3] == 0] = 0
    return colours


def _indices(image: Image.Image) -> npt.NDArray[np.uint8] | None:
    palette = np.array(image.getpalette() if image.mode == "P" else [], np.uint8).reshape(-1, 3)
    if (palette == palette[:, :1]).all():
        return None
    indices = np.array(image, np.uint8)
    indices[np.asarray(image.convert("RGBA"))[..., 3] == 0] = 0
    return indices


def _brightest(image: Image.Image) -> npt.NDArray[Any]:
    if image.mode == "PA" or (image.mode == "P" and "transparency" in image.info):
        image = image.convert("RGBA")
    elif len(image.getbands()) == 1 and image.mode != "P":
        return np.asarray(image)
    elif image.mode not in {"RGB", "RGBA", "LA"}:
        image = image.convert("RGB")
    return _brightest_channel(np.asarray(image))


def values_by_opencv(data: bytes, path: FilePath) -> npt.NDArray[Any]:
    """The same of a file's content, by OpenCV, which keeps 16 bits of colours."""
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise undecodable(path, "damaged data")
    return _brightest_channel(np.asarray(pixels))


def _brightest_channel(pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The largest colour of each pixel, 0 where alpha is; `pixels` has shape (height, width[, bands])."""
    if pixels.ndim == 2:
        return pixels
    has_alpha = pixels.shape[2] in (2, 4)
    first, *others = np.moveaxis(pixels[..., :-1] if has_alpha else pixels, -1, 0)
    # Several times quicker than `max` along the short axis.
    values: npt.NDArray[Any] = reduce(np.maximum, others, first.copy())
    if has_alpha:
        values[pixels[..., -1] == 0] = 0
    return values
