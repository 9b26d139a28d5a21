"""A hidden folder beside the target: an output is made there, and put in the target's place when it is whole.

.NAME.partial/
    mvtec-convert.lock      held while a run lasts; who gets it next clears up after a run that was killed
    output/                 what is being written
    journal                 what an export has done so far, where that is not remembered elsewhere
    replaced/               the former target, for the moment in which the new one takes its place
    leftover-1/, ...        what killed runs had written
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from mvtec_convert.errors import MORE_FILES, OutputError, size_in_words
from mvtec_convert.opening import is_own
from mvtec_convert.runs.exchange import exchange
from mvtec_convert.runs.interrupts import uninterrupted
from mvtec_convert.runs.locks import Lock, try_lock

LOCK, OUTPUT, JOURNAL, REPLACED, LEFTOVER = "mvtec-convert.lock", "output", "journal", "replaced", "leftover-"

_NUMBERED = re.compile(rf"{LEFTOVER}([1-9][0-9]{{0,8}})")

PAUSE = 0.1  # s, between two looks at a lock that another process holds
GRACE = 2.0  # s, for which the workers of a run that was killed may hold its lock, until they notice

HINTS = {
    **dict.fromkeys((errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)), "free some space, or choose another --out"),
    errno.EFBIG: "raise the limit on the size of files (ulimit -f), or choose another --out",
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), MORE_FILES),
    **dict.fromkeys((errno.EBUSY, errno.EXDEV), "if another disk is mounted there, choose a folder in it"),
    **dict.fromkeys((errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP), "its file system has no locks: choose another"),
}


@dataclass(frozen=True, slots=True)
class Staging:
    """The hidden folder, while this process holds its lock.

    Attributes:
        target: what shall appear, resolved.
        room: the hidden folder.
        leftovers: what killed runs had written, the latest first; each as incomplete as it was.
    """

    target: Path
    room: Path
    leftovers: tuple[Path, ...]
    lock: Lock

    @property
    def folder(self) -> Path:
        """Where to write."""
        return self.room / OUTPUT

    def publish(self, refuse: Callable[[Path], None]) -> None:
        """Put what was written in the target's place.

        Args:
            refuse: raises where a folder must not be replaced. It is asked about the target, and again once the former
                target has moved and no one finds it by its name: what came in between is put back.

        Raises:
            OutputError: see `refuse`; or the hidden folder was removed meanwhile.
            OSError: the target cannot be replaced.
        """
        if not self.lock.is_in_place:
            raise OutputError("the output was removed while it was written", path=self.target, hint="run it again")
        if not os.path.lexists(self.target):
            self.folder.rename(self.target)
            return
        refuse(self.target)
        former = self._swap()
        try:
            refuse(former)
        except OutputError:
            self._swap_back(former)
            raise

    def _swap(self) -> Path:
        """Where the former target is now."""
        if exchange(self.folder, self.target):
            return self.folder
        replaced = self.room / REPLACED
        self.target.rename(replaced)
        try:
            self.folder.rename(self.target)
        except BaseException:
            replaced.rename(self.target)
            raise
        return replaced

    def _swap_back(self, former: Path) -> None:
        if former == self.folder:
            exchange(self.folder, self.target)
        else:
            self.target.rename(self.folder)
            former.rename(self.target)


@contextmanager
def staging(target: Path, *, wait: bool = False) -> Iterator[Staging]:
    """Claim the hidden folder beside `target`, mend what a killed run left, and remove it all in the end.

    Args:
        target: the folder that shall appear; missing parents are made, and removed again if nothing appears.
        wait: for another process that writes the same target, instead of refusing.

    Raises:
        OutputError: another process is writing the target, or it cannot be written.
    """
    target = target.expanduser().resolve()
    if target == Path.cwd() or target in Path.cwd().parents:
        raise OutputError("the output would replace the current folder", path=target, hint="choose a folder below it")
    room = target.with_name(f".{target.name}.partial")
    new_parents = [parent for parent in target.parents if not parent.exists()]
    held: list[Lock] = []
    try:
        lock = _claim(room, target, wait, held)
        _put_back(room, target)
        leftovers = _leftovers(room)
        (room / OUTPUT).mkdir()
        yield Staging(target, room, leftovers, lock)
    except OSError as error:
        raise _failure(error, target, room) from error
    finally:
        _to_the_end(lambda: _remove(room, held, new_parents))


def _claim(room: Path, target: Path, wait: bool, held: list[Lock]) -> Lock:
    """The lock, which is in `held` as soon as it is locked."""
    patience = float("inf") if wait else time.monotonic() + GRACE
    while True:
        try:
            with uninterrupted():
                _make(room)
                lock = try_lock(room / LOCK)
                if lock is not None:
                    held.append(lock)
        except FileNotFoundError:
            if not room.parent.is_dir():
                raise
            continue  # another process has just finished, and removed it
        if lock is not None:
            return lock
        if time.monotonic() > patience:
            hint = "wait until it is done, or choose another --out"
            raise OutputError("another run is writing this output", path=target, hint=hint)
        time.sleep(PAUSE)


def _make(room: Path) -> None:
    """Make the hidden folder, or find the one of an earlier run; what is none is left alone."""
    room.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = room / LOCK
    # Whoever makes a room makes the lock first, and removes it last: the second look is for one that came meanwhile.
    is_foreign = not lock.exists() and any(room.iterdir()) and not lock.exists()
    if is_foreign or room.is_symlink():
        raise OutputError("in the way of the output, and not of this tool", path=room, hint="move it away")


def _put_back(room: Path, target: Path) -> None:
    """After a run that was killed between its two renames, the former target is put back."""
    replaced = room / REPLACED
    if not os.path.lexists(replaced):
        return
    if os.path.lexists(target) or not _is_folder(replaced):
        _discard(replaced)
    else:
        replaced.rename(target)


def _leftovers(room: Path) -> tuple[Path, ...]:
    """What killed runs had written, the latest first; none where another user did."""
    numbers = sorted(int(match[1]) for path in room.iterdir() if (match := _NUMBERED.fullmatch(path.name)))
    if os.path.lexists(room / OUTPUT):
        numbers.append(max(numbers, default=0) + 1)
        (room / OUTPUT).rename(room / f"{LEFTOVER}{numbers[-1]}")
    found = (room / f"{LEFTOVER}{number}" for number in reversed(numbers))
    return tuple(filter(_is_folder, found)) if is_own(room) else ()


def _is_folder(path: Path) -> bool:
    """Whether it is a folder itself; what a link leads to is not this tool's."""
    return path.is_dir() and not path.is_symlink()


def _discard(path: Path) -> None:
    if _is_folder(path):
        shutil.rmtree(path)
    else:
        path.unlink()


def _failure(error: OSError, target: Path, room: Path) -> OutputError:
    place = Path(error.filename) if isinstance(error.filename, str) else target
    hint = HINTS.get(error.errno or 0, "check the folder's permissions, or choose another --out")
    return OutputError(
        f"cannot be written: {error.strerror or error}",
        path=target if room in place.parents else place,
        hint=f"nothing was changed; {hint}",
    )


def _remove(room: Path, held: list[Lock], new_parents: list[Path]) -> None:
    # Without the lock, the room is another run's.
    for lock in held:
        if lock.is_in_place and not _is_emptied(room):
            # What cannot be removed now is known to be this tool's by the lock's file; the next run will try again.
            lock.let_go()
        lock.release()
    for folder in (room, *new_parents):
        with suppress(OSError):  # not empty where all went well
            folder.rmdir()


def _is_emptied(room: Path) -> bool:
    """Whether all but the lock is removed."""
    try:
        for path in room.iterdir():
            if _is_folder(path):
                shutil.rmtree(path, ignore_errors=True)
            elif path.name != LOCK:
                path.unlink()
        return all(path.name == LOCK for path in room.iterdir())
    except OSError:  # no handles are left to look into folders, or somebody else has removed it
        return False


def _to_the_end(action: Callable[[], None]) -> None:
    """Do it whole even where Ctrl-C falls into it; it must be one that can be begun again."""
    try:
        action()
    except KeyboardInterrupt:
        action()
        raise


def check_space(folder: Path, needed: float) -> None:
    """Refuse to begin what will not fit.

    Args:
        folder: on the disk in question.
        needed: bytes.

    Raises:
        OutputError: fewer are free.
    """
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OutputError(
            f"about {size_in_words(needed)} are needed, {size_in_words(free)} are free",
            path=folder.parent,
            hint="free some space, or choose a folder on another disk with --out",
        )
