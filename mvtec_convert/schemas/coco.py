"""COCO instance annotations (cocodataset.org/#format-data), as pycocotools and the trainers read them."""

from __future__ import annotations

from collections.abc import Callable
from math import fsum, isfinite
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, WrapValidator

# Strict: readers compute with what stands there, and "12" or true is no number to them.
Whole = Annotated[int, Field(strict=True)]
Finite = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Positive = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]

LEAST_NUMBERS = 6  # of a polygon: three points


def _flat(value: object) -> object:
    """One error for a list of a million things that are no numbers, not a million."""
    if isinstance(value, list) and not {*map(type, value)} <= {int, float}:
        raise ValueError("a flat list of numbers is wanted")
    return value


def _polygon(value: object, validate: Callable[[object], object]) -> object:
    """What is sound at a glance is taken as it is, whole numbers as whole ones; a look at each takes twice as long."""
    flat = _flat(value)
    try:
        if isinstance(flat, list) and len(flat) >= LEAST_NUMBERS and isfinite(fsum(flat)):
            return flat
    except (OverflowError, ValueError):  # a whole number beyond any float; infinities
        pass
    return validate(flat)


Polygon = Annotated[
    list[Finite],
    Field(min_length=LEAST_NUMBERS, description="x1, y1, x2, y2, ... in px; three points or more"),
    WrapValidator(_polygon),
]


# Told apart by a glance at the value, so that an error is about the one that was meant.
Counts = Annotated[
    Annotated[list[Annotated[Whole, Field(ge=0)]], BeforeValidator(_flat), Tag("numbers")]
    | Annotated[str, Tag("text")],
    Discriminator(lambda value: "numbers" if isinstance(value, list) else "text"),
]


class Rle(BaseModel):
    """Run lengths, column by column, background first; a string where compressed."""

    size: tuple[Annotated[Whole, Field(gt=0)], Annotated[Whole, Field(gt=0)]] = Field(description="height, width")
    counts: Counts


Segmentation = Annotated[
    Annotated[list[Polygon], Tag("polygons")] | Annotated[Rle, Tag("rle")],
    Discriminator(lambda value: "polygons" if isinstance(value, list) else "rle"),
    Field(description="polygons that together are the instance, or run lengths; empty where there is only a box"),
]


class Image(BaseModel):
    """One image; `file_name` is relative to the split's images folder, with forward slashes."""

    model_config = ConfigDict(extra="allow")

    id: Whole
    file_name: str = Field(min_length=1)
    width: Whole = Field(gt=0)
    height: Whole = Field(gt=0)


class Category(BaseModel):
    """One class that a model learns."""

    model_config = ConfigDict(extra="allow")

    id: Annotated[Whole, Field(ge=0)]
    name: str = Field(min_length=1)
    supercategory: str | None = None


class Annotation(BaseModel):
    """One instance."""

    model_config = ConfigDict(extra="allow")

    id: Whole
    image_id: Whole
    category_id: Whole
    bbox: tuple[Finite, Finite, Positive, Positive] = Field(description="x, y, width, height in px")
    area: Positive = Field(description="number of pixels of the mask")
    iscrowd: Annotated[Whole, Field(ge=0, le=1)]
    segmentation: Segmentation


class CocoFile(BaseModel):
    """One split."""

    model_config = ConfigDict(extra="allow")

    images: list[Image]
    annotations: list[Annotation]
    categories: list[Category]


ROOT = CocoFile
