"""Image and mask files to sizes and binary masks: the only place that decodes pixels."""

from __future__ import annotations

import io
import os
import shutil
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, reduce
from pathlib import Path
from typing import IO, Any, TypeAlias, TypeVar

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from mvtec_convert.errors import ExhaustedError, MaskError, exhausted
from mvtec_convert.opening import FilePath, open_file, read_ends, read_file, read_head

try:
    # Reads a greyscale PNG several times faster than OpenCV or Pillow; has no wheel for some interpreters.
    from kornia_rs.io import decode_image_png_u8
except ImportError:  # pragma: no cover - depends on the interpreter
    decode_image_png_u8 = None


T = TypeVar("T")

BinaryMask: TypeAlias = npt.NDArray[np.uint8]
"""Shape (height, width), 1 where there is a defect, 0 elsewhere."""

MAX_PIXELS = 2**27
"""Images and masks of more pixels are refused before any of them is decoded; 11,585 x 11,585 passes."""

MOST_BYTES = 8 * MAX_PIXELS + (1 << 20)
"""Of an image file: as many pixels, unpacked, in four channels of 16 bits."""

KINDS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF")
"""What is decoded, whatever a file is called. Of what else Pillow knows, EPS would start a program."""

LONGEST_JPEG = 65_500
"""Pixels a side that libjpeg writes (`JPEG_MAX_DIMENSION` in jmorecfg.h)."""

EXIF_ORIENTATION = 0x0112
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

TIFF_BITS = 258
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_GREY = 0
PNG_MODES = frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "I;16"})
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
        raise _unreadable(path, error) from None


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
    with _open_image(path) as image:
        orientation = _orientation(image)
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


def verify(path: FilePath) -> None:
    """Check a PNG's checksums, which tells of any damage without decoding; other kinds have none.

    Raises:
        MaskError: not an image, unreadable, too large or damaged.
    """
    with _open_image(path) as image:
        try:
            image.verify()
        except Exception as error:  # Pillow's plug-ins raise nearly anything on corrupt data
            raise _undecodable(path, error) from None


def _orientation(image: Image.Image) -> int:
    """EXIF's orientation; 1, upright, where none is stated."""
    # For a PNG without the chunk, Pillow would decode the whole image in search of it.
    if image.format == "PNG" and "exif" not in image.info:
        return 1
    try:
        return int(image.getexif().get(EXIF_ORIENTATION, 1))
    except Exception:  # Pillow raises nearly anything on damaged EXIF data, which no reader then follows
        return 1


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
    return np.asarray(grey[..., 0])


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


@dataclass(frozen=True, slots=True)
class _PngHeader:
    width: int
    height: int
    depth: int
    colour: int


def _usual_png(path: FilePath) -> ImageHeader | None:
    """What `read_header` makes of a sound PNG without metadata, in a fraction of Pillow's time; None of all else."""
    try:
        head = read_head(path, PNG_HEAD)
    except OSError as error:
        raise _unreadable(path, error) from None
    return _of_usual_png(head, path)


def _of_usual_png(head: bytes, path: FilePath) -> ImageHeader | None:
    """The same, of the first bytes of the file."""
    # Up to the chunk of pixels, before whose name its length stands.
    header = _judged(head[: max(head.find(b"IDAT") - 4, 0)])
    if header is not None:
        _refuse_large(header.width, header.height, path)
    return header


@lru_cache(maxsize=64)  # the images of a dataset begin with the same bytes
def _judged(head: bytes) -> ImageHeader | None:
    """What `_usual_png` makes of all that stands before the pixels."""
    found = _png_header(head)
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


def _png_header(data: bytes) -> _PngHeader | None:
    """The IHDR chunk (PNG specification, 11.2.2), or None where the content is not PNG, whatever the file is called."""
    if len(data) < 26 or not data.startswith(PNG_SIGNATURE) or data[12:16] != b"IHDR":
        return None
    return _PngHeader(*struct.unpack(">IIBB", data[16:26]))


@contextmanager
def _open_image(path: FilePath) -> Iterator[Image.Image]:
    """The image, its header read and of a size that is not refused."""
    try:
        file = open_file(path)
    except OSError as error:
        raise _unreadable(path, error) from None
    with file:
        try:
            image = _identified(file, path)
        except OSError as error:
            raise _unreadable(path, error) from None
        except Image.DecompressionBombError:  # some plug-ins judge by themselves, by a limit above ours
            raise _too_large("this image", path) from None
        except Exception as error:  # Pillow's plug-ins raise nearly anything on corrupt data
            raise _undecodable(path, error) from None
        if image is None:
            raise MaskError("not an image", path=path, hint="replace it with the real image file")
        _refuse_large(image.width, image.height, path)
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


def _read_with_pillow(path: FilePath, *, is_png: bool) -> npt.NDArray[Any]:
    try:
        if is_png:
            with _open_image(path) as image:
                image.verify()  # Pillow checks a PNG's checksums here only
        with _open_image(path) as image:
            if image.format == "TIFF" and _deepest_channel(image) > 8:
                return _read_with_opencv(
                    read_file(path, MOST_BYTES), path
                )  # Pillow keeps the high byte of colours only
            return _brightest(image)
    except MaskError:
        raise
    except Exception as error:  # Pillow's plug-ins raise nearly anything on corrupt data
        raise _undecodable(path, error) from None


def _deepest_channel(image: Image.Image) -> int:
    """Bits of a TIFF's deepest channel."""
    from PIL.TiffImagePlugin import TiffImageFile  # loaded with the first TIFF

    return max(image.tag_v2.get(TIFF_BITS, (8,))) if isinstance(image, TiffImageFile) else 8


def _decoded(path: FilePath, take: Callable[[Image.Image], T]) -> T:
    """What is taken of a mask that Pillow opened; the checksums of a PNG are checked before."""
    try:
        with _open_image(path) as image:
            if image.format == "PNG":
                image.verify()
        with _open_image(path) as image:
            return take(image)
    except MaskError:
        raise
    except Exception as error:  # Pillow's plug-ins raise nearly anything on corrupt data
        raise _undecodable(path, error) from None


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


def _read_with_opencv(data: bytes, path: FilePath) -> npt.NDArray[Any]:
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise _undecodable(path, "damaged data")
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


def read_image(path: FilePath) -> npt.NDArray[Any]:
    """Decode an image, for formats that store its pixels anew.

    Returns:
        Shape (height, width, 3), dtype uint8, RGB: the high byte of 16 bits, and transparency ignored. Greyscale of
        more than 8 bits keeps all of them: shape (height, width), integers or float32.

    Raises:
        MaskError: not an image, truncated, corrupt, unreadable or too large.
    """
    with _open_image(path) as image:
        try:
            image.load()
            if image.mode == "F" or image.mode.startswith("I"):
                return np.asarray(image)
            image.info.pop("transparency", None)  # Pillow warns of one that it does not convert
            return np.asarray(image.convert("RGB"))
        except Exception as error:  # Pillow's plug-ins raise nearly anything on corrupt data
            raise _undecodable(path, error) from None


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


def is_jpeg(path: FilePath) -> bool:
    """Whether the content is JPEG, whatever the file is called. An unreadable file is none."""
    try:
        with open_file(path) as file:
            return file.read(3) == JPEG_SIGNATURE
    except OSError:
        return False


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
    with _open_image(source) as image:
        try:
            image.load()
        except Exception as error:  # Pillow's plug-ins raise nearly anything on corrupt data
            raise _undecodable(source, error) from None
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


def non_zero(pixels: npt.NDArray[Any]) -> BinaryMask:
    """1 where a pixel is not 0; shape (height, width)."""
    if pixels.dtype == np.uint8:
        # OpenCV's comparison is several times faster than numpy's on whole masks.
        return np.asarray(cv2.threshold(pixels, 0, 1, cv2.THRESH_BINARY)[1], np.uint8).reshape(pixels.shape)
    return np.ascontiguousarray(np.asarray(pixels) != 0).view(np.uint8)


def _refuse_large(width: int, height: int, path: FilePath) -> None:
    if width * height > MAX_PIXELS:
        raise _too_large(f"{width} x {height} px", path)


def _too_large(what: str, path: FilePath) -> MaskError:
    message = f"{what} is more than the {MAX_PIXELS:,} pixels this tool decodes"
    return MaskError(message, path=path, hint="cut the image into tiles")


def _unreadable(path: FilePath, error: OSError) -> MaskError | ExhaustedError:
    blameless = exhausted(error)  # a file that is sound must not be skipped, nor called bad
    if blameless is not None:
        return blameless
    reason = error.strerror or str(error)
    return MaskError(f"cannot be read: {reason}", path=path, hint="check that it exists and may be read")


def _undecodable(path: FilePath, error: object) -> MaskError:
    return MaskError(f"damaged or truncated: {error}", path=path, hint="restore the file from its source")


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


def save_grey(values: BinaryMask, target: Path) -> None:
    """Save a mask as an 8-bit greyscale PNG; shape (height, width), its values as they are."""
    target.write_bytes(grey_png(values))


def grey_png(values: BinaryMask) -> bytes:
    """A mask as an 8-bit greyscale PNG; shape (height, width), its values as they are."""
    # Masks are long runs of few values: looking for more than runs takes longer, and makes the file larger.
    stream = io.BytesIO()
    Image.fromarray(values).save(stream, "PNG", compress_level=1, compress_type=zlib.Z_RLE)
    return stream.getvalue()


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
    header = _png_header(data)
    if header is None:
        raise MaskError("a mask in it is no PNG", path=path, hint="draw the mask again")
    _refuse_large(header.width, header.height, path)
    try:
        return np.asarray(PngImageFile(io.BytesIO(data)))
    except Exception as error:  # Pillow's plug-ins raise nearly anything on corrupt data
        raise _undecodable(path, error) from None
