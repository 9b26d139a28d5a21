"""Every error this package raises on purpose: what is wrong, where, and what to do about it."""

from __future__ import annotations

import errno
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TypeGuard

if TYPE_CHECKING:
    from mvtec_convert.findings import Finding

MORE_FILES = "raise the limit on open files (ulimit -n), or use fewer --jobs"
MORE_MEMORY = "close other programs, or use fewer --jobs"
"""The hint where no file can be opened any more."""


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
        # Reasons may have several lines, and may quote what a file says.
        return "\n".join(map(printable, f"{where}{self.reason}{advice}".split("\n")))


class DatasetNotFoundError(MvtecConvertError):
    """No dataset where one was looked for."""


class SelectionError(MvtecConvertError):
    """An option asks for something that the dataset does not have, or that makes no sense."""


class MaskError(MvtecConvertError):
    """One image or mask cannot be used as it is.

    Attributes:
        code: of the finding that it becomes; see `Finding`.
    """

    def __init__(
        self,
        reason: str,
        *,
        code: str = "bad-image",
        path: str | os.PathLike[str] | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(reason, path=path, hint=hint)
        self.code = code


class OutputError(MvtecConvertError):
    """The target folder cannot be written, or must not be."""


class DownloadError(MvtecConvertError):
    """Something could not be fetched, or is not what it should be."""


class ArchiveError(MvtecConvertError):
    """An archive that cannot be unpacked, or must not be."""


class ExportError(MvtecConvertError):
    """A folder that should hold an exported dataset does not, or cannot be read."""


class ExtraMissingError(MvtecConvertError):
    """A library that only one command needs is not installed."""


class PluginError(MvtecConvertError):
    """A format or a layout of another package that was asked for cannot be used."""


class ExhaustedError(MvtecConvertError):
    """The machine has run out of file handles or memory, for which no file of the source is to blame."""


def exhausted(error: BaseException) -> ExhaustedError | None:
    """What it means that an error says the machine, not a file, is to blame; None of any other."""
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        return ExhaustedError("too many open files", hint=MORE_FILES)
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return ExhaustedError("out of memory", hint=MORE_MEMORY)
    return None


class BadSourceError(MvtecConvertError):
    """The source holds files that no honest conversion can use; all of them are listed.

    Attributes:
        findings: one per file, in the order of the dataset.
        keys: of the samples that are concerned; what is no sample has none.
    """

    SHOWN = 10
    """Files named in `reason`; the command line names all."""

    def __init__(self, findings: Sequence[Finding], keys: Sequence[str] = ()) -> None:
        self.findings = tuple(findings)
        self.keys = tuple(keys)
        hints = list(dict.fromkeys(finding.hint for finding in self.findings if finding.hint))
        super().__init__(self._lines(self.SHOWN), hint="; ".join(hints[:3]) or None)

    @property
    def listed(self) -> str:
        """The same as `reason`, with every file."""
        return self._lines(len(self.findings))

    def _lines(self, most: int) -> str:
        lines = [f"{finding.where}: {finding.message}" for finding in self.findings[:most]]
        if len(self.findings) > most:
            lines.append(f"... and {len(self.findings) - most} more")
        return f"{self.counts}:\n  " + "\n  ".join(lines)

    @property
    def counts(self) -> str:
        """How many files, and of which kind: "3 files cannot be used (2 empty-mask, 1 missing-mask)"."""
        return f"{len(self.findings)} file{'s' * (len(self.findings) > 1)} cannot be used ({by_code(self.findings)})"


def by_code(findings: Iterable[Finding]) -> str:
    """How many there are of each code, the most frequent first: "2 empty-mask, 1 missing-mask"."""
    counts = Counter(finding.code for finding in findings)
    return ", ".join(f"{count} {code}" for code, count in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))


def printable(text: str) -> str:
    """Text with control characters and undecodable bytes escaped, safe to show in a terminal."""
    return "".join(ch if ch.isprintable() else ch.encode("unicode_escape", "surrogatepass").decode() for ch in text)


def size_in_words(size: float) -> str:
    """Bytes for people: "5.3 GB", powers of ten."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit in {"bytes", "kB"} else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def is_name(text: object) -> TypeGuard[str]:
    """Whether what a file says can name a class or a category, and so the folder of one: a text, and no path."""
    return isinstance(text, str) and is_text(text) and text.strip(" .") != "" and not re.search(r"[/\\]", text)


def is_text(name: str) -> bool:
    """Whether a name can stand on one line of a UTF-8 file: no control characters, line ends or undecodable bytes."""
    if name.isascii():
        return name.isprintable()  # the same, and takes no time
    return not any(unicodedata.category(ch) in {"Cc", "Cs", "Zl", "Zp"} for ch in name)
