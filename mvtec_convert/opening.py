"""Files that may come from strangers: opened only where they are regular files, read whole only up to a size.

A pipe or a device called `000.png` would be read for ever, and a file of holes takes no space on disk. What goes wrong
is an `OSError`, as it is for any other file that cannot be read.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import PurePosixPath, PureWindowsPath
from typing import IO, TypeAlias

from mvtec_convert.errors import size_in_words

FilePath: TypeAlias = str | os.PathLike[str]
"""Where a file lies; as text where there are many, since making a `Path` takes longer than asking about the file."""

READ_BYTES = os.O_RDONLY | getattr(os, "O_BINARY", 0)
BLOCK = 1 << 20  # bytes


def open_file(path: FilePath) -> IO[bytes]:
    """Open a regular file, or what a link to one points to, for reading.

    Raises:
        OSError: there is none that can be read.
    """
    _look(path)
    return open(path, "rb")  # noqa: PTH123 - of text, too


def read_head(path: FilePath, most: int) -> bytes:
    """The first bytes of a regular file, at most so many.

    Raises:
        OSError: it cannot be read.
    """
    _look(path)
    with _Descriptor(path) as file:
        return os.read(file, most)


def read_ends(path: FilePath, most: int, last: int) -> tuple[bytes, bytes]:
    """The first bytes of a regular file, at most so many, and the last ones.

    Raises:
        OSError: it cannot be read.
    """
    size = _look(path)
    with _Descriptor(path) as file:
        head = os.read(file, most)
        if size <= most:
            return head, head[-last:]
        os.lseek(file, -min(last, size), os.SEEK_END)
        return head, os.read(file, last)


def read_file(path: FilePath, most: int) -> bytes:
    """Read a regular file whole.

    Args:
        path: the file.
        most: bytes that it may have.

    Raises:
        OSError: it cannot be read, or has more.
    """
    size = _look(path)
    if size > most:
        reason = f"{size_in_words(size)} are more than the {size_in_words(most)} that such a file may have"
        raise OSError(errno.EFBIG, reason, str(path))
    with _Descriptor(path) as file:
        data = os.read(file, size + 1)
        if len(data) == size:
            return data
        # It has grown since, or one call does not read so much.
        return data + b"".join(iter(lambda: os.read(file, BLOCK), b""))


def read_text(path: FilePath, most: int) -> str:
    """Read a regular file of UTF-8 whole, without its byte order mark.

    Args:
        path: the file.
        most: bytes that it may have.

    Raises:
        OSError: it cannot be read, or has more.
        ValueError: it is not UTF-8.
    """
    return read_file(path, most).decode("utf-8-sig")


def leads_out(name: str) -> bool:
    """Whether a file name that a dataset gives is absolute, or goes up; on any system."""
    if not any(sign in name for sign in "/\\:"):
        return name == ".."  # a bare name; pathlib would take its time to say the same
    return (
        PurePosixPath(name).is_absolute()
        or bool(PureWindowsPath(name).drive)
        or ".." in name.replace("\\", "/").split("/")
    )


class _Descriptor:
    """A regular file that is open for reading; `open` takes twice as long, since it asks about the file once more."""

    __slots__ = ("_number",)

    def __init__(self, path: FilePath) -> None:
        self._number = os.open(path, READ_BYTES)

    def __enter__(self) -> int:
        return self._number

    def __exit__(self, *error: object) -> None:
        os.close(self._number)


def _look(path: FilePath) -> int:
    """Size of a regular file, bytes."""
    try:
        found = os.stat(path)  # noqa: PTH116
    except ValueError as error:  # a null byte, or what the file system's encoding lacks
        raise OSError(errno.EINVAL, f"no file can have this name: {error}") from None
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "is no file" if not stat.S_ISDIR(found.st_mode) else "is a folder", str(path))
    return found.st_size


def is_alone(path: FilePath) -> bool:
    """Whether it is a regular file that has no other name, so that writing to it changes no file but this one.

    Raises:
        OSError: nothing is there.
    """
    found = os.lstat(path)
    return stat.S_ISREG(found.st_mode) and found.st_nlink == 1


def is_own(path: FilePath) -> bool:
    """Whether a file or folder is this user's, and no other user can have written it."""
    if not hasattr(os, "getuid"):
        return True
    status = os.lstat(path)
    return status.st_uid == os.getuid() and not status.st_mode & 0o022
