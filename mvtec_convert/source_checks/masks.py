"""Masks of a source: the size of their image, a defect, two values, and the defect not being all but the defect."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from mvtec_convert.dataset import PixelNames, Sample
from mvtec_convert.errors import MaskError
from mvtec_convert.findings import Finding
from mvtec_convert.geometry.images import BinaryMask, ImageHeader, binarise, full_scale, non_zero, read_mask_values
from mvtec_convert.geometry.pixel_names import read_codes, unnamed
from mvtec_convert.geometry.regions import other_size
from mvtec_convert.source_checks.pictures import finding_of, look_at_image

MOST_OF_IMAGE = 0.9
"""A mask with a larger share of defect is taken for inverted."""

HALF_OF_IMAGE = 0.5
"""So is one with a larger share than this if all of the image's border is defect."""

VALUES_TOLD = 6

Values = npt.NDArray[Any]
"""Shape (height, width): the brightest channel of each pixel, on the scale of its file; see `read_mask_values`."""


@dataclass(frozen=True, slots=True)
class MaskLook:
    """What was seen in one mask file.

    Attributes:
        mask: any non-zero pixel is defect; None where the file cannot be read, or is of another size than its image.
        findings: what is wrong with it.
    """

    mask: BinaryMask | None
    findings: list[Finding]


def look_at_masks(sample: Sample, header: ImageHeader | None) -> Iterator[MaskLook]:
    """Each mask file of a sample, whose image has the given header."""
    for path in sample.masks:
        mask_header, findings = look_at_image(path)
        if mask_header is None:
            yield MaskLook(None, findings)
        elif header is not None and not _fits(mask_header, header):
            yield MaskLook(None, [*findings, finding_of(other_size(path, mask_header.size, header.size), path)])
        elif sample.pixel_names is not None:
            yield _look_at_names(path, sample.pixel_names, findings)
        else:
            yield _look_at_values(path, findings)


def middle(values: Values) -> int:
    """The `--threshold` that halves a mask's scale, from 0 to 255: an edge pixel belongs to what covers most of it."""
    return int(float(values.max()) * 255 / full_scale(values) / 2)


def _fits(mask: ImageHeader, image: ImageHeader) -> bool:
    """Whether a mask is drawn on the image as stored, or on the image as EXIF turns it, which is told elsewhere."""
    return mask.size in (image.size, image.upright_size)


def _look_at_values(path: Path, findings: list[Finding]) -> MaskLook:
    try:
        values = read_mask_values(path)
    except MaskError as error:
        return MaskLook(None, [*findings, finding_of(error, path)])
    mask = binarise(values)
    return MaskLook(mask, [*findings, *_more_than_two_values(path, values), *_inverted(path, mask)])


def _look_at_names(path: Path, names: PixelNames, findings: list[Finding]) -> MaskLook:
    """A mask whose pixels name the defect: every one of them should have a name."""
    try:
        codes = read_codes(path, names)
    except MaskError as error:
        return MaskLook(None, [*findings, finding_of(error, path)])
    mask = non_zero(codes)
    found = unnamed(path, codes, names)
    return MaskLook(mask, [*findings, *([found] if found else []), *_inverted(path, mask)])


def _more_than_two_values(path: Path, values: Values) -> Iterator[Finding]:
    """`grey-mask` or `mask-values`, where a mask holds more than black and one other value."""
    brightest = values.max()
    between = (values != 0) & (values != brightest)
    if not between.any():
        return
    if are_shades(values, between):
        yield _grey_mask(path, values)
    else:
        message = f"several values, each on an area of its own ({_histogram(values)}): all count as one defect type"
        hint = "fine if they are one defect type; else name the values, as docs/layouts.md says"
        yield Finding("mask-values", message, str(path), severity="warning", hint=hint)


def _grey_mask(path: Path, values: Values) -> Finding:
    threshold = middle(values)
    kept = int(np.count_nonzero(binarise(values, threshold)))
    counts = f"{np.count_nonzero(values)} px are not black and so defect, {kept} px are above {threshold}"
    message = f"shades between black and white ({_histogram(values)}): {counts}"
    hint = f"convert with --threshold {threshold}, or write a repaired copy with check --fix OUT"
    faint = faint_areas(values)
    if faint:
        message += f", which leaves {faint} faint {'area' if faint == 1 else 'areas'} out"
        hint = "draw the faint areas anew, or choose a --threshold that keeps them"
    return Finding("grey-mask", message, str(path), severity="warning", hint=hint)


def faint_areas(values: Values) -> int:
    """How many connected areas of a quarter of the mask's scale and more have no pixel above the `middle` of it.

    What is darker is taken for what JPEG leaves around an edge.
    """
    half = middle(values)
    count, labels = cv2.connectedComponents(binarise(values, half // 2), connectivity=8)
    kept = np.unique(labels[binarise(values, half) > 0])
    return int(count) - 1 - len(kept)


def are_shades(values: Values, between: npt.NDArray[np.bool_]) -> bool:
    """Whether most pixels of the values `between` pass into another value beside them, as no drawn area does.

    Black does not count as a value beside: lines one pixel wide and specks may name a class as well.
    """
    wide = values.astype(np.float32)
    beside = np.ones((3, 3), np.uint8)
    highest = cv2.dilate(wide, beside)
    lowest = cv2.erode(np.where(wide == 0, np.float32(np.inf), wide), beside)
    alike = int(np.count_nonzero((highest == lowest)[between]))
    return alike * 2 < int(np.count_nonzero(between))


def _histogram(values: Values) -> str:
    """`0: 97.1 %, 1: 2.0 %, 2: 0.9 %`; where there are many values, those between in four ranges."""
    found, counts = np.unique(values, return_counts=True)
    shares = counts * 100 / values.size
    if len(found) <= VALUES_TOLD:
        return ", ".join(f"{_number(value)}: {share:.2f} %" for value, share in zip(found, shares, strict=True))
    edges = np.linspace(0, float(found[-1]), 5)
    told = []
    for low, high in itertools.pairwise(edges):
        inside = (found > low) & (found <= high) & (found < found[-1])
        if inside.any():
            told.append(f"{_number(found[inside][0])} to {_number(found[inside][-1])}: {shares[inside].sum():.2f} %")
    return ", ".join([f"0: {shares[found == 0].sum():.2f} %", *told, f"{_number(found[-1])}: {shares[-1]:.2f} %"])


def _number(value: np.generic) -> str:
    return f"{float(value):g}"


def _inverted(path: Path, mask: BinaryMask) -> Iterator[Finding]:
    share = np.count_nonzero(mask) / mask.size
    framed = bool(mask[0].all() and mask[-1].all() and mask[:, 0].all() and mask[:, -1].all())
    if share > MOST_OF_IMAGE or (share > HALF_OF_IMAGE and framed):
        message = f"{share * 100:.0f} % of the image is defect" + (", its whole border among it" if framed else "")
        hint = "if it is inverted, turn it: white is the defect, black is good"
        yield Finding("inverted-mask", message, str(path), severity="warning", hint=hint)
