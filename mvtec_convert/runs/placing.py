"""Image files into an export: linked, copied or saved as JPEG."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from mvtec_convert.geometry.images import is_jpeg, is_linked
from mvtec_convert.opening import FilePath, is_alone, open_file
from mvtec_convert.runs.fingerprints import content_of

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
    _made: set[str] = field(default_factory=set)

    def place(self, source: FilePath, name: str, *, again: bool = False, made: str | None = None) -> str | None:
        """Put an image in its place.

        Args:
            source: the image, as text where there are many, since a link takes less time than a `Path`; JPEG is made of
                it where `name` asks for that and it is none.
            name: where it goes, relative to the export.
            again: whether an earlier run, which was killed, had placed the very same.
            made: what was returned then.

        Returns:
            Digest of the file where it was made of the image; None where it is the image itself.

        Raises:
            MaskError: it cannot be decoded.
            OSError: it cannot be written.
        """
        target = f"{self.folder}/{name}"
        folder = target.rpartition("/")[0]
        if folder not in self._made:
            Path(folder).mkdir(parents=True, exist_ok=True)
            self._made.add(folder)
        if again and self._taken_over(source, name, made):
            return made
        is_made = name.endswith(".jpg") and not is_jpeg(source)
        if is_made:
            from mvtec_convert.geometry.saving import save_jpeg

            save_jpeg(Path(source), Path(target))
        # Ultralytics "restores" a JPEG without an end marker in place, through a hard link in the source as well.
        elif self.how == "link" and not _has_no_end_marker(source) and is_linked(source, target):
            return None
        else:
            shutil.copyfile(source, target)
        _finish(source, target)
        return content_of(target) if is_made else None

    def _taken_over(self, source: FilePath, name: str, made: str | None) -> bool:
        """Whether a finished copy was left by a killed run, and is now here. A link costs nothing to make again."""
        for leftover in self.leftovers:
            try:
                if _is_finished(leftover / name, leftover, source, made):
                    (leftover / name).rename(self.folder / name)
                    return True
            except OSError:
                continue
        return False


def _is_finished(path: Path, leftover: Path, source: FilePath, made: str | None) -> bool:
    """Whether a file is what this tool wrote there: a power cut, or a stranger, may have left another of its time."""
    if not is_alone(path) or path.stat().st_mtime_ns != Path(source).stat().st_mtime_ns:
        return False
    if not path.parent.resolve().is_relative_to(leftover.resolve()):  # by a link, so it is somebody else's
        return False
    return content_of(path) == (made or content_of(source))


def _finish(source: FilePath, target: str) -> None:
    """Give a copy the time of its source, by which a finished one is known."""
    status = Path(source).stat()
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))


def _has_no_end_marker(path: FilePath) -> bool:
    if not os.fspath(path).lower().endswith((".jpg", ".jpeg")):
        return False
    with open_file(path) as file:
        file.seek(-2, os.SEEK_END)
        return file.read() != b"\xff\xd9"
