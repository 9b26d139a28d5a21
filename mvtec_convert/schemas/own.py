"""`mvtec-convert.toml`: where the images and masks of own data are, and what the masks say."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Name = Annotated[str, Field(min_length=1, pattern=r"^[^/\x00-\x1f]+$")]
Pattern = Annotated[str, Field(min_length=1)]
Colour = str | list[Annotated[int, Field(ge=0, le=255)]]


class OwnDataFile(BaseModel):
    """One dataset; patterns are relative to the file's folder."""

    model_config = ConfigDict(extra="forbid")

    images: Pattern | list[Pattern] = Field(description="image files, with *, ?, **, {category}, {defect}, {split}")
    masks: Pattern | list[Pattern] = Field(description="masks of one image; {stem} is its name without suffix")
    category: Name | None = Field(default=None, description="what is shown; without it: the folder's name")
    defect: Name = Field(default="defect", description="what is wrong with it, where nothing says more")
    good_when_no_mask: bool = Field(default=False, description="an image without a mask has no defect")
    good_when_black_mask: bool = Field(default=False, description="an image whose masks are all black has no defect")
    values: dict[str, str | int] | None = Field(default=None, description="pixel value to defect type")
    colors: dict[str, Colour] | None = Field(default=None, description="colour, as #rrggbb, to defect type")


ROOT = OwnDataFile
