"""Check any exported dataset, ours or another tool's: which format it is in, and what its readers would choke on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from mvtec_convert import balance, checks, splits
from mvtec_convert.errors import ExportError
from mvtec_convert.exports import format_of
from mvtec_convert.findings import Counted, Finding
from mvtec_convert.jsonio import load_json
from mvtec_convert.plan import CLASSES_FILE
from mvtec_convert.runs.publish import MANIFEST
from mvtec_convert.runs.skipping import SKIPPED_FILE
from mvtec_convert.schemas import problems
from mvtec_convert.schemas.balance import BalanceFile
from mvtec_convert.schemas.export import ClassesFile, ManifestFile, SplitsFile
from mvtec_convert.schemas.skipped import SkippedFile

OWN_FILES: dict[str, type[BaseModel]] = {
    CLASSES_FILE: ClassesFile,
    splits.FILE_NAME: SplitsFile,
    balance.FILE_NAME: BalanceFile,
    SKIPPED_FILE: SkippedFile,
    MANIFEST: ManifestFile,
}
"""What every export holds beside its format's files, and their schemas; some only where one asked for it."""


@dataclass(frozen=True, slots=True)
class Validation(Counted):
    """What was found in a folder.

    Attributes:
        folder: what was looked at.
        format: the format it is in.
        findings: errors and warnings, by path and line.
    """

    folder: Path
    format: str
    findings: tuple[Finding, ...]

    def document(self) -> dict[str, Any]:
        """The validation as plain data, in the form of `schemas/validation.schema.json`."""
        return {
            "folder": str(self.folder),
            "format": self.format,
            "errors": self.errors,
            "warnings": self.warnings,
            "findings": [asdict(finding) for finding in self.findings],
        }


def validate(folder: str | Path, *, format: str | None = None) -> Validation:
    """Check a dataset in any format that this tool knows.

    Args:
        folder: the dataset; for COCO, one annotation file will do.
        format: name of its format; recognised where None.

    Raises:
        ExportError: no such folder, or no known format.
        SelectionError: no format of that name.

    >>> _ = mc.to_yolo(mc.load("mvtec_anomaly_detection").filter(category="carpet"), "carpet-yolo")
    >>> found = mc.validate("carpet-yolo")
    >>> found.format, found.errors, found.warnings
    ('yolo', 0, 0)
    """
    folder = Path(folder).expanduser()
    chosen = format_of(folder, format)
    found = [*chosen.check(folder), *_check_own_files(folder)]
    ordered = sorted(found, key=lambda finding: (finding.path, finding.line or 0, finding.code, finding.message))
    return Validation(folder, chosen.name, tuple(ordered))


def _check_own_files(folder: Path) -> Iterator[Finding]:
    """classes.json, splits.json, the manifest and the like, where they are there."""
    for name, model in OWN_FILES.items():
        path = folder / name
        if not path.is_file():
            continue
        try:
            document = model.model_validate(load_json(path))
        except ExportError as error:
            yield Finding("bad-json", error.reason, str(path))
        except ValidationError as error:
            yield from (Finding("schema", problem, str(path)) for problem in problems(error)[:3])
        else:
            if isinstance(document, ManifestFile):
                yield from _missing_files(folder, document)


def _missing_files(folder: Path, manifest: ManifestFile) -> Iterator[Finding]:
    for name in manifest.files:
        if checks.leads_out(name) or not checks.is_file(folder / name):
            hint = "export again, or restore it"
            yield Finding(
                "missing-file", "the export was written with this file; it is gone", str(folder / name), hint=hint
            )
