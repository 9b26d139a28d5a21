"""YOLO-World: class texts and grounding files, as Ultralytics and AILab-CVC/YOLO-World read them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from mvtec_convert.schemas import coco
from mvtec_convert.schemas.coco import Whole

Phrase = Annotated[str, Field(min_length=1, pattern=r"^\S(.*\S)?$")]
ClassTexts = Annotated[
    list[Annotated[list[Phrase], Field(min_length=1, description="a phrase, then synonyms")]],
    Field(min_length=1, description="the phrases of each class, by class id"),
]
Span = tuple[Annotated[Whole, Field(ge=0)], Annotated[Whole, Field(gt=0)]]


class GroundingImage(coco.Image):
    """One image and what is said of it; empty where nothing is to be found."""

    caption: str


class GroundingAnnotation(coco.Annotation):
    """One instance, and the part of its image's caption that names it."""

    iscrowd: Literal[0] = Field(description="readers leave out what is 1")
    tokens_positive: list[Span] = Field(min_length=1, description="start and end in the caption, in characters")


class GroundingFile(BaseModel):
    """One split: COCO, with captions."""

    model_config = ConfigDict(extra="allow")

    images: list[GroundingImage]
    annotations: list[GroundingAnnotation]
    categories: list[coco.Category]


class YoloWorldFiles(BaseModel):
    """The kinds of content that YOLO-World reads beside a YOLO dataset."""

    class_texts: ClassTexts
    grounding: GroundingFile


ROOT = YoloWorldFiles
