"""Output appears whole or not at all: written beside the target, put in place by one rename."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from mvtec_convert.errors import ExportError, OutputError, printable
from mvtec_convert.jsonio import load_json, save_json
from mvtec_convert.runs.fingerprints import LITTER
from mvtec_convert.runs.staging import Staging, staging

MANIFEST = "mvtec-convert.json"
"""Written into every export: which tool and options made it, and which files belong to it."""


@contextmanager
def publishing(target: Path, *sources: Path) -> Iterator[Path]:
    """Give a hidden folder to write into; put it in the place of `target` when the block ends well.

    Until then `target` stays as it was. An earlier export of this tool is replaced; anything else is left alone.

    Args:
        target: the folder that shall appear.
        sources: the folders of the dataset; the target must be in none of them, nor around one.

    Raises:
        OutputError: the target holds files that this tool did not write, lies in the dataset, is being written by
            another run, or cannot be written.
    """
    with export_staging(target, *sources) as stage:
        yield stage.folder
        publish(stage)


@contextmanager
def export_staging(target: Path, *sources: Path) -> Iterator[Staging]:
    """The same, but what was written is only put in place by `publish`."""
    check_place(target, *sources)
    with staging(target) as stage:
        refuse_foreign(stage.target, stage.target)
        yield stage


def publish(stage: Staging) -> None:
    """Put an export in its place.

    Raises:
        OutputError: see `publishing`.
    """
    stage.publish(lambda folder: refuse_foreign(folder, stage.target))


@contextmanager
def staged(target: Path, *, wait: bool = False) -> Iterator[Path]:
    """The same for a folder that is no export: `target` must be missing or empty.

    Args:
        target: the folder that shall appear.
        wait: for another process that writes the same one, instead of refusing.

    Raises:
        OutputError: the target is there and not empty, is being written by another run, or cannot be written.
    """
    with staging(target, wait=wait) as stage:
        _refuse_filled(stage.target, target)
        yield stage.folder
        stage.publish(lambda folder: _refuse_filled(folder, target))


def _refuse_filled(folder: Path, target: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError("already there, and not empty", path=target, hint="choose a new or an empty folder")


def check_place(target: Path, *sources: Path) -> None:
    """Refuse a target in a folder of the dataset, or around one.

    Raises:
        OutputError: see `publishing`.
    """
    target = _resolved(target)
    for source in map(_resolved, sources):
        if target == source or source in target.parents:
            raise OutputError(
                "the output would lie inside the dataset", path=target, hint="choose a folder outside it with --out"
            )
        if target in source.parents:
            raise OutputError(
                "the output would replace a folder that holds the dataset", path=target, hint="choose another --out"
            )


def refuse_foreign(folder: Path, target: Path) -> None:
    """Refuse to replace a folder unless it is missing, empty, or an export of this tool and nothing else.

    Args:
        folder: what would be replaced.
        target: where it belongs, for the message.

    Raises:
        OutputError: see `publishing`.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    hint = "choose another --out, or move what is there away"
    if not (folder / MANIFEST).is_file():
        raise OutputError("already there, and not an export of this tool", path=target, hint=hint)
    foreign = _foreign_files(folder)
    if foreign:
        shown = ", ".join(printable(name) for name in foreign[:3]) + (", ..." if len(foreign) > 3 else "")
        raise OutputError(f"holds files that this tool did not write: {shown}", path=target, hint=hint)


def save_manifest(folder: Path, facts: dict[str, object]) -> None:
    """Write the manifest, `facts` and the list of all files, as the last file of an export."""
    save_json({**facts, "files": sorted(_files_below(folder))}, folder / MANIFEST)


def _files_below(folder: Path) -> Iterator[str]:
    """Paths relative to the folder, POSIX, of all that is in it and no folder; of links, too.

    No `Path` of each, which takes ten times the memory.
    """
    for place, folders, names in os.walk(folder):
        inner = Path(place).relative_to(folder).as_posix()
        before = "" if inner == "." else f"{inner}/"
        yield from (before + name for name in names)
        yield from (before + name for name in folders if (Path(place) / name).is_symlink())


def load_manifest(folder: Path) -> dict[str, object]:
    """Read the manifest of an export.

    Raises:
        ExportError: there is none, or it is damaged.
    """
    path = folder / MANIFEST
    manifest = load_json(path)
    if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), list):
        raise ExportError("not a manifest of this tool", path=path)
    return manifest


def _foreign_files(target: Path) -> list[str]:
    try:
        files = load_manifest(target)["files"]
    except ExportError as error:
        raise OutputError(error.reason, path=error.path, hint="choose another --out") from None
    ours = {MANIFEST, *(str(name) for name in files)} if isinstance(files, list) else {MANIFEST}
    others = {name for name in _files_below(target) if name not in ours}
    if not others:
        return []
    paths = (PurePosixPath(name) for name in ours)
    cached = {str(path.with_suffix(".npy")) for path in paths if path.suffix}  # Ultralytics decodes images into these
    return sorted(name for name in others - cached if not any(PurePosixPath(name).match(litter) for litter in LITTER))


def _resolved(path: Path) -> Path:
    return path.expanduser().resolve()
