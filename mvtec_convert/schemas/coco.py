"""COCO instance annotations (cocodataset.org/#format-data), as pycocotools and the trainers read them."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Polygon = Annotated[list[Finite], Field(min_length=6, description="x1, y1, x2, y2, ... in px; three points or more")]


class Rle(BaseModel):
    """Run lengths, column by column, background first; a string where compressed."""

    size: tuple[Annotated[int, Field(gt=0)], Annotated[int, Field(gt=0)]] = Field(description="height, width")
    counts: str | list[Annotated[int, Field(ge=0)]]


class Image(BaseModel):
    """One image; `file_name` is relative to the split's images folder, with forward slashes."""

    model_config = ConfigDict(extra="allow")

    id: int
    file_name: str = Field(min_length=1)
    width: int = Field(gt=0)
    height: int = Field(gt=0)


class Category(BaseModel):
    """One class that a model learns."""

    model_config = ConfigDict(extra="allow")

    id: Annotated[int, Field(ge=0)]
    name: str = Field(min_length=1)
    supercategory: str | None = None


class Annotation(BaseModel):
    """One instance."""

    model_config = ConfigDict(extra="allow")

    id: int
    image_id: int
    category_id: int
    bbox: tuple[Finite, Finite, Positive, Positive] = Field(description="x, y, width, height in px")
    area: Positive = Field(description="number of pixels of the mask")
    iscrowd: Annotated[int, Field(ge=0, le=1)]
    segmentation: list[Polygon] | Rle = Field(description="polygons that together are the instance, or run lengths")


class CocoFile(BaseModel):
    """One split."""

    model_config = ConfigDict(extra="allow")

    images: list[Image]
    annotations: list[Annotation]
    categories: list[Category]


ROOT = CocoFile
