"""`balance.json`: how often each image of `train` should be seen, so that rare classes are learnt."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

Weight = Annotated[float, Field(ge=1, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]


class ClassBalance(BaseModel):
    """One class of `train`, before and after."""

    name: str = Field(min_length=1)
    weight: Weight = Field(description="how often an image is seen for this class")
    images: Count = Field(description="images that show it")
    images_after: Count = Field(description="the same, repeats counted")
    regions: Count
    regions_after: Count


class BalanceFile(BaseModel):
    """Weights to draw with, such as torch's WeightedRandomSampler takes."""

    method: Literal["repeat-factor", "oversample"]
    threshold: Annotated[float, Field(gt=0, le=1)] | None = Field(
        description="share of the images from which on a class is frequent enough; null for oversample"
    )
    classes: list[ClassBalance]
    images: dict[str, Weight] = Field(description="weight of each image of train, by its file name without suffix")


ROOT = BalanceFile
