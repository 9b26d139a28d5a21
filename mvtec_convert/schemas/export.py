"""What every export holds beside its format's own files: classes.json, splits.json, mvtec-convert.json."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

SplitName = Literal["train", "val", "test"]


class ClassEntry(BaseModel):
    """One class, and the `category/defect_type` pairs in it."""

    id: Annotated[int, Field(ge=0)]
    name: str = Field(min_length=1)
    members: list[str]


class ClassesFile(BaseModel):
    """`classes.json`: the label map that all formats share."""

    names: Literal["defect", "category", "category-defect", "single"]
    classes: list[ClassEntry]


class SplitsFile(BaseModel):
    """`splits.json`: the split of every image selected, by its path in the source dataset."""

    protocol: Literal["supervised", "official", "given"]
    seed: int
    ratios: list[float]
    assignments: dict[str, SplitName]


class FidelityRecord(BaseModel):
    """What the format's own reader made of the regions when the export was written."""

    judge: str = Field(description="what was compared, and by whom")
    regions: Annotated[int, Field(ge=0)]
    exact: Annotated[int, Field(ge=0)] = Field(description="regions that came back exactly")
    lowest: Annotated[float, Field(ge=0, le=1)] = Field(description="lowest IoU")
    mean: Annotated[float, Field(ge=0, le=1)] = Field(description="mean IoU")
    inexact: dict[str, float] = Field(description="lowest IoU of the images that did not, by name, the worst first")


class ManifestFile(BaseModel):
    """`mvtec-convert.json`: what made the export, and all its files."""

    tool: Literal["mvtec-convert"]
    version: str
    format: str
    options: dict[str, Any]
    fidelity: FidelityRecord | None = Field(None, description="null where the format has no geometry")
    files: list[str] = Field(description="every file of the export but this one, sorted")


class ExportFiles(BaseModel):
    """The three together."""

    classes: ClassesFile
    splits: SplitsFile
    manifest: ManifestFile


ROOT = ExportFiles
