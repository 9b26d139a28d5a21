"""Run lengths as COCO has them: column by column, background first (pycocotools' `maskApi.c`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias, TypedDict

import cv2
import numpy as np
import numpy.typing as npt
from pycocotools import mask as coco_mask

from mvtec_convert.geometry.images import BinaryMask
from mvtec_convert.geometry.regions import Region

MOST_GROUPS = 6  # of five bits; they hold any run of an image that can be read, more overflow a C int
CONTINUES = 0x20
"""The bit of a group that says that the number goes on."""

Runs: TypeAlias = npt.NDArray[np.int64]
"""Run lengths, shape (runs,), background first."""


Box: TypeAlias = tuple[float, float, float, float]
"""(x, y, width, height), px."""


class Rle(TypedDict):
    """COCO's compressed run lengths: column-major, first run background (pycocotools' `maskApi.c`)."""

    size: list[int]
    counts: bytes


def run_lengths(region: Region, height: int, width: int) -> Rle:
    """The region in an image of `height` x `width` px, as COCO's compressed RLE.

    Built from the crop, so that the cost does not grow with the image.
    """
    # With a row of background above and below, each run of the crop ends in the column that it begins in.
    columns = np.zeros((region.width, region.height + 2), np.uint8)
    columns[:, 1:-1] = cv2.transpose(region.crop)
    flat = columns.ravel()
    (edges,) = (flat[1:] != flat[:-1]).nonzero()
    # As many more before each edge as the columns left of it are shorter here than in the image.
    edges += edges // (region.height + 2) * (height - region.height - 2) + region.x * height + region.y
    if region.height == height:
        # In the image, a run that ends at the bottom border goes on at the top of the next column.
        meets = np.flatnonzero(edges[1:-1:2] == edges[2::2]) * 2 + 1
        edges = np.delete(edges, np.concatenate([meets, meets + 1]))
    counts = np.empty(len(edges) + 1, np.int64)
    counts[0], counts[-1] = edges[0], height * width - edges[-1]
    np.subtract(edges[1:], edges[:-1], out=counts[1:-1])
    return compress(counts[:-1] if counts[-1] == 0 else counts, height, width)


def compress(counts: Sequence[int] | Runs, height: int, width: int) -> Rle:
    """Run lengths, background first, in COCO's compressed form."""
    rle: Any = coco_mask.frPyObjects({"size": [height, width], "counts": counts}, height, width)
    return {"size": [height, width], "counts": rle["counts"]}


def run_ends(rle: Rle) -> Runs:
    """Where each run ends, in pixels counted column by column; see `decompress`."""
    return _runs(rle["counts"]).cumsum()


def decompress(rle: Rle) -> list[int]:
    """Run lengths as numbers, background first, as `rleFrString` in maskApi.c reads them.

    Raises:
        ValueError: not compressed run lengths.
    """
    runs: list[int] = _runs(rle["counts"]).tolist()
    return runs


def _runs(counts: bytes) -> Runs:
    """The same as an array: all groups at once, since the mask of a ragged defect has thousands."""
    groups = np.frombuffer(counts, np.uint8) - np.uint8(48)  # what is below 48 becomes large
    ends = np.flatnonzero(groups & CONTINUES == 0) + 1
    starts = np.concatenate([[0], ends[:-1]]) if len(ends) else ends
    lengths = ends - starts
    left_over = len(groups) - int(ends[-1] if len(ends) else 0)
    if (groups >= 64).any() or max(lengths.max(initial=0), left_over) > MOST_GROUPS:
        raise ValueError("not compressed run lengths")
    if left_over:
        raise ValueError("compressed run lengths that stop in the middle of a number")
    shifts = 5 * (np.arange(len(groups)) - starts.repeat(lengths))
    values: Runs = np.add.reduceat((groups & 0x1F) << shifts, starts) if len(ends) else shifts
    values -= (groups[ends - 1] >> 4 & 1).astype(np.int64) << 5 * lengths  # the highest bit is the sign
    # From the third run on, each is written as the difference to the one two before it.
    for first in (1, 2):
        values[first::2] = values[first::2].cumsum()
    return values


def area_and_box(rle: Rle) -> tuple[int, Box | None]:
    """Number of pixels of the mask, and its extent (x, y, width, height) in px, None where it is empty."""
    area = int(coco_mask.area(rle))
    return area, tuple(coco_mask.toBbox(rle).tolist()) if area else None


def rasterise(polygons: Sequence[Sequence[float] | npt.NDArray[Any]], height: int, width: int) -> Rle:
    """What pycocotools makes of COCO polygons, each x0, y0, x1, y1, ... in px; overlaps are united.

    Of lists it makes arrays, which takes as long as all the rest.
    """
    parts: Any = coco_mask.frPyObjects(list(polygons), height, width)
    rle = parts[0] if len(parts) == 1 else coco_mask.merge(parts)
    return {"size": [height, width], "counts": rle["counts"]}


def intersection_over_union(a: Rle, b: Rle) -> float:
    """IoU of two masks of the same size, 0 to 1."""
    return 1.0 if a == b else float(coco_mask.iou([a], [b], [0])[0, 0])


def unsound(size: Sequence[int], counts: str | Sequence[int]) -> str | None:
    """What is wrong with COCO run lengths, or None. pycocotools trusts them: counts beyond the mask crash it.

    Args:
        size: (height, width), px.
        counts: run lengths, column by column, background first; compressed (`rleToString` in maskApi.c) or not.
    """
    if not isinstance(counts, str):
        return _not_of_size(size, min(counts, default=0), sum(counts))
    try:
        sound_runs(size, counts)
    except ValueError as error:
        return str(error)
    return None


def sound_runs(size: Sequence[int], counts: str) -> Runs:
    """Compressed run lengths as numbers.

    Raises:
        ValueError: they are none, or not those of a mask of this (height, width), px.
    """
    runs = _runs(counts.encode())
    most = int(runs.max(initial=0))
    total = int(runs.sum()) if most * len(runs) < 1 << 63 else sum(runs.tolist())
    wrong = _not_of_size(size, int(runs.min(initial=0)), total)
    if wrong is not None:
        raise ValueError(wrong)
    return runs


def _not_of_size(size: Sequence[int], least: int, total: int) -> str | None:
    if least < 0:
        return "run lengths below 0"
    pixels = size[0] * size[1]
    if total != pixels:
        return f"the run lengths sum to {total}, not to {size[0]} x {size[1]} = {pixels} pixels"
    return None


def decode(rle: Rle) -> BinaryMask:
    """The mask, shape (height, width), 0 and 1.

    Raises:
        ValueError: not compressed run lengths. Ask `unsound` first: a sum that is not the image's size is not noticed.
    """
    runs = _runs(rle["counts"])
    values = (np.arange(len(runs)) % 2).astype(np.uint8)
    height, width = rle["size"]
    mask: BinaryMask = np.repeat(values, runs).reshape(width, height).T
    return mask
