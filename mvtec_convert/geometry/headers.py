"""What an image file says before its pixels, and what is refused before any are decoded."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from mvtec_convert.errors import ExhaustedError, MaskError, exhausted
from mvtec_convert.opening import FilePath

MAX_PIXELS = 2**27
"""Images and masks of more pixels are refused before any of them is decoded; 11,585 x 11,585 passes."""

MOST_BYTES = 8 * MAX_PIXELS + (1 << 20)
"""Of an image file: as many pixels, unpacked, in four channels of 16 bits."""

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True, slots=True)
class PngHeader:
    """IHDR, as far as it is used here: size in px, bits of a channel, colour type."""

    width: int
    height: int
    depth: int
    colour: int


def png_header(data: bytes) -> PngHeader | None:
    """The IHDR chunk (PNG specification, 11.2.2), or None where the content is not PNG, whatever the file is called."""
    if len(data) < 26 or not data.startswith(PNG_SIGNATURE) or data[12:16] != b"IHDR":
        return None
    return PngHeader(*struct.unpack(">IIBB", data[16:26]))


def refuse_large(width: int, height: int, path: FilePath) -> None:
    """Raise MaskError for more than `MAX_PIXELS`; width and height in px."""
    if width * height > MAX_PIXELS:
        raise too_large(f"{width} x {height} px", path)


def too_large(what: str, path: FilePath) -> MaskError:
    """For an image of more than `MAX_PIXELS`."""
    message = f"{what} is more than the {MAX_PIXELS:,} pixels this tool decodes"
    return MaskError(message, path=path, hint="cut the image into tiles")


def unreadable(path: FilePath, error: OSError) -> MaskError | ExhaustedError:
    """For a file that the system does not give."""
    blameless = exhausted(error)  # a file that is sound must not be skipped, nor called bad
    if blameless is not None:
        return blameless
    reason = error.strerror or str(error)
    return MaskError(f"cannot be read: {reason}", path=path, hint="check that it exists and may be read")


def undecodable(path: FilePath, error: object) -> MaskError:
    """For a file that no decoder takes."""
    return MaskError(f"damaged or truncated: {error}", path=path, hint="restore the file from its source")
