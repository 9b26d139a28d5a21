"""Every error this package raises on purpose: what is wrong, where, and what to do about it."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mvtec_convert.findings import Finding


class MvtecConvertError(Exception):
    """Base of all errors a user can cause and mend.

    Attributes:
        reason: what is wrong, one sentence.
        path: the file or folder concerned, if there is one.
        hint: what to do about it, if that is known.
    """

    def __init__(self, reason: str, *, path: str | os.PathLike[str] | None = None, hint: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.path = None if path is None else os.fspath(path)
        self.hint = hint

    def __str__(self) -> str:
        where = "" if self.path is None else f"{printable(self.path)}: "
        advice = "" if self.hint is None else f" ({self.hint})"
        return f"{where}{self.reason}{advice}"


class DatasetNotFoundError(MvtecConvertError):
    """No dataset where one was looked for."""


class SelectionError(MvtecConvertError):
    """An option asks for something that the dataset does not have, or that makes no sense."""


class MaskError(MvtecConvertError):
    """One image or mask cannot be used as it is."""


class OutputError(MvtecConvertError):
    """The target folder cannot be written, or must not be."""


class ExportError(MvtecConvertError):
    """A folder that should hold an exported dataset does not, or cannot be read."""


class BadSourceError(MvtecConvertError):
    """The source holds files that no honest conversion can use; all of them are listed.

    Attributes:
        findings: one per file, in the order of the dataset.
    """

    SHOWN = 10

    def __init__(self, findings: Sequence[Finding]) -> None:
        self.findings = tuple(findings)
        count = len(self.findings)
        lines = [f"{finding.where}: {finding.message}" for finding in self.findings[: self.SHOWN]]
        if count > self.SHOWN:
            lines.append(f"... and {count - self.SHOWN} more")
        hints = list(dict.fromkeys(finding.hint for finding in self.findings if finding.hint))
        super().__init__(
            f"{count} file{'s' if count > 1 else ''} cannot be used:\n  " + "\n  ".join(lines),
            hint="; ".join(hints[:3]) or None,
        )


def printable(text: str) -> str:
    """Text with control characters and undecodable bytes escaped, safe to show in a terminal."""
    return "".join(ch if ch.isprintable() else ch.encode("unicode_escape", "surrogatepass").decode() for ch in text)


def is_text(name: str) -> bool:
    """Whether a name can stand on one line of a UTF-8 file: no control characters, line ends or undecodable bytes."""
    return not any(unicodedata.category(ch) in {"Cc", "Cs", "Zl", "Zp"} for ch in name)
