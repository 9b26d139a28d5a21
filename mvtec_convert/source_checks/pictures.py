"""Images of a source: files that are whole, upright, what their suffix says, and alike within a category."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from mvtec_convert.dataset import Sample
from mvtec_convert.errors import MaskError
from mvtec_convert.findings import Finding
from mvtec_convert.geometry.images import ImageHeader, has_its_end, image_size, read_header
from mvtec_convert.geometry.pillow import verify

SUFFIXES = {
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg"),
    "MPO": (".jpg", ".jpeg"),  # JPEG with further pictures behind the first, as phones write it
    "BMP": (".bmp",),
    "TIFF": (".tif", ".tiff"),
}
"""Suffixes by kind of content, the usual one first."""

MODES = {
    "1": "1-bit", "L": "grey", "LA": "grey with alpha", "P": "palette", "RGB": "RGB", "RGBA": "RGB with alpha",
    "CMYK": "CMYK", "I;16": "16-bit grey", "I;16B": "16-bit grey", "I": "32-bit grey", "F": "float grey",
}  # fmt: skip
"""What Pillow's names of modes mean."""

SIZES_TOLD = 4

Kind = TypeVar("Kind", bound=Hashable)


def look_at_image(path: Path) -> tuple[ImageHeader | None, list[Finding]]:
    """The header of an image or a mask, None where it cannot be read, with `bad-image` and `false-suffix`."""
    try:
        header = read_header(path)
        verify(path)
        is_cut = header.kind == "JPEG" and not has_its_end(path)
    except MaskError as error:
        return None, [finding_of(error, path)]
    if is_cut:
        return None, [Finding("bad-image", "cut short", str(path), hint="restore the file from its source")]
    return header, list(_false_suffix(path, header))


def finding_of(error: MaskError, path: Path) -> Finding:
    """What an error says, as a finding on its own path or else on `path`."""
    return Finding(error.code, error.reason, error.path or str(path), hint=error.hint)


def turned(path: Path) -> Iterator[Finding]:
    """`exif-rotation`, for an image that can be read."""
    try:
        image_size(path)
    except MaskError as error:
        yield finding_of(error, path)


def true_suffix(path: Path, header: ImageHeader) -> str | None:
    """The suffix that the content deserves; None where the one it has will do, or the kind is not one that is read."""
    suffixes = SUFFIXES.get(header.kind)
    return None if suffixes is None or path.suffix.lower() in suffixes else suffixes[0]


def _false_suffix(path: Path, header: ImageHeader) -> Iterator[Finding]:
    belongs_to = [kind for kind, suffixes in SUFFIXES.items() if path.suffix.lower() in suffixes]
    if belongs_to and header.kind not in belongs_to:
        message = f"the content is {header.kind}: what goes by the suffix fails on it"
        hint = "rename it after its content"
        yield Finding("false-suffix", message, str(path), severity="warning", hint=hint)


def mixed_images(headers: Iterable[tuple[Sample, ImageHeader]]) -> Iterator[Finding]:
    """`mixed-sizes` and `mixed-channels`, one finding a category each, at the first image that is not as most are."""
    categories: dict[str, list[tuple[Sample, ImageHeader]]] = {}
    for sample, header in headers:
        categories.setdefault(sample.category, []).append((sample, header))
    for members in categories.values():
        sizes = [(sample, "{} x {} px".format(*header.upright_size)) for sample, header in members]
        modes = [(sample, MODES.get(header.mode, header.mode)) for sample, header in members]
        yield from _mixed_finding("mixed-sizes", sizes, "sizes", "fine for trainers that scale; else crop or pad them")
        yield from _mixed_finding("mixed-channels", modes, "kinds of pixels", "save all images of a category alike")


def _mixed_finding(code: str, kinds: list[tuple[Sample, str]], what: str, hint: str) -> Iterator[Finding]:
    counts = Counter(kind for _, kind in kinds).most_common()
    if len(counts) > 1:
        first = next(sample for sample, kind in kinds if kind != counts[0][0])
        told = ", ".join(f"{kind} ({count})" for kind, count in counts[:SIZES_TOLD])
        more = f" and {len(counts) - SIZES_TOLD} more" if len(counts) > SIZES_TOLD else ""
        message = f"{len(counts)} {what} in {first.category}: {told}{more}"
        yield Finding(code, message, str(first.image), severity="warning", hint=hint)
