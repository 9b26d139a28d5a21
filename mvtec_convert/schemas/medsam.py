"""What MedSAM's trainer reads: pairs of NumPy arrays; and `regions.json`, this tool's addition, which it ignores."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

Whole = Annotated[int, Field(strict=True, ge=0)]
Size = Annotated[int, Field(strict=True, gt=0)]


class ImageArray(BaseModel):
    """The header of `imgs/<name>.npy`; values from 0 to 1."""

    shape: tuple[Literal[1024], Literal[1024], Literal[3]] = Field(description="height, width, RGB")
    dtype: Literal["float16", "float32", "float64"]


class MaskArray(BaseModel):
    """The header of `gts/<name>.npy`: 0 is background, any other value the id of a region."""

    shape: tuple[Literal[1024], Literal[1024]] = Field(description="height, width")
    dtype: Literal["bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"]


class RegionRecord(BaseModel):
    """One region of an image."""

    id: Size = Field(description="its value in gts")
    class_id: Whole
    class_name: str = Field(min_length=1)
    area: Size = Field(description="pixels in the image at its own size")
    pixels: Whole = Field(description="pixels in gts; 0 where others of its size left no room for it")


class ImageRecord(BaseModel):
    """One image as it was before it was scaled to 1024 x 1024."""

    name: str = Field(min_length=1, description="file name of both arrays, without suffix")
    width: Size = Field(description="px")
    height: Size = Field(description="px")
    regions: list[RegionRecord]


class RegionsFile(BaseModel):
    """`regions.json`: what arrays cannot say."""

    images: list[ImageRecord]


class MedSamFiles(BaseModel):
    """The kinds of content that a MedSAM dataset is made of."""

    image: ImageArray
    mask: MaskArray
    regions: RegionsFile | None = None


ROOT = MedSamFiles
