"""What a check has to say about one place in one file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mvtec_convert.errors import printable

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing wrong, or worth knowing.

    Attributes:
        code: short stable name in kebab-case, for programs and for searching the docs.
        message: one sentence.
        path: file or folder concerned.
        line: 1-based line in `path`; None where lines make no sense (an image, a folder).
        severity: `error` means a trainer fails, or learns something false; `warning` means look at it.
        hint: what to do, if that is known.
    """

    code: str
    message: str
    path: str
    line: int | None = None
    severity: Severity = "error"
    hint: str | None = None

    @property
    def where(self) -> str:
        """`path` or `path:line`, safe to print."""
        return printable(self.path) + ("" if self.line is None else f":{self.line}")

    def __str__(self) -> str:
        return f"{self.where}: {self.code} {printable(self.message)}"


class Counted:
    """What has findings: how many of them are errors, and how many warnings."""

    __slots__ = ()

    findings: tuple[Finding, ...]

    @property
    def errors(self) -> int:
        """Findings that stop a conversion, break a training, or falsify what is learnt."""
        return sum(finding.severity == "error" for finding in self.findings)

    @property
    def warnings(self) -> int:
        """Findings worth a look."""
        return len(self.findings) - self.errors
