"""Output appears whole or not at all: written beside the target, put in place by one rename."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mvtec_convert.errors import ExportError, OutputError, printable
from mvtec_convert.jsonio import load_json, save_json

MANIFEST = "mvtec-convert.json"
"""Written into every export: which tool and options made it, and which files belong to it."""

# What trainers and file managers leave in a dataset's folders; goes with the dataset that it is about.
LITTER = ("*.cache", "*.npy", "text_embeddings_*.pt", ".DS_Store", "Thumbs.db")


@contextmanager
def publishing(target: Path, source: Path) -> Iterator[Path]:
    """Give a hidden folder to write into; put it in the place of `target` when the block ends well.

    Until then `target` stays as it was. An earlier export of this tool is replaced; anything else is left alone.

    Args:
        target: the folder that shall appear.
        source: the dataset; the target must be neither in it nor around it.

    Raises:
        OutputError: the target holds files that this tool did not write, lies in the dataset, or cannot be written.
    """
    check_target(target, source)
    with _staging(target) as staging:
        yield staging
        check_target(target, source)
        _swap(staging, _resolved(target))


@contextmanager
def staged(target: Path) -> Iterator[Path]:
    """The same for a folder that is no export: `target` must be missing or empty.

    Raises:
        OutputError: the target is there and not empty, or cannot be written.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise OutputError("already there, and not empty", path=target, hint="choose a new or an empty folder")
    with _staging(target) as staging:
        yield staging
        _swap(staging, _resolved(target))


@contextmanager
def _staging(target: Path) -> Iterator[Path]:
    target = _resolved(target)
    if target == Path.cwd() or target in Path.cwd().parents:
        raise OutputError("the output would replace the current folder", path=target, hint="choose a folder below it")
    staging = _sibling(target, "partial")
    new_parents = [parent for parent in target.parents if not parent.exists()]
    try:
        staging.mkdir(parents=True)
        yield staging
    except OSError as error:
        raise OutputError(
            f"cannot be written: {error.strerror or error}",
            path=error.filename or target,
            hint="nothing was changed; check the disk's space and the folder's permissions, or choose another --out",
        ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        for parent in new_parents:
            with suppress(OSError):  # not empty where all went well
                parent.rmdir()


def check_target(target: Path, source: Path) -> None:
    """Refuse a target that must not be replaced.

    Raises:
        OutputError: see `publishing`.
    """
    target, source = _resolved(target), _resolved(source)
    if target == source or source in target.parents:
        raise OutputError(
            "the output would lie inside the dataset", path=target, hint="choose a folder outside it with --out"
        )
    if target in source.parents:
        raise OutputError(
            "the output would replace a folder that holds the dataset", path=target, hint="choose another --out"
        )
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    hint = "choose another --out, or move what is there away"
    if not (target / MANIFEST).is_file():
        raise OutputError("already there, and not an export of this tool", path=target, hint=hint)
    foreign = _foreign_files(target)
    if foreign:
        shown = ", ".join(printable(name) for name in foreign[:3]) + (", ..." if len(foreign) > 3 else "")
        raise OutputError(f"holds files that this tool did not write: {shown}", path=target, hint=hint)


def save_manifest(folder: Path, facts: dict[str, object]) -> None:
    """Write the manifest, `facts` and the list of all files, as the last file of an export."""
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())
    save_json({**facts, "files": files}, folder / MANIFEST)


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
    found = (path for path in target.rglob("*") if path.is_symlink() or not path.is_dir())
    names = (path.relative_to(target).as_posix() for path in found if not any(path.match(litter) for litter in LITTER))
    return sorted(name for name in names if name not in ours)


def _swap(staging: Path, target: Path) -> None:
    if not target.exists():
        staging.rename(target)
        return
    old = _sibling(target, "old")
    target.rename(old)
    try:
        staging.rename(target)
    except BaseException:
        old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _sibling(target: Path, what: str) -> Path:
    return target.with_name(f".{target.name}.{what}-{os.getpid()}")


def _resolved(path: Path) -> Path:
    return path.expanduser().resolve()
