"""Zip and tar archives of images, unpacked so that nothing leaves the folder, overwrites a file or fills the disk.

An archive is refused as a whole if it holds an absolute path, a `..`, a symbolic link, a hard link to anything but an
earlier file of its own, a device, one path twice (be it in other letters, as in `A.png` and `a.png`), or more bytes
than images can come to. Only names and contents are taken over: no owner, no mode, no time. Tars are streamed, so that
memory stays flat; whatever their compression, they must reach their end mark.
"""

from __future__ import annotations

import bz2
import errno
import gzip
import lzma
import shutil
import stat
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, cast

from mvtec_convert.errors import ArchiveError, is_text, printable, size_in_words

Progress = Callable[[int, int], None]
"""Called with (bytes of the archive that are done, bytes of the archive)."""

JUNK = frozenset({"__MACOSX", ".DS_Store", "Thumbs.db", "desktop.ini"})
"""What file managers leave in archives. So are files that begin with `._`: macOS keeps its attributes in them."""

MOST_MEMBERS = 1_000_000
MOST_EXPANSION = 20
"""Bytes unpacked for each byte of archive. Photographs as BMP, as most of BTAD, come to about 5, others to 1."""
LEAST_LIMIT = 1 << 30
"""Bytes that even a small archive may hold."""
MOST_EXTENSION = 1 << 20
"""Bytes of a tar's extended header, which is read into memory as a whole; a long path takes some hundred."""

BY_HAND = "fetch it anew from its publisher; or, if you trust it, unpack it by hand and give the folder"

_BLOCK = 512  # a tar's unit, bytes
_EXTENSIONS = (b"x", b"g", b"X", b"L", b"K")  # types of tar headers that describe the next one: pax, Solaris, GNU
_CHUNK = 1 << 20
_DAMAGED = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RecursionError, ValueError)
_OPENERS: dict[bytes, Callable[[IO[bytes]], object]] = {
    b"\xfd7zXZ\x00": lzma.open,
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
}


@dataclass(frozen=True, slots=True)
class Unpacked:
    """What came out of an archive.

    Attributes:
        files: number of files written.
        size: their bytes.
        junk: number of files left out as `JUNK`.
    """

    files: int
    size: int
    junk: int


def unpack(
    archive: Path,
    folder: Path,
    *,
    wanted: Callable[[PurePosixPath], bool] = lambda path: True,
    progress: Progress = lambda done, total: None,
) -> Unpacked:
    """Unpack a zip, or a tar that is plain or packed with xz, gzip or bzip2; which one, its content tells.

    Args:
        archive: the file.
        folder: where to; created, and must be empty. After an error it holds a part: remove it.
        wanted: which members to write, by their path in the archive. The others must be harmless, too.
        progress: called after each member.

    Raises:
        ArchiveError: it is no such archive, is damaged or cut short, or holds what must not be unpacked.
        OSError: the folder cannot be written, or the archive cannot be read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    limit = max(LEAST_LIMIT, MOST_EXPANSION * archive.stat().st_size)
    unpacking = _Unpacking(archive, folder, limit, wanted)
    members = _zip_members if _is_zip(archive) else _tar_members
    with _naming_damage(archive):
        for member in members(archive, progress):
            unpacking.take(member)
    return Unpacked(unpacking.files, unpacking.size, unpacking.junk)


def unpacked_size(archive: Path) -> int | None:
    """Bytes that its files take, by its own account; None where only unpacking can tell.

    Raises:
        ArchiveError: it is a damaged zip.
    """
    if _is_zip(archive):
        with _naming_damage(archive), zipfile.ZipFile(archive) as file:
            return sum(info.file_size for info in file.infolist())
    with archive.open("rb") as raw:
        return None if _opener(raw) else archive.stat().st_size


@contextmanager
def _naming_damage(archive: Path) -> Iterator[None]:
    """Turn what the standard library raises on bad archives into errors that name the archive."""
    try:
        yield
    except NotImplementedError as error:
        raise ArchiveError(f"packed in a way that Python cannot unpack: {error}", path=archive, hint=BY_HAND) from None
    except _DAMAGED as error:
        raise _damaged(archive, str(error)) from None
    except OSError as error:
        # gzip and bz2 report bad data as an OSError without a number, zipfile seeks to bad places.
        if error.errno not in {None, errno.EINVAL} or error.filename is not None:
            raise
        raise _damaged(archive, str(error)) from None


def _damaged(archive: Path, why: str) -> ArchiveError:
    with archive.open("rb") as raw:
        begin = raw.read(_BLOCK)
        if not begin.startswith(b"PK") and not _opener(raw) and begin[257:262] != b"ustar":
            page = begin.lstrip()[:1] == b"<"
            kind = "a web page, not an archive" if page else "neither a zip nor a tar archive"
            return ArchiveError(kind, path=archive, hint="fetch it from its publisher's page with a browser")
    return ArchiveError(f"damaged or cut short: {why}", path=archive, hint="fetch it anew")


# --- what an archive holds --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Member:
    """One entry of an archive.

    Attributes:
        name: as the archive spells it; not to be trusted.
        kind: "file", "folder", "hard link"; anything else says why it cannot be taken.
        size: bytes, by the archive's account.
        target: of a hard link, as the archive spells it.
        open: gives the content of a file.
    """

    name: str
    kind: str
    size: int = 0
    target: str = ""
    open: Callable[[], IO[bytes] | None] = lambda: None


def _is_zip(archive: Path) -> bool:
    with archive.open("rb") as raw:
        return raw.read(2) == b"PK"


def _zip_members(archive: Path, progress: Progress) -> Iterator[_Member]:
    total, done = archive.stat().st_size, 0
    with zipfile.ZipFile(archive) as file:
        for info in file.infolist():
            yield _Member(info.filename, _zip_kind(info), info.file_size, open=partial(file.open, info))
            done += info.compress_size
            progress(min(done, total), total)


def _zip_kind(info: zipfile.ZipInfo) -> str:
    mode = stat.S_IFMT(info.external_attr >> 16)
    if mode not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "a symbolic link" if mode == stat.S_IFLNK else "a device"
    if info.flag_bits & 1:
        return "encrypted"
    if not info.filename.endswith("/"):
        return "file"
    return "a folder with content" if info.file_size else "folder"


def _tar_members(archive: Path, progress: Progress) -> Iterator[_Member]:
    total, end = archive.stat().st_size, 0
    with archive.open("rb") as raw:
        stream = _Watched(_decompressed(raw))
        with tarfile.open(fileobj=cast("IO[bytes]", stream), mode="r|", bufsize=_CHUNK, tarinfo=_Header) as tar:
            for header in tar:
                content = partial(tar.extractfile, header)
                yield _Member(header.name, _tar_kind(header), header.size, header.linkname, content)
                end = header.offset_data + (-(-header.size // _BLOCK) * _BLOCK if header.isreg() else 0)
                progress(raw.tell(), total)
        stream.check_end(end)
        progress(total, total)


def _tar_kind(header: tarfile.TarInfo) -> str:
    if header.issparse():
        return "a sparse file"
    if header.isreg():
        return "file"
    if header.isdir():
        return "folder"
    if header.islnk():
        return "hard link"
    return "a symbolic link" if header.issym() else "a device"


class _Header(tarfile.TarInfo):
    """A tar header that cannot make the reader fill the memory."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Header:
        header = super().frombuf(buf, encoding, errors)
        if header.size < 0 or (header.size > MOST_EXTENSION and header.type in _EXTENSIONS):
            raise tarfile.ReadError(f"a header of {header.size} bytes")
        return header


def _opener(raw: IO[bytes]) -> Callable[[IO[bytes]], object] | None:
    """What undoes the compression of a file that stands at any place; it stands at its begin afterwards."""
    raw.seek(0)
    begin = raw.read(6)
    raw.seek(0)
    return next((opener for magic, opener in _OPENERS.items() if begin.startswith(magic)), None)


def _decompressed(raw: IO[bytes]) -> IO[bytes]:
    opener = _opener(raw)
    return raw if opener is None else cast("IO[bytes]", opener(raw))


class _Watched:
    """A stream that remembers where its last byte other than zero was.

    `tarfile` takes a tar that is cut short between two members, or damaged in a header, for one that ends there.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._size = 0
        self._last = 0

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        content = data.rstrip(b"\0")
        if content:
            self._last = self._size + len(content)
        self._size += len(data)
        return data

    def check_end(self, end: int) -> None:
        """Read on to the end; there must be the end mark, two blocks of zeros, and nothing else after byte `end`."""
        while self.read(_CHUNK):
            pass
        if self._last > end or self._size < end + 2 * _BLOCK:
            raise EOFError("it does not end as a tar does")


# --- what may come of it ----------------------------------------------------------------------------------------------


class _Unpacking:
    """One archive on its way into one folder, which nothing else writes to."""

    def __init__(self, archive: Path, folder: Path, limit: int, wanted: Callable[[PurePosixPath], bool]) -> None:
        self._archive = archive
        self._folder = folder
        self._limit = limit
        self._wanted = wanted
        self._members = 0
        self._spelled: dict[str, PurePosixPath] = {}
        self._written: set[PurePosixPath] = set()
        self.size = 0
        self.junk = 0

    @property
    def files(self) -> int:
        return len(self._written)

    def take(self, member: _Member) -> None:
        """Write one member, or refuse the archive.

        Raises:
            ArchiveError: it must not be unpacked.
        """
        path = self._path(member.name)
        self._members += 1
        if self._members > MOST_MEMBERS:
            raise self._refused(member, f"comes after {MOST_MEMBERS} others")
        if member.kind not in {"file", "folder", "hard link"}:
            raise self._refused(member, f"is {member.kind}")
        if _is_junk(path):
            self.junk += member.kind != "folder"
        elif path.parts and self._wanted(path):
            self._claim(member, path)
            try:
                self._write(member, path)
            except (FileExistsError, NotADirectoryError, IsADirectoryError):
                raise self._refused(member, "is there twice") from None
            except OSError as error:
                if error.errno != errno.ENAMETOOLONG:
                    raise
                raise self._refused(member, "has a name that is too long for the file system") from None

    def _path(self, name: str) -> PurePosixPath:
        """The path of a member below the folder."""
        slashes = name.replace("\\", "/")
        if slashes.startswith("/") or PureWindowsPath(slashes).drive:
            raise self._refused(name, "is an absolute path")
        path = PurePosixPath(slashes)
        if ".." in path.parts:
            raise self._refused(name, "leads out of the folder")
        if not is_text(name):
            raise self._refused(name, "is a name that not every file system can hold")
        return path

    def _claim(self, member: _Member, path: PurePosixPath) -> None:
        """Refuse a path that is another one to a file system which does not tell `A` from `a`."""
        for part in (path, *path.parents):
            key = unicodedata.normalize("NFC", str(part)).casefold()
            if self._spelled.setdefault(key, part) != part:
                raise self._refused(member, f"and {printable(str(self._spelled[key]))} differ in spelling alone")

    def _write(self, member: _Member, path: PurePosixPath) -> None:
        target = self._folder / path
        if member.kind == "folder":
            target.mkdir(parents=True, exist_ok=True)
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        if member.kind == "hard link":
            self._link(member, target)
        else:
            self._copy(member, target)
        self._written.add(path)

    def _link(self, member: _Member, target: Path) -> None:
        linked = self._path(member.target)
        if linked not in self._written:
            raise self._refused(member, f"is a link to {printable(member.target)}, which is no earlier file")
        self._grow(member, (self._folder / linked).stat().st_size)
        shutil.copyfile(self._folder / linked, target)

    def _copy(self, member: _Member, target: Path) -> None:
        content = member.open()
        left = member.size
        if content is None:
            raise self._refused(member, "has no content")
        self._grow(member, left)
        with content, target.open("xb") as file:
            while chunk := content.read(_CHUNK):
                left -= len(chunk)
                if left < 0:
                    break
                file.write(chunk)
        if left:
            raise EOFError(f"{printable(member.name)} is not as long as it should be")

    def _grow(self, member: _Member, size: int) -> None:
        self.size += size
        if self.size > self._limit:
            raise self._refused(
                member, f"would make it more than {size_in_words(self._limit)}, too much for what it is"
            )

    def _refused(self, member: _Member | str, why: str) -> ArchiveError:
        name = member if isinstance(member, str) else member.name
        return ArchiveError(f"not unpacked: {printable(name)} {why}", path=self._archive, hint=BY_HAND)


def _is_junk(path: PurePosixPath) -> bool:
    return not JUNK.isdisjoint(path.parts) or path.name.startswith("._")
