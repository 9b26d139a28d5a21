"""A file that one process holds at a time; the operating system lets go of it when that process ends in any way."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl


class Lock:
    """A lock that is held. The file is there for as long as somebody holds it, or was killed while holding it."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor: int | None = descriptor

    @property
    def is_in_place(self) -> bool:
        """Whether the file that was locked is still there: nobody has removed it, nor put another in its place."""
        if self._descriptor is None:
            return False
        try:
            return os.path.samestat(os.fstat(self._descriptor), self._path.lstat())
        except OSError:
            return False

    def let_go(self) -> None:
        """Let another process have it, and leave the file; done once."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def release(self) -> None:
        """Remove the file, and let go; done once."""
        if self._descriptor is None:
            return
        # Removed while it is held, lest another process takes a file that is about to go.
        if self.is_in_place:
            with suppress(OSError):
                self._path.unlink()
        self.let_go()
        if sys.platform == "win32":  # where no open file can be removed
            with suppress(OSError):
                self._path.unlink()


def try_lock(path: Path) -> Lock | None:
    """Lock a file, which is created if need be; None where another process holds it.

    Raises:
        OSError: the file cannot be made, or its file system knows no locks.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)
        try:
            is_held = _lock(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        lock = Lock(path, descriptor)
        if is_held and lock.is_in_place:
            return lock
        os.close(descriptor)
        if not is_held:
            return None
        # Whoever held it has removed it since it was opened here.


def lock_file(descriptor: int) -> None:
    """Lock an open file until it is closed, be it by the process's end.

    Raises:
        OSError: another process holds it, or its file system has no locks.
    """
    if sys.platform == "win32":
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    else:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _lock(descriptor: int) -> bool:
    try:
        lock_file(descriptor)
    except (BlockingIOError, PermissionError):  # how Linux and macOS say it, and how Windows does
        return False
    return True
