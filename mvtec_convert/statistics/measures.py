"""What is measured of each region, kept as one array a measure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from mvtec_convert.geometry.regions import Region

SMALL, MEDIUM = 32**2, 96**2
"""COCO's bounds, px: small is below the first, large from the second on (cocodataset.org/#detection-eval)."""

ON_THE_BORDER = 0.5
"""px; boxes written as shares of the image end this near to its border where they touch it."""

Numbers = npt.NDArray[np.float64]


class Measured(NamedTuple):
    """One region. All in px; the attributes of `Regions` say more."""

    area: float
    width: float
    height: float
    image_width: int
    image_height: int
    touches_border: bool
    holes: float
    pieces: float


@dataclass(frozen=True, slots=True, eq=False)
class Regions:
    """The measures of any number of regions: arrays of shape (regions,), float64, in the same order.

    Attributes:
        area: pixels of the mask; where there is no mask, of the box or the polygon.
        width: extent in x of its upright box, px.
        height: extent in y, px.
        image_width: width of the image it is in, px.
        image_height: height of that image, px.
        touches_border: 1 where it touches the image's border, else 0.
        holes: holes in the mask, by 4-connectivity; NaN where there is no mask.
        pieces: 8-connected pieces of the mask; NaN where there is none.
    """

    area: Numbers
    width: Numbers
    height: Numbers
    image_width: Numbers
    image_height: Numbers
    touches_border: Numbers
    holes: Numbers
    pieces: Numbers

    @classmethod
    def of(cls, numbers: Sequence[float]) -> Regions:
        """Gather single regions: the fields of one `Measured` after the other, in one flat sequence."""
        return cls(*np.array(numbers, np.float64).reshape(-1, len(Measured._fields)).T)

    @classmethod
    def joined(cls, parts: Iterable[Regions]) -> Regions:
        """All regions of all parts."""
        kept = [part for part in parts if len(part)]
        if not kept:
            return cls.of(())
        return cls(*(np.concatenate([getattr(part, field.name) for part in kept]) for field in fields(cls)))

    def __len__(self) -> int:
        return len(self.area)

    @property
    def relative_area(self) -> Numbers:
        """Share of the image's pixels, from 0 to 1."""
        return self.area / (self.image_width * self.image_height)

    @property
    def aspect(self) -> Numbers:
        """Long side of the upright box over its short side, from 1 up; infinite for a box without extent."""
        long, short = np.maximum(self.width, self.height), np.minimum(self.width, self.height)
        return np.asarray(np.divide(long, short, out=np.full(len(self), np.inf), where=short > 0), np.float64)

    @property
    def masks(self) -> int:
        """How many have a mask."""
        return int(np.isfinite(self.pieces).sum())

    def area_at(self, side: int) -> Numbers:
        """Areas once the image's longer side is `side` px, its aspect kept, as Ultralytics scales images to `imgsz`."""
        return self.area * (side / np.maximum(self.image_width, self.image_height)) ** 2


class Spread(NamedTuple):
    """How values are spread; quartiles are interpolated linearly."""

    smallest: float
    lower_quartile: float
    median: float
    upper_quartile: float
    largest: float


def spread(values: Numbers) -> Spread | None:
    """Extremes and quartiles of all finite values; None where there is none."""
    finite = values[np.isfinite(values)]
    return Spread(*np.quantile(finite, (0, 0.25, 0.5, 0.75, 1)).tolist()) if len(finite) else None


class SizeCounts(NamedTuple):
    """Numbers of regions by COCO's sizes; see `SMALL`."""

    small: int
    medium: int
    large: int


def size_counts(areas: Numbers) -> SizeCounts:
    """How many of these areas, px, are small, medium and large."""
    small, medium = int((areas < SMALL).sum()), int((areas < MEDIUM).sum())
    return SizeCounts(small, medium - small, len(areas) - medium)


def measure(region: Region, image_width: int, image_height: int) -> Measured:
    """The measures of a region with a mask; sizes in px."""
    pieces, holes = _pieces_and_holes(region)
    return Measured(
        area=region.area,
        width=region.width,
        height=region.height,
        image_width=image_width,
        image_height=image_height,
        touches_border=(
            region.x == 0
            or region.y == 0
            or region.x + region.width == image_width
            or region.y + region.height == image_height
        ),
        holes=holes,
        pieces=pieces,
    )


def measure_box(box: tuple[float, float, float, float], area: float, image_width: int, image_height: int) -> Measured:
    """The measures of an object without a mask.

    Args:
        box: (x0, y0, x1, y1), px.
        area: px; smaller than that of the box where the object is a polygon.
        image_width: px.
        image_height: px.
    """
    x0, y0, x1, y1 = box
    return Measured(
        area=area,
        width=x1 - x0,
        height=y1 - y0,
        image_width=image_width,
        image_height=image_height,
        touches_border=min(x0, y0, image_width - x1, image_height - y1) < ON_THE_BORDER,
        holes=np.nan,
        pieces=np.nan,
    )


def _pieces_and_holes(region: Region) -> tuple[int, int]:
    """(8-connected pieces, 4-connected holes) of a region's mask."""
    _, hierarchy = cv2.findContours(region.crop, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    outer = int((hierarchy[0, :, 3] < 0).sum())
    return outer, hierarchy.shape[1] - outer
