"""Where a fetched dataset is worked on, and how it comes to its place: whole categories at a time, replacing nothing.

What is under way lies in a hidden folder beside the target, or in it where it is there already: the parts of archives,
from which the next run goes on, and what is unpacked, until it is moved into place.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from mvtec_convert.downloads.sources import Source, sources
from mvtec_convert.errors import ArchiveError, OutputError
from mvtec_convert.layouts import recognised
from mvtec_convert.runs.locks import lock_file

WORKSHOP = ".mvtec-convert-download"
"""Name of the hidden folder in the target; its ending beside it."""
UNPACKED, LOCK = "unpacked", "lock"
"""Folder and file in it."""
DEEPEST = 3
"""Folders that an archive may put around a dataset."""


def find_dataset(tree: Path, source: Source, names: Sequence[str], archive: Path) -> tuple[Path, str]:
    """The folder of the dataset in what was unpacked, and the name of its layout.

    Args:
        tree: what was unpacked.
        source: the dataset that should be there; its categories tell its folder, whether its layout is known or not.
        names: categories that must be there; none where it may be any, or a dataset of one's own.
        archive: where it came from, for messages.

    Raises:
        ArchiveError: there is another dataset, or none, or a category is not there.
    """
    folders = list(_outermost(tree, DEEPEST))
    root = next((folder for folder in folders if categories_in(folder, source)), None)
    lacking = [name for name in names if root is None or not (root / name).is_dir()]
    if lacking:
        raise ArchiveError(f"holds no category {', '.join(lacking)}", path=archive, hint="give another archive")
    if root is not None:
        return root, source.layout
    for other in sources().values():
        if any(2 * len(categories_in(folder, other)) >= len(other.categories) for folder in folders):
            raise ArchiveError(f"holds {other.title}, not {source.title}", path=archive, hint=f"--dataset {other.key}")
    for folder in folders:
        name = recognised(folder)
        if name is not None:
            return folder, name
    raise ArchiveError(
        f"holds no dataset: no category of {source.title}, and no layout that is known",
        path=archive,
        hint="unpack it by hand and look at what it holds",
    )


def _outermost(folder: Path, depth: int) -> Iterator[Path]:
    """The folder, and those below it, level by level."""
    level = [folder]
    for _ in range(depth + 1):
        yield from level
        level = [path for parent in level for path in sorted(parent.iterdir()) if path.is_dir()]


def categories_in(folder: Path, source: Source) -> list[str]:
    """Which of a dataset's categories a folder holds, in the dataset's order."""
    return [name for name in source.categories if (folder / name).is_dir()]


def put_in_place(root: Path, folder: Path, source: Source) -> list[str]:
    """Move a dataset to where it belongs, by one rename; or add to that what it lacks, by one rename a category.

    Returns:
        Names of the categories that came there; of all folders where the dataset is not a published one.

    Raises:
        OutputError: the folder lacks none.
    """
    names = categories_in(root, source) or [path.name for path in sorted(root.iterdir()) if path.is_dir()]
    if not folder.exists():
        root.rename(folder)
        return names
    added = [name for name in names if not (folder / name).exists()]
    if not added:
        raise OutputError("already holds all that the archive holds", path=folder, hint="choose another with --out")
    for path in sorted(root.iterdir()):
        if not (folder / path.name).exists():
            path.rename(folder / path.name)
    return added


@contextmanager
def workshop(folder: Path) -> Iterator[Path]:
    """The hidden folder to work in, on the disk where `folder` is or will be. Archives stay there on errors.

    Raises:
        OutputError: another run is at work there, or it leads elsewhere.
    """
    work = folder / WORKSHOP if folder.exists() else folder.with_name(f".{folder.name}{WORKSHOP}")
    new_parents = [parent for parent in work.parents if not parent.exists()]
    if work.is_symlink():  # what is cleared away there would be somebody else's
        raise OutputError("a link, where downloads are worked on", path=work, hint="remove it")
    work.mkdir(parents=True, exist_ok=True)
    lock = os.open(work / LOCK, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0))
    if not _got(lock):
        os.close(lock)
        raise OutputError("another download into this folder is under way", path=folder, hint="wait for its end")
    try:
        _clear(work)  # of what a killed run left
        yield work
    finally:
        _clear(work)
        os.close(lock)
        (work / LOCK).unlink(missing_ok=True)
        for path in (work, *new_parents):
            with suppress(OSError):  # not empty: something is kept
                path.rmdir()


def _got(lock: int) -> bool:
    """Lock a file, if no other process has."""
    try:
        lock_file(lock)
    except OSError as error:
        # Some network disks have no locks: better to go on there than never to begin.
        return error.errno not in {errno.EACCES, errno.EAGAIN, errno.EDEADLK}
    return True


def _clear(work: Path) -> None:
    """Remove what no later run can use: all but archives and their parts."""
    unpacked = work / UNPACKED
    if unpacked.is_dir() and not unpacked.is_symlink():
        shutil.rmtree(unpacked, ignore_errors=True)
    else:
        unpacked.unlink(missing_ok=True)
    for path in work.glob("tmp*"):  # pooch's, hard links to archives that it was checking
        if path.is_symlink() or not path.is_dir():
            path.unlink()
