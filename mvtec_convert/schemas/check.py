"""What `mvtec-convert check --json` prints."""

from __future__ import annotations

from pydantic import BaseModel, Field

from mvtec_convert.schemas.validation import FindingEntry


class CheckEntry(BaseModel):
    """What was found in one source dataset."""

    root: str
    layout: str
    images: int
    errors: int
    warnings: int
    findings: list[FindingEntry]
    differences: dict[str, list[str] | None] = Field(
        description="by category, against the published MVTec AD; empty: complete; null: it has no such category"
    )


class RepairEntry(BaseModel):
    """One thing that is other in the repaired copy."""

    code: str = Field(description="of the finding that it answers")
    path: str = Field(description="POSIX path in the source, from its root")
    to: str | None = Field(description="POSIX path in the copy, from its root; null where the file was left out")
    action: str


class RepairsFile(BaseModel):
    """`repairs.json` of a repaired copy."""

    repairs: list[RepairEntry]


class RepairedEntry(RepairsFile):
    """The copy that `--fix` wrote."""

    left: CheckEntry = Field(description="what is to be found in the copy")


class CheckFile(CheckEntry):
    """One source dataset, and its repaired copy if there is one."""

    repaired: RepairedEntry | None = Field(description="null without --fix")


ROOT = CheckFile
