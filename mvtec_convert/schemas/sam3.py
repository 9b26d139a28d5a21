"""COCO as SAM 3's trainer reads it (`COCO_FROM_JSON` in github.com/facebookresearch/sam3)."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from mvtec_convert.schemas import coco


class Category(coco.Category):
    """One prompt; each image is asked for all of them, and those without an annotation in it are negatives."""

    name: str = Field(min_length=1, description="the text prompt: a phrase, as one would say it")


class Sam3File(BaseModel):
    """One split: `<split>/_annotations.coco.json`, the images beside it."""

    model_config = ConfigDict(extra="allow")

    images: list[coco.Image]
    annotations: list[coco.Annotation]
    categories: list[Category]


ROOT = Sam3File
