"""Image folders, as Ultralytics' classify and torchvision's ImageFolder read them: the tree itself says everything."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

ImageName = Annotated[str, Field(pattern=r"\.(?i:png|jpe?g|bmp|tiff?|webp)$")]
Classes = Annotated[
    dict[str, list[ImageName]],
    Field(min_length=1, description="image files by class; class ids are the places of the sorted names"),
]


class ClassifyTree(BaseModel):
    """What lies in `{train,val,test}/<class>/`; val, test or both are there."""

    train: Classes
    val: Classes | None = None
    test: Classes | None = None


ROOT = ClassifyTree
