"""By what a file, a folder, a dataset and this tool itself are recognised as unchanged. The standard library alone."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import translate
from functools import cache
from pathlib import Path

import mvtec_convert
from mvtec_convert.dataset import Dataset

SETTLED = 2 * 10**9
"""ns after which a changed file has another time for certain: the coarsest clock of a file system in use is FAT's."""

BLOCK = 1 << 20  # bytes

PACKAGE = Path(mvtec_convert.__file__).parent

LITTER = ("*.cache", "text_embeddings_*.pt", ".DS_Store", "Thumbs.db")
"""What trainers and file managers leave in a dataset's folders; goes with the dataset that it is about."""

_IS_LITTER = re.compile("|".join(map(translate, LITTER))).match


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Digests of many files.

    Attributes:
        seen: of their names, sizes and times.
        content: of their names and contents; None where nobody asked for it.
        is_settled: whether none of them was changed just now, so that the next change will show in its time.
    """

    seen: str
    content: str | None
    is_settled: bool


def digest(parts: Iterable[str | None]) -> str:
    """One digest of some text, which tells where a part ends."""
    found = hashlib.blake2b(digest_size=16)
    for part in parts:
        found.update(f"{part!r}\n".encode("utf-8", "surrogatepass"))
    return found.hexdigest()


def content_of(path: Path) -> str | None:
    """Digest of a file's content; None where it cannot be read."""
    found = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(BLOCK):
                found.update(block)
    except OSError:
        return None
    return found.hexdigest()


def seen(path: Path) -> str:
    """Size and time of a file, or what a link points to; the same text for all that are not there."""
    try:
        found = os.stat(path)  # noqa: PTH116 - half the time of Path.stat, for every image
    except (OSError, ValueError):
        return "missing"
    return f"{found.st_size} {found.st_mtime_ns}"


def is_settled(stamps: Iterable[str], now: int) -> bool:
    """Whether all files with these sizes and times were last changed long enough before, or after, `now`, ns."""
    times = (int(stamp.partition(" ")[2] or 0) for stamp in stamps)
    return all(abs(now - changed) > SETTLED for changed in times)


def of_dataset(dataset: Dataset, *, by_content: bool) -> Fingerprint:
    """Every sample with its files, and what does not fit the layout."""
    files = [path for sample in dataset for path in (sample.image, *sample.masks)]
    now = time.time_ns()
    stamps = list(map(seen, files))
    said = [*map(repr, dataset), *map(repr, dataset.findings)]
    content = digest([*said, *map(content_of, files)]) if by_content else None
    return Fingerprint(digest([*said, *stamps]), content, is_settled(stamps, now))


def of_folder(folder: Path, *, by_content: bool) -> Fingerprint:
    """Every file and folder in a folder, but not what trainers leave there.

    Raises:
        OSError: the folder cannot be read.
    """
    found = dict(sorted(_without_litter(dict(_walk(folder, ""))).items()))
    contents = (content_of(folder / name) for name in found) if by_content else ()
    said = (f"{name} {stamp}" for name, stamp in found.items())
    return Fingerprint(digest(said), digest([*found, *contents]) if by_content else None, is_settled=True)


def _walk(folder: Path | str, prefix: str) -> Iterator[tuple[str, str]]:
    """(path relative to the outermost folder, stamp) of everything in a folder."""
    with os.scandir(folder) as entries:
        for entry in entries:
            name = prefix + entry.name
            found = entry.stat(follow_symlinks=False)
            if stat.S_ISDIR(found.st_mode):
                yield f"{name}/", "folder"
                yield from _walk(entry.path, f"{name}/")
            else:
                kind = "" if stat.S_ISREG(found.st_mode) else " no file"
                yield name, f"{found.st_size} {found.st_mtime_ns}{kind}"


def _without_litter(found: dict[str, str]) -> dict[str, str]:
    kept = {name: stamp for name, stamp in found.items() if not _IS_LITTER(name.rpartition("/")[2])}
    arrays = [name for name in kept if name.endswith(".npy")]
    if arrays:  # Ultralytics decodes images into such files beside them
        stems = {name.rpartition(".")[0] for name in kept if not name.endswith(".npy")}
        for name in arrays:
            if name.removesuffix(".npy") in stems:
                del kept[name]
    return kept


@cache
def of_tool() -> str:
    """The version of this tool, and of each of its files: those of a working copy change under one version."""
    return digest([mvtec_convert.__version__, *(f"{name} {stamp}" for name, stamp in sorted(_own_files()))])


def _own_files() -> Iterator[tuple[str, str]]:
    return ((name, stamp) for name, stamp in _walk(PACKAGE, "") if name.endswith((".py", ".json")))
