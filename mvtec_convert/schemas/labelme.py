"""labelme's JSON file (github.com/wkentaro/labelme, `LabelFile`), one beside each image."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

# Strict: readers compute with what stands there, and "12" or true is no number to them.
Whole = Annotated[int, Field(strict=True)]
Finite = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Size = Annotated[Whole, Field(gt=0)]
ShapeType = Literal[
    "polygon", "rectangle", "oriented_rectangle", "circle", "line", "linestrip", "point", "points", "mask"
]


class Shape(BaseModel):
    """One shape that was drawn; those of one label and one `group_id` are one object."""

    model_config = ConfigDict(extra="allow")

    label: str = Field(min_length=1)
    points: list[tuple[Finite, Finite]] = Field(min_length=1, description="x, y in px; 0.5, 0.5 is the first pixel")
    group_id: Whole | None = None
    shape_type: ShapeType | None = Field(default=None, description="a polygon where it is missing")
    mask: str | None = Field(default=None, description="for masks: PNG in base64, its first pixel at points[0]")


class LabelmeFile(BaseModel):
    """One image with its shapes."""

    model_config = ConfigDict(extra="allow")

    shapes: list[Shape]
    imagePath: str = Field(min_length=1, description="relative to this file")  # noqa: N815 - its name there
    imageData: str | None = Field(default=None, description="null: the image is the file")  # noqa: N815
    imageHeight: Size | None = None  # noqa: N815
    imageWidth: Size | None = None  # noqa: N815


ROOT = LabelmeFile
