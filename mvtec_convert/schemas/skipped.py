"""`skipped.json`: what `--skip-bad` left out of an export."""

from __future__ import annotations

from pydantic import BaseModel, Field


class SkippedEntry(BaseModel):
    """One file, or folder, of the source."""

    code: str = Field(min_length=1, description="short name of what is wrong; see docs/findings.md")
    path: str = Field(min_length=1, description="relative to the dataset's folder, POSIX")
    message: str


class SkippedFile(BaseModel):
    """Everything that was left out; the export is as if it had never been there."""

    skipped: list[SkippedEntry] = Field(min_length=1)


ROOT = SkippedFile
