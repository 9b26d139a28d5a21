"""COCO instance annotations (cocodataset.org/#format-data), as pycocotools and the trainers read them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

# Strict: readers compute with what stands there, and "12" or true is no number to them.
Whole = Annotated[int, Field(strict=True)]
Finite = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Positive = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]
Polygon = Annotated[list[Finite], Field(min_length=6, description="x1, y1, x2, y2, ... in px; three points or more")]


class Rle(BaseModel):
    """Run lengths, column by column, background first; a string where compressed."""

    size: tuple[Annotated[Whole, Field(gt=0)], Annotated[Whole, Field(gt=0)]] = Field(description="height, width")
    counts: str | list[Annotated[Whole, Field(ge=0)]]


def _kind(segmentation: Any) -> str:
    return "polygons" if isinstance(segmentation, list) else "rle"


Segmentation = Annotated[
    Annotated[list[Polygon], Tag("polygons")] | Annotated[Rle, Tag("rle")],
    Discriminator(_kind),
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
