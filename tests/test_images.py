"""Mask files of every kind are read exactly; files that are not what they seem are errors that help."""

from __future__ import annotations

import io
import os
import struct
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mvtec_convert.errors import MaskError
from mvtec_convert.geometry import images
from mvtec_convert.geometry.images import image_size, read_mask
from mvtec_convert.geometry.pillow import read_image
from mvtec_convert.geometry.saving import save_jpeg
from tests.strategies import Mask, blobs, masks

TRUTH = blobs(37, 53, 4)
"""What every mask file here shows; no side is a multiple of 8."""

OTHER = blobs(37, 53, 1)
"""Another mask of that size, to tell pixels of a mask from each other."""

BLOCKS = np.kron(np.array([[0, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0]], np.uint8), np.ones((16, 16), np.uint8))
"""Black and white in JPEG's own blocks, so that JPEG keeps black pure."""


@pytest.fixture(params=["kornia-rs", "Pillow"])
def reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each test twice: with kornia-rs, and as on a machine without it."""
    if request.param == "Pillow":
        monkeypatch.setattr(images, "decode_image_png_u8", None)
    elif images.decode_image_png_u8 is None:
        pytest.skip("kornia-rs is not installed")
    return request.param


# --- files ------------------------------------------------------------------------------------------------------------


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def by_opencv(suffix: str, pixels: npt.NDArray[Any]) -> bytes:
    return cv2.imencode(suffix, pixels)[1].tobytes()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(
    width: int, height: int, depth: int, colour: int, raw: bytes, *, interlaced: bool = False, **more: bytes
) -> bytes:
    """A PNG put together by hand (PNG specification, 5 and 11); `more` are chunks that come before the pixels."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    extra = b"".join(chunk(kind.encode(), data) for kind, data in more.items())
    pixels = chunk(b"IDAT", zlib.compress(raw))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + pixels + chunk(b"IEND", b"")


def scanlines(pixels: npt.NDArray[Any]) -> bytes:
    """Rows as PNG stores them, each after its filter type 0."""
    return b"".join(b"\0" + row.tobytes() for row in pixels)


def low_depth_png(mask: Mask, depth: int, value: int) -> bytes:
    """A grey PNG of 1, 2 or 4 bits with `value` where there is a defect."""
    bits = np.unpackbits((mask * np.uint8(value))[..., None], axis=2)[..., 8 - depth :]
    return png(mask.shape[1], mask.shape[0], depth, 0, scanlines(np.packbits(bits.reshape(len(mask), -1), axis=1)))


ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
"""x, y, step in x, step in y of each pass (PNG specification, 8.2)."""


def interlaced_png(pixels: npt.NDArray[Any], colour: int) -> bytes:
    passes = (np.ascontiguousarray(pixels[y::dy, x::dx]) for x, y, dx, dy in ADAM7)
    raw = b"".join(scanlines(part) for part in passes if part.size)
    return png(pixels.shape[1], pixels.shape[0], 8, colour, raw, interlaced=True)


def palette_png(indices: npt.NDArray[Any], palette: list[tuple[int, int, int]], **more: bytes) -> bytes:
    """A palette PNG with these indices as its pixels."""
    raw = scanlines(indices.astype(np.uint8))
    return png(indices.shape[1], indices.shape[0], 8, 3, raw, PLTE=bytes(np.ravel(palette).tolist()), **more)


def stacked(*values: int, dtype: Any = np.uint8) -> npt.NDArray[Any]:
    """The truth with one value for each band where there is a defect."""
    return np.stack([TRUTH * dtype(value) for value in values], axis=-1)


GREY = Image.fromarray(TRUTH * np.uint8(255))
TRANSPARENT = np.dstack([np.full((*TRUTH.shape, 3), 90, np.uint8), TRUTH * np.uint8(255)])
BIG16 = np.dtype(">u2")

EXACT: dict[str, tuple[str, bytes]] = {
    "1-bit PNG": (".png", saved(GREY.convert("1"), "PNG")),
    "2-bit PNG": (".png", low_depth_png(TRUTH, 2, 1)),
    "4-bit PNG": (".png", low_depth_png(TRUTH, 4, 1)),
    "8-bit PNG": (".png", saved(GREY, "PNG")),
    "8-bit PNG of ones": (".png", saved(Image.fromarray(TRUTH), "PNG")),
    "8-bit PNG of many values": (".png", saved(Image.fromarray(TRUTH * (1 + 7 * OTHER)), "PNG")),
    "16-bit PNG": (".png", by_opencv(".png", TRUTH * np.uint16(65535))),
    "16-bit PNG of values below 256": (".png", by_opencv(".png", TRUTH * np.uint16(3))),
    "16-bit PNG of multiples of 256": (".png", by_opencv(".png", TRUTH * np.uint16(256))),
    "palette PNG": (".png", palette_png(TRUTH, [(0, 0, 0), (128, 0, 0)])),
    "palette PNG with black last": (".png", palette_png(2 - TRUTH, [(9, 9, 9), (255, 255, 255), (0, 0, 0)])),
    "palette PNG with black twice": (
        ".png",
        palette_png(np.where(TRUTH > 0, 1 + OTHER, 3 * OTHER), [(0, 0, 0), (0, 0, 1), (9, 0, 0), (0, 0, 0)]),
    ),
    "palette PNG with a transparent background": (
        ".png",
        palette_png(TRUTH, [(255, 0, 0), (0, 0, 255)], tRNS=b"\0\xff"),
    ),
    "1-bit palette PNG": (".png", saved(GREY.convert("1").convert("P"), "PNG", bits=1)),
    "RGB PNG": (".png", saved(GREY.convert("RGB"), "PNG")),
    "RGB PNG that is blue by 1": (".png", saved(Image.fromarray(stacked(0, 0, 1)), "PNG")),
    "16-bit RGB PNG": (".png", by_opencv(".png", stacked(65535, 0, 0, dtype=np.uint16))),
    "16-bit RGB PNG of values below 256": (".png", by_opencv(".png", stacked(0, 1, 0, dtype=np.uint16))),
    "16-bit RGBA PNG of values below 256": (".png", by_opencv(".png", stacked(0, 1, 0, 200, dtype=np.uint16))),
    "16-bit grey and alpha PNG of values below 256": (
        ".png",
        png(53, 37, 16, 4, scanlines(stacked(1, 1, dtype=np.uint16).astype(BIG16))),
    ),
    "RGBA PNG": (".png", saved(GREY.convert("RGBA"), "PNG")),
    "RGBA PNG that is transparent outside": (".png", saved(Image.fromarray(TRANSPARENT), "PNG")),
    "RGBA PNG with little alpha": (".png", saved(Image.fromarray(stacked(0, 9, 0, 1)), "PNG")),
    "grey and alpha PNG": (".png", saved(GREY.convert("LA"), "PNG")),
    "grey and alpha PNG that is transparent outside": (
        ".png",
        saved(Image.fromarray(TRANSPARENT).convert("LA"), "PNG"),
    ),
    "interlaced PNG": (".png", interlaced_png(TRUTH * np.uint8(255), 0)),
    "interlaced RGB PNG": (".png", interlaced_png(stacked(0, 0, 3), 2)),
    "BMP": (".bmp", saved(GREY, "BMP")),
    "1-bit BMP": (".bmp", saved(GREY.convert("1"), "BMP")),
    "RGB BMP": (".bmp", saved(Image.fromarray(stacked(1, 0, 0)), "BMP")),
    "TIFF": (".tif", saved(GREY, "TIFF")),
    "compressed TIFF": (".tiff", saved(GREY, "TIFF", compression="tiff_lzw")),
    "1-bit TIFF": (".tif", saved(GREY.convert("1"), "TIFF", compression="group4")),
    "RGB TIFF": (".tif", saved(Image.fromarray(stacked(0, 1, 0)), "TIFF")),
    "16-bit TIFF of values below 256": (".tif", saved(Image.fromarray(TRUTH * np.uint16(3)), "TIFF")),
    "16-bit RGB TIFF": (".tif", by_opencv(".tif", stacked(0, 0, 65535, dtype=np.uint16))),
    "16-bit RGB TIFF of values below 256": (".tif", by_opencv(".tif", stacked(0, 0, 3, dtype=np.uint16))),
    "float TIFF of small values": (".tif", saved(Image.fromarray(TRUTH * np.float32(0.25)), "TIFF")),
    "BMP called PNG": (".png", saved(GREY, "BMP")),
    "TIFF called PNG": (".png", saved(GREY, "TIFF")),
    "PNG called JPEG": (".jpg", saved(GREY, "PNG")),
    "PNG in upper case": (".PNG", saved(GREY, "PNG")),
}
"""Suffix and content of files that all show the truth."""


def write(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.unlink(missing_ok=True)  # a file written over may wait for the disk
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("kind", EXACT)
@pytest.mark.usefixtures("reader")
def test_masks_are_read_exactly(kind: str, tmp_path: Path) -> None:
    suffix, data = EXACT[kind]
    path = write(tmp_path, f"mask{suffix}", data)
    mask = read_mask(path)
    assert mask.dtype == np.uint8
    assert np.array_equal(mask, TRUTH)
    assert image_size(path) == (53, 37)


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.usefixtures("reader")
def test_jpeg_with_pure_black_is_read_exactly(mode: str, tmp_path: Path) -> None:
    image = Image.fromarray(BLOCKS * np.uint8(255)).convert(mode)
    path = write(tmp_path, "mask.jpg", saved(image, "JPEG", quality=90))
    assert np.array_equal(read_mask(path), BLOCKS)
    assert image_size(path) == (64, 48)


def test_the_files_of_these_tests_are_what_their_names_say() -> None:
    def mode(kind: str) -> str:
        with Image.open(io.BytesIO(EXACT[kind][1])) as image:
            return f"{image.format} {image.mode}{' interlaced' if image.info.get('interlace') else ''}"

    assert mode("1-bit PNG") == "PNG 1"
    assert mode("16-bit PNG of values below 256") == "PNG I;16"
    assert mode("palette PNG") == mode("1-bit palette PNG") == "PNG P"
    assert mode("grey and alpha PNG") == "PNG LA"
    assert mode("interlaced RGB PNG") == "PNG RGB interlaced"
    assert mode("BMP called PNG") == "BMP L"
    assert EXACT["16-bit RGB PNG of values below 256"][1][24:26] == bytes([16, 2])
    assert EXACT["16-bit grey and alpha PNG of values below 256"][1][24:26] == bytes([16, 4])


@given(mask=masks(), value=st.integers(1, 255), seed=st.integers(0, 9))
def test_any_grey_png_is_read_alike_with_and_without_kornia(
    mask: Mask, value: int, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    noisy = mask * np.random.default_rng(seed).integers(1, value + 1, mask.shape).astype(np.uint8)
    path = write(tmp_path_factory.getbasetemp(), f"any-{os.getpid()}.png", saved(Image.fromarray(noisy), "PNG"))
    with pytest.MonkeyPatch.context() as patch:
        first = read_mask(path)
        patch.setattr(images, "decode_image_png_u8", None)
        second = read_mask(path)
    assert np.array_equal(first, mask)
    assert np.array_equal(second, mask)


@pytest.mark.parametrize(
    "name", ["with a space.png", "Öse_缺陷 ñ.png", "e\u0301 \U0001f529.png", "it's #1 %20 [x].png"]
)
@pytest.mark.parametrize("kind", ["8-bit PNG", "16-bit RGB PNG", "palette PNG", "BMP"])
@pytest.mark.usefixtures("reader")
def test_any_path_is_read(name: str, kind: str, tmp_path: Path) -> None:
    folder = tmp_path / "Prüf daten 検査"
    folder.mkdir()
    path = write(folder, name, EXACT[kind][1])
    assert np.array_equal(read_mask(path), TRUTH)
    assert image_size(path) == (53, 37)


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1)])
@pytest.mark.parametrize("value", [0, 255])
@pytest.mark.usefixtures("reader")
def test_the_smallest_images_are_read(shape: tuple[int, int], value: int, tmp_path: Path) -> None:
    path = write(tmp_path, "a.png", saved(Image.fromarray(np.full(shape, value, np.uint8)), "PNG"))
    assert read_mask(path).tolist() == np.full(shape, value > 0).astype(int).tolist()


SCALE = np.arange(256, dtype=np.uint8).reshape(8, 32)
"""Every value from 0 to 255 once."""

SCALES: dict[str, tuple[str, Image.Image]] = {
    "8-bit PNG": ("PNG", Image.fromarray(SCALE)),
    "16-bit PNG": ("PNG", Image.fromarray(SCALE.astype(np.uint16) * 257)),
    "green PNG": ("PNG", Image.fromarray(np.dstack([SCALE * 0, SCALE, SCALE * 0]))),
    "grey PNG with alpha": ("PNG", Image.merge("LA", [Image.fromarray(SCALE), Image.new("L", (32, 8), 9)])),
    "palette PNG": ("PNG", Image.fromarray(SCALE).convert("P")),
    "BMP": ("BMP", Image.fromarray(SCALE)),
    "16-bit TIFF": ("TIFF", Image.fromarray(SCALE.astype(np.uint16) * 257)),
}


@pytest.mark.parametrize("kind", SCALES)
@pytest.mark.parametrize("threshold", [0, 1, 127, 254])
@pytest.mark.usefixtures("reader")
def test_a_threshold_is_on_one_scale_for_every_kind_of_file(kind: str, threshold: int, tmp_path: Path) -> None:
    form, image = SCALES[kind]
    path = write(tmp_path, "scale", saved(image, form))
    assert np.array_equal(read_mask(path, threshold), threshold < SCALE)


@pytest.mark.usefixtures("reader")
def test_white_of_one_bit_is_above_any_threshold(tmp_path: Path) -> None:
    path = write(tmp_path, "bits.png", EXACT["1-bit PNG"][1])
    assert np.array_equal(read_mask(path, 254), TRUTH)


@pytest.mark.usefixtures("reader")
def test_the_faintest_value_of_16_bits_is_not_black(tmp_path: Path) -> None:
    path = write(tmp_path, "faint.png", saved(Image.fromarray(TRUTH.astype(np.uint16)), "PNG"))
    assert np.array_equal(read_mask(path), TRUTH)
    assert not read_mask(path, 1).any()


# --- errors -----------------------------------------------------------------------------------------------------------


def refused(path: Path, reason: str = ".") -> None:
    """The mask cannot be read, and the error names the file and says what to do."""
    with pytest.raises(MaskError, match=reason) as caught:
        read_mask(path)
    explains(caught.value, path)


def size_refused(path: Path, reason: str = ".") -> None:
    with pytest.raises(MaskError, match=reason) as caught:
        image_size(path)
    explains(caught.value, path)


def explains(error: MaskError, path: Path) -> None:
    assert error.path == str(path)
    assert error.reason
    assert error.hint
    assert str(path) in str(error)
    assert error.hint in str(error)


@pytest.mark.usefixtures("reader")
def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    refused(tmp_path / "none.png", "No such file")
    size_refused(tmp_path / "none.png", "No such file")


@pytest.mark.usefixtures("reader")
def test_a_directory_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    refused(tmp_path / "folder.png", "cannot be read")
    size_refused(tmp_path / "folder.png", "cannot be read")


@pytest.mark.parametrize("content", [b"", b"\n", b"this is a text\n" * 20, b"\x89PNG\r\n\x1a\n", b"\0" * 1000])
@pytest.mark.usefixtures("reader")
def test_what_is_no_image_is_an_error(content: bytes, tmp_path: Path) -> None:
    path = write(tmp_path, "text.png", content)
    refused(path, "not an image")
    size_refused(path, "not an image")


@pytest.mark.skipif(os.name == "nt", reason="Windows has other permissions")
@pytest.mark.usefixtures("reader")
def test_an_unreadable_file_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path, "secret.png", EXACT["8-bit PNG"][1])
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read any file")
    refused(path, "Permission denied")
    size_refused(path, "Permission denied")


WHOLE = ["8-bit PNG", "1-bit PNG", "16-bit PNG", "palette PNG", "RGB PNG", "RGBA PNG", "16-bit RGB PNG"]
WHOLE += ["interlaced PNG", "BMP", "TIFF", "compressed TIFF", "RGB TIFF"]


@pytest.mark.parametrize("kind", WHOLE)
@pytest.mark.usefixtures("reader")
def test_truncated_files_are_errors(kind: str, tmp_path: Path) -> None:
    suffix, data = EXACT[kind]
    for tenths in range(10):
        refused(write(tmp_path, f"cut-{tenths}{suffix}", data[: len(data) * tenths // 10]))


@pytest.mark.usefixtures("reader")
def test_truncated_jpegs_are_errors(tmp_path: Path) -> None:
    data = saved(Image.fromarray(BLOCKS * np.uint8(255)), "JPEG")
    for tenths in range(10):
        refused(write(tmp_path, f"cut-{tenths}.jpg", data[: len(data) * tenths // 10]))


@pytest.mark.filterwarnings("ignore:Truncated File Read:UserWarning")
@pytest.mark.filterwarnings("ignore:Truncated File Read:UserWarning")
@pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning")
@pytest.mark.parametrize("kind", WHOLE)
def test_the_size_of_a_truncated_file_is_right_or_an_error(kind: str, tmp_path: Path) -> None:
    suffix, data = EXACT[kind]
    for length in range(0, len(data), max(len(data) // 150, 1)):
        path = write(tmp_path, f"cut{suffix}", data[:length])
        try:
            assert image_size(path) == (53, 37)
        except MaskError as error:
            explains(error, path)


@pytest.mark.parametrize("kind", [kind for kind in EXACT if kind.endswith("PNG") and "called" not in kind])
@pytest.mark.usefixtures("reader")
def test_one_flipped_byte_in_the_pixel_data_of_a_png_is_an_error(kind: str, tmp_path: Path) -> None:
    data = EXACT[kind][1]
    start = data.index(b"IDAT") + 4
    (length,) = struct.unpack(">I", data[start - 8 : start - 4])
    for at in range(start, start + length, max(length // 25, 1)):
        flipped = data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]
        refused(write(tmp_path, "flipped.png", flipped), "damaged or truncated")


@pytest.mark.parametrize(("depth", "colour"), [(8, 0), (16, 0), (8, 2), (16, 2), (8, 6)])
@pytest.mark.usefixtures("reader")
def test_pixel_data_shorter_than_the_header_promises_are_an_error(depth: int, colour: int, tmp_path: Path) -> None:
    refused(write(tmp_path, "short.png", png(50, 50, depth, colour, b"\0" * 100)), "damaged or truncated")


@pytest.mark.parametrize("size", [(0, 0), (0, 5), (5, 0)])
@pytest.mark.parametrize(("depth", "colour"), [(8, 0), (8, 2), (16, 2)])
@pytest.mark.usefixtures("reader")
def test_an_image_without_pixels_is_an_error(size: tuple[int, int], depth: int, colour: int, tmp_path: Path) -> None:
    path = write(tmp_path, "nothing.png", png(*size, depth, colour, b""))
    refused(path)
    size_refused(path)


def with_size(kind: str, width: int, height: int) -> bytes:
    """A tiny file whose header promises an image of this size."""
    if kind.startswith("PNG"):
        depth, colour = {"PNG": (8, 0), "PNG RGB": (8, 2), "PNG 16-bit RGB": (16, 2), "PNG 1-bit": (1, 0)}[kind]
        return png(width, height, depth, colour, b"\0" * 100)
    data = bytearray(saved(Image.new("L", (16, 16)), kind))
    if kind == "BMP":
        data[18:26] = struct.pack("<ii", width, height)
    else:
        at = data.index(b"\xff\xc0") + 5
        data[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(data)


BOMBS = ["PNG", "PNG RGB", "PNG 16-bit RGB", "PNG 1-bit", "BMP", "JPEG"]


@pytest.mark.parametrize("kind", BOMBS)
@pytest.mark.usefixtures("reader")
def test_a_tiny_file_that_promises_a_huge_image_is_refused_before_memory_is_taken(kind: str, tmp_path: Path) -> None:
    path = write(tmp_path, "bomb.png", with_size(kind, 20_000, 20_000))
    tracemalloc.start()
    try:
        before = resident()
        refused(path)
        size_refused(path)
        assert tracemalloc.get_traced_memory()[1] < 2e6
        assert resident() - before < 100e6
    finally:
        tracemalloc.stop()


def resident() -> float:
    """Most memory that this process has had, in bytes, that of libraries included; 0 where that is not known."""
    try:
        import resource
    except ImportError:
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0


@pytest.mark.parametrize("kind", BOMBS)
@pytest.mark.usefixtures("reader")
def test_an_image_that_is_too_large_is_not_called_damaged(kind: str, tmp_path: Path) -> None:
    path = write(tmp_path, "large.png", with_size(kind, 20_000, 20_000))
    refused(path, "is more than the 134,217,728 pixels")
    size_refused(path, "is more than the 134,217,728 pixels")


@pytest.mark.parametrize("kind", BOMBS)
def test_the_size_of_an_image_as_large_as_the_limit_is_read(kind: str, tmp_path: Path) -> None:
    path = write(tmp_path, "large.png", with_size(kind, 11_585, 11_585))
    assert image_size(path) == (11_585, 11_585)


# --- as JPEG ----------------------------------------------------------------------------------------------------------

RAMP = np.linspace(0, 255, 37 * 53).astype(np.uint8).reshape(37, 53)
RAMP16 = RAMP * np.uint16(257)
GREY_KEY, COLOUR_KEY = struct.pack(">H", 0x8080), struct.pack(">HHH", 0x8080, 0x8080, 0x8080)

GREYS: dict[str, bytes] = {
    "8-bit": png(53, 37, 8, 0, scanlines(RAMP)),
    "8-bit with a transparent grey": png(53, 37, 8, 0, scanlines(RAMP), tRNS=struct.pack(">H", 0x80)),
    "8-bit RGB with a transparent colour": png(
        53, 37, 8, 2, scanlines(np.dstack([RAMP] * 3)), tRNS=struct.pack(">HHH", 0x80, 0x80, 0x80)
    ),
    "16-bit": by_opencv(".png", RAMP16),
    "16-bit with a transparent grey": png(53, 37, 16, 0, scanlines(RAMP16.astype(BIG16)), tRNS=GREY_KEY),
    "16-bit RGB": by_opencv(".png", np.dstack([RAMP16] * 3)),
    "16-bit RGB with a transparent colour": png(
        53, 37, 16, 2, scanlines(np.dstack([RAMP16] * 3).astype(BIG16)), tRNS=COLOUR_KEY
    ),
    "palette, half transparent": palette_png(
        RAMP, [(i, i, i) for i in range(256)], tRNS=bytes(range(255, -1, -1))
    ),
    "RGBA": saved(Image.fromarray(np.dstack([RAMP] * 3 + [255 - RAMP])), "PNG"),
}  # fmt: skip


@pytest.mark.parametrize("kind", GREYS)
def test_a_jpeg_has_the_colours_of_its_source_whatever_is_transparent(kind: str, tmp_path: Path) -> None:
    save_jpeg(write(tmp_path, "source.png", GREYS[kind]), tmp_path / "target.jpg")
    with Image.open(tmp_path / "target.jpg") as image:
        assert image.mode == "RGB"
        assert np.abs(np.asarray(image).astype(int) - RAMP[..., None]).max() <= 2


@pytest.mark.parametrize("kind", GREYS)
def test_an_image_is_read_as_rgb_or_as_grey_of_all_its_bits(kind: str, tmp_path: Path) -> None:
    pixels = read_image(write(tmp_path, "source.png", GREYS[kind]))
    if kind.startswith("16-bit") and "RGB" not in kind:
        assert np.array_equal(pixels, RAMP16)
    else:
        assert pixels.dtype == np.uint8
        assert np.array_equal(pixels, np.dstack([RAMP] * 3))


def test_an_image_that_is_cut_short_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path, "short.png", GREYS["8-bit"][:500])
    with pytest.raises(MaskError, match="damaged or truncated") as caught:
        read_image(path)
    explains(caught.value, path)


# --- orientation ------------------------------------------------------------------------------------------------------


def orientation(value: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = value
    return exif


@pytest.mark.parametrize("kind", ["JPEG", "TIFF", "PNG"])
@pytest.mark.parametrize("value", [2, 3, 6, 8])
def test_an_image_marked_as_turned_is_refused(kind: str, value: int, tmp_path: Path) -> None:
    path = write(tmp_path, "turned.img", saved(Image.new("RGB", (20, 10)), kind, exif=orientation(value)))
    with Image.open(path) as image:
        assert image.getexif()[0x0112] == value
    size_refused(path, f"EXIF orientation {value}")


@pytest.mark.parametrize("kind", ["JPEG", "TIFF", "PNG"])
def test_an_image_marked_as_upright_has_its_size(kind: str, tmp_path: Path) -> None:
    path = write(tmp_path, "upright.img", saved(Image.new("RGB", (20, 10)), kind, exif=orientation(1)))
    assert image_size(path) == (20, 10)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning")
@pytest.mark.parametrize(
    "exif", [b"Exif\0\0", b"Exif\0\0garbage", b"Exif\0\0MM\0*\0\0\0\x08", b"Exif\0\0II*\0\xff\xff\xff\xff"]
)
def test_damaged_exif_is_no_reason_to_refuse_an_image(exif: bytes, tmp_path: Path) -> None:
    path = write(tmp_path, "odd.jpg", saved(Image.new("L", (20, 10)), "JPEG", exif=exif))
    assert image_size(path) == (20, 10)
