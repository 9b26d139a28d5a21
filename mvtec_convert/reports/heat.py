"""Where on the images of a category its defects lie."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from mvtec_convert.reports.pictures import CELLS, Coverage


@dataclass(frozen=True, slots=True)
class HeatMap:
    """Where defects lie.

    Attributes:
        title: whose images.
        images: how many show a defect.
        peak: the largest share of them that have a defect in one place, from 0 to 1.
        size: (width, height), px, of most of the images.
        uri: PNG of `CELLS` by `CELLS` px, black, its opacity in proportion to the share; the page colours it.
    """

    title: str
    images: int
    peak: float
    size: tuple[int, int]
    uri: str


def heat_map(title: str, covered: Coverage, images: int, size: tuple[int, int]) -> HeatMap:
    """Draw where defects lie.

    Args:
        title: see `HeatMap`.
        covered: the sum of the coverages of its images.
        images: how many these are, at least 1.
        size: see `HeatMap`.
    """
    share = covered / images
    peak = float(share.max())
    opacity = np.rint(share * (255 / peak if peak else 0)).astype(np.uint8)
    black = np.zeros((CELLS, CELLS), np.uint8)
    stream = io.BytesIO()
    Image.merge("LA", (Image.fromarray(black), Image.fromarray(opacity))).save(stream, "PNG", optimize=True)
    uri = "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()
    return HeatMap(title, images, peak, size, uri)
