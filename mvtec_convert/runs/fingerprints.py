"""By what a file, a folder, a dataset and this tool itself are recognised as unchanged. The standard library alone."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, fields
from fnmatch import translate
from functools import cache
from operator import attrgetter
from pathlib import Path

import mvtec_convert
from mvtec_convert.dataset import Dataset, Sample
from mvtec_convert.opening import BLOCK, FilePath, open_file

SETTLED = 2 * 10**9
"""ns after which a changed file has another time for certain: the coarsest clock of a file system in use is FAT's."""

PACKAGE = Path(mvtec_convert.__file__).parent

LITTER = ("*.cache", "text_embeddings_*.pt", ".DS_Store", "Thumbs.db")
"""What trainers and file managers leave in a dataset's folders; goes with the dataset that it is about."""

_IS_LITTER = re.compile("|".join(map(translate, LITTER))).match

_of_sample = attrgetter("files", *(field.name for field in fields(Sample) if field.name not in ("image", "masks")))


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


class Digest:
    """One digest of text that comes part by part, which tells where a part ends."""

    def __init__(self, parts: Iterable[str | None] = ()) -> None:
        self._found = hashlib.blake2b(digest_size=16)
        for part in parts:
            self.add(part)

    def add(self, part: str | None) -> None:
        """One part more."""
        self._found.update(f"{part!r}\n".encode("utf-8", "surrogatepass"))

    def __str__(self) -> str:
        return self._found.hexdigest()


def digest(parts: Iterable[str | None]) -> str:
    """The digest of some text."""
    return str(Digest(parts))


def seal(data: bytes, key: str) -> bytes:
    """By which it is told that data was written by who knew the key, and is as it was then; 32 hexadecimal digits."""
    return hashlib.blake2b(data, key=key.encode(), digest_size=16).hexdigest().encode()


def content_of(path: FilePath) -> str | None:
    """Digest of a file's content; None where it cannot be read."""
    found = hashlib.sha256()
    try:
        with open_file(path) as file:
            while block := file.read(BLOCK):
                found.update(block)
    except OSError:
        return None
    return found.hexdigest()


def said(sample: Sample) -> str:
    """All that a sample says: what its `repr` tells, in a fraction of the time."""
    return repr(_of_sample(sample))


def seen(path: FilePath) -> str:
    """Size and time of a file, or what a link points to; the same text for all that are not there."""
    try:
        found = os.stat(path)  # noqa: PTH116 - half the time of Path.stat, for every image
    except (OSError, ValueError):
        return "missing"
    return f"{found.st_size} {found.st_mtime_ns}"


def is_settled(stamp: str, now: int) -> bool:
    """Whether a file with this size and time was last changed long enough before, or after, `now`, ns."""
    return abs(now - int(stamp.partition(" ")[2] or 0)) > SETTLED


def of_dataset(dataset: Dataset, *, by_content: bool) -> Fingerprint:
    """Every sample with its files, and what does not fit the layout."""
    now, settled = time.time_ns(), True
    findings = list(map(repr, dataset.findings))
    looks, contents = Digest(findings), Digest(findings)
    for sample in dataset:
        text, files = said(sample), sample.files
        stamps = list(map(seen, files))
        looks.add("\n".join([text, *stamps]))  # none of which has a line feed
        settled = settled and all(is_settled(stamp, now) for stamp in stamps)
        if by_content:
            for part in (text, *map(content_of, files)):
                contents.add(part)
    return Fingerprint(str(looks), str(contents) if by_content else None, settled)


def of_folder(folder: Path, *, by_content: bool) -> Fingerprint:
    """Every file and folder in a folder, but not what trainers leave there.

    Raises:
        OSError: the folder cannot be read.
    """
    looks, contents = Digest(), Digest()
    for name, stamp in _walk(folder):
        looks.add(f"{name} {stamp}")
        if by_content:
            contents.add(name)
            contents.add(content_of(folder / name))
    return Fingerprint(str(looks), str(contents) if by_content else None, is_settled=True)


def _walk(folder: Path | str, prefix: str = "") -> Iterator[tuple[str, str]]:
    """(path relative to the outermost folder, stamp) of everything in a folder that is no litter, in order."""
    for own in sorted(_without_litter(set(os.listdir(folder)))):  # noqa: PTH208 - names alone, of a hundred thousand
        path, name = f"{folder}/{own}", prefix + own
        found = os.lstat(path)
        if stat.S_ISDIR(found.st_mode):
            yield f"{name}/", "folder"
            yield from _walk(path, f"{name}/")
        else:
            kind = "" if stat.S_ISREG(found.st_mode) else " no file"
            yield name, f"{found.st_size} {found.st_mtime_ns}{kind}"


def _without_litter(found: Collection[str]) -> list[str]:
    stems = {name.rpartition(".")[0] for name in found if not name.endswith(".npy")}
    # Ultralytics decodes images into files of their names beside them.
    return [
        name
        for name in found
        if not _IS_LITTER(name) and not (name.endswith(".npy") and name.removesuffix(".npy") in stems)
    ]


@cache
def of_tool() -> str:
    """The version of this tool, and of each of its files: those of a working copy change under one version."""
    return digest([mvtec_convert.__version__, *(f"{name} {stamp}" for name, stamp in _own_files())])


def _own_files() -> Iterator[tuple[str, str]]:
    return ((name, stamp) for name, stamp in _walk(PACKAGE) if name.endswith((".py", ".json")))
