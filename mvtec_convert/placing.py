"""Image files into an export: linked, copied or saved as JPEG."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mvtec_convert.images import is_jpeg, save_jpeg

Placement = Literal["link", "copy"]


@dataclass(frozen=True, slots=True)
class Placing:
    """How image files get into an export.

    Attributes:
        folder: the export.
        how: `link` (hard links where the file system allows, else copies) or `copy`.
        leftovers: what killed runs had written.
    """

    folder: Path
    how: Placement
    leftovers: tuple[Path, ...] = ()

    def place(self, source: Path | str, name: str, *, again: bool = False) -> None:
        """Put an image in its place.

        Args:
            source: the image, as text where there are many, since a link takes less time than a `Path`; JPEG is made of
                it where `name` asks for that and it is none.
            name: where it goes, relative to the export.
            again: whether an earlier run, which was killed, had placed the very same.

        Raises:
            MaskError: it cannot be decoded.
            OSError: it cannot be written.
        """
        target = f"{self.folder}/{name}"
        if not os.path.isdir(os.path.dirname(target)):  # noqa: PTH112, PTH120 - asking is cheaper than being refused
            Path(target).parent.mkdir(parents=True, exist_ok=True)
        if again and self._taken_over(source, name):
            return
        if name.endswith(".jpg") and not is_jpeg(Path(source)):
            save_jpeg(Path(source), Path(target))
        # Ultralytics "restores" a JPEG without an end marker in place, through a hard link in the source as well.
        elif self.how == "link" and not _has_no_end_marker(source) and _is_linked(source, target):
            return
        else:
            shutil.copyfile(source, target)
        _finish(source, target)

    def _taken_over(self, source: Path | str, name: str) -> bool:
        """Whether a finished copy was left by a killed run, and is now here. A link costs nothing to make again."""
        wanted = Path(source).stat().st_mtime_ns
        for leftover in self.leftovers:
            try:
                found = (leftover / name).lstat()
                if found.st_nlink == 1 and found.st_mtime_ns == wanted:
                    (leftover / name).rename(self.folder / name)
                    return True
            except OSError:
                continue
        return False


def _finish(source: Path | str, target: str) -> None:
    """Give a copy the time of its source, by which a finished one is known."""
    status = Path(source).stat()
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))


def _is_linked(source: Path | str, target: str) -> bool:
    """Make a hard link, which takes no space; False where the file system refuses it."""
    try:
        # What a link points to, not the link.
        os.link(os.path.realpath(source) if os.path.islink(source) else source, target)  # noqa: PTH114
    except OSError:  # another device, a file system without links, too many links, a file that is not ours
        return False
    return True


def _has_no_end_marker(path: Path | str) -> bool:
    if not str(path).lower().endswith((".jpg", ".jpeg")):
        return False
    with Path(path).open("rb") as file:
        file.seek(-2, os.SEEK_END)
        return file.read() != b"\xff\xd9"
