"""What `mvtec-convert stats --json` prints."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field, RootModel

from mvtec_convert.schemas.balance import ClassBalance
from mvtec_convert.schemas.validation import FindingEntry

Count = Annotated[int, Field(ge=0)]


class Spread(BaseModel):
    """Extremes and quartiles."""

    smallest: float
    lower_quartile: float
    median: float
    upper_quartile: float
    largest: float


class RegionsPerImage(Spread):
    """Over the images that show the class and could be read."""

    mean: float


class SizeCounts(BaseModel):
    """Numbers of regions by COCO's bounds: small below 32 x 32 px, large from 96 x 96 px on."""

    small: Count
    medium: Count
    large: Count


class Measures(BaseModel):
    """Of all regions of one class, or of several."""

    pixels: Count = Field(description="the areas of all regions together, px")
    regions_per_image: RegionsPerImage | None
    area: Spread | None = Field(description="px")
    relative_area: Spread | None = Field(description="share of the image's pixels, 0 to 1")
    aspect: Spread | None = Field(description="long side of the upright box over its short side")
    sizes: SizeCounts
    sizes_at_imgsz: SizeCounts = Field(description="once the image's longer side is scaled to `imgsz` px")
    on_border: Count = Field(description="regions that touch the image's border")
    masks: Count = Field(description="regions that have a mask; others are boxes or polygons")
    with_holes: Count = Field(description="masks with a hole, by 4-connectivity")
    in_pieces: Count = Field(description="masks of several 8-connected pieces")


class TailClass(BaseModel):
    """One class, as often as it was counted."""

    count: Count
    effective_number: float | None = Field(description="(1 - beta^count) / (1 - beta)")
    weight: float | None = Field(description="inverse effective number, with mean 1; null where the count is 0")


class LongTail(BaseModel):
    """How uneven the classes are."""

    counted_in: str = Field(description="images, regions or pixels, and of which classes")
    ratio: float | None = Field(description="largest count over smallest; null where a class never occurs")
    gini: float | None
    entropy: float | None = Field(description="over that of equal classes; null for a single class")
    beta: float | None = Field(description="of the effective number")
    classes: dict[str, TailClass]


class ImageKind(BaseModel):
    """How many images have one size, px, and number of channels."""

    width: int
    height: int
    channels: int | None
    images: Count


class Part(BaseModel):
    """What a category and a split have in common."""

    name: str
    images: Count
    regions: Count
    image_kinds: list[ImageKind]
    measures: Measures
    long_tail: list[LongTail]


class ClassEntry(BaseModel):
    """One class."""

    images: Count = Field(description="images that show it")
    regions: Count = Field(description="8-connected regions of its masks, unless cut otherwise")
    measures: Measures


class DefectEntry(ClassEntry):
    """One defect type of one category."""

    train: Count = Field(description="images of it in the dataset's own train split")
    val: Count
    test: Count


class Counts(BaseModel):
    """Numbers of images."""

    train: Count = Field(description="images of the dataset's own train split")
    val: Count = Field(description="images of the dataset's own val split; MVTec AD has none")
    test: Count = Field(description="images of the dataset's own test split")
    train_good: Count
    test_good: Count
    defective: Count


class CategoryEntry(Part, Counts):
    """One category."""

    defect_types: dict[str, DefectEntry]
    differences: list[str] | None = Field(
        description="against the published MVTec AD; empty: complete; null: it has no such category"
    )


class Total(Counts):
    """All categories together; a class is `<category>/<defect type>`."""

    images: Count
    regions: Count
    measures: Measures
    long_tail: list[LongTail]


class SplitEntry(Part):
    """One split of an export."""

    background: Count = Field(description="images without a label")
    classes: dict[str, ClassEntry]


class SourceStats(BaseModel):
    """A dataset as it lies on disk."""

    kind: Literal["source"]
    root: str
    layout: str
    imgsz: int
    complete: bool = Field(description="whether all 15 categories of MVTec AD are there, each as published")
    categories: list[CategoryEntry]
    total: Total
    sentences: list[str] = Field(description="what the figures mean")
    findings: list[FindingEntry]


class BalanceEntry(BaseModel):
    """How `train` is balanced; of each image, `balance.json` says it."""

    method: Literal["repeat-factor", "oversample"]
    threshold: float | None
    classes: list[ClassBalance]


class ExportStats(BaseModel):
    """An exported dataset."""

    kind: Literal["export"]
    root: str
    format: str
    imgsz: int
    class_names: list[str] = Field(description="in the order of their ids")
    splits: list[SplitEntry]
    crowds: Count = Field(description="regions that trainers leave out, counted nowhere else")
    boxes: Count = Field(description="objects without a mask, whose area is that of their box or polygon")
    balance: BalanceEntry | None = Field(description="how often training is to see each class; null where as it is")
    sentences: list[str] = Field(description="what the figures mean")


class StatsFile(RootModel[Annotated[SourceStats | ExportStats, Field(discriminator="kind")]]):
    """A source dataset, or an exported one."""


ROOT = StatsFile
