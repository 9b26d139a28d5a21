"""What `mvtec-convert stats --json` prints."""

from __future__ import annotations

from pydantic import BaseModel, Field

from mvtec_convert.schemas.validation import FindingEntry


class DefectEntry(BaseModel):
    """One defect type of one category."""

    images: int
    regions: int = Field(description="8-connected regions of its masks")


class SizeEntry(BaseModel):
    """How many images have one size, px."""

    width: int
    height: int
    images: int


class Counts(BaseModel):
    """Numbers of images, and of regions."""

    images: int
    train: int = Field(description="images of the dataset's own train split")
    test: int = Field(description="images of the dataset's own test split")
    train_good: int
    test_good: int
    defective: int
    regions: int


class CategoryEntry(Counts):
    """One category."""

    name: str
    defect_types: dict[str, DefectEntry]
    image_sizes: list[SizeEntry]
    differences: list[str] | None = Field(
        description="against the published MVTec AD; empty: complete; null: it has no such category"
    )


class StatsFile(BaseModel):
    """A whole dataset."""

    root: str
    complete: bool = Field(description="whether all 15 categories of MVTec AD are there, each as published")
    categories: list[CategoryEntry]
    total: Counts
    findings: list[FindingEntry]


ROOT = StatsFile
