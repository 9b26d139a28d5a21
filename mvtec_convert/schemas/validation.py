"""What `mvtec-convert validate --json` prints."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field


class FindingEntry(BaseModel):
    """One thing wrong, or worth knowing."""

    code: str = Field(description="short stable name, see docs/findings.md")
    message: str
    path: str
    line: int | None = Field(description="1-based; null where lines make no sense")
    severity: Literal["error", "warning"]
    hint: str | None


class ValidationFile(BaseModel):
    """One dataset."""

    folder: str
    format: str
    errors: int
    warnings: int
    findings: list[FindingEntry]


ROOT = ValidationFile
