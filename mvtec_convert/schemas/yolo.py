"""Ultralytics YOLO: `data.yaml` and the rows of label files (docs.ultralytics.com/datasets/detect, /segment, /obb)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False, description="share of the image's width or height")]
ClassId = Annotated[int, Field(ge=0)]
Names = Annotated[dict[int, str], Field(min_length=1)] | Annotated[list[str], Field(min_length=1)]


class DataYaml(BaseModel):
    """`data.yaml`: where the images are, and what the classes are called. Labels lie in `labels` beside `images`."""

    model_config = ConfigDict(extra="allow", coerce_numbers_to_str=True)

    path: str | None = Field(None, description="root of the paths below; without it they start at this file's folder")
    train: str | list[str]
    val: str | list[str] = Field(validation_alias=AliasChoices("val", "validation"))
    test: str | list[str] | None = None
    nc: int | None = Field(None, ge=1, le=100_000, description="number of classes; follows from names")
    names: Names | None = Field(None, description="class names; without them they are called class_0, class_1, ...")

    def names_by_id(self) -> dict[int, str]:
        """Class names by id, whichever way they were written; those that Ultralytics makes up where there are none."""
        if self.names is None:
            return {i: f"class_{i}" for i in range(self.nc or 0)}
        return dict(enumerate(self.names)) if isinstance(self.names, list) else self.names


class BoxRow(BaseModel):
    """`class x_center y_center width height`: one upright box."""

    class_id: ClassId
    x_center: Fraction
    y_center: Fraction
    width: Annotated[Fraction, Field(gt=0)]
    height: Annotated[Fraction, Field(gt=0)]


class PolygonRow(BaseModel):
    """`class x1 y1 x2 y2 ...`: one polygon of three points or more; of exactly four for a rotated box."""

    class_id: ClassId
    points: list[tuple[Fraction, Fraction]] = Field(min_length=3)


class YoloFiles(BaseModel):
    """The kinds of content that a YOLO dataset is made of."""

    data_yaml: DataYaml
    rows: list[BoxRow] | list[PolygonRow]
    task: Literal["detect", "segment", "obb"] | None = None


ROOT = YoloFiles
