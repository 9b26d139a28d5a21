"""Files that may come from strangers: opened only where they are regular files, read whole only up to a size.

A pipe or a device called `000.png` would be read for ever, and a file of holes takes no space on disk. What goes wrong
is an `OSError`, as it is for any other file that cannot be read.
"""

from __future__ import annotations

import errno
import stat
from pathlib import Path
from typing import IO

from mvtec_convert.errors import size_in_words


def open_file(path: Path) -> IO[bytes]:
    """Open a regular file, or what a link to one points to, for reading.

    Raises:
        OSError: there is none that can be read.
    """
    _look(path)
    return path.open("rb")


def read_file(path: Path, most: int) -> bytes:
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
    return path.read_bytes()


def _look(path: Path) -> int:
    """Size of a regular file, bytes."""
    try:
        found = path.stat()
    except ValueError as error:  # a null byte, or what the file system's encoding lacks
        raise OSError(errno.EINVAL, f"no file can have this name: {error}") from None
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "is no file" if not stat.S_ISDIR(found.st_mode) else "is a folder", str(path))
    return found.st_size
