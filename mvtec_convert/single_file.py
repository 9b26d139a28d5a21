"""One file about a dataset, a report or a sheet: where it may lie, and how it is written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from mvtec_convert.errors import OutputError
from mvtec_convert.opening import read_head

HEAD = 1024  # bytes, among which a file says what it is


def check_file(out: Path, dataset: Path, what: str, suffix: str, mark: bytes) -> None:
    """Refuse a place where the file would destroy something, or be in the way of a trainer.

    Args:
        out: the file.
        dataset: what it is about; nothing is written into that.
        what: it is called: "a report".
        suffix: that its name must have, `.html`.
        mark: is among the first bytes of files like it; only these are replaced.

    Raises:
        OutputError: see above.
    """
    if out.suffix.lower() != suffix:
        raise OutputError(f"{what} is a file that ends in {suffix}", path=out, hint=f"let the name end in {suffix}")
    folder = dataset if dataset.is_dir() else dataset.parent
    if folder.resolve() in out.resolve().parents:
        raise OutputError(f"{what} cannot lie in the dataset", path=out, hint="choose a place outside it with --out")
    if out.is_symlink() or out.is_dir() or (out.exists() and mark not in _head(out)):
        raise OutputError(f"already there, and not {what} of this tool", path=out, hint="choose another --out")
    if not out.parent.is_dir():
        raise OutputError("no such folder", path=out.parent, hint="make it, or choose another --out")


def write_file(content: bytes, out: Path) -> None:
    """Write a file whole or not at all.

    Raises:
        OutputError: it cannot be written.
    """
    partial = out.with_name(f".{out.name}.partial-{os.getpid()}")
    try:
        partial.write_bytes(content)
        partial.replace(out)
    except OSError as error:
        raise OutputError(f"cannot be written: {error.strerror or error}", path=out) from None
    finally:
        partial.unlink(missing_ok=True)


def _head(path: Path) -> bytes:
    try:
        return read_head(path, HEAD)
    except OSError:
        return b""
