"""What SAM 2's trainer reads: SA-1B, one file an image, each image with one mask at least."""

from __future__ import annotations

from pydantic import Field

from mvtec_convert.schemas.sam import Annotation, Image, SamFile


class NumberedImage(Image):
    """The image beside the file, called as SA-1B calls its images. `name` is this tool's addition."""

    file_name: str = Field(min_length=1, description="sa_<number>.jpg, with the number that is the image_id")
    name: str | None = Field(None, description="what the image is called in exports of other formats")


class Sam2File(SamFile):
    """One image with its masks."""

    image: NumberedImage
    annotations: list[Annotation] = Field(min_length=1, description="the trainer cannot use an image without masks")


ROOT = Sam2File
