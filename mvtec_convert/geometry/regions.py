"""Masks to exact regions.

A mask pixel (x, y) covers the square [x, x+1) x [y, y+1). Boxes are in pixels, x before y, with exclusive right and
bottom edges. Every other geometry (polygon, RLE, prompt) is derived from a region's crop, never from another geometry.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import cv2
import numpy as np
import numpy.typing as npt

from mvtec_convert.dataset import Sample
from mvtec_convert.errors import MaskError, SelectionError
from mvtec_convert.geometry.borders import Borders, trace
from mvtec_convert.geometry.images import BinaryMask, binarise, image_size, non_zero, read_mask_values
from mvtec_convert.geometry.pixel_names import layers, read_codes, unnamed
from mvtec_convert.opening import FilePath

if TYPE_CHECKING:
    from mvtec_convert.geometry.rle import Rle

RegionRule = Literal["component", "image"]

FEW = 20  # components, of which each is compared with each
ROWS_AT_ONCE = 32
ROUNDING = 1e-4  # px; OpenCV measures distances in float32


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """One connected defect, or several pieces merged on request.

    Attributes:
        x: left edge in the image, px.
        y: top edge in the image, px.
        crop: tight binary mask, shape (height, width), 0 or 1, uint8, C-contiguous; each of its four edges
            touches the region. The truth from which everything else follows.
        area: number of pixels.
        defect_type: what the mask says it is, MVTec's name (`hole`); empty where no mask of a source dataset does.
        borders: of its connected parts in the image, where it was found by them; empty else, and they follow from the
            crop.
    """

    x: int
    y: int
    crop: BinaryMask
    area: int
    defect_type: str = ""
    borders: tuple[Borders, ...] = ()

    def __repr__(self) -> str:
        named = f", defect_type={self.defect_type!r}" if self.defect_type else ""
        return f"Region(x={self.x}, y={self.y}, width={self.width}, height={self.height}, area={self.area}{named})"

    @property
    def width(self) -> int:
        """Extent in x, px."""
        return int(self.crop.shape[1])

    @property
    def height(self) -> int:
        """Extent in y, px."""
        return int(self.crop.shape[0])

    @property
    def bbox(self) -> tuple[int, int, int, int]:
        """(x, y, width, height) in px: exactly the pixels' extent."""
        return self.x, self.y, self.width, self.height

    @property
    def xyxy(self) -> tuple[int, int, int, int]:
        """(x0, y0, x1, y1) in px, right and bottom edges exclusive: the same box as torchvision and SAM take it."""
        return self.x, self.y, self.x + self.width, self.y + self.height

    def mask(self, width: int, height: int) -> BinaryMask:
        """The region in an image of this size, px: shape (height, width), 0 or 1, uint8.

        >>> sample = mc.load("mvtec_anomaly_detection").filter(defect_type="hole").samples[0]
        >>> mask = sample.regions()[0].mask(*sample.size())
        >>> mask.shape, int(mask.sum())
        ((320, 320), 1384)
        """
        canvas = np.zeros((height, width), np.uint8)
        canvas[self.y : self.y + self.height, self.x : self.x + self.width] = self.crop
        return canvas

    def polygons(self) -> list[npt.NDArray[np.int64]]:
        """One ring for each connected part, along the edges of pixels, holes joined by bridges there and back.

        pycocotools fills them to exactly the region. Each has shape (points, 2), x before y, px; closed.

        >>> sample = mc.load("mvtec_anomaly_detection").filter(defect_type="hole").samples[0]
        >>> [ring] = sample.regions()[0].polygons()
        >>> ring.shape[1], ring.min(axis=0).tolist()
        (2, [82, 240])
        """
        from mvtec_convert.geometry.polygons import keyhole_polygons

        return keyhole_polygons(self)

    def rle(self, width: int, height: int) -> Rle:
        """The region in an image of this size, px, as COCO's compressed run lengths, which `pycocotools.mask` takes.

        >>> sample = mc.load("mvtec_anomaly_detection").filter(defect_type="hole").samples[0]
        >>> sample.regions()[0].rle(*sample.size())["size"]
        [320, 320]
        """
        from mvtec_convert.geometry.rle import run_lengths

        return run_lengths(self, height, width)


@dataclass(frozen=True, slots=True, eq=False)
class AnnotatedImage:
    """A sample with its regions.

    Attributes:
        sample: where it came from.
        width: image width, px.
        height: image height, px.
        regions: sorted by top edge, then left edge; empty for good images.
        incomplete: defect types of which `min_area` left regions out, sorted.
    """

    sample: Sample
    width: int
    height: int
    regions: tuple[Region, ...]
    incomplete: tuple[str, ...] = ()

    @property
    def defect_types(self) -> tuple[str, ...]:
        """Of each region."""
        return tuple(region.defect_type for region in self.regions)

    def mask(self) -> BinaryMask:
        """All regions together, shape (height, width)."""
        canvas = np.zeros((self.height, self.width), np.uint8)
        for region in self.regions:
            canvas[region.y : region.y + region.height, region.x : region.x + region.width] |= region.crop
        return canvas


@dataclass(frozen=True, slots=True)
class RegionOptions:
    """How a mask is cut into regions.

    Attributes:
        rule: `component`: each 8-connected component is a region; `image`: all of a mask is one region.
        merge_distance: components whose nearest pixels (centre to centre) are at most this far apart, in px,
            are one region; 0 merges nothing.
        min_area: regions of fewer pixels are left out; 0 keeps all.
        threshold: mask pixels above this are defect, on a scale from 0 to 255; 0: any that is not black.
    """

    rule: RegionRule = "component"
    merge_distance: float = 0.0
    min_area: int = 0
    threshold: int = 0


def annotate(sample: Sample, options: RegionOptions = RegionOptions()) -> AnnotatedImage:
    """Read the image's size and its masks' regions.

    Raises:
        MaskError: image or mask cannot be read, differ in size, or the mask of a defective image is empty.
    """
    width, height = image_size(sample.files[0])
    return AnnotatedImage(sample, width, height, *read_regions(sample, width, height, options))


def read_regions(
    sample: Sample, width: int, height: int, options: RegionOptions = RegionOptions()
) -> tuple[tuple[Region, ...], tuple[str, ...]]:
    """The regions of a sample whose image has this size, px, and what they lack; see `AnnotatedImage`.

    Where pixels name the defect, those of each value are cut by themselves: regions of two values never become one,
    wherever they touch and however they are merged.

    Raises:
        MaskError: see `annotate`; or a pixel has no name.
    """
    if sample.is_good:
        return (), ()
    found: list[Region] = []
    incomplete: set[str] = set()
    is_empty = True
    for defect_type, mask in _layers(sample, width, height, options.threshold):
        regions = find_regions(mask, options, defect_type)
        is_empty = is_empty and not regions and not mask.any()
        if options.min_area > 1 and sum(region.area for region in regions) < cv2.countNonZero(mask):
            incomplete.add(defect_type)
        found += regions
    if is_empty:
        raise no_defect(sample.masks[0], options.threshold)
    if sample.pixel_names is not None:
        found.sort(key=_place)
    return tuple(found), tuple(sorted(incomplete))


def refuse_useless_threshold(samples: Iterable[Sample], options: RegionOptions) -> None:
    """Refuse a threshold where pixels name the defect on every mask, so that it would do nothing.

    Raises:
        SelectionError: with what to do.
    """
    defective = [sample for sample in samples if not sample.is_good] if options.threshold else []
    if defective and all(sample.pixel_names for sample in defective):
        raise SelectionError(
            "pixel values or colours name the defects here, each exactly, so --threshold would do nothing",
            hint="leave it away; `mvtec-convert check` tells of masks with smoothed edges",
        )


def _layers(sample: Sample, width: int, height: int, threshold: int) -> Iterable[tuple[str, BinaryMask]]:
    """(defect type, mask): of each value where pixels name the defect, else one; all files laid over each other."""
    names = sample.pixel_names
    paths = sample.files[1:]
    if names is None:
        masks = [_read_drawn(path, threshold) for path in paths]
        _refuse_sizes(paths, masks, width, height)
        return [(sample.defect_type, reduce(np.maximum, masks))]
    files = [read_codes(path, names) for path in paths]
    _refuse_sizes(paths, files, width, height)
    for path, codes in zip(paths, files, strict=True):
        finding = unnamed(path, codes, names)
        if finding is not None and finding.severity == "error":
            raise MaskError(finding.message, code=finding.code, path=path, hint=finding.hint)
    return layers(files, names)


def _refuse_sizes(paths: Sequence[str], masks: Sequence[npt.NDArray[Any]], width: int, height: int) -> None:
    for path, mask in zip(paths, masks, strict=True):
        if mask.shape != (height, width):
            raise other_size(path, (mask.shape[1], mask.shape[0]), (width, height))


def _read_drawn(path: FilePath, threshold: int) -> BinaryMask:
    """One mask file, not 0 where there is a defect. What is to be 1 is found in a window, sooner than in all of it."""
    values = read_mask_values(path)
    return values if threshold == 0 and values.dtype == np.uint8 else binarise(values, threshold)


def other_size(path: FilePath, mask: tuple[int, int], image: tuple[int, int]) -> MaskError:
    """For a mask whose (width, height), px, are not those of its image."""
    return MaskError(
        f"the mask is {mask[0]} x {mask[1]} px, its image {image[0]} x {image[1]} px",
        code="mask-size",
        path=path,
        hint="export the mask at the size of its image",
    )


def no_defect(path: Path, threshold: int = 0) -> MaskError:
    """For the mask of a defective image that shows no defect."""
    pixel = f"pixel above {threshold} of 255" if threshold else "pixel"
    advice = "choose a smaller --threshold" if threshold else "draw the defect"
    return MaskError(
        f"the mask of a defective image has no defect {pixel}",
        code="empty-mask",
        path=path,
        hint=f"{advice}, or move the image to test/good and remove the mask",
    )


def find_regions(
    mask: BinaryMask, options: RegionOptions = RegionOptions(), defect_type: str = ""
) -> tuple[Region, ...]:
    """Cut a mask, shape (height, width), non-zero where there is a defect, into regions of this defect type.

    Returns:
        Regions sorted by top edge, then left edge. With the default options their union is the mask.
    """
    x, y, width, height = _extent(mask)
    if width == 0:
        return ()
    window = mask[y : y + height, x : x + width]
    if options.rule == "image":
        regions = [_region(non_zero(window), x, y, defect_type)]
    else:
        regions = _components(window if window.dtype == np.uint8 else non_zero(window), x, y, defect_type)
        if options.merge_distance > 0:
            regions = _merge_near(regions, options.merge_distance)
    kept = [region for region in regions if region.area >= options.min_area]
    return tuple(sorted(kept, key=_place))


def _place(region: Region) -> tuple[int, int, int, int, bytes, str]:
    """What regions are sorted by.

    The last two only matter where two regions share a box; they make the order independent of OpenCV's labelling.
    """
    return region.y, region.x, region.height, region.width, region.crop.tobytes(), region.defect_type


def _extent(mask: BinaryMask) -> tuple[int, int, int, int]:
    """(x, y, width, height) of what is not 0, px; all 0 where nothing is. A fourth of what `cv2.boundingRect` takes.

    As truth values, rows are looked through many pixels at a time, and several rows at once; as bytes, so are columns.
    """
    drawn = mask.view(np.bool_) if mask.dtype.itemsize == 1 else mask != 0
    height, width = drawn.shape
    together = math.gcd(height, ROWS_AT_ONCE)
    blocks = _any(drawn.reshape(-1, together * width)) if drawn.size else drawn
    if not blocks.any():
        return 0, 0, 0, 0
    first, last = (together * edge for edge in _first_to_last(blocks))
    top, _ = _first_to_last(_any(drawn[first : first + together]))
    _, bottom = _first_to_last(_any(drawn[last - together : last]))
    top, bottom = first + top, last - together + bottom
    left, right = _first_to_last(np.bitwise_or.reduce(drawn[top:bottom].view(np.uint8), axis=0) != 0)
    return left, top, right - left, bottom - top


def _any(rows: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Whether anything is true in a row, of each."""
    return np.asarray(rows.any(axis=1))


def _first_to_last(found: npt.NDArray[Any]) -> tuple[int, int]:
    """Where the first of what is true begins, and where the last ends."""
    return int(found.argmax()), len(found) - int(found[::-1].argmax())


def _components(window: npt.NDArray[np.uint8], x: int, y: int, defect_type: str) -> list[Region]:
    """Each 8-connected component of a window at (x, y) in the image, not 0 where there is a defect.

    Traced borders find them in a fraction of the time that labelling the whole window takes.
    """
    parts = trace(window, x, y)
    if len(parts) == 1:
        return [_region(non_zero(window), x, y, defect_type, parts)]
    boxes = [cv2.boundingRect(part.outer) for part in parts]
    regions = []
    for part, box in zip(parts, boxes, strict=True):
        left, top, width, height = box
        crop = window[top - y : top - y + height, left - x : left - x + width]
        if len(boxes) <= FEW and sum(_overlap(box, other) for other in boxes) == 1:  # itself
            piece = non_zero(crop)
        else:  # others may reach into its box, or lie there whole
            _, labels = cv2.connectedComponents(crop, connectivity=8)
            on_x, on_y = part.outer[0].tolist()
            piece = (labels == labels[on_y - top, on_x - left]).view(np.uint8)
        regions.append(_region(piece, left, top, defect_type, [part]))
    return regions


def _overlap(a: Sequence[int], b: Sequence[int]) -> bool:
    """Whether two boxes (x, y, width, height) share a pixel."""
    return a[0] < b[0] + b[2] and b[0] < a[0] + a[2] and a[1] < b[1] + b[3] and b[1] < a[1] + a[3]


def _region(crop: BinaryMask, x: int, y: int, defect_type: str, parts: Sequence[Borders] = ()) -> Region:
    return Region(x, y, crop, int(cv2.countNonZero(crop)), defect_type, tuple(parts))


def _merge_near(regions: list[Region], distance: float) -> list[Region]:
    groups = list(range(len(regions)))
    for i, first in enumerate(regions):
        for j in range(i):
            if groups[i] != groups[j] and _are_near(first, regions[j], distance):
                old, new = groups[i], groups[j]
                groups = [new if group == old else group for group in groups]
    merged: dict[int, list[Region]] = {}
    for region, group in zip(regions, groups, strict=True):
        merged.setdefault(group, []).append(region)
    return [_union(members) for members in merged.values()]


def _are_near(a: Region, b: Region, distance: float) -> bool:
    gap_x = max(a.x - (b.x + b.width - 1), b.x - (a.x + a.width - 1), 0)
    gap_y = max(a.y - (b.y + b.height - 1), b.y - (a.y + a.height - 1), 0)
    if math.hypot(gap_x, gap_y) > distance + ROUNDING:
        return False
    canvas, x, y = _canvas([a, b])
    free = np.ones(canvas.shape, np.uint8)
    _paste(free, a, x, y, 0)
    from_a = cv2.distanceTransform(free, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    _paste(canvas, b, x, y, 1)
    return bool(from_a[canvas > 0].min() <= distance + ROUNDING)


def _union(regions: list[Region]) -> Region:
    if len(regions) == 1:
        return regions[0]
    canvas, x, y = _canvas(regions)
    for region in regions:
        _paste(canvas, region, x, y, 1)
    return _region(canvas, x, y, regions[0].defect_type)


def _canvas(regions: list[Region]) -> tuple[BinaryMask, int, int]:
    x, y = min(r.x for r in regions), min(r.y for r in regions)
    width, height = max(r.x + r.width for r in regions) - x, max(r.y + r.height for r in regions) - y
    return np.zeros((height, width), np.uint8), x, y


def _paste(canvas: BinaryMask, region: Region, x: int, y: int, value: int) -> None:
    top, left = region.y - y, region.x - x
    canvas[top : top + region.height, left : left + region.width][region.crop > 0] = value
