"""Go on without the files that cannot be used, as if they had never been there, and list them in the export."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from mvtec_convert.dataset import Dataset
from mvtec_convert.errors import SelectionError, printable
from mvtec_convert.findings import Finding
from mvtec_convert.jsonio import save_json
from mvtec_convert.plan import Plan

SKIPPED_FILE = "skipped.json"
"""Lies in an export that left something out."""

IMAGES = frozenset({"missing-mask", "ambiguous-image", "ambiguous-mask"})
"""Codes of what a layout's scan finds at the path of an image, which is then no sample."""

HINT = "leave --skip-bad away to see all of them, and mend at least one"


def without_errors(dataset: Dataset) -> Dataset:
    """The dataset without what its layout cannot use, and without a word of it.

    Raises:
        SelectionError: no image of a folder can be used, so that a class might vanish unnoticed.
    """
    filled = {sample.image.parent for sample in dataset}
    for finding in dataset.errors:
        folder = Path(finding.path).parent
        if finding.code in IMAGES and folder not in filled:
            raise SelectionError("not one of its images can be used, so nothing of it is left", path=folder, hint=HINT)
    warnings = {
        category: tuple(finding for finding in found if finding.severity != "error")
        for category, found in dataset.findings_by_category.items()
    }
    return replace(dataset, findings_by_category=warnings)


def without(dataset: Dataset, keys: Collection[str]) -> Dataset:
    """The dataset without these samples.

    Raises:
        SelectionError: no defective one is left.
    """
    left = tuple(sample for sample in dataset if sample.key not in keys)
    if all(sample.is_good for sample in left):
        raise SelectionError("not one defective image can be used, so nothing is left", path=dataset.root, hint=HINT)
    return replace(dataset, samples=left)


def refuse_emptied(before: Plan, after: Plan) -> None:
    """Refuse to lose a class, or a split, without a word.

    Args:
        before: what was planned with the files that cannot be used.
        after: the same without them.

    Raises:
        SelectionError: a class or a split has no image any more.
    """
    for name in before.labels.names:
        if name not in after.labels.names:
            raise SelectionError(f"not one image of the class {printable(name)} can be used", hint=HINT)
    filled = {item.split for item in after.items}
    for split in before.split_names:
        if split not in filled and any(item.split == split for item in before.items):
            raise SelectionError(f"not one image of the split {split} can be used", hint=HINT)


def save_skipped(skipped: Sequence[Finding], root: Path, folder: Path) -> None:
    """Write `skipped.json`, in the form of `schemas/skipped.schema.json`: what was left out of an export, and why.

    Args:
        skipped: what cannot be used.
        root: the dataset, to which paths are told relative, so that they are the same wherever it lies.
        folder: the export.
    """
    entries = [
        {"code": finding.code, "path": _relative(Path(finding.path), root), "message": printable(finding.message)}
        for finding in skipped
    ]
    save_json({"skipped": entries}, folder / SKIPPED_FILE)


def _relative(path: Path, root: Path) -> str:
    relative = path.relative_to(root) if path.is_relative_to(root) else path
    return printable(relative.as_posix())
