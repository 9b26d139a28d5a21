"""SA-Co's annotation files (scripts/eval/gold/README.md, "Annotation format", in github.com/facebookresearch/sam3)."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from mvtec_convert.schemas import coco

# Strict: readers compute with what stands there, and "12" or true is no number to them.
Whole = Annotated[int, Field(strict=True)]
Finite = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Positive = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]
Size = Annotated[Whole, Field(gt=0)]
Flag = Annotated[Whole, Field(ge=0, le=1)]
Number = Annotated[str, Field(pattern=r"^[0-9]+$")] | Annotated[Whole, Field(ge=0)]


class Row(coco.Image):
    """One question: one image and one phrase. Without annotations the answer is "nothing"."""

    text_input: str = Field(min_length=1, description="the phrase")
    queried_category: Number = Field(description="number of the phrase, as text")
    is_instance_exhaustive: Flag | bool = Field(description="1: every instance is annotated, each on its own")
    is_pixel_exhaustive: Flag | bool = Field(description="1: the masks together cover all that the phrase means")


class CompressedRle(BaseModel):
    """COCO's compressed run lengths."""

    size: tuple[Size, Size] = Field(description="height, width, px")
    counts: str = Field(min_length=1)


class Annotation(BaseModel):
    """One instance."""

    model_config = ConfigDict(extra="allow")

    id: Whole
    image_id: Whole = Field(description="id of the row in `images`")
    area: Positive = Field(description="number of pixels of the mask, as a share of the image's")
    bbox: tuple[Finite, Finite, Positive, Positive] = Field(
        description="x, y, width, height as shares of the image's width and height"
    )
    segmentation: CompressedRle
    category_id: Whole = Field(description="1, and of no meaning")
    iscrowd: Flag
    source: str | None = None


class SaCoFile(BaseModel):
    """One split."""

    model_config = ConfigDict(extra="allow")

    images: list[Row]
    annotations: list[Annotation]
    categories: list[coco.Category]


ROOT = SaCoFile
