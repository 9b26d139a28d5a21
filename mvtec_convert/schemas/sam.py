"""SA-1B, one file an image (segment-anything README, "Dataset"), with prompts added, which its readers ignore."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

# Strict: readers compute with what stands there, and "12" or true is no number to them.
Whole = Annotated[int, Field(strict=True)]
Finite = Annotated[float, Field(strict=True, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]
Size = Annotated[Whole, Field(gt=0)]
Point = tuple[NotNegative, NotNegative]


class Image(BaseModel):
    """The image beside the file."""

    model_config = ConfigDict(extra="allow")

    image_id: Whole
    width: Size
    height: Size
    file_name: str = Field(min_length=1)


class CompressedRle(BaseModel):
    """COCO's compressed run lengths."""

    size: tuple[Size, Size] = Field(description="height, width")
    counts: str = Field(min_length=1)


class Prompts(BaseModel):
    """What a user could have given to find the region."""

    box: tuple[Finite, Finite, Finite, Finite] = Field(
        description="x0, y0, x1, y1 in px; right and bottom edge exclusive"
    )
    points: list[Point] = Field(description="x, y: indices of pixels; SAM itself adds the half pixel to the centre")
    labels: list[Annotated[Whole, Field(ge=0, le=1)]] = Field(description="1: inside, 0: outside; one for each point")
    text: str = Field(min_length=1)


class Annotation(BaseModel):
    """One mask. `class_id`, `class_name` and `prompts` are this tool's additions."""

    model_config = ConfigDict(extra="allow")

    id: Whole
    segmentation: CompressedRle
    bbox: tuple[NotNegative, NotNegative, Positive, Positive] = Field(description="x, y, width, height in px")
    area: Size
    predicted_iou: NotNegative = Field(description="the model's own estimate; in SA-1B slightly above 1 at times")
    stability_score: NotNegative
    crop_box: tuple[NotNegative, NotNegative, Positive, Positive] = Field(description="x, y, width, height in px")
    point_coords: list[Point]
    class_id: Annotated[Whole, Field(ge=0)] | None = None
    class_name: str | None = None
    prompts: Prompts | None = None


class SamFile(BaseModel):
    """One image with its masks."""

    model_config = ConfigDict(extra="allow")

    image: Image
    annotations: list[Annotation]


ROOT = SamFile
