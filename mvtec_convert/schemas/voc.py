"""Pascal VOC's annotation of one image, as its XML says it: elements as keys, those that repeat as lists."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Finite = Annotated[float, Field(allow_inf_nan=False)]
Size = Annotated[int, Field(gt=0)]


class Box(BaseModel):
    """In px, counted from 1; the last pixel is inside."""

    model_config = ConfigDict(extra="allow")

    xmin: Finite
    ymin: Finite
    xmax: Finite
    ymax: Finite


class Object(BaseModel):
    """One object; in SegmentationObject, the first has the value 1."""

    model_config = ConfigDict(extra="allow")

    name: str = Field(min_length=1)
    bndbox: Box


class ImageSize(BaseModel):
    """Of the image, px."""

    model_config = ConfigDict(extra="allow")

    width: Size
    height: Size


class Annotation(BaseModel):
    """The element `annotation`."""

    model_config = ConfigDict(extra="allow")

    filename: str = Field(min_length=1)
    size: ImageSize
    object: list[Object] = []


ROOT = Annotation
