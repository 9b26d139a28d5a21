"""Image and mask files to sizes and binary masks: the only place that decodes pixels."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from mvtec_convert.errors import MaskError

try:
    # Reads a greyscale PNG several times faster than OpenCV or Pillow; has no wheel for some interpreters.
    from kornia_rs.io import decode_image_png_u8
except ImportError:  # pragma: no cover - depends on the interpreter
    decode_image_png_u8 = None


BinaryMask: TypeAlias = npt.NDArray[np.uint8]
"""Shape (height, width), 1 where there is a defect, 0 elsewhere."""

MAX_PIXELS = 2**27
"""Images and masks of more pixels are refused before any of them is decoded; 11,585 x 11,585 passes."""

EXIF_ORIENTATION = 0x0112
TIFF_BITS = 258
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_GREY = 0
PNG_COLOURED = (2, 4, 6)  # RGB, grey + alpha, RGBA


def image_size(path: Path) -> tuple[int, int]:
    """(width, height) in px as stored, from the file's header.

    Raises:
        MaskError: not an image, unreadable, too large, or marked by EXIF as rotated: readers disagree on whether
            to turn such an image, and none turns its mask with it.
    """
    with _open_image(path) as image:
        size = (image.width, image.height)
        orientation = _orientation(image)
    if orientation not in (0, 1):
        raise MaskError(
            f"EXIF orientation {orientation}: most trainers would turn the image but not its mask",
            path=path,
            hint="save the image upright, without the EXIF orientation",
        )
    return size


def _orientation(image: Image.Image) -> int:
    """EXIF's orientation; 1, upright, where none is stated."""
    # For a PNG without the chunk, Pillow would decode the whole image in search of it.
    if image.format == "PNG" and "exif" not in image.info:
        return 1
    try:
        return int(image.getexif().get(EXIF_ORIENTATION, 1))
    except Exception:  # Pillow raises nearly anything on damaged EXIF data, which no reader then follows
        return 1


def read_mask(path: Path) -> BinaryMask:
    """Read one mask file; any pixel that is not black counts as defect.

    Every bit depth and colour type is read exactly: 1, 8 and 16 bits, palette (by colour), RGB; with an alpha channel,
    what is fully transparent is no defect.

    Returns:
        Shape (height, width), dtype uint8, values 0 and 1.

    Raises:
        MaskError: not an image, truncated, corrupt, unreadable or too large.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from None
    header = _png_header(data)
    if header is None:
        return _read_with_pillow(path, is_png=False)
    _refuse_large(header.width, header.height, path)
    if header.depth == 16 and header.colour in PNG_COLOURED:
        return _read_with_opencv(data, path)  # Pillow keeps the high byte only
    if decode_image_png_u8 is None or header.depth != 8 or header.colour != PNG_GREY:
        return _read_with_pillow(path, is_png=True)
    try:
        grey = decode_image_png_u8(data, (header.height, header.width), "mono")
    except Exception as error:  # kornia-rs raises bare Exception
        raise _undecodable(path, error) from None
    return non_zero(grey[..., 0])


@dataclass(frozen=True, slots=True)
class _PngHeader:
    width: int
    height: int
    depth: int
    colour: int


def _png_header(data: bytes) -> _PngHeader | None:
    """The IHDR chunk (PNG specification, 11.2.2), or None where the content is not PNG, whatever the file is called."""
    if len(data) < 26 or not data.startswith(PNG_SIGNATURE) or data[12:16] != b"IHDR":
        return None
    return _PngHeader(*struct.unpack(">IIBB", data[16:26]))


def _open_image(path: Path) -> Image.Image:
    try:
        image = Image.open(path)
    except UnidentifiedImageError:
        raise MaskError("not an image", path=path, hint="replace it with the real image file") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _too_large("the image", path) from None
    except OSError as error:
        raise _unreadable(path, error) from None
    except (ValueError, SyntaxError) as error:
        raise _undecodable(path, error) from None
    _refuse_large(image.width, image.height, path)
    return image


def _read_with_pillow(path: Path, *, is_png: bool) -> BinaryMask:
    try:
        if is_png:
            with _open_image(path) as image:
                image.verify()  # Pillow checks a PNG's checksums here only
        with _open_image(path) as image:
            if isinstance(image, TiffImageFile) and max(image.tag_v2.get(TIFF_BITS, (8,))) > 8:
                return _read_with_opencv(path.read_bytes(), path)  # Pillow keeps the high byte of colours only
            return _by_colour(image)
    except MaskError:
        raise
    except Exception as error:  # Pillow's plug-ins raise nearly anything on corrupt data
        raise _undecodable(path, error) from None


def _by_colour(image: Image.Image) -> BinaryMask:
    if image.mode == "PA" or (image.mode == "P" and "transparency" in image.info):
        image = image.convert("RGBA")
    elif len(image.getbands()) == 1 and image.mode != "P":
        return non_zero(np.asarray(image))
    elif image.mode not in {"RGB", "RGBA", "LA"}:
        image = image.convert("RGB")
    return _any_channel(np.asarray(image))


def _read_with_opencv(data: bytes, path: Path) -> BinaryMask:
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise _undecodable(path, "damaged data")
    return _any_channel(np.asarray(pixels))


def _any_channel(pixels: npt.NDArray[Any]) -> BinaryMask:
    """1 where any colour is not 0, nor alpha, if there is one; `pixels` has shape (height, width[, bands])."""
    if pixels.ndim == 2:
        return non_zero(pixels)
    has_alpha = pixels.shape[2] in (2, 4)
    colours = pixels[..., :-1] if has_alpha else pixels
    found = np.any(colours, axis=-1)
    return non_zero(found & (pixels[..., -1] > 0) if has_alpha else found)


def is_jpeg(path: Path) -> bool:
    """Whether the content is JPEG, whatever the file is called. An unreadable file is none."""
    try:
        with path.open("rb") as file:
            return file.read(3) == b"\xff\xd8\xff"
    except OSError:
        return False


def save_jpeg(source: Path, target: Path) -> None:
    """Save an image as JPEG for readers that take nothing else: RGB, quality 95, colour not subsampled.

    Raises:
        MaskError: the image cannot be decoded.
    """
    with _open_image(source) as image:
        try:
            pixels = _eight_bits(image).convert("RGB")
        except Exception as error:  # Pillow's plug-ins raise nearly anything on corrupt data
            raise _undecodable(source, error) from None
    pixels.save(target, "JPEG", quality=95, subsampling=0)


def _eight_bits(image: Image.Image) -> Image.Image:
    """Greyscale of 16 bits by its high byte, as libpng takes it; Pillow would cut it off at 255. Others as they are."""
    if not image.mode.startswith("I"):
        return image
    return image.convert("I").point(lambda value: value * (1 / 256)).convert("L")


def non_zero(pixels: npt.NDArray[Any]) -> BinaryMask:
    """1 where a pixel is not 0; shape (height, width)."""
    if pixels.dtype == np.uint8:
        # OpenCV's comparison is several times faster than numpy's on whole masks.
        return np.asarray(cv2.threshold(pixels, 0, 1, cv2.THRESH_BINARY)[1], np.uint8).reshape(pixels.shape)
    return np.ascontiguousarray(np.asarray(pixels) != 0).view(np.uint8)


def _refuse_large(width: int, height: int, path: Path) -> None:
    if width * height > MAX_PIXELS:
        raise _too_large(f"{width} x {height} px", path)


def _too_large(what: str, path: Path) -> MaskError:
    message = f"{what} is more than the {MAX_PIXELS:,} pixels this tool decodes"
    return MaskError(message, path=path, hint="cut the image into tiles")


def _unreadable(path: Path, error: OSError) -> MaskError:
    reason = error.strerror or str(error)
    return MaskError(f"cannot be read: {reason}", path=path, hint="check that it exists and may be read")


def _undecodable(path: Path, error: object) -> MaskError:
    return MaskError(f"damaged or truncated: {error}", path=path, hint="restore the file from its source")
